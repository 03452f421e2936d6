/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Socket addresses: parsed, printed, compared; networks (CIDR).
 */
#ifndef MILLRACE_BASE_ADDR_H
#define MILLRACE_BASE_ADDR_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/bytes.h"

struct addr {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un local;
	};
	socklen_t n;                     /* 0: no address */
	uint32_t datagram;               /* 1: it is bound, or connected to, as UDP */
};

enum { ADDR_TEXT = 128 };                /* bytes that hold any address as text, its NUL included */

/* 10.0.0.1:80, [::1]:80, unix:/path. A numeric address only. */
MUST_USE bool addr_parse(struct slice text, struct addr *out);
/* An address without a port: 10.0.0.1, ::1, [::1]. Port 0. */
MUST_USE bool addr_parse_host(struct slice text, struct addr *out);
/* As it is parsed, `udp:` in front of what is UDP; `unix:` for a nameless socket. IPv4-mapped IPv6 prints as IPv4. */
struct slice addr_print(const struct addr *a, char text[static ADDR_TEXT]);
/* Without the port; `unix:` and path for a Unix socket. */
struct slice addr_print_host(const struct addr *a, char text[static ADDR_TEXT]);
uint16_t addr_port(const struct addr *a);          /* host order; 0 for Unix */
void addr_set_port(struct addr *a, uint16_t port);
bool addr_equal(const struct addr *a, const struct addr *b);
bool addr_is_unix(const struct addr *a);
/* ::ffff:a.b.c.d becomes a.b.c.d. */
void addr_unmap(struct addr *a);

struct network {
	/* AF_INET, AF_INET6, AF_UNIX (any Unix peer: the word `unix:`) */
	uint8_t family;
	uint8_t bits;                    /* of the address, 0..32 or 0..128 */
	uint8_t at[16];
};

/*
 * 10.0.0.0/8, 10.0.0.1, fe80::/10. Host bits that are set: NETWORK_HOST_BITS, *out is the network
 * meant.
 */
enum network_parse { NETWORK_OK, NETWORK_BAD, NETWORK_HOST_BITS };
MUST_USE enum network_parse network_parse(struct slice text, struct network *out);
struct slice network_print(const struct network *net, char text[static ADDR_TEXT]);
bool network_has(const struct network *net, const struct addr *a);

#endif
