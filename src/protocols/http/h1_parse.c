/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Heads and chunks of HTTP/1 (RFC 9112). A head is read once, sixteen bytes a step where runs of
 * bytes are harmless, by a table where they are not; what a known name says is noted as it goes by.
 *
 * Every early error is one that all longer inputs would give as well: what is read is cut at the
 * limits first, and the first thing wrong in the order of the bytes decides.
 */
#include "protocols/http/h1_parse.h"

#include "base/addr.h"
#include "base/digest.h"
#include "protocols/http/scan.h"

/* ------------------------------------------------------------------ bytes */

enum {
	TOKEN = 1,              /* RFC 9110 5.6.2 tchar */
	HOST = 2,               /* RFC 3986 reg-name, lower case, without %XX */
	UPPER = 4,              /* a capital letter of one */
};

static const uint8_t classes[256] = {
	['0' ... '9'] = TOKEN | HOST, ['a' ... 'z'] = TOKEN | HOST, ['A' ... 'Z'] = TOKEN | UPPER,
	['-'] = TOKEN | HOST, ['.'] = TOKEN | HOST, ['_'] = TOKEN | HOST, ['~'] = TOKEN | HOST,
	['!'] = TOKEN | HOST, ['$'] = TOKEN | HOST, ['&'] = TOKEN | HOST, ['\''] = TOKEN | HOST,
	['*'] = TOKEN | HOST, ['+'] = TOKEN | HOST,
	['('] = HOST, [')'] = HOST, [','] = HOST, [';'] = HOST, ['='] = HOST,
	['#'] = TOKEN, ['%'] = TOKEN, ['^'] = TOKEN, ['`'] = TOKEN, ['|'] = TOKEN,
};

static inline bool
is(char c, unsigned which)
{
	return (classes[(unsigned char)c] & which) != 0;
}

/* A token, or empty; bytes up to `end` may be read. */
static bool
is_token(struct slice s, const char *end)
{
	const char *stop = s.at + s.n;

	for (const char *at = s.at; (at = scan(s.at, at, stop, end, SCAN_NOT_NAME)) < stop; at++)
		if (!is(*at, TOKEN))
			return false;
	return true;
}

/* ------------------------------------------------------------------ a head while it is read */

enum {
	FIELDS_START = 12,
	OPTIONS_MAX = 64,               /* of Connection: each is looked for in all fields */
};

struct head {
	struct message *m;
	struct arena *arena;
	const struct h1_limits *limits;
	const char *end;                /* of the input, or of what the limits let us look at */
	bool cut;                       /* there are as many bytes as a head may have */
	bool question;
	bool trailers;
	bool connection_upgrade;        /* Connection: upgrade */
	bool connection_close, connection_keep;
	uint8_t options;                /* of Connection */
	struct slice authority;         /* of Host */
	enum reason why;
};

enum progress { HEAD_BAD = -1, HEAD_MORE, HEAD_OK };

static enum progress
refuse(struct head *h, enum reason why)
{
	h->why = why;
	return HEAD_BAD;
}

/*
 * The line that began at `line` was read up to `stop` and is not at its end; `most` bytes it may
 * have. `why`: what it is when it has more.
 */
static enum progress
short_line(struct head *h, const char *line, const char *stop, size_t most, enum reason why)
{
	if ((size_t)(stop - line) > most)
		return refuse(h, why);
	return h->cut ? refuse(h, REASON_HEAD_TOO_LARGE) : HEAD_MORE;
}

/*
 * Where reading a line has to stop that may have `most` bytes: one behind them, if there are so
 * many.
 */
static inline const char *
line_stop(const struct head *h, const char *line, size_t most)
{
	return (size_t)(h->end - line) > most ? line + most + 1 : h->end;
}

/* CRLF at *at (RFC 9112 2.2: a bare CR or LF is none), which is before the end. */
static inline enum progress
line_end(struct head *h, const char **at)
{
	const char *p = *at;

	if (unlikely(*p != '\r'))
		return refuse(h, REASON_BAD_MESSAGE);
	if (unlikely(h->end - p < 2))
		return h->cut ? refuse(h, REASON_HEAD_TOO_LARGE) : HEAD_MORE;
	if (unlikely(p[1] != '\n'))
		return refuse(h, REASON_BAD_MESSAGE);
	*at = p + 2;
	return HEAD_OK;
}

/* ------------------------------------------------------------------ what known fields say */

/* Digits behind the colon; RFC 3986 3.2.3 lets there be none. */
static bool
read_port(struct slice digits, uint16_t *out)
{
	unsigned port = 0;

	if (digits.n == 0)
		return true;
	for (size_t i = 0; i < digits.n; i++) {
		if (i == 5 || !ascii_is_digit(digits.at[i]))
			return false;
		port = port * 10 + (unsigned)(digits.at[i] - '0');
	}
	*out = (uint16_t)port;
	return port > 0 && port <= UINT16_MAX;
}

/* The bracketed address at the front, or nothing. */
static struct slice
read_v6(struct slice text, bool *upper)
{
	struct slice host = slice_first(text, MIN_OF(slice_find(text, ']', 0) + 1, text.n));
	struct addr addr;

	/* a zone (RFC 6874) means something to its own machine only */
	if (memchr(host.at, '%', host.n) != NULL || !addr_parse_host(host, &addr))
		return SLICE_EMPTY;
	for (size_t i = 0; i < host.n; i++)
		*upper |= is(host.at[i], UPPER);
	return host;
}

/* The name at the front, its last dot too. */
static struct slice
read_host_name(struct slice text, const char *end, bool *upper)
{
	const char *stop = text.at + text.n, *at = text.at;

	while ((at = scan(text.at, at, stop, end, SCAN_NOT_HOST)) < stop && is(*at, HOST | UPPER))
		*upper |= is(*at++, UPPER);
	return slice_make(text.at, (size_t)(at - text.at));
}

/* Bytes up to `end` may be read. */
static inline bool
read_authority(struct slice text, const char *end, struct h1_authority *out)
{
	*out = (struct h1_authority){ .host = SLICE_EMPTY };
	if (text.n == 0)
		return false;

	bool v6 = text.at[0] == '[';
	struct slice host = v6 ? read_v6(text, &out->upper) : read_host_name(text, end, &out->upper);
	struct slice rest = slice_after(text, host.n);

	if (host.n > 1 && host.at[host.n - 1] == '.')
		host.n--;
	if (host.n == 0 || host.at[0] == '.' || host.at[host.n - 1] == '.')
		return false;
	out->host = host;
	return rest.n == 0 || (rest.at[0] == ':' && read_port(slice_after(rest, 1), &out->port));
}

bool
h1_authority_read(struct slice text, struct h1_authority *out)
{
	return read_authority(text, text.at + text.n, out);
}

static struct slice
lowered(struct arena *a, struct slice s)
{
	char *copy = arena_alloc(a, s.n);

	for (size_t i = 0; i < s.n; i++)
		copy[i] = ascii_lower(s.at[i]);
	return slice_make(copy, s.n);
}

/* RFC 9112 3.2: exactly one. */
static enum progress
note_host(struct head *h, struct slice value)
{
	struct h1_authority authority;

	if ((h->m->known >> KNOWN_HOST & 1) != 0 || !read_authority(value, h->end, &authority))
		return refuse(h, REASON_BAD_HOST);
	h->authority = value;
	h->m->host = authority.upper ? lowered(h->arena, authority.host) : authority.host;
	return HEAD_OK;
}

/* Zeros in front mean nothing, but not to every reader: they do not go on. */
static void
tidy_length(struct head *h, struct slice value)
{
	struct message *m = h->m;

	if (likely(value.at[0] != '0' || value.n == 1))
		return;
	while (value.n > 1 && value.at[0] == '0')
		value = slice_after(value, 1);
	m->fields[m->field_count - 1].removed = true;
	message_add_known(m, h->arena, KNOWN_CONTENT_LENGTH, value);
}

/* RFC 9112 6.3: one number, and no Transfer-Encoding beside it. */
static enum progress
note_length(struct head *h, struct slice value)
{
	if ((h->m->known >> KNOWN_CONTENT_LENGTH & 1) != 0 || h->m->body == BODY_CHUNKED)
		return refuse(h, REASON_BAD_MESSAGE);
	if (value.n > 15 || !slice_to_u64(value, &h->m->length))
		return refuse(h, REASON_BAD_MESSAGE);
	h->m->body = BODY_LENGTH;
	tidy_length(h, value);
	return HEAD_OK;
}

/*
 * A list of other codings than ours, chunked at most at the end: well-formed, and not for us (RFC
 * 9112 6.1).
 */
static bool
are_codings(struct slice value)
{
	struct slice coding;
	bool any = false, chunked = false;

	while (slice_split(&value, ',', &coding)) {
		any = true;
		coding = slice_trim(coding);
		if (coding.n == 0 || !is_token(coding, coding.at + coding.n) || chunked)
			return false;
		chunked = slice_equal_nocase(coding, SLICE("chunked"));
	}
	return any;
}

static enum progress
note_coding(struct head *h, struct slice value)
{
	if ((h->m->known >> KNOWN_TRANSFER_ENCODING & 1) != 0 || h->m->body == BODY_LENGTH ||
	    h->m->minor == 0)
		return refuse(h, REASON_BAD_MESSAGE);
	if (!slice_equal_nocase(value, SLICE("chunked")))
		return refuse(h, are_codings(value) ? REASON_NOT_IMPLEMENTED : REASON_BAD_MESSAGE);
	h->m->body = BODY_CHUNKED;
	return HEAD_OK;
}

/* Nobody heeds it, but some take the fields that it names for this hop's too. */
static enum progress
note_proxy_connection(struct head *h, struct slice value)
{
	struct slice option;

	while (slice_split(&value, ',', &option)) {
		if (++h->options > OPTIONS_MAX)
			return refuse(h, REASON_BAD_MESSAGE);
		h->m->names_fields |= !slice_equal_nocase(slice_trim(option), SLICE("keep-alive"));
	}
	return HEAD_OK;
}

static enum progress
note_connection(struct head *h, struct slice value)
{
	struct slice option;

	while (slice_split(&value, ',', &option)) {
		option = slice_trim(option);
		if (!is_token(option, h->end) || ++h->options > OPTIONS_MAX)
			return refuse(h, REASON_BAD_MESSAGE);
		if (slice_equal_nocase(option, SLICE("close")))
			h->connection_close = true;
		else if (slice_equal_nocase(option, SLICE("keep-alive")))
			h->connection_keep = true;
		else if (slice_equal_nocase(option, SLICE("upgrade")))
			h->connection_upgrade = true;
		else if (option.n != 0 && !slice_equal_nocase(option, SLICE("te")))
			h->m->names_fields = true;
	}
	return HEAD_OK;
}

/* RFC 9110 10.1.1: 1.0 cannot expect; of the others there is only one expectation. */
static enum progress
note_expect(struct head *h, struct slice value)
{
	if (!h->question || h->m->minor == 0)
		return HEAD_OK;
	if (!slice_equal_nocase(value, SLICE("100-continue")))
		return refuse(h, REASON_BAD_EXPECTATION);
	h->m->expect = true;
	return HEAD_OK;
}

/* RFC 9110 10.1.4: of what it may say, one thing concerns us. */
static enum progress
note_te(struct head *h, struct slice value)
{
	struct slice coding;

	while (h->question && h->m->minor != 0 && slice_split(&value, ',', &coding))
		if (slice_equal_nocase(slice_trim(coding), SLICE("trailers")))
			h->m->takes_trailers = true;
	return HEAD_OK;
}

#define BIT(known) (UINT64_C(1) << (known))

static const uint64_t noted = BIT(KNOWN_CONNECTION) | BIT(KNOWN_CONTENT_LENGTH) |
    BIT(KNOWN_EXPECT) | BIT(KNOWN_HOST) | BIT(KNOWN_PROXY_CONNECTION) | BIT(KNOWN_TE) |
    BIT(KNOWN_TRANSFER_ENCODING);

static enum progress
note(struct head *h, enum known known, struct slice value)
{
	if (h->trailers)
		return HEAD_OK;
	switch (known) {
	case KNOWN_CONNECTION:
		return note_connection(h, value);
	case KNOWN_CONTENT_LENGTH:
		return note_length(h, value);
	case KNOWN_EXPECT:
		return note_expect(h, value);
	case KNOWN_HOST:
		return h->question ? note_host(h, value) : HEAD_OK;
	case KNOWN_PROXY_CONNECTION:
		return note_proxy_connection(h, value);
	case KNOWN_TE:
		return note_te(h, value);
	case KNOWN_TRANSFER_ENCODING:
		return note_coding(h, value);
	default:
		return HEAD_OK;
	}
}

/* ------------------------------------------------------------------ field lines */

static struct message_field *
new_field(struct head *h)
{
	struct message *m = h->m;

	if (unlikely(m->field_count == m->field_room)) {
		size_t wanted = MAX_OF((size_t)m->field_room * 2, (size_t)FIELDS_START);
		size_t room = MIN_OF(wanted, h->limits->count);
		struct message_field *fields = arena_alloc(h->arena, room * sizeof(*fields));

		if (m->field_count > 0)
			memcpy(fields, m->fields, m->field_count * sizeof(*fields));
		m->fields = fields;
		m->field_room = (uint16_t)room;
	}
	return &m->fields[m->field_count++];
}

/* A name that is not known: a token. Noted is one that who asks may be said by (core/trust.h). */
static inline bool
read_name(struct head *h, struct slice name)
{
	static const struct slice claim = SLICE("x-forwarded-");
	const char *stop = name.at + name.n;

	for (const char *at = name.at;
	    (at = scan(name.at, at, stop, h->end, SCAN_NOT_NAME)) < stop; at++) {
		if (!is(*at, TOKEN))
			return false;
		h->m->claims |= *at == '_';
	}
	if (name.n > claim.n && (name.at[0] | 0x20) == 'x')
		h->m->claims |= slice_starts_nocase(name, claim);
	return true;
}

/* RFC 9112 5: name ":" OWS value OWS CRLF. A folded line (5.2) begins with a space: no token. */
static inline enum progress
read_field(struct head *h, const char **at)         /* shape: parser */
{
	const char *line = *at, *stop = line_stop(h, line, h->limits->field);
	const char *colon = scan(h->m->base, line, stop, h->end, SCAN_COLON);
	struct slice name = slice_make(line, (size_t)(colon - line));
	enum known known = known_find(name);

	if (unlikely(known == KNOWN_NONE && !read_name(h, name)))
		return refuse(h, REASON_BAD_MESSAGE);
	if (unlikely(colon == stop))
		return short_line(h, line, stop, h->limits->field, REASON_HEAD_TOO_LARGE);
	if (unlikely(name.n == 0 || name.n > UINT16_MAX))
		return refuse(h, REASON_BAD_MESSAGE);

	const char *value = colon + 1;

	if (likely(value < stop && *value == ' '))
		value++;
	else
		h->m->spaced = true;
	while (unlikely(value < stop && (*value == ' ' || *value == '\t'))) {
		h->m->spaced = true;
		value++;
	}

	const char *p = scan(h->m->base, value, stop, h->end, SCAN_CONTROL);

	while (unlikely(p < stop && *p == '\t'))
		p = scan(h->m->base, p + 1, stop, h->end, SCAN_CONTROL);
	if (unlikely(p == stop))
		return short_line(h, line, stop, h->limits->field, REASON_HEAD_TOO_LARGE);

	const char *value_end = p;
	enum progress progress = line_end(h, &p);

	if (unlikely(progress != HEAD_OK))
		return progress;
	while (unlikely(value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t'))) {
		h->m->spaced = true;
		value_end--;
	}
	if (unlikely(h->m->field_count >= h->limits->count))
		return refuse(h, REASON_HEAD_TOO_LARGE);

	const char *base = h->m->base;

	*new_field(h) = (struct message_field){
		.name_at = (uint32_t)(line - base),
		.name_n = (uint16_t)name.n,
		.known = (uint8_t)known,
		.value_at = (uint32_t)(value - base),
		.value_n = (uint32_t)(value_end - value),
		.end = (uint32_t)(p - base),
	};
	*at = p;
	if ((noted >> known & 1) != 0)
		progress = note(h, known, slice_make(value, (size_t)(value_end - value)));
	h->m->known |= BIT(known);
	return progress;
}

/* To the empty line, which is taken. */
static enum progress
read_fields(struct head *h, const char **at)
{
	const char *p = *at;

	while (likely(p < h->end && *p != '\r')) {
		enum progress progress = read_field(h, &p);

		if (unlikely(progress != HEAD_OK))
			return progress;
	}
	*at = p;
	if (unlikely(p == h->end))
		return h->cut ? refuse(h, REASON_HEAD_TOO_LARGE) : HEAD_MORE;
	return line_end(h, at);
}

/* ------------------------------------------------------------------ first lines */

/* HTTP/D.D at *at, by the byte: what is wrong is said before the line has ended. */
static enum progress
read_version_slowly(struct head *h, const char *line, const char **at, size_t most, enum reason why)
{
	const char *stop = line_stop(h, line, most);
	static const char form[] = "HTTP/0.0";
	const char *p = *at;

	for (size_t i = 0; i < sizeof(form) - 1; i++, p++) {
		if (p == stop)
			return short_line(h, line, stop, most, why);
		if (form[i] == '0' ? !ascii_is_digit(*p) : *p != form[i])
			return refuse(h, REASON_BAD_MESSAGE);
	}
	/* RFC 9110 2.5: a higher minor version is read as the highest that is known */
	h->m->minor = p[-1] != '0';
	*at = p;
	return HEAD_OK;
}

static inline enum progress
read_version(struct head *h, const char *line, const char **at, size_t most, enum reason why)
{
	if (likely(h->end - *at >= 8 && memcmp(*at, "HTTP/1.1", 8) == 0 &&
	    (size_t)(*at - line) + 8 <= most)) {
		h->m->minor = 1;
		*at += 8;
		return HEAD_OK;
	}
	return read_version_slowly(h, line, at, most, why);
}

static enum method
method_find(struct slice name)
{
	static const struct slice names[METHOD_COUNT] = {
		[METHOD_GET] = SLICE("GET"), [METHOD_HEAD] = SLICE("HEAD"),
		[METHOD_POST] = SLICE("POST"), [METHOD_PUT] = SLICE("PUT"),
		[METHOD_DELETE] = SLICE("DELETE"), [METHOD_OPTIONS] = SLICE("OPTIONS"),
		[METHOD_PATCH] = SLICE("PATCH"), [METHOD_TRACE] = SLICE("TRACE"),
		[METHOD_CONNECT] = SLICE("CONNECT"),
	};

	for (enum method i = METHOD_GET; i < METHOD_COUNT; i++)
		if (slice_equal(names[i], name))
			return i;
	return METHOD_OTHER;
}

/* method SP, the method being a token of any letters; compared exactly. */
static inline enum progress
read_method(struct head *h, const char *line, const char *stop, const char **at)
{
	const char *p = line;

	if (likely(stop - p >= 4 && memcmp(p, "GET ", 4) == 0)) {
		p += 3;
		h->m->method = METHOD_GET;
	} else {
		while (p < stop && is(*p, TOKEN))
			p++;
		if (p == stop)
			return short_line(h, line, stop, h->limits->uri, REASON_URI_TOO_LONG);
		if (p == line || *p != ' ')
			return refuse(h, REASON_BAD_MESSAGE);
		h->m->method = (uint8_t)method_find(slice_make(line, (size_t)(p - line)));
	}
	h->m->method_text = (struct piece){ (uint32_t)(line - h->m->base), (uint32_t)(p - line) };
	*at = p + 1;
	return HEAD_OK;
}

/* The authority of an absolute target, RFC 9112 3.2.2; false: it is none of http or https. */
static bool
target_authority(struct slice target, struct slice *authority)
{
	if (slice_starts_nocase(target, SLICE("http://")))
		*authority = slice_after(target, 7);
	else if (slice_starts_nocase(target, SLICE("https://")))
		*authority = slice_after(target, 8);
	else
		return false;
	authority->n = MIN_OF(slice_find(*authority, '/', 0), slice_find(*authority, '?', 0));
	return true;
}

/* RFC 9112 3.2: origin-form, absolute-form, `*` for OPTIONS. */
static enum progress
check_target(struct head *h)
{
	struct slice target = message_piece(h->m, h->m->target), authority;
	struct h1_authority parts;

	if (h->m->method == METHOD_CONNECT)
		return refuse(h, REASON_NOT_IMPLEMENTED);
	if (target.at[0] == '/')
		return HEAD_OK;
	if (target.n == 1 && target.at[0] == '*' && h->m->method == METHOD_OPTIONS)
		return HEAD_OK;
	if (!target_authority(target, &authority))
		return refuse(h, REASON_BAD_MESSAGE);
	return h1_authority_read(authority, &parts) ? HEAD_OK : refuse(h, REASON_BAD_HOST);
}

/* RFC 9112 3: method SP target SP version CRLF, one space each. */
static enum progress
read_request_line(struct head *h, const char **at)
{
	const char *line = *at, *stop = line_stop(h, line, h->limits->uri), *target;
	enum progress progress = read_method(h, line, stop, &target);

	if (unlikely(progress != HEAD_OK))
		return progress;

	const char *p = scan(h->m->base, target, stop, h->end, SCAN_NOT_VISIBLE);

	if (unlikely(p == stop))
		return short_line(h, line, stop, h->limits->uri, REASON_URI_TOO_LONG);
	if (unlikely(*p != ' ' || p == target))
		return refuse(h, REASON_BAD_MESSAGE);
	h->m->target = (struct piece){ (uint32_t)(target - h->m->base), (uint32_t)(p - target) };
	p++;
	const char *version = p;

	progress = read_version(h, line, &p, h->limits->uri, REASON_URI_TOO_LONG);
	if (unlikely(progress != HEAD_OK))
		return progress;
	if (unlikely(p == stop))
		return short_line(h, line, stop, h->limits->uri, REASON_URI_TOO_LONG);
	progress = line_end(h, &p);
	if (unlikely(progress != HEAD_OK))
		return progress;
	*at = p;
	if (unlikely(version[5] != '1'))
		return refuse(h, REASON_BAD_VERSION);
	return check_target(h);
}

/*
 * RFC 9112 4: version SP status [SP reason] CRLF. Without a reason the second space may be missing.
 */
static enum progress
read_status_line(struct head *h, const char **at)
{
	const char *line = *at, *stop = line_stop(h, line, h->limits->field), *p = line;
	enum progress progress = read_version(h, line, &p, h->limits->field, REASON_HEAD_TOO_LARGE);
	unsigned status = 0;

	if (unlikely(progress != HEAD_OK))
		return progress;
	/* a version that we would not write has no place in an answer to us */
	if (line[5] != '1' || (line[7] != '0' && line[7] != '1'))
		return refuse(h, REASON_PEER_BAD_MESSAGE);
	for (unsigned i = 0; i < 4; i++, p++) {
		if (p >= stop)
			return short_line(h, line, stop, h->limits->field, REASON_HEAD_TOO_LARGE);
		if (i == 0 ? *p != ' ' : !ascii_is_digit(*p))
			return refuse(h, REASON_PEER_BAD_MESSAGE);
		status = i == 0 ? 0 : status * 10 + (unsigned)(*p - '0');
	}
	if (status < 100 || status > 599)
		return refuse(h, REASON_PEER_BAD_MESSAGE);
	h->m->status = (uint16_t)status;

	const char *phrase = p;

	if (p < stop && *p == ' ') {
		phrase = p + 1;
		p = scan(h->m->base, phrase, stop, h->end, SCAN_CONTROL);
		while (p < stop && *p == '\t')
			p = scan(h->m->base, p + 1, stop, h->end, SCAN_CONTROL);
	}
	if (p >= stop)
		return short_line(h, line, stop, h->limits->field, REASON_HEAD_TOO_LARGE);
	h->m->reason_phrase.at = (uint32_t)(phrase - h->m->base);
	h->m->reason_phrase.n = (uint32_t)(p - phrase);
	*at = p;
	return line_end(h, at);
}

/* ------------------------------------------------------------------ whole heads */

static struct head
head_begin(struct message *m, struct arena *a, struct slice in, const struct h1_limits *l)
{
	struct message_field *fields = m->fields;
	uint16_t room = m->field_room;

	message_init(m);
	m->fields = fields;
	m->field_room = room;
	m->base = in.at;
	return (struct head){
		.m = m, .arena = a, .limits = l,
		.end = in.at + MIN_OF(in.n, l->head), .cut = in.n >= l->head,
	};
}

/* The value, if there is exactly one field of that name. */
static bool
only_value(const struct message *m, enum known known, struct slice *value)
{
	struct slice second;

	return message_find(m, known, SLICE_EMPTY, 0, value) &&
	    !message_find(m, known, SLICE_EMPTY, 1, &second);
}

static bool
names_websocket(const struct head *h)
{
	struct slice value;

	return h->m->minor == 1 && h->connection_upgrade &&
	       only_value(h->m, KNOWN_UPGRADE, &value) &&
	       slice_equal_nocase(value, SLICE("websocket"));
}

/* RFC 6455 4.2.1. Any other Upgrade is not heard. */
static bool
asks_websocket(const struct head *h)
{
	struct slice key, version;
	uint8_t nonce[16];

	return h->m->method == METHOD_GET && h->m->body == BODY_NONE && names_websocket(h) &&
	    only_value(h->m, KNOWN_SEC_WEBSOCKET_KEY, &key) && key.n == 24 &&
	    base64_read(key, nonce, sizeof(nonce)) == sizeof(nonce) &&
	    only_value(h->m, KNOWN_SEC_WEBSOCKET_VERSION, &version) && slice_is(version, "13");
}

/* RFC 9112 3.2.2: the target's authority and Host must be the same. */
static enum progress
settle_host(struct head *h)
{
	struct message *m = h->m;
	struct slice target = message_piece(m, m->target), authority;
	bool has = (m->known >> KNOWN_HOST & 1) != 0;
	struct h1_authority parts;

	if (unlikely(!has && m->minor == 1))
		return refuse(h, REASON_BAD_HOST);
	if (likely(target.at[0] == '/') || !target_authority(target, &authority))
		return HEAD_OK;
	if (has && slice_equal_nocase(authority, h->authority))
		return HEAD_OK;
	if (has || !h1_authority_read(authority, &parts))
		return refuse(h, REASON_BAD_HOST);
	m->host = parts.upper ? lowered(h->arena, parts.host) : parts.host;
	message_add_known(m, h->arena, KNOWN_HOST, authority);
	return HEAD_OK;
}

/* RFC 9112 9.3. */
static void
settle_connection(struct head *h)
{
	h->m->keep_alive = !h->connection_close && (h->m->minor == 1 || h->connection_keep);
}

static enum progress
read_question(struct head *h, const char **at)
{
	enum progress progress = HEAD_OK;

	/* RFC 9112 2.2: an old client may end a body with a CRLF that is not counted */
	if (unlikely(**at == '\r'))
		progress = line_end(h, at);
	if (likely(progress == HEAD_OK))
		progress = read_request_line(h, at);
	if (likely(progress == HEAD_OK))
		progress = read_fields(h, at);
	return likely(progress == HEAD_OK) ? settle_host(h) : progress;
}

ssize_t
h1_parse_question(struct message *m, struct arena *a, struct slice in, const struct h1_limits *l,
    enum reason *why)
{
	struct head h = head_begin(m, a, in, l);
	const char *at = in.at;

	h.question = true;
	if (in.n == 0)
		return 0;

	enum progress progress = read_question(&h, &at);

	if (unlikely(progress != HEAD_OK)) {
		if (progress == HEAD_BAD)
			*why = h.why;
		return progress;
	}
	settle_connection(&h);
	if (unlikely((m->known & BIT(KNOWN_UPGRADE)) != 0))
		m->upgrade = asks_websocket(&h);
	m->size = (uint32_t)(at - in.at);
	return at - in.at;
}

/* RFC 9112 6.3, what does not depend on the question. */
static void
settle_answer_body(struct head *h)
{
	struct message *m = h->m;

	if (m->status < 200 || m->status == 204) {
		/* RFC 9110 8.6: it must not have a length; many have "0" */
		message_remove(m, KNOWN_CONTENT_LENGTH, SLICE_EMPTY);
		m->body = BODY_NONE;
	} else if (m->status == 304) {
		m->body = BODY_NONE;
	} else if (m->body == BODY_NONE) {
		m->body = BODY_TO_CLOSE;
		m->keep_alive = false;
	}
}

ssize_t
h1_parse_answer(struct message *m, struct arena *a, struct slice in, const struct h1_limits *l,
    enum reason *why)
{
	struct head h = head_begin(m, a, in, l);
	const char *at = in.at;

	if (in.n == 0)
		return 0;

	enum progress progress = read_status_line(&h, &at);

	if (likely(progress == HEAD_OK))
		progress = read_fields(&h, &at);
	if (unlikely(progress != HEAD_OK)) {
		if (progress == HEAD_BAD)
			*why = REASON_PEER_BAD_MESSAGE;
		return progress;
	}
	settle_connection(&h);
	settle_answer_body(&h);
	if (unlikely(m->status == 101))
		m->upgrade = names_websocket(&h);
	m->size = (uint32_t)(at - in.at);
	return at - in.at;
}

ssize_t
h1_parse_trailers(struct message *m, struct arena *a, struct slice in)
{
	static const struct h1_limits limits = {
		.field = H1_TRAILER, .head = H1_TRAILER + 2, .count = H1_TRAILERS
	};
	struct head h = head_begin(m, a, in, &limits);
	const char *at = in.at;

	h.trailers = true;

	enum progress progress = read_fields(&h, &at);

	return progress != HEAD_OK ? (ssize_t)progress : at - in.at;
}

bool
h1_head_again(struct slice in, size_t before, const struct h1_limits *l)
{
	size_t request_line = l->uri + 2;       /* and the CRLF that may stand before it */

	if (in.n <= before)
		return false;
	if (memchr(in.at + before, '\n', in.n - before) != NULL || in.n >= l->head)
		return true;
	/*
	 * a line that has become too long: seen where it first can be, and later at each doubling
	 */
	return (before <= request_line && in.n > request_line) || in.n / 2 >= before;
}

bool
h1_upgrade_agrees(const struct message *question, const struct message *answer)
{
	char text[24 + 36], encoded[28];
	uint8_t digest[DIGEST_SHA1];
	struct builder b = builder_on(text, sizeof(text));
	struct builder want = builder_on(encoded, sizeof(encoded));
	struct slice key, accept;

	if (!question->upgrade || !answer->upgrade ||
	    !only_value(question, KNOWN_SEC_WEBSOCKET_KEY, &key) ||
	    !only_value(answer, KNOWN_SEC_WEBSOCKET_ACCEPT, &accept))
		return false;
	builder_slice_put(&b, key);
	BUILDER_LITERAL(&b, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
	digest_sha1(builder_slice(&b), digest);
	base64_write(&want, slice_make((const char *)digest, sizeof(digest)));
	return slice_equal(builder_slice(&want), accept);
}

/* ------------------------------------------------------------------ chunked bodies */

enum chunk_state {
	CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF,
	CHUNK_TRAILER, CHUNK_TRAILER_NAME, CHUNK_TRAILER_VALUE, CHUNK_TRAILER_LF, CHUNK_LAST_LF,
	CHUNK_DONE, CHUNK_BAD,
};

_Static_assert(sizeof(struct h1_chunks) <= 32, "it lives in a conn");

static enum chunk_state
chunk_size(struct h1_chunks *c, char byte)
{
	int value = ascii_hex_value(byte);

	if (value >= 0) {
		c->left = c->left << 4 | (unsigned)value;
		return ++c->digits <= H1_CHUNK_DIGITS ? CHUNK_SIZE : CHUNK_BAD;
	}
	if (c->digits == 0)
		return CHUNK_BAD;
	c->digits = 0;
	c->extension = 1;
	if (byte == '\r')
		return CHUNK_SIZE_LF;
	return byte == ';' && ++c->extensions <= H1_CHUNK_EXTENSIONS ? CHUNK_EXTENSION : CHUNK_BAD;
}

static enum chunk_state
chunk_extension(struct h1_chunks *c, char byte)
{
	if (byte == '\r')
		return CHUNK_SIZE_LF;
	if ((unsigned char)byte < ' ' || byte == 0x7f)
		return CHUNK_BAD;
	if (++c->extension > H1_CHUNK_EXTENSION || ++c->extensions > H1_CHUNK_EXTENSIONS)
		return CHUNK_BAD;
	return CHUNK_EXTENSION;
}

static enum chunk_state
chunk_trailer(struct h1_chunks *c, char byte)
{
	bool control = (unsigned char)byte < ' ' || byte == 0x7f;

	if (c->state == CHUNK_TRAILER && byte == '\r')
		return CHUNK_LAST_LF;
	if (++c->trailer > H1_TRAILER)
		return CHUNK_BAD;
	switch (c->state) {
	case CHUNK_TRAILER:
		if (!is(byte, TOKEN) || ++c->trailers > H1_TRAILERS)
			return CHUNK_BAD;
		return CHUNK_TRAILER_NAME;
	case CHUNK_TRAILER_NAME:
		if (byte == ':')
			return CHUNK_TRAILER_VALUE;
		return is(byte, TOKEN) ? CHUNK_TRAILER_NAME : CHUNK_BAD;
	case CHUNK_TRAILER_VALUE:
		if (byte == '\r')
			return CHUNK_TRAILER_LF;
		return control && byte != '\t' ? CHUNK_BAD : CHUNK_TRAILER_VALUE;
	default:
		return byte == '\n' ? CHUNK_TRAILER : CHUNK_BAD;
	}
}

/* One byte that is none of the body. */
static enum chunk_state
chunk_step(struct h1_chunks *c, char byte)
{
	switch (c->state) {
	case CHUNK_SIZE:
		return chunk_size(c, byte);
	case CHUNK_EXTENSION:
		return chunk_extension(c, byte);
	case CHUNK_SIZE_LF:
		return byte != '\n' ? CHUNK_BAD : c->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
	case CHUNK_DATA_CR:
		return byte == '\r' ? CHUNK_DATA_LF : CHUNK_BAD;
	case CHUNK_DATA_LF:
		return byte == '\n' ? CHUNK_SIZE : CHUNK_BAD;
	case CHUNK_LAST_LF:
		return byte == '\n' ? CHUNK_DONE : CHUNK_BAD;
	default:
		return chunk_trailer(c, byte);
	}
}

bool
h1_chunks_stopped(const struct h1_chunks *c)
{
	return c->stops && c->state == CHUNK_TRAILER;
}

size_t
h1_chunks_read(struct h1_chunks *c, struct slice in, struct slice *data, bool *done, bool *bad)
{
	size_t at = 0;

	*data = slice_make(in.at, 0);
	while (at < in.n && c->state < CHUNK_DONE && !h1_chunks_stopped(c)) {
		if (c->state == CHUNK_DATA) {
			*data = slice_make(in.at + at, MIN_OF(in.n - at, c->left));
			c->left -= data->n;
			if (c->left == 0)
				c->state = CHUNK_DATA_CR;
			at += data->n;
			break;
		}
		c->state = (uint8_t)chunk_step(c, in.at[at++]);
	}
	*done = c->state == CHUNK_DONE;
	*bad = c->state == CHUNK_BAD;
	return at;
}
