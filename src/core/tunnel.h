/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two connections joined for good: TCP, an upgraded WebSocket. Copies while
 * reads are short, splices a direction that keeps filling the buffer. Half-close goes through.
 */
#ifndef MILLRACE_CORE_TUNNEL_H
#define MILLRACE_CORE_TUNNEL_H

#include "core/conn.h"

/*
 * The exchange stays with the tunnel to the end (for its log line); `idle`, `write`: ms. What conns
 * have in `in` goes first.
 */
void tunnel_join(
    struct exchange *ex, struct conn *client, struct conn *peer, uint64_t idle, uint64_t write);
/* Called by conn.c in place of the protocol. */
void tunnel_ready(struct tunnel *t, struct conn *c);
void tunnel_flushed(struct tunnel *t, struct conn *c);
void tunnel_late(struct tunnel *t, struct conn *c);
void tunnel_broken(struct tunnel *t, struct conn *c, int error);
/* A datagram came on that side of a tunnel of them. */
void tunnel_datagram(struct tunnel *t, struct conn *from, struct slice s);
/* clock_ms() of the last byte, either way. */
uint64_t tunnel_active(const struct tunnel *t);
/* It is silent for `ms`, or less, before it ends. */
void tunnel_hasten(struct tunnel *t, uint64_t ms);
/* Now, for that reason. */
void tunnel_end(struct tunnel *t, enum reason reason);
/* Those kept for the next tunnel: when the engine closes. */
void tunnel_close_pipes(struct engine *e);

#endif
