/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of settings. A server's fill a struct server_settings, a route's a struct settings. Both
 * say the same words, so the rows are made by macros that know where the struct settings begins.
 */
#include "core/settings.h"

#include "core/message.h"
#include "core/protocol.h"

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
enum { KIB = 1024, MIB = 1024 * KIB };

/* Where a member stands: in a route's struct, in a server's, in a server's for the listener. */
#define IN_SETTINGS(member) offsetof(struct settings, member)
#define IN_SERVER(member)   offsetof(struct server_settings, common.member)
#define IN_LISTENER(member) offsetof(struct server_settings, listener.member)

/* One argument that is all of its row. */
#define ONE(word, kind, least, most) \
	(const struct argument[]){ \
		{ .name = (word), .type = &(kind), .min = (least), .max = (most) }, { 0 } }
#define DURATION(least, most)   ONE("DURATION", type_duration, least, most)
#define SIZE(least, most)       ONE("SIZE", type_size, least, most)
#define WORD(choice) \
	(const struct argument[]){ { .name = "WORD", .type = &type_word, .words = (choice) }, { 0 } }
#define BANDWIDTH               ONE("BANDWIDTH", type_bandwidth, 0, 1024 * MIB)

static const char *const access_formats[] = { "combined", "json", NULL };
/* In the order of their enums. */
static const char *const forwarded_words[] = { "x_forwarded", "rfc7239", "both", "off", NULL };
static const char *const trailer_words[] = { "drop", "pass", NULL };
static const char *const answer_words[] = { "wait", "drop", "drop_oldest", "close", NULL };
static const char *const by_words[] = { "by", NULL };
static const char *const rate_words[] = { "wait", "refuse", "close", NULL };

static const struct argument access_arguments[] = {
	{ .name = "PATH|off", .type = &type_raw, .offset = offsetof(struct access_setting, raw) },
	{ .name = "FORMAT", .type = &type_word, .offset = offsetof(struct access_setting, format),
	    .words = access_formats, .flags = ARGUMENT_OPTIONAL },
	{ 0 },
};

/* Zeroed settings have no log. What an outer block said of the format does not count here. */
static bool
access_check(struct reading *r, const struct statement *s, void *filled)
{
	struct access_setting *access = filled;

	access->log = -1;
	if (access->raw.kind == VALUE_WORD && slice_is(access->raw.raw, "off")) {
		access->format = ACCESS_OFF;
		access->path = SLICE_EMPTY;
		if (s->value_count > 2)
			diag_error(
			    r->diag, s->values[2].span, "\"access_log off\" takes no format");
		return s->value_count <= 2;
	}
	access->format = s->value_count > 2 ? access->format + ACCESS_COMBINED : ACCESS_COMBINED;
	if (!schema_decode(r, &access->raw, false, &access->path))
		return false;
	if (access->path.n == 0)
		diag_error(r->diag, access->raw.span, "\"access_log\" wants a path, or off");
	return access->path.n != 0;
}

/* What acts before a route is known, and stands in one: whatever its value, the place is wrong. */
static bool
anything_read(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	return true;
}

static const struct type type_anything = {
	.name = "VALUE", .wanted = "a value", .size = 0, .read = anything_read,
};

static const struct argument misplaced_arguments[] = {
	{ .name = "VALUE", .type = &type_anything, .flags = ARGUMENT_OPTIONAL },
	{ .name = "VALUE2", .type = &type_anything, .flags = ARGUMENT_OPTIONAL },
	{ .name = "VALUE3", .type = &type_anything, .flags = ARGUMENT_OPTIONAL },
	{ 0 },
};

static bool
misplaced_check(struct reading *r, const struct statement *s, void *filled)
{
	diag_error(r->diag, s->values[0].span,
	    "\"" SLICE_FORMAT "\" acts before a route is known; set it in server or defaults",
	    SLICE_ARG(s->values[0].raw));
	return false;
}

/* The arguments lie in the struct round the row. */
static bool
answer_check(struct reading *r, const struct statement *s, void *filled)
{
	if (s->value_count < 3 || !slice_is(s->values[1].raw, "0"))
		return true;
	diag_error(r->diag, s->values[1].span, "there is nothing to be over; write: answer 256k %.*s",
	    SLICE_ARG(s->values[2].raw));
	return false;
}

static bool
message_rate_check(struct reading *r, const struct statement *s, void *filled)
{
	struct message_rate *m = filled;

	m->limit = rate_limit_of(&m->rate, (uint64_t)m->burst);
	return true;
}

static const struct argument message_rate_arguments[] = {
	{ "RATE", &type_rate, offsetof(struct message_rate, rate), .max = RATE_MOST },
	{ "burst", &type_integer, offsetof(struct message_rate, burst), .flags = ARGUMENT_OPTION,
	    .max = RATE_BURST_MOST, .otherwise = "0" },
	{ "over", &type_word, offsetof(struct message_rate, over), .flags = ARGUMENT_OPTION,
	    .words = rate_words, .otherwise = "wait" },
	{ 0 },
};

static const struct argument flow_arguments[] = {
	{ .name = "by", .type = &type_word, .offset = offsetof(struct flow_setting, by),
	    .words = by_words },
	{ .name = "FIELD", .type = &type_raw, .offset = offsetof(struct flow_setting, field) },
	{ 0 },
};

#define SETTING(word, wanted, place, default_value, text) \
	{ .name = (word), .kind = DIRECTIVE_SETTING, .arguments = wanted, .offset = (place), \
	    .otherwise = (default_value), .help = text }
#define LISTENER_SETTING(word, wanted, place, default_value, text) \
	{ .name = (word), .kind = DIRECTIVE_SETTING, .flags = DIRECTIVE_LISTENER, \
	    .arguments = wanted, .offset = IN_LISTENER(place), .otherwise = (default_value), \
	    .help = text " It is the listener's: the same for all servers of an address." }
#define MISPLACED(word) \
	{ .name = (word), .kind = DIRECTIVE_SETTING, .flags = DIRECTIVE_HIDDEN, \
	    .arguments = misplaced_arguments, .check = misplaced_check, \
	    .help = "Not here: it acts before a route is known." }

#define TIMEOUT_ROWS(in) \
	SETTING("body", DURATION(SECOND, DAY), in(body_timeout), "30s", \
	    "How long the client may be silent inside the body of a question."), \
	SETTING("write", DURATION(SECOND, DAY), in(write_timeout), "60s", \
	    "How long the client may take nothing of its answer."), \
	SETTING("keepalive", DURATION(0, DAY), in(keepalive_timeout), "60s", \
	    "How long a connection may be silent between two exchanges; 0s: it ends after one."), \
	SETTING("idle", DURATION(SECOND, 24 * DAY), in(idle_timeout), "10m", \
	    "How long a tunnel (TCP, WebSocket) may be silent in both directions; a client of " \
	    "messages between two of them, while no answer is awaited.")

#define MAX_ROWS(in) \
	SETTING("body", SIZE(0, INT64_MAX), in(body_max), "1m", \
	    "The largest body of a question; 0 takes any.")

#define MIN_ROWS(in) \
	SETTING("body", BANDWIDTH, in(body_least), "240/s", \
	    "The least that the body of a question must bring, while we take it; 0: any."), \
	SETTING("write", BANDWIDTH, in(write_least), "240/s", \
	    "The least that the client must take of an answer that waits for it, over no less than " \
	    "timeout { write }; 0: any."), \
	SETTING("after", DURATION(0, HOUR), in(least_grace), "5s", \
	    "How long either goes on before it is judged.")

#define BUFFER_ROWS(in) \
	SETTING("question", SIZE(0, 64 * MIB), in(question_buffer), "0", \
	    "How much of a question's body is gathered before a peer is asked; 0: it is streamed."), \
	{ .name = "answer", .kind = DIRECTIVE_SETTING, .otherwise = "0", \
	    .arguments = (const struct argument[]){ \
		{ .name = "SIZE", .type = &type_size, .offset = in(answer_buffer), \
		    .max = 64 * MIB }, \
		{ .name = "over", .type = &type_word, .offset = in(answer_over), \
		    .flags = ARGUMENT_OPTION, .words = answer_words, .otherwise = "wait" }, \
		{ 0 } }, \
	    .check = answer_check, \
	    .help = "How much of an answer is taken from the peer ahead of a slow client; 0: it is " \
	    "streamed. Of a protocol of messages: how much may wait for a client; what comes on " \
	    "top of it waits and no more is read of the client until half of it is gone (wait), is " \
	    "dropped, drops the oldest, or closes the connection." }

static const struct directive server_timeout_rows[] = {
	LISTENER_SETTING("header", DURATION(SECOND, HOUR), head_timeout, "10s",
	    "How long the head of a question may take."),
	LISTENER_SETTING("first_message", DURATION(0, DAY), first_message_timeout, "0s",
	    "How long a new connection may take to its first whole message; 0s: any time."),
	LISTENER_SETTING("message", DURATION(SECOND, DAY), message_timeout, "60s",
	    "How long a message may stay unfinished."),
	TIMEOUT_ROWS(IN_SERVER),
	{ 0 },
};

static const struct directive route_timeout_rows[] = {
	MISPLACED("header"),
	MISPLACED("first_message"),
	MISPLACED("message"),
	TIMEOUT_ROWS(IN_SETTINGS),
	{ 0 },
};

static const struct directive server_max_rows[] = {
	LISTENER_SETTING("uri", SIZE(256, 64 * KIB), uri_max, "8k", "The longest request line."),
	LISTENER_SETTING("header", SIZE(256, 64 * KIB), field_max, "8k",
	    "The longest header field."),
	LISTENER_SETTING("headers", SIZE(KIB, MIB), head_max, "32k",
	    "All header fields of a question together."),
	LISTENER_SETTING("header_count", ONE("NUMBER", type_integer, 1, MESSAGE_FIELDS_MAX),
	    field_count_max, "100", "How many header fields a question may have."),
	LISTENER_SETTING("messages", ONE("NUMBER", type_integer, 1, 65535), messages_max, "64",
	    "How many messages of one client may be unanswered; no more are read until some are."),
	LISTENER_SETTING("flows", ONE("NUMBER", type_integer, 1, 4 * MIB), flows_max, "16384",
	    "How many flows of datagrams a worker keeps. When there are so many, the one that is "
	    "silent for longest goes, if for a second at least."),
	MAX_ROWS(IN_SERVER),
	{ 0 },
};

static const struct directive route_max_rows[] = {
	MISPLACED("uri"),
	MISPLACED("header"),
	MISPLACED("headers"),
	MISPLACED("header_count"),
	MISPLACED("messages"),
	MISPLACED("flows"),
	MAX_ROWS(IN_SETTINGS),
	{ 0 },
};

static const struct directive heartbeat_rows[] = {
	SETTING("interval", DURATION(0, DAY), offsetof(struct heartbeat, interval), "0s",
	    "The silence after which one is sent; 0s: none is."),
	SETTING("send", ONE("BYTES", type_bytes, 0, 0), offsetof(struct heartbeat, send), NULL,
	    "The message, without what marks where it ends; not said: the protocol's own ping, "
	    "which is for peers where it is a question."),
	SETTING("miss", ONE("NUMBER", type_integer, 1, 1000), offsetof(struct heartbeat, miss), "2",
	    "How many silent intervals end the connection."),
	{ 0 },
};
const struct table heartbeat_tables[] = { { heartbeat_rows, 0 }, { NULL, 0 } };

static const struct directive server_min_rows[] = { MIN_ROWS(IN_SERVER), { 0 } };
static const struct directive route_min_rows[] = { MIN_ROWS(IN_SETTINGS), { 0 } };
static const struct directive server_buffer_rows[] = { BUFFER_ROWS(IN_SERVER), { 0 } };
static const struct directive route_buffer_rows[] = { BUFFER_ROWS(IN_SETTINGS), { 0 } };

#define INSIDE(table_rows) (const struct table[]){ { (table_rows), 0 }, { NULL, 0 } }

#define SETTINGS_ROWS(in, timeouts, maxima, minima, buffers) \
	{ .name = "access_log", .kind = DIRECTIVE_SETTING, .arguments = access_arguments, \
	    .offset = in(access), .check = access_check, \
	    .help = "Where a line for each exchange goes, and its format; said nowhere: off." }, \
	SETTING("forwarded", WORD(forwarded_words), in(forwarded), "x_forwarded", \
	    "What a peer is told of who asks: X-Forwarded-For, -Proto and -Host; Forwarded (RFC " \
	    "7239); both; or nothing. What a trusted connection said (real_ip) goes on."), \
	SETTING("trailers", WORD(trailer_words), in(trailers), "drop", \
	    "Whether the fields behind a chunked body go on: an answer's only to a client that " \
	    "asks for them (TE: trailers), and none that must stand in a head."), \
	{ .name = "timeout", .kind = DIRECTIVE_BLOCK, .inside = INSIDE(timeouts), \
	    .help = "How long things may take." }, \
	{ .name = "max", .kind = DIRECTIVE_BLOCK, .inside = INSIDE(maxima), \
	    .help = "How large things may be." }, \
	{ .name = "min", .kind = DIRECTIVE_BLOCK, .inside = INSIDE(minima), \
	    .help = "How slow the other end may be." }, \
	{ .name = "buffer", .kind = DIRECTIVE_BLOCK, .inside = INSIDE(buffers), \
	    .help = "How much is held in memory so that a slow client does not hold a peer." }

const struct directive server_settings_rows[] = {
	SETTINGS_ROWS(IN_SERVER, server_timeout_rows, server_max_rows, server_min_rows,
	    server_buffer_rows),
	{ .name = "heartbeat", .kind = DIRECTIVE_BLOCK, .inside = heartbeat_tables,
	    .offset = IN_LISTENER(heartbeat),
	    .help = "What a silent client of messages is sent, and when it is given up." },
	{ .name = "message_rate", .kind = DIRECTIVE_SETTING, .flags = DIRECTIVE_LISTENER,
	    .arguments = message_rate_arguments, .offset = IN_LISTENER(message_rate),
	    .check = message_rate_check, .otherwise = "0",
	    .help = "How many messages a connection may bring; 0: any. burst: how many at once, "
	    "where it is not as many as the rate says. What is over waits, gets the protocol's "
	    "error, or ends the connection." },
	{ .name = "flow", .kind = DIRECTIVE_SETTING, .flags = DIRECTIVE_LISTENER,
	    .arguments = flow_arguments, .offset = IN_LISTENER(flow), .otherwise = "by source",
	    .help = "Which datagrams are one flow: those of one source, or those whose first "
	    "message has one value of a field (msg.device), wherever they come from. Answers go to "
	    "where the last one came from, so the value should be hard to guess. One that has no "
	    "value is of its source. All of such a listener is served by one worker." },
	{ .name = "real_ip", .kind = DIRECTIVE_BLOCK, .inside = trust_tables,
	    .offset = offsetof(struct server_settings, trust), .check = trust_check,
	    .help = "Whose word is taken for who the client is: src is then the real client, for "
	    "conditions, allow, logs and peers." },
	{ 0 },
};
const struct directive route_settings_rows[] = {
	SETTINGS_ROWS(IN_SETTINGS, route_timeout_rows, route_max_rows, route_min_rows,
	    route_buffer_rows),
	MISPLACED("heartbeat"),
	MISPLACED("message_rate"),
	MISPLACED("flow"),
	MISPLACED("real_ip"),
	{ 0 },
};

/* ------------------------------------------------------------------ what is for whom */

#define FOR_HTTP(block, word)           { (block), (word), NULL, PROTOCOL_HTTP, true }
#define FOR_MESSAGES(block, word)       { (block), (word), NULL, PROTOCOL_MESSAGES, false }

const struct setting_use setting_uses[] = {
	{ NULL, "real_ip", "from", PROTOCOL_HTTP, false },
	FOR_MESSAGES(NULL, "heartbeat"),
	FOR_MESSAGES(NULL, "message_rate"),
	FOR_MESSAGES(NULL, "flow"),
	FOR_MESSAGES("timeout", "first_message"),
	FOR_MESSAGES("timeout", "message"),
	FOR_MESSAGES("max", "messages"),
	FOR_MESSAGES(NULL, "max_inflight"),
	FOR_MESSAGES("pool", "connections"),
	{ "buffer", "answer", "over", PROTOCOL_MESSAGES, false },
	FOR_HTTP(NULL, "trailers"),
	FOR_HTTP("timeout", "body"),
	FOR_HTTP("timeout", "keepalive"),
	FOR_HTTP("max", "uri"),
	FOR_HTTP("max", "header"),
	FOR_HTTP("max", "headers"),
	FOR_HTTP("max", "header_count"),
	FOR_HTTP("max", "body"),
	FOR_HTTP("min", "body"),
	FOR_HTTP("buffer", "question"),
	{ NULL, NULL, NULL, 0, false },
};
