/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * JsonNL, the example of Workerman's manual: a message is a line, and the line is JSON. What routes
 * may ask for are the strings and numbers that the object has by these names at its top:
 *
 *   module "jsonnl.so" { max 64k; }
 *   server {
 *       listen 1234;
 *       protocol jsonnl;
 *       route when msg.type == "ping" { reply '{"type":"pong"}'; }
 *       route { reply '{"code":0,"msg":"ok"}'; }
 *   }
 *
 * On the wire it is what these lines declare, without any code:
 *
 *   protocol jsonnl { boundary "\n"; max 64k; format json; answers in_order; }
 */
#include <string.h>

#include <millrace/module.h>

static const struct millrace_host *host;

/* ------------------------------------------------------------------ settings */

struct settings {
	uint64_t max;
	struct millrace_span error;     /* what is said in place of an answer; empty: nothing is */
};

static const struct millrace_argument max_arguments[] = {
	{ "SIZE", MILLRACE_SIZE, 0, 0, .min = 16, .max = 16 * 1024 * 1024 },
	{ 0 },
};

static const struct millrace_argument error_arguments[] = {
	{ "TEXT", MILLRACE_STRING, 0, 0 },
	{ 0 },
};

static const struct millrace_directive directives[] = {
	{ "max", 0, max_arguments, offsetof(struct settings, max), 0, "64k",
	    "How many bytes a line may have, its end included." },
	{ "error", 0, error_arguments, offsetof(struct settings, error), 0, NULL,
	    "What is answered when a question has no answer: a line without its end." },
	{ 0 },
};

static bool
configure(const struct millrace_setup *setup, void *what)
{
	const struct settings *s = what;

	if (s->error.n == 0 || memchr(s->error.at, '\n', s->error.n) == NULL)
		return true;
	host->refuse(setup, "an error of jsonnl is one line");
	return false;
}

/* ------------------------------------------------------------------ where a message ends */

static uint32_t
json_max(const void *settings)
{
	return (uint32_t)((const struct settings *)settings)->max;
}

static int64_t
json_input(const void *settings, void *context, struct millrace_span in, size_t *resume)
{
	const char *end = memchr(in.at + *resume, '\n', in.n - *resume);

	(void)settings, (void)context;
	if (end != NULL)
		return end + 1 - in.at;
	*resume = in.n;
	return MILLRACE_MORE;
}

/* ------------------------------------------------------------------ what stands in it */

static const struct millrace_field fields[] = {
	{ "type", MILLRACE_FIELD_TEXT, "What the message is." },
	{ "class", MILLRACE_FIELD_TEXT, "The class that it calls." },
	{ "method", MILLRACE_FIELD_TEXT, "The method that it calls." },
	{ "content", MILLRACE_FIELD_TEXT, "What it says." },
	{ 0 },
};

enum { DEEPEST = 64 };

/* A cursor that stands still at the end. */
struct reader {
	const char *at, *end;
};

static int
peek(const struct reader *r)
{
	return r->at < r->end ? (unsigned char)*r->at : -1;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void
skip_blanks(struct reader *r)
{
	while (r->at < r->end && is_blank(*r->at))
		r->at++;
}

/* Behind the quote that opens it; `*out` is what stands between the quotes. */
static bool
read_string(struct reader *r, struct millrace_span *out, bool *escaped)
{
	const char *begin = r->at;

	*escaped = false;
	for (; r->at < r->end && *r->at != '"'; r->at++)
		if (*r->at == '\\') {
			*escaped = true;
			r->at++;
		}
	if (r->at >= r->end)
		return false;
	*out = (struct millrace_span){ begin, (size_t)(r->at++ - begin) };
	return true;
}

/* Any other value: to the comma or bracket that ends it, brackets in pairs. */
static bool
skip_value(struct reader *r)
{
	struct millrace_span ignored;
	unsigned depth = 0;
	bool escaped;

	for (int c; (c = peek(r)) != -1; ) {
		if (depth == 0 && (c == ',' || c == '}' || c == ']'))
			return true;
		r->at++;
		if (c == '"' && !read_string(r, &ignored, &escaped))
			return false;
		if ((c == '{' || c == '[') && ++depth > DEEPEST)
			return false;
		if (c == '}' || c == ']')
			depth--;
	}
	return false;
}

/* Four digits; U+FFFD where they are none. */
static unsigned
hex(const char *at)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	unsigned value = 0;

	for (int i = 0; i < 4; i++) {
		const char *digit = at[i] == '\0' ? NULL : strchr(digits, at[i]);

		if (digit == NULL)
			return 0xfffd;
		value = value * 16 + (unsigned)(digit - digits) % 16;
	}
	return value;
}

static char *
put_utf8(char *to, unsigned c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*to++ = (char)(0xe0 | c >> 12);
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		*to++ = (char)(0xf0 | c >> 18);
		*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

/* Behind `\u`: one character, of two of these where it is past U+FFFF. */
static unsigned
read_unicode(const char **at, const char *end)
{
	unsigned c, low;

	if (end - *at < 4)
		return 0xfffd;
	c = hex(*at);
	*at += 4;
	if (c < 0xd800 || c > 0xdfff)
		return c;
	if (c > 0xdbff || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
		return 0xfffd;
	low = hex(*at + 2);
	if (low < 0xdc00 || low > 0xdfff)
		return 0xfffd;
	*at += 6;
	return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
}

/* No longer than it was: \u and four digits are at most three bytes, two of them four. */
static struct millrace_span
unescape(struct millrace_span s, char *room)
{
	static const char names[] = "nrtbf", bytes[] = "\n\r\t\b\f";
	const char *at = s.at, *end = s.at + s.n;
	char *to = room;

	while (at < end) {
		const char *name;

		if (*at != '\\') {
			*to++ = *at++;
			continue;
		}
		at++;
		name = strchr(names, *at);
		if (*at == 'u') {
			at++;
			to = put_utf8(to, read_unicode(&at, end));
			continue;
		}
		*to++ = *at != '\0' && name != NULL ? bytes[name - names] : *at;
		at++;
	}
	return (struct millrace_span){ room, (size_t)(to - room) };
}

static int
find_field(struct millrace_span name)
{
	for (int i = 0; fields[i].name != NULL; i++)
		if (strlen(fields[i].name) == name.n && memcmp(fields[i].name, name.at, name.n) == 0)
			return i;
	return -1;
}

/* Strings as they are meant, numbers as they are written; the rest cannot be asked for. */
static bool
read_value(struct reader *r, int field, struct millrace_message *m)
{
	struct millrace_span value;
	bool escaped;
	int c = peek(r);

	if (c != '"') {
		value.at = r->at;
		if (!skip_value(r))
			return false;
		value.n = (size_t)(r->at - value.at);
		while (value.n > 0 && is_blank(value.at[value.n - 1]))
			value.n--;
		if (field >= 0 && (c == '-' || (c >= '0' && c <= '9')))
			host->set_field(m, (unsigned)field, value);
		return true;
	}
	r->at++;
	if (!read_string(r, &value, &escaped))
		return false;
	if (field >= 0 && escaped) {
		char *room = host->alloc(m, value.n);

		if (room == NULL)
			return false;
		value = unescape(value, room);
	}
	if (field >= 0)
		host->set_field(m, (unsigned)field, value);
	return true;
}

/*
 * The members of the object at the top; what is no JSON has no fields, and is a message all the
 * same.
 */
static void
read_members(struct reader *r, struct millrace_message *m)
{
	struct millrace_span name;
	bool escaped;

	for (skip_blanks(r); peek(r) == '"' || peek(r) == ','; skip_blanks(r)) {
		if (*r->at++ == ',')
			continue;
		if (!read_string(r, &name, &escaped))
			return;
		skip_blanks(r);
		if (peek(r) != ':')
			return;
		r->at++;
		skip_blanks(r);
		if (!read_value(r, find_field(name), m))
			return;
	}
}

static int
json_decode(const void *settings, struct millrace_span in, struct millrace_message *m)
{
	struct reader r = { in.at, in.at + in.n - 1 };

	(void)settings;
	host->set_body(m, (struct millrace_span){ in.at, in.n - 1 });
	skip_blanks(&r);
	if (peek(&r) == '{') {
		r.at++;
		read_members(&r, m);
	}
	return MILLRACE_OK;
}

/* ------------------------------------------------------------------ what is written */

static int
json_encode(const void *settings, const struct millrace_draft *draft, struct millrace_out *out)
{
	(void)settings;
	/* a body that holds the boundary would be two messages */
	if (draft->body.n != 0 && memchr(draft->body.at, '\n', draft->body.n) != NULL)
		return MILLRACE_UNSUPPORTED;
	host->write(out, draft->body.at, draft->body.n);
	host->write(out, "\n", 1);
	return MILLRACE_OK;
}

static int
json_error(const void *settings, const struct millrace_failure *why, struct millrace_out *out)
{
	const struct settings *s = settings;

	(void)why;
	host->write(out, s->error.at, s->error.n);
	return MILLRACE_OK;
}

static const struct millrace_protocol jsonnl = {
	.size = sizeof(jsonnl),
	.name = "jsonnl",
	.help = "JSON, a line each.",
	.answers = MILLRACE_IN_ORDER,
	.traits = MILLRACE_INDEPENDENT,
	.max = 16 * 1024 * 1024,
	.max_of = json_max,
	.header = 1,
	.media_type = "application/json",
	.fields = fields,
	.input = json_input,
	.decode = json_decode,
	.encode = json_encode,
	.make_error = json_error,
};

/* ------------------------------------------------------------------ the module */

static const struct millrace_protocol *const protocols[] = { &jsonnl, NULL };

static const struct millrace_module module = {
	.abi = MILLRACE_ABI,
	.size = sizeof(module),
	.name = "jsonnl",
	.protocols = protocols,
	.directives = directives,
	.settings_size = sizeof(struct settings),
	.configure = configure,
};

MILLRACE_EXPORT const struct millrace_module *
millrace_module(const struct millrace_host *given)
{
	host = given;
	return MILLRACE_HAS(host, struct millrace_host, write) ? &module : NULL;
}
