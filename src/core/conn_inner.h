/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What conn.c and conn_write.c, which are one, know of each other.
 */
#ifndef MILLRACE_CORE_CONN_INNER_H
#define MILLRACE_CORE_CONN_INNER_H

#include "core/conn.h"

/* ------------------------------------------------------------------ conn.c */

/* The descriptor failed: whoever waits on it is told. */
void conn_broken(struct conn *c, int error);
/* No memory for what it brought, or for what waits: it ends with the pass. */
void conn_starve(struct conn *c);
/* What was in `in` may still be looked at in this pass. */
void conn_drop_input(struct conn *c);
/* An exchange waits for what it says. */
bool conn_is_awaited(const struct conn *c);

/* ------------------------------------------------------------------ conn_write.c */

/* Writes what there is, keeps what the socket does not take. */
void conn_flush(struct conn *c);
void conn_on_flush(struct loop_task *t);
void conn_drop_output(struct conn *c);

#endif
