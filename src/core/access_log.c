/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A line is built at the end of the buffer and leaves with many others. Values
 * are bounded one by one, so that a line that is cut is still whole: quotes,
 * braces and the new line are never what does not fit.
 */
#include "core/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/exchange.h"

enum {
	ACCESS_FIRST = 2 * ACCESS_LINE_MAX,     /* bytes of a new buffer */
	ACCESS_WAIT = 1000,                     /* ms that a line may wait */
	ACCESS_RETRY = 100,                     /* ms, when the reader is slow */
	SHORT_MOST = 256                        /* bytes of a name, a host, an address in a line */
};

_Static_assert(ACCESS_FLUSH == 4 * ACCESS_FIRST && ACCESS_MAX == 64 * ACCESS_FIRST,
    "met by doubling");

/* ------------------------------------------------------------------ values */

/*
 * ASCII without control bytes, `"` and backslash stands as it is in both formats. Of eight bytes, 0
 * when all are so. (What is carried from byte to byte comes from one that is not.)
 */
static inline uint64_t
word_stains(const char *at)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t word;

	memcpy(&word, at, 8);

	uint64_t no_quote = (word ^ ones * '"') - ones, no_backslash = (word ^ ones * '\\') - ones;

	return (word | (word - ones * ' ') | (word + ones) | no_quote | no_backslash) & ones * 0x80;
}

static bool
byte_is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* The last step overlaps the one before it. */
static bool
is_plain(struct slice s)
{
	uint64_t stains = 0;

	if (s.n < 8) {
		for (size_t i = 0; i < s.n; i++)
			if (!byte_is_plain((unsigned char)s.at[i]))
				return false;
		return true;
	}
	for (size_t i = 0; i + 8 < s.n; i += 8)
		stains |= word_stains(s.at + i);
	return (stains | word_stains(s.at + s.n - 8)) == 0;
}

/* A piece of a long value, cut between two characters. */
static size_t
piece_of(struct slice s)
{
	size_t n = 64;

	if (s.n <= n)
		return s.n;
	while (n > 60 && ((unsigned char)s.at[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static void
put_escaped(struct builder *b, struct slice s, size_t most,
    void (*escape)(struct builder *b, struct slice s))
{
	struct builder part = builder_on(b->at + b->n, most);

	escape(&part, s);
	if (part.full) {
		part = builder_on(b->at + b->n, most - 3);
		for (size_t n; s.n != 0 && !part.full; s = slice_after(s, n)) {
			n = piece_of(s);
			escape(&part, slice_first(s, n));
		}
		part.size = most;
		BUILDER_LITERAL(&part, "...");
	}
	b->n += part.n;
}

/* At most `most` bytes of the line, which are there. */
static inline void
put_value(struct builder *b, struct slice s, size_t most,
    void (*escape)(struct builder *b, struct slice s))
{
	if (likely(s.n <= most && is_plain(s)))
		builder_slice_put(b, s);
	else
		put_escaped(b, s, most, escape);
}

/* What a value may take when the line needs `rest` bytes behind it. */
static size_t
room_before(const struct builder *b, size_t rest)
{
	return b->size - b->n - rest;
}

static struct slice
source_of(const struct exchange *ex, char text[static ADDR_TEXT])
{
	return ex->src != NULL ? addr_print_host(ex->src, text) : SLICE("-");
}

static struct slice
field_of(const struct message *m, enum known known)
{
	struct slice value;

	if (m->base == NULL || !message_find(m, known, SLICE_EMPTY, 0, &value))
		return SLICE_EMPTY;
	return value;
}

/* A talk, a message, or a question that was not understood: no. */
static bool
has_head(const struct exchange *ex)
{
	return ex->question.base != NULL && ex->question.method_text.n != 0 && ex->unit == NULL;
}

/* The tunnel of a talk has let go of the snapshot and of the server in it. */
static const struct protocol_ops *
protocol_of(const struct exchange *ex)
{
	const struct conn *c = ex->client != NULL ? ex->client : ex->peer;

	return ex->server != NULL ? ex->server->protocol : c != NULL ? c->protocol : NULL;
}

static struct slice
protocol_name(const struct exchange *ex)
{
	const struct protocol_ops *protocol = protocol_of(ex);

	return protocol != NULL ? slice_of(protocol->name) : SLICE_EMPTY;
}

/* One that was read, or that could not be. */
static bool
is_message(const struct exchange *ex)
{
	const struct protocol_ops *protocol = protocol_of(ex);

	return protocol != NULL && protocol->codec != NULL && !ex->talk;
}

/* ------------------------------------------------------------------ combined */

enum {
	COMBINED_AFTER_TARGET = 2560,           /* bytes: numbers, 1 KiB of each field */
	COMBINED_AFTER_REFERER = 1280
};

static void
put_request(struct builder *b, const struct message *m)
{
	put_value(b, message_piece(m, m->method_text), SHORT_MOST, builder_log);
	builder_byte(b, ' ');
	put_value(b, message_piece(m, m->target), room_before(b, COMBINED_AFTER_TARGET),
	    builder_log);
	builder_put(b, m->minor == 0 ? " HTTP/1.0" : " HTTP/1.1", 9);
}

/* A message has three words as a request has: MESSAGE server protocol. */
static void
put_message(struct builder *b, const struct exchange *ex)
{
	BUILDER_LITERAL(b, "MESSAGE ");
	put_value(b, ex->server_name, SHORT_MOST, builder_log);
	builder_byte(b, ' ');
	put_value(b, protocol_name(ex), SHORT_MOST, builder_log);
}

/*
 * A message that failed has the status that its failure has elsewhere; one that did not has none.
 */
static uint16_t
status_of(const struct exchange *ex)
{
	return unlikely(ex->status == 0) && is_message(ex) ? reason_texts[ex->reason].status :
	    ex->status;
}

static void
put_status(struct builder *b, const struct exchange *ex)
{
	uint16_t status = status_of(ex);

	if (status != 0)
		builder_number(b, status);
	else if (ex->reason == REASON_CLIENT_GONE && !ex->talk)
		BUILDER_LITERAL(b, "499");
	else
		builder_byte(b, '-');
}

static void
put_field(struct builder *b, const struct message *m, enum known known, size_t most)
{
	struct slice value = field_of(m, known);

	put_value(b, value.n != 0 ? value : SLICE("-"), most, builder_log);
}

/* addr - - [time] "request line" status bytes "referer" "user agent" */
static void
put_combined(struct builder *b, const struct exchange *ex)
{
	char text[ADDR_TEXT];

	put_value(b, source_of(ex, text), SHORT_MOST, builder_log);
	BUILDER_LITERAL(b, " - - [");
	builder_slice_put(b, clock_log_date());
	BUILDER_LITERAL(b, "] \"");
	if (has_head(ex))
		put_request(b, &ex->question);
	else if (is_message(ex))
		put_message(b, ex);
	else
		builder_byte(b, '-');
	BUILDER_LITERAL(b, "\" ");
	put_status(b, ex);
	builder_byte(b, ' ');
	builder_number(b, ex->sent);
	BUILDER_LITERAL(b, " \"");
	put_field(b, &ex->question, KNOWN_REFERER, room_before(b, COMBINED_AFTER_REFERER));
	BUILDER_LITERAL(b, "\" \"");
	put_field(b, &ex->question, KNOWN_USER_AGENT, room_before(b, 2));
	BUILDER_LITERAL(b, "\"\n");
}

/* ------------------------------------------------------------------ json */

enum {
	JSON_AFTER_URI = 3072,                  /* bytes: numbers, four names, the fields */
	JSON_AFTER_REFERER = 640
};

/* ,"key":"value" ; what is not there has no key. */
static void
put_text(struct builder *b, struct slice key, struct slice value, size_t most)
{
	if (value.n == 0)
		return;
	builder_slice_put(b, key);
	put_value(b, value, most, builder_json);
	builder_byte(b, '"');
}

static void
put_number(struct builder *b, struct slice key, uint64_t number)
{
	builder_slice_put(b, key);
	builder_number(b, number);
}

/* `tail` of three digits behind a point. */
static void
put_thousandths(struct builder *b, uint64_t tail)
{
	builder_byte(b, '.');
	builder_byte(b, (char)('0' + tail / 100));
	builder_byte(b, (char)('0' + tail / 10 % 10));
	builder_byte(b, (char)('0' + tail % 10));
}

/* 1994-11-06T08:49:37.123+00:00 */
static void
put_time(struct builder *b)
{
	enum { OFFSET = 6 };
	struct slice date = clock_iso_date();
	size_t seconds = date.n - MIN_OF(date.n, (size_t)OFFSET);

	builder_slice_put(b, slice_first(date, seconds));
	put_thousandths(b, clock_unix_ms() % 1000);
	builder_slice_put(b, slice_after(date, seconds));
}

static void
put_question(struct builder *b, const struct exchange *ex)
{
	const struct message *m = &ex->question;

	if (!has_head(ex)) {
		put_text(b, SLICE(",\"protocol\":\""), protocol_name(ex), SHORT_MOST);
		if (ex->unit != NULL)
			put_text(b, SLICE(",\"message_id\":\""), unit_id(ex->unit), SHORT_MOST);
		return;
	}
	put_text(b, SLICE(",\"host\":\""), m->host, SHORT_MOST);
	put_text(b, SLICE(",\"method\":\""), message_piece(m, m->method_text), SHORT_MOST);
	put_text(b, SLICE(",\"uri\":\""), message_piece(m, m->target),
	    room_before(b, JSON_AFTER_URI));
	BUILDER_LITERAL(b, ",\"version\":\"HTTP/1.");
	builder_put(b, m->minor == 0 ? "0\"" : "1\"", 2);
}

static void
put_outcome(struct builder *b, const struct exchange *ex)
{
	uint64_t us = clock_us() - ex->started_us;

	if (status_of(ex) != 0)
		put_number(b, SLICE(",\"status\":"), status_of(ex));
	put_number(b, SLICE(",\"bytes_sent\":"), ex->sent);
	put_number(b, SLICE(",\"bytes_received\":"), ex->received);
	put_number(b, SLICE(",\"duration\":"), us / 1000);
	put_thousandths(b, us % 1000);
	put_text(b, SLICE(",\"upstream\":\""), ex->upstream_name, SHORT_MOST);
	put_text(b, SLICE(",\"peer\":\""), ex->peer_text, SHORT_MOST);
	if (ex->attempts != 0)
		put_number(b, SLICE(",\"attempts\":"), ex->attempts);
	if (ex->reason != REASON_NONE)
		put_text(b, SLICE(",\"reason\":\""), slice_of(reason_texts[ex->reason].word),
		    SHORT_MOST);
	put_text(b, SLICE(",\"server\":\""), ex->server_name, SHORT_MOST);
}

static void
put_json(struct builder *b, const struct exchange *ex)
{
	char text[ADDR_TEXT];

	BUILDER_LITERAL(b, "{\"time\":\"");
	put_time(b);
	builder_byte(b, '"');
	put_text(b, SLICE(",\"src\":\""), source_of(ex, text), SHORT_MOST);
	if (ex->connection_src != NULL)
		put_text(b, SLICE(",\"src.connection\":\""),
		    addr_print_host(ex->connection_src, text), SHORT_MOST);
	put_text(b, SLICE(",\"id\":\""), ex->id, SHORT_MOST);
	put_question(b, ex);
	put_outcome(b, ex);
	put_text(b, SLICE(",\"referer\":\""), field_of(&ex->question, KNOWN_REFERER),
	    room_before(b, JSON_AFTER_REFERER));
	put_text(b, SLICE(",\"user_agent\":\""), field_of(&ex->question, KNOWN_USER_AGENT),
	    room_before(b, sizeof(",\"user_agent\":\"\"}\n")));
	BUILDER_LITERAL(b, "}\n");
}

/* ------------------------------------------------------------------ the descriptor */

static void
take_descriptor(struct access_sink *sink, int fd)
{
	struct stat info;

	sink->fd = fd;
	sink->stuck = 0;
	sink->is_file = false;
	if (fd < 0 || fstat(fd, &info) != 0)
		return;
	sink->is_file = S_ISREG(info.st_mode);
	if (S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode))
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* Whole lines that a pipe takes at once or not at all: those of several workers do not mix. */
static size_t
lines_at_once(struct slice s)
{
	if (s.n <= PIPE_BUF)
		return s.n;

	const char *end = memrchr(s.at, '\n', PIPE_BUF);

	return end != NULL ? (size_t)(end - s.at) + 1 : PIPE_BUF;
}

/*
 * Bytes written, or -1 with errno. What is no file is asked first: a terminal
 * may block, a pipe without a reader would raise SIGPIPE.
 */
static ssize_t
write_some(const struct access_sink *sink, struct slice s)
{
	ssize_t n;

	if (!sink->is_file) {
		struct pollfd ready = { .fd = sink->fd, .events = POLLOUT };

		if (poll(&ready, 1, 0) != 1 || (ready.revents & ~POLLOUT) != 0) {
			errno = ready.revents != 0 ? EPIPE : EAGAIN;
			return -1;
		}
		s.n = lines_at_once(s);
	}
	do
		n = write(sink->fd, s.at, s.n);
	while (n < 0 && errno == EINTR);
	return n;
}

/* Writes what the descriptor takes; returns the errno that ended it, or 0. */
static int
write_out(struct access_sink *sink, size_t *done)
{
	while (*done < sink->n) {
		ssize_t n = write_some(sink, slice_make(sink->buffer + *done, sink->n - *done));

		if (n < 0)
			return errno;
		*done += (size_t)n;
	}
	return 0;
}

static void
free_buffer(struct access_sink *sink)
{
	free(sink->buffer);
	sink->buffer = NULL;
	sink->size = 0;
}

static void
drop_front(struct access_sink *sink, size_t n)
{
	if (n == 0)
		return;
	sink->torn = sink->buffer[n - 1] != '\n';
	sink->n -= n;
	memmove(sink->buffer, sink->buffer + n, sink->n);
}

void
access_flush(struct access_sink *sink)
{
	size_t done = 0;

	if (sink->n == 0 || sink->fd < 0)
		return;

	int error = write_out(sink, &done);

	drop_front(sink, done);
	sink->stuck = error != 0 ? sink->n + ACCESS_FLUSH / 2 : 0;
	if (error == EAGAIN)
		deadline_set(sink->loop, &sink->flush, ACCESS_RETRY);
	else if (error != 0)
		log_limited(&sink->failed, LOG_ERROR, "access log \"" SLICE_FORMAT "\": %s",
		    SLICE_ARG(sink->path), strerror(error));
	else if (sink->size > ACCESS_FLUSH)
		free_buffer(sink);
}

static void
on_flush(struct deadline *d)
{
	struct access_sink *sink = CONTAINER_OF(d, struct access_sink, flush);

	if (sink->n == 0) {
		free_buffer(sink);
		return;
	}
	access_flush(sink);
	if (sink->flush.due == 0)
		deadline_set(sink->loop, &sink->flush, ACCESS_WAIT);
}

/* ------------------------------------------------------------------ open, close, write */

void
access_open(struct access_sink *sink, struct loop *loop, struct slice path, int fd)
{
	char *copy = memory_alloc(path.n + 1);

	*sink =
	    (struct access_sink){ .path = { copy, path.n }, .loop = loop, .flush.run = on_flush };
	memcpy(copy, path.at, path.n);
	take_descriptor(sink, fd);
}

/* The descriptor goes, the rest of a line that it has taken in part means nothing elsewhere. */
static void
leave_descriptor(struct access_sink *sink)
{
	access_flush(sink);
	if (sink->torn && sink->n != 0) {
		drop_front(sink, slice_find(slice_make(sink->buffer, sink->n), '\n', 0) + 1);
		sink->dropped++;
	}
	sink->torn = false;
	if (sink->fd >= 0)
		close(sink->fd);
	sink->fd = -1;
}

void
access_reopen(struct access_sink *sink, int fd)
{
	leave_descriptor(sink);
	take_descriptor(sink, fd);
	access_flush(sink);
}

void
access_close(struct access_sink *sink)
{
	leave_descriptor(sink);
	deadline_remove(sink->loop, &sink->flush);
	free_buffer(sink);
	free((char *)(uintptr_t)sink->path.at);
	sink->path = SLICE_EMPTY;
	sink->n = 0;
}

static bool
has_room(const struct access_sink *sink)
{
	return sink->size - sink->n >= ACCESS_LINE_MAX;
}

static bool
grow_buffer(struct access_sink *sink)
{
	size_t size = sink->size == 0 ? ACCESS_FIRST : sink->size * 2;
	char *grown = size <= ACCESS_MAX ? memory_try(size) : NULL;

	if (grown == NULL)
		return false;
	if (sink->n != 0)
		memcpy(grown, sink->buffer, sink->n);
	free(sink->buffer);
	sink->buffer = grown;
	sink->size = size;
	return true;
}

/* Room for one line: there is, or it is written out, or the buffer grows. */
static bool
make_room(struct access_sink *sink)
{
	if (likely(has_room(sink)))
		return true;
	if (sink->size >= ACCESS_FLUSH && sink->n >= sink->stuck)
		access_flush(sink);
	return has_room(sink) || grow_buffer(sink);
}

static void
drop_line(struct access_sink *sink, struct engine *e)
{
	sink->dropped++;
	engine_count(&e->shared->log_dropped, 1);
	log_limited(&sink->failed, LOG_ERROR,
	    "access log \"" SLICE_FORMAT "\" does not keep up: lines are dropped",
	    SLICE_ARG(sink->path));
}

void
access_write(struct access_sink *sink, enum access_format format, struct exchange *ex)
{
	if (format == ACCESS_OFF || sink->fd < 0)
		return;
	if (!make_room(sink)) {
		drop_line(sink, ex->engine);
		return;
	}

	struct builder b = builder_on(sink->buffer + sink->n, ACCESS_LINE_MAX);

	if (format == ACCESS_JSON)
		put_json(&b, ex);
	else
		put_combined(&b, ex);
	sink->n += b.n;
	sink->lines++;
	if (sink->flush.due == 0)
		deadline_set(sink->loop, &sink->flush, ACCESS_WAIT);
}
