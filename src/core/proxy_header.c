/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Both versions are told apart by their first bytes. What cannot become a
 * header any more is refused at once, whatever may still come.
 */
#include "core/proxy_header.h"

enum {
	/* signature, version and command, family and transport, length */
	V2_HEAD = 16,
	V2_LOCAL = 0x20, V2_PROXY = 0x21,
	V2_UNIX_PATH = 108,
	TLV_HEAD = 3
};

#define V2_SIGNATURE SLICE("\r\n\r\n\0\r\nQUIT\n")
#define V1_SIGNATURE SLICE("PROXY ")

static bool
may_become(struct slice in, struct slice signature)
{
	return slice_starts(signature, slice_first(in, MIN_OF(in.n, signature.n)));
}

/* ------------------------------------------------------------------ version 1 */

/* No brackets, no interface: the family alone decides the form. */
static bool
parse_host(struct slice text, sa_family_t family, struct addr *out)
{
	return slice_find(text, '[', 0) == text.n && slice_find(text, '%', 0) == text.n &&
	    addr_parse_host(text, out) && out->any.sa_family == family;
}

static bool
parse_port(struct slice text, struct addr *out)
{
	uint64_t port;

	if (text.n > 5 || (text.n > 1 && text.at[0] == '0') || !slice_to_u64(text, &port) ||
	    port > UINT16_MAX)
		return false;
	addr_set_port(out, (uint16_t)port);
	return true;
}

/* Behind `PROXY `, without the CRLF. */
static bool
parse_line(struct slice rest, struct proxy_header *out)
{
	enum { FAMILY, SRC, DST, SRC_PORT, DST_PORT, WORDS };
	struct slice words[WORDS] = { { NULL, 0 } };
	size_t count = 0;

	/* What stands behind UNKNOWN is to be ignored. */
	if (slice_is(rest, "UNKNOWN") || slice_starts(rest, SLICE("UNKNOWN ")))
		return true;
	if (slice_ends(rest, SLICE(" ")))
		return false;
	for (struct slice word; slice_split(&rest, ' ', &word); count++) {
		if (count == WORDS)
			return false;
		words[count] = word;
	}
	if (count != WORDS ||
	    (!slice_is(words[FAMILY], "TCP4") && !slice_is(words[FAMILY], "TCP6")))
		return false;

	sa_family_t family = words[FAMILY].at[3] == '4' ? AF_INET : AF_INET6;

	out->known = true;
	return parse_host(words[SRC], family, &out->src) &&
	       parse_host(words[DST], family, &out->dst) &&
	       parse_port(words[SRC_PORT], &out->src) && parse_port(words[DST_PORT], &out->dst);
}

static ssize_t
parse_v1(struct slice in, struct proxy_header *out)
{
	size_t n = 0, most = MIN_OF(in.n, (size_t)PROXY_HEADER_V1_MAX);

	while (n < most && in.at[n] >= 0x20 && in.at[n] < 0x7f)
		n++;
	if (n == most)
		return n < PROXY_HEADER_V1_MAX ? 0 : -1;
	if (in.at[n] != '\r' || n + 2 > PROXY_HEADER_V1_MAX)
		return -1;
	if (n + 1 == in.n)
		return 0;
	if (in.at[n + 1] != '\n' || n < V1_SIGNATURE.n ||
	    !parse_line(slice_after(slice_first(in, n), V1_SIGNATURE.n), out))
		return -1;
	return (ssize_t)n + 2;
}

/* ------------------------------------------------------------------ version 2 */

static size_t
number_16(const char *at)
{
	return (size_t)(uint8_t)at[0] << 8 | (uint8_t)at[1];
}

static void
take_v4(struct addr *out, const char *host, const char *port)
{
	*out = (struct addr){ .n = sizeof(out->v4) };
	out->v4.sin_family = AF_INET;
	memcpy(&out->v4.sin_addr, host, 4);
	memcpy(&out->v4.sin_port, port, 2);
}

static void
take_v6(struct addr *out, const char *host, const char *port)
{
	*out = (struct addr){ .n = sizeof(out->v6) };
	out->v6.sin6_family = AF_INET6;
	memcpy(&out->v6.sin6_addr, host, 16);
	memcpy(&out->v6.sin6_port, port, 2);
}

/* A NUL in front of a name makes it abstract; nothing but NULs is no name. */
static void
take_unix(struct addr *out, const char *path)
{
	size_t n = V2_UNIX_PATH;

	while (n > 0 && path[n - 1] == '\0')
		n--;
	if (n > 0 && path[0] != '\0')
		n = MIN_OF(strnlen(path, n) + 1, (size_t)V2_UNIX_PATH);
	*out = (struct addr){ .local.sun_family = AF_UNIX };
	memcpy(out->local.sun_path, path, n);
	out->n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

/*
 * The length of the two addresses, or -1: combinations that the protocol does not name are invalid.
 */
static ssize_t
take_addresses(uint8_t family, struct slice block, struct proxy_header *out)
{
	static const uint8_t sizes[] = { [0] = 0, [1] = 12, [2] = 36, [3] = 2 * V2_UNIX_PATH };
	unsigned kind = family >> 4, transport = family & 15;

	if (kind >= ARRAY_COUNT(sizes) || transport > 2 || (kind == 0) != (transport == 0) ||
	    block.n < sizes[kind])
		return -1;
	switch (kind) {
	case 1:
		take_v4(&out->src, block.at, block.at + 8);
		take_v4(&out->dst, block.at + 4, block.at + 10);
		break;
	case 2:
		take_v6(&out->src, block.at, block.at + 32);
		take_v6(&out->dst, block.at + 16, block.at + 34);
		break;
	case 3:
		take_unix(&out->src, block.at);
		take_unix(&out->dst, block.at + V2_UNIX_PATH);
		break;
	}
	out->known = kind != 0;
	return sizes[kind];
}

static bool
tlvs_fit(struct slice rest)
{
	while (rest.n >= TLV_HEAD) {
		size_t n = TLV_HEAD + number_16(rest.at + 1);

		if (n > rest.n)
			return false;
		rest = slice_after(rest, n);
	}
	return rest.n == 0;
}

static ssize_t
parse_v2(struct slice in, struct proxy_header *out)
{
	if (in.n < 13)
		return 0;

	uint8_t command = (uint8_t)in.at[12];

	if (command != V2_LOCAL && command != V2_PROXY)
		return -1;
	if (in.n < V2_HEAD)
		return 0;

	size_t n = number_16(in.at + 14);

	if (n > PROXY_HEADER_V2_MAX)
		return -1;
	if (in.n < V2_HEAD + n)
		return 0;
	if (command == V2_PROXY) {
		struct slice block = slice_make(in.at + V2_HEAD, n);
		ssize_t size = take_addresses((uint8_t)in.at[13], block, out);

		/* Behind UNSPEC anything may stand. */
		if (size < 0 || (out->known && !tlvs_fit(slice_after(block, (size_t)size))))
			return -1;
	}
	return (ssize_t)(V2_HEAD + n);
}

ssize_t
proxy_header_parse(struct slice in, struct proxy_header *out)
{
	ssize_t n;

	*out = (struct proxy_header){ .known = false };
	if (in.n == 0)
		return 0;
	if (may_become(in, V1_SIGNATURE))
		n = parse_v1(in, out);
	else if (may_become(in, V2_SIGNATURE))
		n = parse_v2(in, out);
	else
		return -1;
	if (n <= 0)
		*out = (struct proxy_header){ .known = false };
	addr_unmap(&out->src);
	addr_unmap(&out->dst);
	return n;
}

/* ------------------------------------------------------------------ writing */

static sa_family_t
family_of(const struct addr *a)
{
	return a->n != 0 ? a->any.sa_family : AF_UNSPEC;
}

static void
map_v4(struct addr *a)
{
	struct addr v6 = { .v6 = { .sin6_family = AF_INET6, .sin6_port = a->v4.sin_port }, .n = sizeof(v6.v6) };

	v6.v6.sin6_addr.s6_addr[10] = v6.v6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(v6.v6.sin6_addr.s6_addr + 12, &a->v4.sin_addr, 4);
	*a = v6;
}

/*
 * A client that a proxy told us of need not be of the family of the connection: it is what matters.
 * An IPv4 address beside one of IPv6 is mapped; where it came in by a Unix socket, the other end is
 * any.
 */
static void
match_families(struct addr *src, struct addr *dst)
{
	sa_family_t from = family_of(src), to = family_of(dst);

	if (from != AF_INET && from != AF_INET6)
		return;
	if (to == AF_INET && from == AF_INET6) {
		map_v4(dst);
	} else if (to == AF_INET6 && from == AF_INET) {
		map_v4(src);
	} else if (to != from) {
		*dst = (struct addr){ .any.sa_family = from,
			.n = from == AF_INET ? sizeof(dst->v4) : sizeof(dst->v6) };
	}
}

/* As they are said on the wire: unmapped, without an interface. False: not of one family. */
static bool
make_plain(struct addr plain[2], const struct addr *src, const struct addr *dst)
{
	plain[0] = *src;
	plain[1] = *dst;
	for (int i = 0; i < 2; i++) {
		addr_unmap(&plain[i]);
		if (plain[i].n != 0 && plain[i].any.sa_family == AF_INET6)
			plain[i].v6.sin6_scope_id = 0;
	}
	match_families(&plain[0], &plain[1]);
	return plain[0].n != 0 && family_of(&plain[0]) == family_of(&plain[1]);
}

/* Of the family that was said, so mapped addresses as such. */
static void
put_host(struct builder *b, const struct addr *a)
{
	char text[ADDR_TEXT];

	if (a->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr))
		BUILDER_LITERAL(b, "::ffff:");
	builder_slice_put(b, addr_print_host(a, text));
}

void
proxy_header_write_v1(struct builder *b, const struct addr *src, const struct addr *dst)
{
	struct addr plain[2];

	if (!make_plain(plain, src, dst) || addr_is_unix(&plain[0])) {
		BUILDER_LITERAL(b, "PROXY UNKNOWN\r\n");
		return;
	}
	builder_text(b, plain[0].any.sa_family == AF_INET ? "PROXY TCP4" : "PROXY TCP6");
	for (int i = 0; i < 2; i++) {
		builder_byte(b, ' ');
		put_host(b, &plain[i]);
	}
	for (int i = 0; i < 2; i++) {
		builder_byte(b, ' ');
		builder_number(b, addr_port(&plain[i]));
	}
	BUILDER_LITERAL(b, "\r\n");
}

static void
put_unix(struct builder *b, const struct addr *a)
{
	static const char zeros[V2_UNIX_PATH];
	size_t n = a->n > offsetof(struct sockaddr_un, sun_path) ?
	    MIN_OF(a->n - offsetof(struct sockaddr_un, sun_path), (size_t)V2_UNIX_PATH) : 0;

	builder_put(b, a->local.sun_path, n);
	builder_put(b, zeros, V2_UNIX_PATH - n);
}

static void
put_head(struct builder *b, uint8_t family, uint8_t n)
{
	builder_slice_put(b, V2_SIGNATURE);
	builder_put(b, (const char[]){ V2_PROXY, (char)family, 0, (char)n }, 4);
}

void
proxy_header_write_v2(struct builder *b, const struct addr *src, const struct addr *dst)
{
	struct addr plain[2];

	if (!make_plain(plain, src, dst)) {
		put_head(b, 0, 0);
	} else if (addr_is_unix(&plain[0])) {
		put_head(b, 0x31, 2 * V2_UNIX_PATH);
		put_unix(b, &plain[0]);
		put_unix(b, &plain[1]);
	} else if (plain[0].any.sa_family == AF_INET) {
		put_head(b, 0x11, 12);
		for (int i = 0; i < 2; i++)
			builder_put(b, (const char *)&plain[i].v4.sin_addr, 4);
		for (int i = 0; i < 2; i++)
			builder_put(b, (const char *)&plain[i].v4.sin_port, 2);
	} else {
		put_head(b, 0x21, 36);
		for (int i = 0; i < 2; i++)
			builder_put(b, (const char *)&plain[i].v6.sin6_addr, 16);
		for (int i = 0; i < 2; i++)
			builder_put(b, (const char *)&plain[i].v6.sin6_port, 2);
	}
}
