/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses as the configuration writes them and as the kernel hands them
 * out. No name is resolved here. A link-local address may carry the number
 * of its interface (`fe80::1%2`); an abstract Unix name prints with `@`.
 */
#include "base/addr.h"

#include <arpa/inet.h>

enum { HOST_MOST = INET6_ADDRSTRLEN + 11 };      /* an address, `%` and a number */

#define PATH_AT offsetof(struct sockaddr_un, sun_path)
#define UNIX_PREFIX SLICE("unix:")
#define UDP_PREFIX SLICE("udp:")

static void
set_v4(struct addr *out, const void *bytes, uint16_t port)
{
	*out = (struct addr){ .n = sizeof(out->v4) };
	out->v4.sin_family = AF_INET;
	out->v4.sin_port = htons(port);
	memcpy(&out->v4.sin_addr, bytes, 4);
}

static bool
parse_v4(struct slice text, struct addr *out)
{
	char copy[INET_ADDRSTRLEN] = "";
	struct in_addr bytes;

	if (text.n == 0 || text.n >= sizeof(copy) || slice_find(text, '\0', 0) < text.n)
		return false;
	memcpy(copy, text.at, text.n);
	if (inet_pton(AF_INET, copy, &bytes) != 1)
		return false;
	set_v4(out, &bytes, 0);
	return true;
}

static bool
parse_v6(struct slice text, struct addr *out)
{
	char copy[INET6_ADDRSTRLEN] = "";
	size_t n = slice_find(text, '%', 0);
	struct addr a = { .n = sizeof(a.v6) };
	uint64_t scope = 0;

	if (n == 0 || n >= sizeof(copy) || slice_find(text, '\0', 0) < text.n)
		return false;
	memcpy(copy, text.at, n);
	if (inet_pton(AF_INET6, copy, &a.v6.sin6_addr) != 1)
		return false;
	if (n < text.n && (!slice_to_u64(slice_after(text, n + 1), &scope) || scope > UINT32_MAX))
		return false;
	a.v6.sin6_family = AF_INET6;
	a.v6.sin6_scope_id = (uint32_t)scope;
	*out = a;
	return true;
}

static bool
parse_unix(struct slice path, struct addr *out)
{
	struct addr a = { .local.sun_family = AF_UNIX };

	if (path.n == 0 || path.n >= sizeof(a.local.sun_path) ||
	    slice_find(path, '\0', 0) < path.n)
		return false;
	memcpy(a.local.sun_path, path.at, path.n);
	a.n = (socklen_t)(PATH_AT + path.n + 1);
	*out = a;
	return true;
}

static bool
parse_port(struct slice text, uint16_t *out)
{
	uint64_t port;

	if (text.n > 5 || !slice_to_u64(text, &port) || port > UINT16_MAX)
		return false;
	*out = (uint16_t)port;
	return true;
}

bool
addr_parse(struct slice text, struct addr *out)
{
	bool bracket = text.n > 0 && text.at[0] == '[';
	size_t n = bracket ? slice_find(text, ']', 0) : slice_find(text, ':', 0);
	uint16_t port;
	struct addr a;

	if (slice_starts(text, UNIX_PREFIX))
		return parse_unix(slice_after(text, UNIX_PREFIX.n), out);
	if (n + bracket >= text.n || text.at[n + bracket] != ':')
		return false;
	if (!parse_port(slice_after(text, n + bracket + 1), &port))
		return false;
	if (!(bracket ? parse_v6(slice_make(text.at + 1, n - 1), &a)
	              : parse_v4(slice_first(text, n), &a)))
		return false;
	addr_set_port(&a, port);
	*out = a;
	return true;
}

bool
addr_parse_host(struct slice text, struct addr *out)
{
	if (text.n >= 2 && text.at[0] == '[' && text.at[text.n - 1] == ']')
		return parse_v6(slice_make(text.at + 1, text.n - 2), out);
	return parse_v4(text, out) || parse_v6(text, out);
}

/* Without the NUL of a path; with the one in front of an abstract name. */
static struct slice
unix_path(const struct addr *a)
{
	size_t n = a->n > PATH_AT ? MIN_OF(a->n - PATH_AT, sizeof(a->local.sun_path)) : 0;

	if (n > 0 && a->local.sun_path[0] != '\0')
		n = strnlen(a->local.sun_path, n);
	return slice_make(a->local.sun_path, n);
}

static void
print_unix(struct builder *b, const struct addr *a)
{
	struct slice path = unix_path(a);

	builder_slice_put(b, UNIX_PREFIX);
	for (size_t i = 0; i < path.n; i++)
		builder_byte(b, path.at[i] == '\0' ? '@' : path.at[i]);
}

static void
print_v4(struct builder *b, const uint8_t at[4])
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			builder_byte(b, '.');
		builder_number(b, at[i]);
	}
}

static void
print_v6(struct builder *b, const struct in6_addr *bytes, uint32_t scope)
{
	char text[INET6_ADDRSTRLEN];

	builder_text(b, inet_ntop(AF_INET6, bytes, text, sizeof(text)));
	if (scope != 0) {
		builder_byte(b, '%');
		builder_number(b, scope);
	}
}

static void
print_host(struct builder *b, const struct addr *a, bool bracket)
{
	if (a->n == 0)
		return;
	if (a->any.sa_family == AF_UNIX) {
		print_unix(b, a);
	} else if (a->any.sa_family == AF_INET) {
		print_v4(b, (const uint8_t *)&a->v4.sin_addr);
	} else if (a->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr)) {
		print_v4(b, a->v6.sin6_addr.s6_addr + 12);
	} else if (a->any.sa_family == AF_INET6) {
		if (bracket)
			builder_byte(b, '[');
		print_v6(b, &a->v6.sin6_addr, a->v6.sin6_scope_id);
		if (bracket)
			builder_byte(b, ']');
	}
}

static struct slice
finish(struct builder *b)
{
	b->at[b->n] = '\0';
	return builder_slice(b);
}

static bool
has_port(const struct addr *a)
{
	return a->n > 0 && (a->any.sa_family == AF_INET || a->any.sa_family == AF_INET6);
}

struct slice
addr_print(const struct addr *a, char text[static ADDR_TEXT])
{
	struct builder b = builder_on(text, ADDR_TEXT - 1);

	if (a->datagram != 0)
		builder_slice_put(&b, UDP_PREFIX);
	print_host(&b, a, true);
	if (has_port(a)) {
		builder_byte(&b, ':');
		builder_number(&b, addr_port(a));
	}
	return finish(&b);
}

struct slice
addr_print_host(const struct addr *a, char text[static ADDR_TEXT])
{
	struct builder b = builder_on(text, ADDR_TEXT - 1);

	print_host(&b, a, false);
	return finish(&b);
}

uint16_t
addr_port(const struct addr *a)
{
	if (!has_port(a))
		return 0;
	return ntohs(a->any.sa_family == AF_INET ? a->v4.sin_port : a->v6.sin6_port);
}

void
addr_set_port(struct addr *a, uint16_t port)
{
	if (!has_port(a))
		return;
	if (a->any.sa_family == AF_INET)
		a->v4.sin_port = htons(port);
	else
		a->v6.sin6_port = htons(port);
}

bool
addr_equal(const struct addr *a, const struct addr *b)
{
	if (a->n == 0 || b->n == 0)
		return a->n == b->n;
	if (a->any.sa_family != b->any.sa_family || a->datagram != b->datagram)
		return false;
	switch (a->any.sa_family) {
	case AF_INET:
		return a->v4.sin_port == b->v4.sin_port &&
		    a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
	case AF_INET6:
		return a->v6.sin6_port == b->v6.sin6_port &&
		    a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
		    IN6_ARE_ADDR_EQUAL(&a->v6.sin6_addr, &b->v6.sin6_addr);
	case AF_UNIX:
		return slice_equal(unix_path(a), unix_path(b));
	default:
		return false;
	}
}

bool
addr_is_unix(const struct addr *a)
{
	return a->n > 0 && a->any.sa_family == AF_UNIX;
}

void
addr_unmap(struct addr *a)
{
	if (a->n == 0 || a->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr))
		return;

	struct in6_addr bytes = a->v6.sin6_addr;

	set_v4(a, bytes.s6_addr + 12, ntohs(a->v6.sin6_port));
}

static uint8_t
bits_of(uint8_t family)
{
	return family == AF_INET ? 32 : family == AF_INET6 ? 128 : 0;
}

/* Clears what lies behind the network's bits; true when there was something. */
static bool
clear_host_bits(struct network *net)
{
	bool any = false;

	for (unsigned i = 0; i < sizeof(net->at); i++) {
		unsigned kept = net->bits > i * 8 ? MIN_OF(net->bits - i * 8, 8u) : 0;
		uint8_t mask = (uint8_t)(0xff00 >> kept);

		any = any || (net->at[i] & ~mask) != 0;
		net->at[i] &= mask;
	}
	return any;
}

/* ::ffff:10.0.0.0/104 is 10.0.0.0/8: addresses are compared unmapped. */
static void
unmap_network(struct network *net)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (net->family != AF_INET6 || net->bits < 96 || memcmp(net->at, mapped, 12) != 0)
		return;

	struct network v4 = { .family = AF_INET, .bits = (uint8_t)(net->bits - 96) };

	memcpy(v4.at, net->at + 12, 4);
	*net = v4;
}

enum network_parse
network_parse(struct slice text, struct network *out)
{
	size_t n = slice_find(text, '/', 0);
	struct slice host = slice_first(text, n);
	struct network net = { 0 };
	struct addr a;
	uint64_t bits;

	if (slice_equal(text, UNIX_PREFIX)) {
		*out = (struct network){ .family = AF_UNIX };
		return NETWORK_OK;
	}
	if (parse_v4(host, &a)) {
		net.family = AF_INET;
		memcpy(net.at, &a.v4.sin_addr, 4);
	} else if (parse_v6(host, &a) && a.v6.sin6_scope_id == 0) {
		net.family = AF_INET6;
		memcpy(net.at, &a.v6.sin6_addr, 16);
	} else {
		return NETWORK_BAD;
	}

	bits = bits_of(net.family);
	if (n < text.n && (text.n - n > 4 || !slice_to_u64(slice_after(text, n + 1), &bits) ||
	    bits > bits_of(net.family)))
		return NETWORK_BAD;
	net.bits = (uint8_t)bits;

	bool host_bits = clear_host_bits(&net);

	unmap_network(&net);
	*out = net;
	return host_bits ? NETWORK_HOST_BITS : NETWORK_OK;
}

struct slice
network_print(const struct network *net, char text[static ADDR_TEXT])
{
	struct builder b = builder_on(text, ADDR_TEXT - 1);
	struct in6_addr bytes;

	if (net->family == AF_UNIX) {
		builder_slice_put(&b, UNIX_PREFIX);
	} else if (net->family == AF_INET) {
		print_v4(&b, net->at);
	} else {
		memcpy(&bytes, net->at, sizeof(bytes));
		print_v6(&b, &bytes, 0);
	}
	if (net->bits < bits_of(net->family)) {
		builder_byte(&b, '/');
		builder_number(&b, net->bits);
	}
	return finish(&b);
}

bool
network_has(const struct network *net, const struct addr *a)
{
	struct addr plain = *a;

	addr_unmap(&plain);
	if (plain.n == 0 || plain.any.sa_family != net->family)
		return false;
	if (net->family == AF_UNIX)
		return true;

	const uint8_t *at = net->family == AF_INET ? (const uint8_t *)&plain.v4.sin_addr
	                                           : plain.v6.sin6_addr.s6_addr;
	size_t whole = net->bits / 8;
	unsigned rest = net->bits % 8;

	if (memcmp(at, net->at, whole) != 0)
		return false;
	return rest == 0 || (at[whole] ^ net->at[whole]) >> (8 - rest) == 0;
}
