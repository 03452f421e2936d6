/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fields that HTTP offers to a configuration, from the two heads of an
 * exchange, whichever version of HTTP brought them.
 */
#include "protocols/http/fields.h"

#include "core/exchange.h"

static bool
give(struct slice text, size_t nth, struct field_value *out)
{
	out->text = text;
	return nth == 0 && text.n != 0;
}

static bool
get_method(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give(message_piece(&ex->question, ex->question.method_text), nth, out);
}

static bool
get_path(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give(ex->question.path, nth, out);
}

static bool
get_uri(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give(message_piece(&ex->question, ex->question.target), nth, out);
}

static bool
get_query(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give(ex->question.query, nth, out);
}

static bool
get_host(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give(ex->question.host, nth, out);
}

static bool
get_scheme(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give(SLICE("http"), nth, out);
}

static bool
get_version(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give(ex->question.minor == 0 ? SLICE("1.0") : SLICE("1.1"), nth, out);
}

static bool
get_status(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	out->number = ex->answer.status != 0 ? ex->answer.status : ex->status;
	return nth == 0 && out->number != 0;
}

/*
 * `%XX` and `+` of a form (WHATWG URL 5.1), in scratch memory where there are any; a lone `%` is
 * itself.
 */
static struct slice
form_decoded(struct exchange *ex, struct slice s)
{
	if (slice_find(s, '%', 0) == s.n && slice_find(s, '+', 0) == s.n)
		return s;

	char *text = scratch_alloc(&ex->engine->loop.scratch, s.n);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		int high = -1, low = -1;

		if (s.at[i] == '%' && s.n - i > 2) {
			high = ascii_hex_value(s.at[i + 1]);
			low = ascii_hex_value(s.at[i + 2]);
		}
		if (high >= 0 && low >= 0) {
			text[n++] = (char)(high << 4 | low);
			i += 2;
		} else {
			text[n++] = s.at[i] == '+' ? ' ' : s.at[i];
		}
	}
	return slice_make(text, n);
}

/* Behind the value before the nth, where that was the last one asked for; else at the start. */
static struct field_cursor *
cursor_before(struct exchange *ex, const struct field_ref *ref, size_t nth, struct slice all)
{
	struct field_cursor *c = &ex->cursor;

	if (nth == 0 || c->ref != ref || c->nth != nth)
		*c = (struct field_cursor){ .ref = ref, .rest = all };
	return c;
}

static bool
next_pair(struct exchange *ex, struct field_cursor *c, struct slice *value)
{
	struct slice name;

	while (fields_pair(&c->rest, &name, value))
		if (slice_equal(form_decoded(ex, name), c->ref->name))
			return true;
	return false;
}

static bool
get_query_pair(
    struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	struct field_cursor *c = cursor_before(ex, ref, nth, ex->question.query);
	struct slice value;

	while (next_pair(ex, c, &value))
		if (c->nth++ == nth) {
			out->text = form_decoded(ex, value);
			return true;
		}
	return false;
}

static bool
get_cookie(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	struct field_cursor *c = cursor_before(ex, ref, nth, SLICE_EMPTY);

	while (fields_cookie(&ex->question, ref->name, &c->field, &c->rest, &out->text))
		if (c->nth++ == nth)
			return true;
	return false;
}

static bool
get_header(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return message_find(&ex->question, ref->known, ref->name, nth, &out->text);
}

static bool
get_response_header(
    struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return message_find(&ex->answer, ref->known, ref->name, nth, &out->text);
}

static bool
prepare_header(struct reading *r, const struct scope *scope, struct field_ref *ref, struct span at)
{
	for (size_t i = 0; i < ref->name.n; i++) {
		if (ascii_is_token(ref->name.at[i]))
			continue;
		struct slice word = diag_word(ref->name);

		diag_error(r->diag, at, "\"" SLICE_FORMAT "\" cannot be the name of a header",
		    SLICE_ARG(word));
		return false;
	}
	ref->known = known_find(ref->name);
	return true;
}

#define TEXT .type = FIELD_TEXT

const struct field http_fields[] = {
	{ .name = "method", TEXT, .moment = MOMENT_QUESTION, .flags = FIELD_CAPITALS, .get = get_method,
	    .help = "The method, as it was written: GET." },
	{ .name = "path", TEXT, .moment = MOMENT_QUESTION, .get = get_path,
	    .help = "The path, decoded, without `.` and `..` segments; what routes see." },
	{ .name = "uri", TEXT, .moment = MOMENT_QUESTION, .flags = FIELD_URI, .get = get_uri,
	    .help = "The target of the request line, as it came." },
	{ .name = "query", TEXT, .moment = MOMENT_QUESTION, .flags = FIELD_URI, .get = get_query,
	    .help = "What stands behind the `?`, not decoded." },
	{ .name = "query.", TEXT, .moment = MOMENT_QUESTION, .flags = FIELD_FAMILY | FIELD_REPEATED, .get = get_query_pair,
	    .help = "The values of one parameter of the query, decoded (%XX, and `+` for a space)." },
	{ .name = "header.", TEXT, .moment = MOMENT_QUESTION, .flags = FIELD_FAMILY | FIELD_REPEATED | FIELD_JOINED, .get = get_header,
	    .prepare = prepare_header, .help = "The values of one header field of the question." },
	{ .name = "cookie.", TEXT, .moment = MOMENT_QUESTION, .flags = FIELD_FAMILY | FIELD_REPEATED, .get = get_cookie,
	    .help = "The values of one cookie, as they came." },
	{ .name = "host", TEXT, .moment = MOMENT_QUESTION, .flags = FIELD_NOCASE | FIELD_URI, .get = get_host,
	    .help = "The host that was asked for, lower case, without the port." },
	{ .name = "scheme", TEXT, .moment = MOMENT_QUESTION, .get = get_scheme,
	    .help = "How the client came: http." },
	{ .name = "version", TEXT, .moment = MOMENT_QUESTION, .get = get_version, .help = "The version of HTTP: 1.0, 1.1." },
	{ .name = "status", .type = FIELD_NUMBER, .moment = MOMENT_ANSWER, .get = get_status,
	    .help = "The status of the answer." },
	{ .name = "response_header.", TEXT, .moment = MOMENT_ANSWER, .flags = FIELD_FAMILY | FIELD_REPEATED | FIELD_JOINED,
	    .get = get_response_header, .prepare = prepare_header, .help = "The values of one header field of the answer." },
	{ .name = NULL },
};
