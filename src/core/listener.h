/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bound address with its transport and its protocol, and the servers behind it.
 */
#ifndef MILLRACE_CORE_LISTENER_H
#define MILLRACE_CORE_LISTENER_H

#include "core/protocol.h"
#include "core/route.h"

struct server {
	struct slice name;              /* server NAME { … }, or its first server_name, or its first listen */
	const struct protocol_ops *protocol;
	struct settings settings;
	const struct route *routes;     /* in file order */
	size_t route_count;
	struct route_table *table;
	const struct error_block *errors;
	size_t error_count;
	struct span span;
};

/* error 502..504 { … }: other steps for an answer that failed. */
struct error_block {
	uint16_t first, last;
	struct steps steps;
};

struct listener {
	struct addr addr;
	struct slice text;              /* as listeners are compared and shown: [::]:80, unix:/run/x.sock */
	const struct protocol_ops *protocol;
	const struct protocol_ops *first_protocol;      /* runs in front of it (the PROXY line); or NULL */
	struct listener_settings settings;
	bool proxy_line;                /* listen … proxy_protocol: a PROXY header (v1 or v2) comes first */
	int backlog;
	unsigned mode;                  /* of a Unix socket; 0: not set */
	struct host_table *hosts;
	const struct server *only;      /* the one server, or the default_server; NULL: unknown hosts are refused */
	bool alone;                     /* one server: whatever the host says */
	uint64_t fingerprint;           /* of all that was negotiated or framed by it: equal, its connections go on under a new snapshot */
};

#endif
