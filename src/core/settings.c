/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of settings. A server's fill a struct server_settings, a route's a
 * struct settings; both say the same words, so the rows are made by macros that know where `settings` begins.
 */
#include "core/settings.h"

#include "core/message.h"

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
enum { KIB = 1024, MIB = 1024 * KIB };

#define IN_SETTINGS(member)     offsetof(struct settings, member)
#define IN_SERVER(member)       (offsetof(struct server_settings, common) + offsetof(struct settings, member))
#define IN_LISTENER(member)     (offsetof(struct server_settings, listener) + offsetof(struct listener_settings, member))

/* One argument that is all of its row. */
#define ONE(word, kind, least, most) \
	(const struct argument[]){ { .name = (word), .type = &(kind), .min = (least), .max = (most) }, { 0 } }
#define DURATION(least, most)   ONE("DURATION", type_duration, least, most)
#define SIZE(least, most)       ONE("SIZE", type_size, least, most)

static const char *const access_formats[] = { "combined", "json", NULL };

static const struct argument access_arguments[] = {
	{ .name = "PATH|off", .type = &type_raw, .offset = offsetof(struct access_setting, raw) },
	{ .name = "FORMAT", .type = &type_word, .offset = offsetof(struct access_setting, format), .words = access_formats,
	    .flags = ARGUMENT_OPTIONAL },
	{ 0 },
};

/* Zeroed settings are those without a log. What an outer block said of the format does not count here. */
static bool
access_check(struct reading *r, const struct statement *s, void *filled)
{
	struct access_setting *access = filled;

	access->log = -1;
	if (access->raw.kind == VALUE_WORD && slice_is(access->raw.raw, "off")) {
		access->format = ACCESS_OFF;
		access->path = SLICE_EMPTY;
		if (s->value_count > 2)
			diag_error(r->diag, s->values[2].span, "\"access_log off\" takes no format");
		return s->value_count <= 2;
	}
	access->format = s->value_count > 2 ? access->format + ACCESS_COMBINED : ACCESS_COMBINED;
	if (!schema_decode(r, &access->raw, false, &access->path))
		return false;
	if (access->path.n == 0)
		diag_error(r->diag, access->raw.span, "\"access_log\" wants a path, or off");
	return access->path.n != 0;
}

/* What stands in a route although it acts before one is known. Whatever its value is: the place is wrong. */
static bool
anything_read(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	return true;
}

static const struct type type_anything = { .name = "VALUE", .wanted = "a value", .size = 0, .read = anything_read };

static const struct argument misplaced_arguments[] = {
	{ .name = "VALUE", .type = &type_anything, .flags = ARGUMENT_OPTIONAL },
	{ 0 },
};

static bool
misplaced_check(struct reading *r, const struct statement *s, void *filled)
{
	diag_error(r->diag, s->values[0].span, "\"" SLICE_FORMAT "\" acts before a route is known; set it in server or defaults",
	    SLICE_ARG(s->values[0].raw));
	return false;
}

#define LISTENER_HELP(help)     help " Belongs to the listener: the same for all servers of an address."
#define MISPLACED(word) \
	{ .name = (word), .kind = DIRECTIVE_SETTING, .flags = DIRECTIVE_LISTENER, .arguments = misplaced_arguments, \
	    .check = misplaced_check, .help = "Not here: it acts before a route is known." }

#define TIMEOUT_ROWS(in) \
	{ .name = "body", .kind = DIRECTIVE_SETTING, .arguments = DURATION(SECOND, DAY), .offset = in(body_timeout), \
	    .otherwise = "30s", .help = "How long the client may be silent inside the body of a question." }, \
	{ .name = "write", .kind = DIRECTIVE_SETTING, .arguments = DURATION(SECOND, DAY), .offset = in(write_timeout), \
	    .otherwise = "60s", .help = "How long the client may take nothing of its answer." }, \
	{ .name = "keepalive", .kind = DIRECTIVE_SETTING, .arguments = DURATION(0, DAY), .offset = in(keepalive_timeout), \
	    .otherwise = "60s", .help = "How long a connection may be silent between two exchanges; 0s closes after each." }, \
	{ .name = "idle", .kind = DIRECTIVE_SETTING, .arguments = DURATION(SECOND, 24 * DAY), .offset = in(idle_timeout), \
	    .otherwise = "10m", .help = "How long a tunnel (TCP, WebSocket) may be silent in both directions." }

#define MAX_ROWS(in) \
	{ .name = "body", .kind = DIRECTIVE_SETTING, .arguments = SIZE(0, INT64_MAX), .offset = in(body_max), \
	    .otherwise = "1m", .help = "The largest body of a question; 0 takes any." }

static const struct directive server_timeout_rows[] = {
	{ .name = "header", .kind = DIRECTIVE_SETTING, .flags = DIRECTIVE_LISTENER, .arguments = DURATION(SECOND, HOUR),
	    .offset = IN_LISTENER(head_timeout), .otherwise = "10s",
	    .help = LISTENER_HELP("How long the head of a question may take, from its first byte or the connection's start.") },
	TIMEOUT_ROWS(IN_SERVER),
	{ 0 },
};

static const struct directive route_timeout_rows[] = { MISPLACED("header"), TIMEOUT_ROWS(IN_SETTINGS), { 0 } };

static const struct directive server_max_rows[] = {
	{ .name = "uri", .kind = DIRECTIVE_SETTING, .flags = DIRECTIVE_LISTENER, .arguments = SIZE(256, 64 * KIB),
	    .offset = IN_LISTENER(uri_max), .otherwise = "8k", .help = LISTENER_HELP("The longest request line.") },
	{ .name = "header", .kind = DIRECTIVE_SETTING, .flags = DIRECTIVE_LISTENER, .arguments = SIZE(256, 64 * KIB),
	    .offset = IN_LISTENER(field_max), .otherwise = "8k", .help = LISTENER_HELP("The longest header field.") },
	{ .name = "headers", .kind = DIRECTIVE_SETTING, .flags = DIRECTIVE_LISTENER, .arguments = SIZE(KIB, MIB),
	    .offset = IN_LISTENER(head_max), .otherwise = "32k", .help = LISTENER_HELP("All header fields of a question together.") },
	{ .name = "header_count", .kind = DIRECTIVE_SETTING, .flags = DIRECTIVE_LISTENER,
	    .arguments = ONE("NUMBER", type_integer, 1, MESSAGE_FIELDS_MAX), .offset = IN_LISTENER(field_count_max),
	    .otherwise = "100", .help = LISTENER_HELP("How many header fields a question may have.") },
	MAX_ROWS(IN_SERVER),
	{ 0 },
};

static const struct directive route_max_rows[] = {
	MISPLACED("uri"), MISPLACED("header"), MISPLACED("headers"), MISPLACED("header_count"), MAX_ROWS(IN_SETTINGS), { 0 },
};

#define INSIDE(table_rows)      (const struct table[]){ { (table_rows), 0 }, { NULL, 0 } }

#define SETTINGS_ROWS(in, timeouts, maxima) \
	{ .name = "access_log", .kind = DIRECTIVE_SETTING, .arguments = access_arguments, .offset = in(access), \
	    .check = access_check, .help = "Where a line for each exchange goes, and in which format; nowhere when it is off or not said." }, \
	{ .name = "timeout", .kind = DIRECTIVE_BLOCK, .inside = INSIDE(timeouts), .help = "How long things may take." }, \
	{ .name = "max", .kind = DIRECTIVE_BLOCK, .inside = INSIDE(maxima), .help = "How large things may be." }

const struct directive server_settings_rows[] = { SETTINGS_ROWS(IN_SERVER, server_timeout_rows, server_max_rows), { 0 } };
const struct directive route_settings_rows[] = { SETTINGS_ROWS(IN_SETTINGS, route_timeout_rows, route_max_rows), { 0 } };
