/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The manager of services (systemd's protocol, without its library): what it is told, datagrams of
 * lines to the socket that the environment names, and the sockets that it opened for us. Without
 * one all of it does nothing.
 */
#ifndef MILLRACE_SERVER_NOTIFY_H
#define MILLRACE_SERVER_NOTIFY_H

#include "server/binding.h"

/* Reads the environment; before the process forks into the background. */
void notify_open(void);
void notify_close(void);
/* Lines of NAME=VALUE, as sd_notify(3) has them. It is not waited for long. */
PRINTF(1, 2) void notify_say(const char *format, ...);
/* Whether another process is the main one, whose word alone counts: nothing is said then. */
void notify_hush(bool hush);
/* RELOADING=1, with the time that must stand beside it. */
void notify_reloading(void);
/* Milliseconds between two signs of life that it wants; 0: none. */
uint64_t notify_watchdog(void);
/*
 * What it opened (LISTEN_FDS) is given to the table; names are for the messages. The environment
 * says nothing of it afterwards. False: errors were said.
 */
MUST_USE bool notify_take_sockets(struct binding_table *t);
/* In a child that becomes the main process: what is said of its number in the environment. */
void notify_renumber(void);

#endif
