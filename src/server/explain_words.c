/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What stands behind `server explain`. A question of HTTP is written down as a client would send it, and
 * nothing of it is judged here: that is the parser's.
 */
#include <string.h>
#include <strings.h>

#include "server/explain_inner.h"

static bool
refuse(FILE *wrong, const char *what, const char *word)
{
	fprintf(wrong,
	    "explain: %s%s%s%s\n"
	    "usage: server explain \"GET https://HOST/PATH\" [-H \"NAME: VALUE\"]... [--src ADDRESS]\n"
	    "                      [--listener ADDRESS] [--json]\n"
	    "       server explain -p PROTOCOL 'BYTES' [--src ADDRESS] [--listener ADDRESS] [--json]\n",
	    what, word != NULL ? " \"" : "", word != NULL ? word : "", word != NULL ? "\"" : "");
	return false;
}

/* `--src=ADDRESS`, or the next word. NULL: it is another option, or there is no value. */
static const char *
value_of(const char *const *words, size_t count, size_t *i, const char *name)
{
	size_t n = strlen(name);

	if (strncmp(words[*i], name, n) != 0)
		return NULL;
	if (words[*i][n] == '=' && n > 2)
		return words[*i] + n + 1;
	if (words[*i][n] != '\0' || *i + 1 >= count)
		return NULL;
	return words[++*i];
}

static bool
read_option(struct arena *a, const char *const *words, size_t count, size_t *i,
    struct explain_words *out, size_t *room)
{
	const struct {
		const char *name, **to;
	} options[] = { { "-p", &out->protocol }, { "--src", &out->src },
		{ "--listener", &out->listener } };
	const char *value;

	if (strcmp(words[*i], "--json") == 0)
		return out->json = true;
	for (size_t k = 0; k < ARRAY_COUNT(options); k++) {
		value = value_of(words, count, i, options[k].name);
		if (value == NULL)
			continue;
		*options[k].to = value;
		return true;
	}
	value = value_of(words, count, i, "-H");
	if (value == NULL)
		return false;
	*ARENA_PUSH(a, out->headers, out->header_count, *room) = value;
	return true;
}

bool
explain_words_read(struct arena *a, const char *const *words, size_t count,
    struct explain_words *out, FILE *wrong)
{
	size_t room = 0;

	*out = (struct explain_words){ 0 };
	for (size_t i = 0; i < count; i++) {
		const char *word = words[i];

		if (word[0] == '-' && word[1] != '\0') {
			if (!read_option(a, words, count, &i, out, &room))
				return refuse(wrong, "it cannot read", word);
		} else if (out->question != NULL) {
			return refuse(wrong, "one question at a time; there is also", word);
		} else {
			out->question = word;
		}
	}
	if (out->question == NULL && out->protocol == NULL)
		return refuse(wrong, "what is asked?", NULL);
	if (out->protocol != NULL && out->header_count > 0)
		return refuse(wrong, "-H is for a URL; behind -p all stands in the bytes", NULL);
	return true;
}

/* ------------------------------------------------------------------ a URL */

/* host[:port]; of one that is malformed there is no port, and the parser will say so. */
static void
read_authority(struct slice text, struct explain_url *out)
{
	size_t colon = text.n;
	uint64_t port;

	while (colon > 0 && text.at[colon - 1] != ':' && text.at[colon - 1] != ']')
		colon--;
	out->host = text;
	if (colon == 0 || text.at[colon - 1] != ':' ||
	    !slice_to_u64(slice_after(text, colon), &port) || port == 0 || port > UINT16_MAX)
		return;
	out->port = (uint16_t)port;
	out->host = slice_first(text, colon - 1);
}

static bool
is_host(const char *header)
{
	return strncasecmp(header, "host:", 5) == 0;
}

static void
write_question(struct builder *b, const struct explain_words *words, struct slice method,
    struct slice target, struct slice version, struct slice authority)
{
	bool named = authority.n == 0;

	builder_slice_put(b, method);
	builder_byte(b, ' ');
	if (target.n == 0 || target.at[0] == '?')
		builder_byte(b, '/');
	builder_slice_put(b, target);
	builder_byte(b, ' ');
	builder_slice_put(b, version);
	BUILDER_LITERAL(b, "\r\n");
	for (size_t i = 0; i < words->header_count; i++)
		named |= is_host(words->headers[i]);
	if (!named) {
		BUILDER_LITERAL(b, "Host: ");
		builder_slice_put(b, authority);
		BUILDER_LITERAL(b, "\r\n");
	}
	for (size_t i = 0; i < words->header_count; i++) {
		builder_text(b, words->headers[i]);
		BUILDER_LITERAL(b, "\r\n");
	}
	BUILDER_LITERAL(b, "\r\n");
}

static size_t
room_for(const struct explain_words *words)
{
	size_t room = 2 * strlen(words->question) + 64;

	for (size_t i = 0; i < words->header_count; i++)
		room += strlen(words->headers[i]) + 2;
	return room;
}

bool
explain_url_read(
    struct arena *a, const struct explain_words *words, struct explain_url *out, FILE *wrong)
{
	struct slice rest = slice_of(words->question), first, authority = SLICE_EMPTY;
	struct slice method = SLICE("GET"), version = SLICE("HTTP/1.1");
	size_t scheme, room = room_for(words), space = slice_find(rest, ' ', 0);

	*out = (struct explain_url){ 0 };
	if (space < rest.n) {
		(void)slice_split(&rest, ' ', &method);
		(void)slice_split(&rest, ' ', &first);
		version = rest.n > 0 ? rest : version;
		rest = first;
	}
	scheme = slice_find_slice(rest, SLICE("://"));
	if (scheme < rest.n) {
		out->secure = slice_equal_nocase(slice_first(rest, scheme), SLICE("https"));
		if (!out->secure && !slice_equal_nocase(slice_first(rest, scheme), SLICE("http")))
			return refuse(wrong,
			    "a URL begins with http:// or https://; for other protocols there is -p",
			    NULL);
		rest = slice_after(rest, scheme + 3);

		size_t end = MIN_OF(slice_find(rest, '/', 0), slice_find(rest, '?', 0));

		authority = slice_first(rest, end);
		rest = slice_after(rest, end);
		read_authority(authority, out);
	}

	struct builder b = builder_on(arena_alloc(a, room), room);

	write_question(&b, words, method, rest, version, authority);
	out->bytes = builder_slice(&b);
	return true;
}
