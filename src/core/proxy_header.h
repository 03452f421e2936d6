/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PROXY header in front of a connection's bytes (the PROXY protocol,
 * versions 1 and 2): who really connected, and where to. Pure: bytes in, addresses out, and back.
 */
#ifndef MILLRACE_CORE_PROXY_HEADER_H
#define MILLRACE_CORE_PROXY_HEADER_H

#include <sys/types.h>

#include "base/addr.h"

enum {
	PROXY_HEADER_WRITTEN = 232,     /* bytes that hold any header we write */
	PROXY_HEADER_V1_MAX = 107,      /* bytes of a line, its CRLF included */
	PROXY_HEADER_V2_MAX = 4096      /* bytes behind the fixed 16 */
};

struct proxy_header {
	/* false: LOCAL or UNKNOWN, the connection's own addresses hold */
	bool known;
	struct addr src, dst;           /* IPv4-mapped addresses unmapped */
};

/* Of the header that `in` begins with: its length; 0: more bytes are needed; -1: this is none. */
MUST_USE ssize_t proxy_header_parse(struct slice in, struct proxy_header *out);
/*
 * Addresses that the version cannot say together become UNKNOWN; a client's IP address it can
 * always say: where it connected to is then mapped to IPv6, or any.
 */
void proxy_header_write_v1(struct builder *b, const struct addr *src, const struct addr *dst);
void proxy_header_write_v2(struct builder *b, const struct addr *src, const struct addr *dst);

#endif
