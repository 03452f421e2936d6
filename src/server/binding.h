/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The master's listening sockets. An address with its transport is a binding and has a number for
 * as long as it is one (and for long afterwards no other has it); behind it stands a group of sockets, one a worker slot (SO_REUSEPORT), of a
 * size that never changes: closing one of a group would reset what is queued on it.
 */
#ifndef MILLRACE_SERVER_BINDING_H
#define MILLRACE_SERVER_BINDING_H

#include "server/bundle.h"

struct bound {
	uint16_t number;
	uint8_t transport;              /* enum endpoint_transport */
	uint64_t since;                 /* the generation that brought it; 0: another master's */
	struct addr addr;
	char *text;                     /* as the configuration shows it */
	int *fds;                       /* by slot */
	size_t fd_count;
	bool common;                    /* all workers accept from its only one */
	bool gone;                      /* no listener: flows of workers still answer from it */
	int backlog;
	uint32_t mode;                  /* of its file; 0: not set */
	uint64_t device, inode;         /* of a Unix socket's file: what we made and may remove */
};

/* A socket that was open before we were: of whoever manages services. */
struct binding_given {
	int fd;                         /* -1: a listener has it */
	bool datagram;
	struct addr addr;
};

struct binding_table {
	struct bound *all;
	size_t count, room;
	struct binding_given *given;
	size_t given_count;
	uint32_t next;                  /* where to look for the number of the next new one */
	uint64_t generation;            /* what is opened is since then */
	size_t group;                   /* slots */
};

void binding_init(struct binding_table *t, size_t group);
/* Closes all. `owner`: and removes the files of Unix sockets (a child of the master does not). */
void binding_close(struct binding_table *t, bool owner);
/*
 * Of a child that accepts from none: who holds a socket keeps it in its group, where it would be given clients that
 * nobody takes. The numbers stay.
 */
void binding_let_go(const struct binding_table *t);
const struct bound *binding_find(
    const struct binding_table *t, uint8_t transport, const struct addr *a);
/* Closes that group; the others keep their order. */
void binding_remove(struct binding_table *t, size_t index);
/* That listener is in the table under its number, or neither it nor its number is. */
bool binding_agrees(const struct binding_table *t, const struct bundle_listener *l);
/* As the listener wants it now, but for its address. */
void binding_follow(struct binding_table *t, const struct bundle_listener *l);
/*
 * The number of an equal one, else the next that none has, *next or behind it; BINDING_NONE: there are no
 * more. Numbers go round: that of one that is gone comes again after all the others.
 */
uint16_t binding_number(
    const struct binding_table *t, uint32_t *next, uint8_t transport, const struct addr *a);
/* One that another master opened, as it stands. */
void binding_inherit(struct binding_table *t, const struct bound *b);
/*
 * Takes the descriptor: a listener that is opened for its address has it as its first socket. The rest of the
 * group is opened beside it where it may have company (SO_REUSEPORT); else it is the only one, and of a stream
 * common to all workers. False with errno: it is none to listen on.
 */
MUST_USE bool binding_give(struct binding_table *t, int fd);
/* Those that no listener has are closed. How many. */
size_t binding_forget_given(struct binding_table *t);
/* Opens the group of one that is not there yet. False with errno: nothing was opened. */
MUST_USE bool binding_open(
    struct binding_table *t, const struct bundle_listener *l, struct slice text);

#endif
