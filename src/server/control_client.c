/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The answer is read as a whole, then printed: columns are as wide as what stands in them. What is printed
 * has no control bytes, whoever wrote it.
 */
#include "server/control_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "config/diag.h"
#include "io/socket.h"
#include "server/control_request.h"
#include "server/control_verb.h"
#include "server/process.h"

enum { ANSWER_MAX = 64 * 1024 * 1024, COLUMNS_MAX = 32, CELL = 512, WAIT = 120 * 1000 };

/* ------------------------------------------------------------------ verbs */

void
control_print_verbs(void)
{
	for (const struct control_verb *v = control_verbs; v->name != NULL; v++)
		printf("       server %s%s%s\n                 %s\n", v->name,
		    v->words[0] != '\0' ? " " : "", v->words, v->help);
}

static const char *
name_of_verb(void *what, size_t i)
{
	return control_verbs[i].name;
}

static const char *
closest_verb(const char *word)
{
	size_t count = 0;

	while (control_verbs[count].name != NULL)
		count++;
	return diag_closest(slice_of(word), name_of_verb, NULL, count);
}

const char *
control_misused(const struct control_question *q)
{
	static char text[512];
	const struct control_verb *v = control_verb_find(slice_of(q->words[0]));

	if (v != NULL && q->count - 1 >= v->least && q->count - 1 <= v->most)
		return NULL;
	if (v == NULL)
		snprintf(text, sizeof(text), "there is no verb \"%.100s\"" DIAG_MEANT, q->words[0],
		    DIAG_MEANT_ARG(closest_verb(q->words[0])));
	else
		snprintf(text, sizeof(text), "write: server [-c PATH] %s%s%s", v->name,
		    v->words[0] != '\0' ? " " : "", v->words);
	return text;
}

/* ------------------------------------------------------------------ asking */

static int
reach(const char *path)
{
	struct addr to = { .n = 0 };
	bool pending;

	if (strlen(path) >= sizeof(to.local.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	to.local.sun_family = AF_UNIX;
	strcpy(to.local.sun_path, path);
	to.n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
	return socket_connect(&to, &pending);
}

pid_t
control_listener(const char *socket)
{
	struct ucred who = { .pid = -1 };
	socklen_t n = sizeof(who);
	int fd = reach(socket);

	if (fd < 0)
		return -1;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0)
		who.pid = -1;
	close(fd);
	return who.pid;
}

static bool
wait_for(int fd, short what)
{
	struct pollfd p = { .fd = fd, .events = what };
	int n;

	while ((n = poll(&p, 1, WAIT)) < 0 && errno == EINTR)
		continue;
	if (n == 0)
		errno = ETIMEDOUT;
	return n > 0;
}

static bool
say(int fd, struct slice request)
{
	while (request.n != 0) {
		ssize_t n = send(fd, request.at, request.n, MSG_NOSIGNAL);

		if (n >= 0)
			request = slice_after(request, (size_t)n);
		else if (errno != EAGAIN && errno != EINTR)
			return false;
		else if (!wait_for(fd, POLLOUT))
			return false;
	}
	return true;
}

static bool
is_whole(struct slice answer)
{
	return slice_is(answer, ".\n") || slice_ends(answer, SLICE("\n.\n"));
}

/*
 * To its last line: behind that there is nothing that is waited for. `at` is the caller's to free.
 */
static bool
hear(int fd, struct slice *answer)
{
	size_t room = 64 * 1024, n = 0;
	char *at = memory_alloc(room);

	for (;;) {
		ssize_t got = recv(fd, at + n, room - n, 0);

		if (got == 0)
			break;
		if (got < 0 && (errno == EAGAIN ? !wait_for(fd, POLLIN) : errno != EINTR)) {
			free(at);
			return false;
		}
		n += got > 0 ? (size_t)got : 0;
		if (is_whole(slice_make(at, n)))
			break;
		if (n == room && room < ANSWER_MAX)
			at = memory_realloc(at, room *= 2);
		if (n == room)
			break;
	}
	*answer = slice_make(at, n);
	return true;
}

/* ------------------------------------------------------------------ values */

struct column {
	struct slice name;
	char kind;
	size_t width;
};

struct grid {
	struct column columns[COLUMNS_MAX];
	size_t count;
	bool single;
};

/* As it was before it was written. */
static void
unescape(struct builder *b, struct slice text)
{
	for (size_t i = 0; i < text.n; i++) {
		char c = text.at[i];
		int high, low;

		if (c == '\\' && i + 1 < text.n) {
			c = text.at[++i];
			high = i + 1 < text.n ? ascii_hex_value(text.at[i + 1]) : -1;
			low = i + 2 < text.n ? ascii_hex_value(text.at[i + 2]) : -1;
			if (c == 't' || c == 'n')
				c = c == 't' ? '\t' : '\n';
			else if (c == 'x' && high >= 0 && low >= 0) {
				c = (char)(high << 4 | low);
				i += 2;
			}
		}
		builder_byte(b, c);
	}
}

/* For people: whole characters, and nothing that a terminal would follow. */
static void
put_plain(struct builder *b, struct slice text)
{
	for (size_t i = 0, n; i < text.n && !b->full; i += n) {
		struct slice rest = slice_after(text, i);

		bool printable = utf8_printable(rest, &n);

		if (rest.n > 1 && rest.at[0] == '\\' && strchr("tn\\-", rest.at[1]) != NULL) {
			unescape(b, slice_first(rest, 2));
			n = 2;
		} else if (printable) {
			builder_put(b, rest.at, n);
		} else {
			builder_byte(b, '?');
		}
	}
}

static void
put_bytes(struct builder *b, uint64_t n)
{
	static const char units[] = " kMGTPE";
	size_t unit = 0;
	uint64_t tenths = n * 10;

	for (; tenths >= 10240 && unit + 2 < sizeof(units); unit++)
		tenths /= 1024;
	if (unit == 0)
		builder_number(b, n);
	else if (tenths >= 1000)
		builder_printf(b, "%llu%c", (unsigned long long)tenths / 10, units[unit]);
	else
		builder_printf(b, "%llu.%llu%c", (unsigned long long)tenths / 10,
		    (unsigned long long)tenths % 10, units[unit]);
}

static void
put_duration(struct builder *b, uint64_t ms)
{
	unsigned long long s = ms / 1000;

	if (ms < 1000)
		builder_printf(b, "%llums", (unsigned long long)ms);
	else if (s < 60)
		builder_printf(b, "%llu.%llus", s, (unsigned long long)ms % 1000 / 100);
	else if (s < 3600)
		builder_printf(b, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		builder_printf(b, "%lluh%02llum", s / 3600, s % 3600 / 60);
	else
		builder_printf(b, "%llud%02lluh", s / 86400, s % 86400 / 3600);
}

static void
put_thousandths(struct builder *b, uint64_t n)
{
	if (n >= 100 * 1000)
		builder_number(b, n / 1000);
	else
		builder_printf(b, "%llu.%llu", (unsigned long long)n / 1000,
		    (unsigned long long)n % 1000 / 100);
}

static struct slice
cell_text(char kind, struct slice value, char *room)
{
	struct builder b = builder_on(room, CELL);
	uint64_t n = 0;

	if (kind == 's' || !slice_to_u64(value, &n))
		put_plain(&b, value);
	else if (kind == 'b')
		put_bytes(&b, n);
	else if (kind == 'd')
		put_duration(&b, n);
	else if (kind == 'r')
		put_thousandths(&b, n);
	else
		builder_number(&b, n);
	for (size_t i = 0; i < b.n; i++)
		if ((unsigned char)b.at[i] < 0x20)
			b.at[i] = ' ';
	return builder_slice(&b);
}

/* ------------------------------------------------------------------ lines */

static bool
read_grid(struct grid *t, struct slice line)
{
	struct slice word, rest = slice_after(line, 1);

	*t = (struct grid){ .single = line.at[0] == '*' };
	if (!slice_split(&rest, '\t', &word))
		return false;
	while (t->count < COLUMNS_MAX && slice_split(&rest, '\t', &word)) {
		size_t colon = slice_find(word, ':', 0);

		if (colon + 2 != word.n)
			return false;
		t->columns[t->count++] =
		    (struct column){ slice_first(word, colon), word.at[colon + 1], colon };
	}
	return t->count != 0;
}

static bool
is_of(struct slice line, const char *kinds)
{
	return line.n != 0 && strchr(kinds, line.at[0]) != NULL;
}

static struct slice
table_name(struct slice line)
{
	return slice_make(line.at + 1, slice_find(line, '\t', 0) - 1);
}

static bool
is_row(struct slice rest, struct slice *line)
{
	return slice_split(&rest, '\n', line) && line->n != 0 && line->at[0] == ' ';
}

/* The characters, of UTF-8. */
static size_t
width_of(struct slice s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.at[i] & 0xc0) != 0x80;
	return n;
}

/* ------------------------------------------------------------------ for people */

static void
measure(struct grid *t, struct slice rest)
{
	struct slice line, value;
	char room[CELL];

	while (is_row(rest, &line)) {
		rest = slice_after(rest, line.n + 1);
		line = slice_after(line, 1);
		for (size_t i = 0; i < t->count && slice_split(&line, '\t', &value); i++)
			t->columns[i].width = MAX_OF(t->columns[i].width,
			    width_of(cell_text(t->columns[i].kind, value, room)));
	}
}

static void
print_cell(const struct column *c, struct slice text, bool last)
{
	int pad = (int)(c->width - MIN_OF(c->width, width_of(text)));

	if (c->kind == 's')
		printf("%.*s%*s%s", SLICE_ARG(text), last ? 0 : pad, "", last ? "\n" : "  ");
	else
		printf("%*s%.*s%s", pad, "", SLICE_ARG(text), last ? "\n" : "  ");
}

static void
print_single(const struct grid *t, struct slice row)
{
	struct slice value;
	char room[CELL];

	for (size_t i = 0; i < t->count && slice_split(&row, '\t', &value); i++) {
		struct slice text = cell_text(t->columns[i].kind, value, room);

		printf("%s%.*s %.*s", i != 0 ? ", " : "", SLICE_ARG(t->columns[i].name),
		    SLICE_ARG(text));
	}
	putchar('\n');
}

static void
print_row(const struct grid *t, struct slice row)
{
	struct slice value;
	char room[CELL];

	if (t->single) {
		print_single(t, row);
		return;
	}
	for (size_t i = 0; i < t->count && slice_split(&row, '\t', &value); i++)
		print_cell(&t->columns[i], cell_text(t->columns[i].kind, value, room),
		    i + 1 == t->count);
}

static void
print_line(const struct slice line, FILE *to)
{
	char room[4096];
	struct builder b = builder_on(room, sizeof(room));

	put_plain(&b, slice_after(line, 1));
	fprintf(to, "%s%.*s\n", to == stderr && line.at[0] != '~' ? "server: " : "",
	    SLICE_ARG(builder_slice(&b)));
}

static void
print_whole(struct slice line)
{
	char *room = memory_alloc(line.n);
	struct builder b = builder_on(room, line.n);

	put_plain(&b, slice_after(line, 1));
	fwrite(room, 1, b.n, stdout);
	putchar('\n');
	free(room);
}

static void
begin_table(struct grid *t, struct slice line, struct slice rest, bool *first)
{
	if (!read_grid(t, line) || t->single)
		return;
	measure(t, rest);
	if (!*first)
		putchar('\n');
	for (size_t i = 0; i < t->count; i++)
		print_cell(&t->columns[i], t->columns[i].name, i + 1 == t->count);
}

static void
print_for_people(struct slice answer)
{
	struct grid t = { .count = 0 };
	struct slice line;
	bool first = true;

	while (slice_split(&answer, '\n', &line)) {
		if (line.n == 0)
			continue;
		if (line.at[0] == '+' || line.at[0] == '*')
			begin_table(&t, line, answer, &first);
		else if (line.at[0] == ' ')
			print_row(&t, slice_after(line, 1));
		else if (line.at[0] == '=')
			print_line(line, stdout);
		else if (line.at[0] == '>')
			print_whole(line);
		first = false;
	}
}

/* ------------------------------------------------------------------ for programs */

static void
print_json_text(struct slice text)
{
	size_t room = 6 * text.n + 8;
	char *plain = memory_alloc(text.n + 1), *quoted = memory_alloc(room);
	struct builder p = builder_on(plain, text.n + 1), q = builder_on(quoted, room);

	unescape(&p, text);
	builder_json(&q, builder_slice(&p));
	printf("\"%.*s\"", SLICE_ARG(builder_slice(&q)));
	free(plain);
	free(quoted);
}

static void
print_json_value(const struct column *c, struct slice value)
{
	uint64_t n;

	if (slice_is(value, "-"))
		fputs("null", stdout);
	else if (c->kind == 's' || !slice_to_u64(value, &n))
		print_json_text(value);
	else if (c->kind == 'r')
		printf("%llu.%03llu", (unsigned long long)n / 1000, (unsigned long long)n % 1000);
	else
		printf("%llu", (unsigned long long)n);
}

/* exchanges/s: exchanges_per_s; age: age_ms. */
static void
print_json_name(const struct column *c)
{
	putchar('"');
	for (size_t i = 0; i < c->name.n; i++)
		printf(c->name.at[i] == '/' ? "_per_" : "%c", c->name.at[i]);
	printf("%s\":", c->kind == 'd' ? "_ms" : "");
}

static void
print_json_row(const struct grid *t, struct slice row)
{
	struct slice value;

	putchar('{');
	for (size_t i = 0; i < t->count && slice_split(&row, '\t', &value); i++) {
		if (i != 0)
			putchar(',');
		print_json_name(&t->columns[i]);
		print_json_value(&t->columns[i], value);
	}
	putchar('}');
}

/* All lines of these kinds, as an array. */
static void
print_json_lines(struct slice answer, const char *kinds, const char *name, const char **between)
{
	struct slice line;
	bool any = false;

	while (slice_split(&answer, '\n', &line)) {
		if (!is_of(line, kinds))
			continue;
		if (any)
			putchar(',');
		else
			printf("%s\"%s\":[", *between, name);
		any = true;
		print_json_text(slice_after(line, 1));
	}
	if (!any)
		return;
	putchar(']');
	*between = ",";
}

static void
print_json_table(struct grid *t, struct slice line, struct slice rest)
{
	const char *between = "";

	printf("\"%.*s\":%s", SLICE_ARG(table_name(line)), t->single ? "" : "[");
	for (struct slice row; is_row(rest, &row); rest = slice_after(rest, row.n + 1)) {
		fputs(between, stdout);
		print_json_row(t, slice_after(row, 1));
		between = ",";
	}
	fputs(t->single ? "" : "]", stdout);
}

static void
print_json(struct slice answer)
{
	struct slice rest = answer, line;
	const char *between = "";

	putchar('{');
	while (slice_split(&rest, '\n', &line)) {
		struct grid t;

		if (line.n == 0 || (line.at[0] != '+' && line.at[0] != '*') || !read_grid(&t, line))
			continue;
		fputs(between, stdout);
		print_json_table(&t, line, rest);
		between = ",";
	}
	print_json_lines(answer, "=", "said", &between);
	print_json_lines(answer, "!", "missing", &between);
	print_json_lines(answer, "-~", "errors", &between);
	puts("}");
}

/* ------------------------------------------------------------------ the whole */

/* What failed or is missing goes to stderr. False: it failed, or is cut. */
static bool
judge(struct slice answer, bool json)
{
	struct slice rest = answer, line;
	bool good = true;

	while (slice_split(&rest, '\n', &line)) {
		good &= !is_of(line, "-~");
		if (!json && is_of(line, "-~!"))
			print_line(line, stderr);
	}
	if (!is_whole(answer))
		return process_refuse("the master's answer is cut");
	return good;
}

static bool
print(struct slice answer, bool json)
{
	if (json)
		print_json(answer);
	else
		print_for_people(answer);
	return (fflush(stdout) == 0 && !ferror(stdout)) ||
	    process_refuse("the answer cannot be written: %s", strerror(errno));
}

static bool
not_asked(const char *path, bool reached)
{
	if (!reached && (errno == ENOENT || errno == ECONNREFUSED))
		return process_refuse("no master answers at %s: is one running, with the same -c and -p? "
		    "(one that was started before \"control\" or \"pid\" were changed: --socket=PATH)", path);
	if (!reached && errno == EACCES)
		return process_refuse("cannot ask the master at %s: only the user who started it may", path);
	return process_refuse("cannot ask the master at %s: %s", path, strerror(errno));
}

int
control_ask(const struct control_question *q)
{
	char room[CONTROL_REQUEST_MAX + 1];
	struct slice words[CONTROL_WORDS_MAX], answer;
	struct builder b = builder_on(room, sizeof(room));

	for (size_t i = 0; i < q->count && i < CONTROL_WORDS_MAX; i++)
		words[i] = slice_of(q->words[i]);
	if (q->count > CONTROL_WORDS_MAX || !control_request_write(&b, words, q->count)) {
		process_refuse("that is too long, or has control bytes in it, or is not UTF-8");
		return 1;
	}

	int fd = reach(q->socket);
	/* Who is refused at once may not have been heard to the end. */
	bool good = fd >= 0 && (say(fd, builder_slice(&b)) || errno == EPIPE) && hear(fd, &answer);

	if (!good)
		not_asked(q->socket, fd >= 0);
	if (fd >= 0)
		close(fd);
	if (!good)
		return 1;
	good = print(answer, q->json);
	good &= judge(answer, q->json);
	free((char *)(uintptr_t)answer.at);
	return good ? 0 : 1;
}
