/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RFC 3986 6.2.2 in one pass: decode and remove dots for the path, the equivalent encoded form for
 * the target that is forwarded. The usual path needs neither, and nothing is copied.
 */
#include "protocols/http/uri.h"

#include "protocols/http/scan.h"

enum {
	PATH = 1,               /* stands for itself in a path: pchar and `/` (RFC 3986 3.3) */
	UNRESERVED = 2,         /* RFC 3986 2.3 */
	ODD = 4,                /* nothing for a URI, but seen raw in paths: forwarded encoded */
};

static const uint8_t classes[256] = {
	['0' ... '9'] = PATH | UNRESERVED, ['A' ... 'Z'] = PATH | UNRESERVED,
	['a' ... 'z'] = PATH | UNRESERVED,
	['-'] = PATH | UNRESERVED, ['.'] = PATH | UNRESERVED,
	['_'] = PATH | UNRESERVED, ['~'] = PATH | UNRESERVED,
	['!'] = PATH, ['$'] = PATH, ['&'] = PATH, ['\''] = PATH, ['('] = PATH, [')'] = PATH,
	['*'] = PATH, ['+'] = PATH, [','] = PATH, [';'] = PATH, ['='] = PATH, [':'] = PATH, ['@'] = PATH,
	['/'] = PATH,
	['"'] = ODD, ['<'] = ODD, ['>'] = ODD, ['['] = ODD, [']'] = ODD, ['^'] = ODD, ['`'] = ODD,
	['{'] = ODD, ['|'] = ODD, ['}'] = ODD,
};

static inline bool
is(char c, unsigned which)
{
	return (classes[(unsigned char)c] & which) != 0;
}

/* Where path, query and the whole lie in the target. */
struct parts {
	struct slice path, query;
	struct slice whole;             /* both, as they stand */
	bool odd;                       /* the path needs decoding, encoding, or dots worked off */
};

/*
 * The path ends at its `?` or at the end; false: a byte that may not be there. Bytes up to `end` may
 * be read.
 */
static bool
find_path(struct slice s, const char *end, struct parts *p)
{
	const char *stop = s.at + s.n, *at = s.at;

	p->odd = false;
	for (; (at = scan(s.at, at, stop, end, SCAN_NOT_PATH)) < stop && *at != '?'; at++) {
		if (*at == '.')         /* one that begins a segment may be all of it */
			p->odd |= at[-1] == '/';
		else if (*at == '%' || is(*at, ODD))
			p->odd = true;
		else if (!is(*at, PATH))
			return false;
	}
	p->path = slice_first(s, (size_t)(at - s.at));
	return true;
}

static bool
find_parts(struct slice s, const char *end, struct parts *p)
{
	const char *stop = s.at + s.n;

	p->whole = s;
	if (!find_path(s, end, p))
		return false;
	p->query = slice_make(stop, 0);
	if (p->path.n == s.n)
		return true;
	p->query = slice_after(s, p->path.n + 1);
	return scan(s.at, p->query.at, stop, end, SCAN_NOT_QUERY) == stop;
}

static void
put_encoded(struct builder *b, unsigned char c)
{
	static const char hex[] = "0123456789ABCDEF";

	builder_put(b, (char[]){ '%', hex[c >> 4], hex[c & 15] }, 3);
}

/* One byte of the path, raw or %XX, to both; *at goes behind it. */
static bool
decode(struct slice s, size_t *at, struct builder *path, struct builder *forward)
{
	char c = s.at[*at];

	if (c != '%') {
		*at += 1;
		builder_byte(path, c);
		if (is(c, ODD))
			put_encoded(forward, (unsigned char)c);
		else
			builder_byte(forward, c);
		return true;
	}
	if (s.n - *at < 3)
		return false;

	int high = ascii_hex_value(s.at[*at + 1]), low = ascii_hex_value(s.at[*at + 2]);

	if (high < 0 || low < 0)
		return false;
	c = (char)(high << 4 | low);
	if (c == '\0' || c == '/' || c == '\\')
		return false;
	*at += 3;
	builder_byte(path, c);
	if (is(c, UNRESERVED))
		builder_byte(forward, c);
	else
		put_encoded(forward, (unsigned char)c);
	return true;
}

/*
 * What stands before the last `/` of what was written, which goes too; false: there is none before
 * it.
 */
static bool
drop_segment(struct builder *b)
{
	while (b->n > 0 && b->at[b->n - 1] != '/')
		b->n--;
	if (b->n == 0)
		return false;
	b->n--;
	return true;
}

/*
 * The segment that begins at `from` (behind its `/`) is complete: `.` and `..` are taken back (RFC
 * 3986 5.2.4). In the forwarded form dots are always raw, and its slashes are those of the path.
 */
static bool
settle_segment(struct builder *path, size_t from, struct builder *forward, bool last)
{
	struct slice segment = slice_make(path->at + from, path->n - from);
	bool one = slice_is(segment, "."), two = slice_is(segment, "..");

	if (!one && !two)
		return true;
	for (unsigned i = two ? 2 : 1; i > 0; i--)
		if (!drop_segment(path) || !drop_segment(forward))
			return false;
	/* what a last dot leaves is a directory */
	if (last) {
		builder_byte(path, '/');
		builder_byte(forward, '/');
	}
	return true;
}

static bool
work_off(struct slice s, struct builder *path, struct builder *forward)
{
	size_t at = 0;

	while (at < s.n) {
		builder_byte(path, '/');
		builder_byte(forward, '/');
		at++;

		size_t from = path->n;

		while (at < s.n && s.at[at] != '/')
			if (!decode(s, &at, path, forward))
				return false;
		if (!settle_segment(path, from, forward, at == s.n))
			return false;
	}
	return true;
}

/* What an absolute target (RFC 9112 3.2.2) has behind its authority; false: it is none. */
static bool
behind_authority(struct slice target, struct slice *rest)
{
	size_t at = slice_starts_nocase(target, SLICE("http://")) ? 7 : 8;

	if (at == 8 && !slice_starts_nocase(target, SLICE("https://")))
		return false;
	while (at < target.n && target.at[at] != '/' && target.at[at] != '?')
		at++;
	*rest = slice_after(target, at);
	return true;
}

static bool
all_of_server(struct message *m, struct slice whole)
{
	m->path = m->forward = whole;
	m->query = slice_make(whole.at + whole.n, 0);
	return true;
}

static bool
normalise(struct message *m, struct arena *a)
{
	struct slice target = message_piece(m, m->target), path_text = target;
	struct parts parts;

	if (target.n == 0)
		return false;
	if (target.n == 1 && target.at[0] == '*')
		return all_of_server(m, target);
	if (target.at[0] != '/' && !behind_authority(target, &path_text))
		return false;

	/* RFC 9112 3.2.1, 3.2.4: what is forwarded of an authority alone */
	bool rootless = path_text.n == 0 || path_text.at[0] == '?';

	if (path_text.n == 0 && m->method == METHOD_OPTIONS)
		return all_of_server(m, SLICE("*"));
	if (!find_parts(path_text, m->base + m->size, &parts))
		return false;
	m->query = parts.query;
	if (likely(!parts.odd && !rootless)) {
		m->path = parts.path;
		m->forward = parts.whole;
		return true;
	}

	size_t tail = parts.whole.n - parts.path.n;
	size_t path_n = parts.path.n + 1, forward_n = parts.path.n * 3 + 1 + tail;
	struct builder path = builder_on(arena_alloc(a, path_n), path_n);
	struct builder forward = builder_on(arena_alloc(a, forward_n), forward_n);

	if (!work_off(rootless ? SLICE("/") : parts.path, &path, &forward))
		return false;
	builder_put(&forward, parts.whole.at + parts.path.n, tail);
	m->path = builder_slice(&path);
	m->forward = builder_slice(&forward);
	return true;
}

static bool
has_slashes(struct slice path)
{
	const char *end = path.at + path.n, *slash = path.at;

	while ((slash = memchr(slash, '/', (size_t)(end - slash))) != NULL && ++slash < end)
		if (*slash == '/')
			return true;
	return false;
}

/* So that //admin does not pass by what is said of /admin, which most peers take it for. */
static void
merge_slashes(struct message *m, struct arena *a)
{
	if (likely(!has_slashes(m->path)))
		return;

	struct builder merged = builder_on(arena_alloc(a, m->path.n), m->path.n);

	for (size_t i = 0; i < m->path.n; i++)
		if (i == 0 || m->path.at[i] != '/' || m->path.at[i - 1] != '/')
			builder_byte(&merged, m->path.at[i]);
	m->path = builder_slice(&merged);
}

bool
uri_normalise(struct message *m, struct arena *a, enum reason *why)
{
	if (likely(normalise(m, a))) {
		merge_slashes(m, a);
		return true;
	}
	*why = REASON_BAD_MESSAGE;
	return false;
}
