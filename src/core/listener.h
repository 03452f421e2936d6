/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bound address with its transport and its protocol, and the servers behind it.
 */
#ifndef MILLRACE_CORE_LISTENER_H
#define MILLRACE_CORE_LISTENER_H

#include "core/protocol.h"
#include "core/route.h"

struct server {
	/* server NAME { … }, or its first server_name, or its first listen */
	struct slice name;
	const struct protocol_ops *protocol;
	struct settings settings;
	struct trust trust;
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
	bool intercept;                 /* for a peer's own answer with that status too */
	struct steps steps;
};

struct listener {
	struct addr addr;
	/* as listeners are compared and shown: [::]:80, unix:/run/x.sock */
	struct slice text;
	const struct protocol_ops *protocol;
	/* runs in front of it (the PROXY line); or NULL */
	const struct protocol_ops *first_protocol;
	struct listener_settings settings;
	/* listen … proxy_protocol: a PROXY header (v1 or v2) comes first */
	bool proxy_line;
	/* datagrams with one value of it are one flow; NULL: those of one source are */
	const struct field_ref *flow_by;
	int backlog;
	unsigned mode;                  /* of a Unix socket; 0: not set */
	struct host_table *hosts;
	/* the one server, or the default_server; NULL: unknown hosts are refused */
	const struct server *only;
	bool alone;                     /* one server: whatever the host says */
	/*
	 * of all that was negotiated or framed by it: equal, its connections go on under a new
	 * snapshot
	 */
	uint64_t fingerprint;
};

#endif
