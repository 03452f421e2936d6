/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/access_log: both formats to the byte, hostile and endless values, and
 * descriptors that are slow, full, closed or changed: no line is ever torn.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "core/exchange.h"

enum { OUTPUT = 8 * 1024 * 1024, HEAD = 64 * 1024 };

struct world {
	struct engine engine;
	struct worker_shared shared;
	struct access_sink sink;
	struct exchange ex;
	struct addr src;
	struct message_field fields[4];
	char head[HEAD];
	size_t head_n;
	int reader;                              /* what the sink writes to is read here */
	char out[OUTPUT];
	size_t out_n;
};

/* ------------------------------------------------------------------ a world */

static int
open_world(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_true(loop_open(&w->engine.loop));
	w->engine.shared = &w->shared;
	w->reader = -1;
	w->ex.engine = &w->engine;
	message_init(&w->ex.question);
	assert_true(addr_parse(SLICE("192.0.2.7:4711"), &w->src));
	w->ex.src = &w->src;
	w->ex.started_us = clock_us() - 12345;
	w->ex.sent = 345;
	w->ex.received = 6;
	*state = w;
	return 0;
}

static int
close_world(void **state)
{
	struct world *w = *state;

	if (w->sink.loop != NULL)
		access_close(&w->sink);
	if (w->reader >= 0)
		close(w->reader);
	loop_close(&w->engine.loop);
	free(w);
	return 0;
}

static int
new_file(void)
{
	char path[] = "/tmp/access-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
	return fd;
}

static void
log_to_file(struct world *w)
{
	int fd = new_file();

	w->reader = dup(fd);
	access_open(&w->sink, &w->engine.loop, SLICE("/tmp/access.log"), fd);
}

static void
log_to_pipe(struct world *w)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	w->reader = ends[0];
	access_open(&w->sink, &w->engine.loop, SLICE("pipe"), ends[1]);
}

/* Everything that can be read now, behind what was; true when there was something. */
static bool
read_out(struct world *w, size_t most)
{
	size_t before = w->out_n;
	ssize_t n;

	while (most > 0 && (n = read(w->reader, w->out + w->out_n, MIN_OF(most, sizeof(w->out) - w->out_n))) > 0) {
		w->out_n += (size_t)n;
		most -= (size_t)n;
	}
	return w->out_n != before;
}

static void
read_file(struct world *w)
{
	lseek(w->reader, 0, SEEK_SET);
	w->out_n = 0;
	read_out(w, SIZE_MAX);
	w->out[w->out_n] = '\0';
}

static void
set_piece(struct world *w, struct piece *p, struct slice s)
{
	assert_true(w->head_n + s.n <= sizeof(w->head));
	memcpy(w->head + w->head_n, s.at, s.n);
	*p = (struct piece){ (uint32_t)w->head_n, (uint32_t)s.n };
	w->head_n += s.n;
}

static void
set_head(struct world *w, struct slice method, struct slice target)
{
	struct message *m = &w->ex.question;

	m->base = w->head;
	m->minor = 1;
	m->fields = w->fields;
	set_piece(w, &m->method_text, method);
	set_piece(w, &m->target, target);
}

static void
add_field(struct world *w, enum known known, struct slice value)
{
	struct message *m = &w->ex.question;
	struct piece p;

	set_piece(w, &p, value);
	w->fields[m->field_count++] = (struct message_field){ .known = (uint8_t)known, .value_at = p.at, .value_n = p.n };
	m->known |= UINT64_C(1) << known;
}

static void
write_line(struct world *w, enum access_format format)
{
	access_write(&w->sink, format, &w->ex);
}

/* What a line is, its date replaced by DATE. */
static const char *
line_of(struct world *w, enum access_format format)
{
	static char text[ACCESS_LINE_MAX + 1];
	struct slice line;
	const char *from, *to;

	w->sink.n = 0;
	write_line(w, format);
	line = slice_make(w->sink.buffer, w->sink.n);
	from = memchr(line.at, format == ACCESS_JSON ? ':' : '[', line.n);
	assert_non_null(from);
	from += format == ACCESS_JSON ? 2 : 1;
	to = memchr(from, format == ACCESS_JSON ? '"' : ']', (size_t)(line.at + line.n - from));
	assert_non_null(to);
	snprintf(text, sizeof(text), "%.*sDATE%.*s", (int)(from - line.at), line.at,
	    (int)(line.at + line.n - to), to);
	return text;
}

static char *
repeat(const char *piece, size_t n)
{
	size_t length = strlen(piece);
	char *at = malloc(n);

	for (size_t i = 0; i < n; i++)
		at[i] = piece[i % length];
	return at;
}

/* ------------------------------------------------------------------ lines */

static void
says_combined(void **state)
{
	struct world *w = *state;

	log_to_file(w);
	set_head(w, SLICE("GET"), SLICE("/a?b=c"));
	w->ex.status = 200;
	assert_string_equal(line_of(w, ACCESS_COMBINED),
	    "192.0.2.7 - - [DATE] \"GET /a?b=c HTTP/1.1\" 200 345 \"-\" \"-\"\n");
	add_field(w, KNOWN_REFERER, SLICE("http://example.com/"));
	add_field(w, KNOWN_USER_AGENT, SLICE("curl/7.88.1"));
	w->ex.question.minor = 0;
	assert_string_equal(line_of(w, ACCESS_COMBINED),
	    "192.0.2.7 - - [DATE] \"GET /a?b=c HTTP/1.0\" 200 345 \"http://example.com/\" \"curl/7.88.1\"\n");
	w->ex.status = 0;
	w->ex.reason = REASON_CLIENT_GONE;
	assert_non_null(strstr(line_of(w, ACCESS_COMBINED), "\" 499 345 "));
	assert_int_equal(w->sink.lines, 3);
}

static void
says_json(void **state)
{
	struct world *w = *state;
	struct message *m = &w->ex.question;
	struct addr connection;

	log_to_file(w);
	set_head(w, SLICE("POST"), SLICE("/x"));
	m->host = SLICE("example.com");
	w->ex.status = 504;
	w->ex.reason = REASON_PEER_TIMEOUT;
	w->ex.upstream_name = SLICE("app");
	w->ex.peer_text = SLICE("10.0.0.1:80");
	w->ex.server_name = SLICE("web");
	w->ex.attempts = 2;
	add_field(w, KNOWN_USER_AGENT, SLICE("say \"hi\"\\\t\x01\xff \xc3\xa9"));
	add_field(w, KNOWN_REFERER, SLICE("r"));
	assert_string_equal(line_of(w, ACCESS_JSON), "{\"time\":\"DATE\",\"src\":\"192.0.2.7\","
	    "\"host\":\"example.com\",\"method\":\"POST\",\"uri\":\"/x\",\"version\":\"HTTP/1.1\","
	    "\"status\":504,\"bytes_sent\":345,\"bytes_received\":6,\"duration\":12.345,"
	    "\"upstream\":\"app\",\"peer\":\"10.0.0.1:80\",\"attempts\":2,\"reason\":\"peer_timeout\","
	    "\"server\":\"web\",\"referer\":\"r\","
	    "\"user_agent\":\"say \\\"hi\\\"\\\\\\t\\u0001\\ufffd \xc3\xa9\"}\n");

	/* what somebody has asked for */
	assert_true(addr_parse(SLICE("10.0.0.1:5"), &connection));
	w->ex.connection_src = &connection;
	w->ex.id = SLICE("f00");

	const char *line = line_of(w, ACCESS_JSON);

	assert_non_null(strstr(line, "\"src\":\"192.0.2.7\",\"src.connection\":\"10.0.0.1\",\"id\":\"f00\",\"host\""));
}

static void
says_the_time(void **state)
{
	struct world *w = *state;
	int year, month, day, hour, minute, second, ms, used = 0;

	log_to_file(w);
	write_line(w, ACCESS_JSON);
	w->sink.buffer[w->sink.n - 1] = '\0';
	assert_int_equal(sscanf(w->sink.buffer, "{\"time\":\"%4d-%2d-%2dT%2d:%2d:%2d.%3d%*1[+-]%*2d:%*2d\"%n", &year,
	    &month, &day, &hour, &minute, &second, &ms, &used), 7);
	assert_int_equal(used, 39);
	assert_int_equal(ms, clock_unix_ms() % 1000);

	const struct slice date = clock_log_date();

	w->sink.n = 0;
	write_line(w, ACCESS_COMBINED);
	assert_memory_equal(w->sink.buffer + sizeof("192.0.2.7 - - [") - 1, date.at, date.n);
}

static void
says_a_talk(void **state)
{
	static const struct protocol_ops tcp = { .name = "tcp" };
	struct world *w = *state;
	struct conn client = { .protocol = &tcp };

	log_to_file(w);
	w->ex.talk = true;
	w->ex.client = &client;
	w->ex.server_name = SLICE("db");
	assert_string_equal(line_of(w, ACCESS_COMBINED), "192.0.2.7 - - [DATE] \"-\" - 345 \"-\" \"-\"\n");
	assert_string_equal(line_of(w, ACCESS_JSON), "{\"time\":\"DATE\",\"src\":\"192.0.2.7\",\"protocol\":\"tcp\","
	    "\"bytes_sent\":345,\"bytes_received\":6,\"duration\":12.345,\"server\":\"db\"}\n");
	w->ex.client = NULL;                     /* all are gone, a question not understood */
	w->ex.src = NULL;
	w->ex.talk = false;
	w->ex.status = 400;
	w->ex.reason = REASON_BAD_MESSAGE;
	w->ex.question.base = "\x16\x03";
	assert_string_equal(line_of(w, ACCESS_COMBINED), "- - - [DATE] \"-\" 400 345 \"-\" \"-\"\n");
	assert_string_equal(line_of(w, ACCESS_JSON), "{\"time\":\"DATE\",\"src\":\"-\",\"status\":400,"
	    "\"bytes_sent\":345,\"bytes_received\":6,\"duration\":12.345,\"reason\":\"bad_message\",\"server\":\"db\"}\n");
}

/* Each message has a line of its own; so has one that could not be read. */
static void
says_a_message(void **state)
{
	static const struct codec codec = { .max = 1 };
	static const struct protocol_ops protocol = { .name = "jsonnl", .traits = PROTOCOL_TURNS | PROTOCOL_MESSAGES,
		.codec = &codec };
	static const struct server server = { .protocol = &protocol };
	struct world *w = *state;
	struct slice wire = SLICE("7 \"x\n");
	struct unit u = { .wire = wire, .inner = wire, .id_at = 0, .id_n = 3 };

	log_to_file(w);
	w->ex.server = &server;
	w->ex.server_name = SLICE("rpc");
	w->ex.unit = &u;
	assert_string_equal(line_of(w, ACCESS_COMBINED),
	    "192.0.2.7 - - [DATE] \"MESSAGE rpc jsonnl\" - 345 \"-\" \"-\"\n");
	w->ex.upstream_name = SLICE("app");
	w->ex.peer_text = SLICE("10.0.0.1:9");
	w->ex.attempts = 1;
	assert_non_null(strstr(line_of(w, ACCESS_JSON),
	    ",\"src\":\"192.0.2.7\",\"protocol\":\"jsonnl\",\"message_id\":\"7 \\\"\","
	    "\"bytes_sent\":345,\"bytes_received\":6,\"duration\":"));
	assert_non_null(strstr(line_of(w, ACCESS_JSON),
	    ",\"upstream\":\"app\",\"peer\":\"10.0.0.1:9\",\"attempts\":1,\"server\":\"rpc\"}\n"));

	/* what failed has the status that it has elsewhere, where that is one */
	w->ex.reason = REASON_PEER_TIMEOUT;
	assert_string_equal(line_of(w, ACCESS_COMBINED),
	    "192.0.2.7 - - [DATE] \"MESSAGE rpc jsonnl\" 504 345 \"-\" \"-\"\n");
	assert_non_null(strstr(line_of(w, ACCESS_JSON), ",\"status\":504,"));
	assert_non_null(strstr(line_of(w, ACCESS_JSON), ",\"reason\":\"peer_timeout\","));
	w->ex.reason = REASON_CLIENT_GONE;
	assert_string_equal(line_of(w, ACCESS_COMBINED),
	    "192.0.2.7 - - [DATE] \"MESSAGE rpc jsonnl\" 499 345 \"-\" \"-\"\n");
	w->ex.reason = REASON_BAD_MESSAGE;
	w->ex.unit = NULL;
	assert_string_equal(line_of(w, ACCESS_COMBINED),
	    "192.0.2.7 - - [DATE] \"MESSAGE rpc jsonnl\" 400 345 \"-\" \"-\"\n");
	assert_null(strstr(line_of(w, ACCESS_JSON), "message_id"));

	/* one that went to a peer of http has a head for it, and is a message all the same */
	w->ex.unit = &u;
	w->ex.reason = REASON_NONE;
	set_head(w, SLICE("POST"), SLICE(""));
	assert_string_equal(line_of(w, ACCESS_COMBINED),
	    "192.0.2.7 - - [DATE] \"MESSAGE rpc jsonnl\" - 345 \"-\" \"-\"\n");
	w->ex.talk = true;
	w->ex.unit = NULL;
	w->ex.question.method_text.n = 0;
	assert_string_equal(line_of(w, ACCESS_COMBINED), "192.0.2.7 - - [DATE] \"-\" - 345 \"-\" \"-\"\n");
}

/* Every byte at every place of a word: escaped, or as it is. */
static void
escapes_every_byte(void **state)
{
	struct world *w = *state;

	log_to_file(w);
	for (int c = 0; c < 256; c++)
		for (size_t n = 1; n < 20; n++) {
			char value[20], wanted[128];
			size_t at = (n * 7 + (size_t)c) % n;
			bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';

			memset(value, 'x', n);
			value[at] = (char)c;
			w->head_n = 0;
			w->ex.question.field_count = 0;
			set_head(w, SLICE("G"), SLICE("/"));
			add_field(w, KNOWN_USER_AGENT, slice_make(value, n));
			if (plain)
				snprintf(wanted, sizeof(wanted), " \"%.*s\"\n", (int)n, value);
			else
				snprintf(wanted, sizeof(wanted), " \"%.*s\\x%02x%.*s\"\n", (int)at, value,
				    (unsigned)c, (int)(n - at - 1), value + at + 1);

			const char *line = line_of(w, ACCESS_COMBINED);

			assert_string_equal(line + strlen(line) - strlen(wanted), wanted);
		}
}

/* Whatever is endless: within the bound, with all quotes, one new line at the end. */
static void
cuts_long_values(void **state)
{
	static const char *const pieces[] = { "x", "\"", "\x01", "\xff", "a\\", "\xc3\xa9", "\xe2\x82\xac",
		"\xf0\x9f\x98\x80" };
	struct world *w = *state;

	log_to_file(w);
	for (size_t i = 0; i < ARRAY_COUNT(pieces); i++)
		for (unsigned which = 1; which < 64; which++) {
			char *piece = repeat(pieces[i], 9000);
			struct slice value = { piece, 9000 }, none = SLICE_EMPTY;

			w->head_n = 0;
			w->ex.question.field_count = 0;
			set_head(w, which & 1 ? value : SLICE("GET"), which & 2 ? value : SLICE("/"));
			add_field(w, KNOWN_REFERER, which & 4 ? value : none);
			add_field(w, KNOWN_USER_AGENT, which & 8 ? value : SLICE("last"));
			w->ex.question.host = which & 16 ? value : none;
			w->ex.upstream_name = w->ex.peer_text = w->ex.server_name = which & 32 ? value : none;
			w->ex.status = 65535;
			w->ex.attempts = 65535;
			w->ex.sent = w->ex.received = UINT64_MAX;
			w->ex.started_us = clock_us() + 1;       /* as long as a number can be */
			w->ex.reason = REASON_PEER_CONNECT_TIMEOUT;
			for (enum access_format format = ACCESS_COMBINED; format <= ACCESS_JSON; format++) {
				struct slice line;
				size_t quotes = 0;

				w->sink.n = 0;
				write_line(w, format);
				line = slice_make(w->sink.buffer, w->sink.n);
				assert_in_range(line.n, 1, ACCESS_LINE_MAX);
				assert_int_equal(slice_find(line, '\n', 0), line.n - 1);
				for (size_t k = 0; k < line.n; k++) {
					if (format == ACCESS_JSON && line.at[k] == '\\')
						k++;
					else if (line.at[k] == '"')
						quotes++;
				}
				assert_int_equal(quotes % 2, 0);
				if (format == ACCESS_COMBINED)
					assert_int_equal(quotes, 6);
				else
					assert_true(slice_ends(line, SLICE("\"}\n")));
				if ((which & 14) == 2)           /* a long target has most of the line */
					assert_in_range(line.n, 4700, ACCESS_LINE_MAX);
				if (!(which & 8))
					assert_int_not_equal(slice_find_slice(line, SLICE("last\"")), line.n);
				assert_int_equal(slice_find_slice(line, SLICE("...\"")) == line.n &&
				    slice_find_slice(line, SLICE("... ")) == line.n, format == ACCESS_COMBINED && which % 16 == 0);
				/* A character is not cut in the middle. */
				if (i >= 5)
					assert_int_equal(slice_find_slice(line, SLICE("ufffd")), line.n);
			}
			free(piece);
		}
}

static void
is_silent_when_off(void **state)
{
	struct world *w = *state;

	log_to_file(w);
	write_line(w, ACCESS_OFF);
	assert_null(w->sink.buffer);
	access_reopen(&w->sink, -1);
	write_line(w, ACCESS_COMBINED);
	access_flush(&w->sink);
	assert_null(w->sink.buffer);
	assert_int_equal(w->sink.lines, 0);
}

/* ------------------------------------------------------------------ descriptors */

/* A line that can be told from all others: its number is its target. */
static void
write_numbered(struct world *w, unsigned number, size_t padding)
{
	static const char x[4000] = { [0 ... 3999] = 'x' };
	char text[16];

	snprintf(text, sizeof(text), "/%u", number);
	w->head_n = 0;
	w->ex.question.field_count = 0;
	set_head(w, SLICE("GET"), slice_of(text));
	add_field(w, KNOWN_USER_AGENT, slice_make(x, padding));
	write_line(w, ACCESS_COMBINED);
}

/* Only whole lines, their numbers rising; returns how many, and the last number. */
static size_t
check_lines(const struct world *w, unsigned *last)
{
	struct slice rest = { w->out, w->out_n }, line;
	size_t count = 0;
	long before = -1;

	assert_true(rest.n == 0 || rest.at[rest.n - 1] == '\n');
	while (slice_split(&rest, '\n', &line)) {
		size_t at = slice_find_slice(line, SLICE("\"GET /"));
		long number;

		assert_true(slice_starts(line, SLICE("192.0.2.7 - - [")));
		assert_true(at < line.n);
		assert_int_equal(line.at[line.n - 1], '"');
		number = strtol(line.at + at + 6, NULL, 10);
		assert_true(number > before);
		before = number;
		count++;
	}
	*last = (unsigned)before;
	return count;
}

static void
writes_when_64k_are_full(void **state)
{
	struct world *w = *state;
	unsigned last, i;
	struct stat info;

	log_to_file(w);
	for (i = 0; i < 2000; i++) {
		write_numbered(w, i, 100);
		assert_in_range(w->sink.n, 1, ACCESS_FLUSH);
	}
	assert_int_equal(w->sink.size, ACCESS_FLUSH);
	fstat(w->reader, &info);
	assert_in_range(info.st_size, 2 * ACCESS_FLUSH, 2000 * 250);
	access_flush(&w->sink);
	read_file(w);
	assert_int_equal(check_lines(w, &last), 2000);
	assert_int_equal(w->sink.n, 0);
}

static void
stop_after(void *what)
{
	struct world *w = what;

	if (w->sink.n == 0)
		loop_stop(&w->engine.loop);
}

static void
stop_when_freed(void *what)
{
	struct world *w = what;

	if (w->sink.buffer == NULL)
		loop_stop(&w->engine.loop);
}

static void
writes_after_a_second(void **state)
{
	struct world *w = *state;
	uint64_t began = clock_us_exact();

	log_to_file(w);
	write_numbered(w, 1, 0);
	assert_int_not_equal(w->sink.flush.due, 0);
	loop_run(&w->engine.loop, stop_after, w);
	assert_in_range(clock_us_exact() - began, 900000, 3000000);
	read_file(w);
	assert_non_null(strstr(w->out, "GET /1 "));
	assert_non_null(w->sink.buffer);
	loop_run(&w->engine.loop, stop_when_freed, w);   /* nothing more for a second */
	assert_int_equal(w->sink.flush.due, 0);
	write_numbered(w, 2, 0);
	access_flush(&w->sink);
	read_file(w);
	assert_non_null(strstr(w->out, "GET /2 "));
}

static void
never_waits_for_a_full_pipe(void **state)
{
	struct world *w = *state;
	unsigned last, i;
	uint64_t began = clock_us_exact();

	log_to_pipe(w);
	assert_int_not_equal(fcntl(w->sink.fd, F_GETFL) & O_NONBLOCK, 0);
	for (i = 0; i < 6000; i++)               /* some 1.5 MB */
		write_numbered(w, i, 170);
	assert_true(clock_us_exact() - began < 2000000);
	assert_int_equal(w->sink.size, ACCESS_MAX);
	assert_in_range(w->sink.n, ACCESS_MAX - ACCESS_LINE_MAX, ACCESS_MAX);
	assert_true(w->sink.dropped > 500);
	assert_int_equal(w->shared.log_dropped, w->sink.dropped);
	assert_int_equal(w->sink.lines + w->sink.dropped, 6000);
	while (read_out(w, SIZE_MAX))
		access_flush(&w->sink);
	assert_int_equal(w->sink.n, 0);
	assert_null(w->sink.buffer);             /* so large a one is not kept */
	assert_int_equal(check_lines(w, &last), w->sink.lines);
	assert_int_equal(last, w->sink.lines - 1);       /* the first ones stay, the late ones go */
	write_numbered(w, 6000, 0);
	access_flush(&w->sink);
	assert_true(read_out(w, SIZE_MAX));
	check_lines(w, &last);
	assert_int_equal(last, 6000);
}

static void
goes_on_for_a_slow_reader(void **state)
{
	static const size_t sizes[] = { 1, 4095, 7, 100, 4096, 60000, 3 };
	struct world *w = *state;
	unsigned last, i;

	log_to_pipe(w);
	for (i = 0; i < 3000; i++) {
		write_numbered(w, i, i * 37 % 3500);
		read_out(w, sizes[i % ARRAY_COUNT(sizes)]);
		if (i % 5 == 0)
			access_flush(&w->sink);
	}
	assert_int_equal(w->sink.dropped, 0);
	while (w->sink.n != 0) {
		access_flush(&w->sink);
		read_out(w, SIZE_MAX);
	}
	assert_int_equal(check_lines(w, &last), 3000);
}

static void
tries_again_by_itself(void **state)
{
	struct world *w = *state;
	unsigned last, i;

	log_to_pipe(w);
	for (i = 0; i < 1000; i++)
		write_numbered(w, i, 170);
	assert_true(w->sink.n > ACCESS_FLUSH);
	for (int passes = 0; w->sink.n != 0 && passes < 50; passes++) {
		read_out(w, SIZE_MAX);
		w->engine.loop.stop = true;              /* one step of the wheel */
		clock_update();
		nanosleep(&(struct timespec){ .tv_nsec = 110000000 }, NULL);
		w->engine.loop.stop = false;
		loop_run(&w->engine.loop, (void (*)(void *))loop_stop, &w->engine.loop);
	}
	read_out(w, SIZE_MAX);
	assert_int_equal(w->sink.n, 0);
	assert_int_equal(check_lines(w, &last), 1000);
}

/* Lines of two workers on one pipe: none stands within another. */
static void
shares_a_pipe(void **state)
{
	struct world *w = *state;
	struct access_sink second, first;
	unsigned i;

	log_to_pipe(w);
	access_open(&second, &w->engine.loop, SLICE("pipe"), dup(w->sink.fd));
	for (i = 0; i < 3000; i++) {
		write_numbered(w, i, i * 31 % 900);
		first = w->sink;
		w->sink = second;
		write_numbered(w, i, i * 17 % 900);
		second = w->sink;
		w->sink = first;
		if (i % 20 == 0)
			read_out(w, 30000);
	}
	while (w->sink.n + second.n != 0) {
		access_flush(&w->sink);
		read_out(w, 1000);
		access_flush(&second);
		read_out(w, SIZE_MAX);
	}

	struct slice rest = { w->out, w->out_n }, line;
	size_t count = 0;

	while (slice_split(&rest, '\n', &line)) {
		assert_true(slice_starts(line, SLICE("192.0.2.7 - - [")));
		assert_int_equal(slice_find_slice(slice_after(line, 1), SLICE("192.0.2.7")), line.n - 1);
		assert_int_equal(line.at[line.n - 1], '"');
		count++;
	}
	assert_int_equal(count + w->sink.dropped + second.dropped, 6000);
	assert_int_equal(w->sink.dropped + second.dropped, 0);
	deadline_remove(&w->engine.loop, &w->sink.flush);        /* it was moved about */
	access_close(&second);
}

static void
outlives_its_reader(void **state)
{
	struct world *w = *state;
	int error_log = new_file();
	char text[256] = "";
	unsigned i;

	log_to(error_log, LOG_NOTICE);
	log_to_pipe(w);
	close(w->reader);
	w->reader = -1;
	for (i = 0; i < 3000; i++)
		write_numbered(w, i, 1000);
	access_flush(&w->sink);
	assert_in_range(w->sink.n, ACCESS_MAX - ACCESS_LINE_MAX, ACCESS_MAX);
	assert_int_equal(w->sink.lines + w->sink.dropped, 3000);
	assert_true(pread(error_log, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "access log \"pipe\": Broken pipe\n"));
	assert_null(strstr(strchr(text, '\n') + 1, "access log"));      /* once */
	close(error_log);
	log_to(2, LOG_NOTICE);

	unsigned last, kept = (unsigned)w->sink.lines;

	w->reader = new_file();                  /* what waits goes to the next one */
	access_reopen(&w->sink, dup(w->reader));
	read_file(w);
	assert_int_equal(check_lines(w, &last), kept);
}

static void
reopens(void **state)
{
	struct world *w = *state;
	unsigned last;

	log_to_file(w);
	write_numbered(w, 1, 0);

	int second = new_file();

	access_reopen(&w->sink, dup(second));
	write_numbered(w, 2, 0);
	access_flush(&w->sink);
	read_file(w);
	assert_int_equal(check_lines(w, &last), 1);
	assert_int_equal(last, 1);
	close(w->reader);
	w->reader = second;
	read_file(w);
	assert_int_equal(check_lines(w, &last), 1);
	assert_int_equal(last, 2);
	write_numbered(w, 3, 0);
	access_close(&w->sink);                  /* writes what it can */
	w->sink.loop = NULL;
	read_file(w);
	assert_int_equal(check_lines(w, &last), 2);
}

/* The old one has taken half a line: the other half is not for the new one. */
static void
leaves_half_a_line_behind(void **state)
{
	struct world *w = *state;
	unsigned last, i;

	log_to_file(w);
	for (i = 0; i < 10; i++)
		write_numbered(w, i, 0);
	memmove(w->sink.buffer, w->sink.buffer + 20, w->sink.n - 20);
	w->sink.n -= 20;
	w->sink.torn = true;
	close(w->sink.fd);
	w->sink.fd = open("/dev/full", O_WRONLY);
	log_to(w->sink.fd, LOG_EMERG);
	access_reopen(&w->sink, dup(w->reader));
	log_to(2, LOG_NOTICE);
	read_file(w);
	assert_int_equal(check_lines(w, &last), 9);
	assert_int_equal(w->sink.dropped, 1);
	assert_false(w->sink.torn);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
	const struct CMUnitTest tests[] = {
		TEST(says_combined), TEST(says_json), TEST(says_the_time), TEST(says_a_talk), TEST(says_a_message),
		TEST(escapes_every_byte), TEST(cuts_long_values), TEST(is_silent_when_off),
		TEST(writes_when_64k_are_full), TEST(writes_after_a_second), TEST(never_waits_for_a_full_pipe),
		TEST(goes_on_for_a_slow_reader), TEST(tries_again_by_itself), TEST(shares_a_pipe),
		TEST(outlives_its_reader), TEST(reopens), TEST(leaves_half_a_line_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
