/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the control socket share in the master.
 *
 *   control.c          the socket, its connections, their deadlines
 *   control_verb.c     what can be asked, and the verbs that do something
 *   control_status.c   answers from shared memory
 *   control_ask.c      answers that the workers make
 *   control_look.c     answers that are made of the configuration
 */
#ifndef MILLRACE_SERVER_CONTROL_INNER_H
#define MILLRACE_SERVER_CONTROL_INNER_H

#include "server/control_order.h"
#include "server/control_report.h"
#include "server/control_request.h"
#include "server/control_verb.h"
#include "server/master_inner.h"

enum control_stage { CONTROL_READING, CONTROL_WORKING, CONTROL_WRITING, CONTROL_OVER };

/* A worker that was asked and has not answered. */
struct control_asked {
	pid_t pid;                      /* 0: it has */
	int fd;
	char name[CONTROL_WORKER_NAME];
};

struct control_client {
	struct loop_event event;
	struct loop_task rest;
	struct deadline deadline;
	struct master *master;
	struct control_client *next;
	uint64_t number;
	int fd;
	enum control_stage stage;
	char in[CONTROL_REQUEST_MAX + 1];
	size_t in_n;
	struct control_request request;         /* pieces of `in` */
	struct report report;
	size_t sent;

	/* WORKING: true when there is nothing to wait for any more */
	bool (*is_done)(struct control_client *k);
	void (*late)(struct control_client *k);
	struct reload_waiter waiter;
	bool waits;                     /* … for a reload */
	struct control_asked *asked;    /* heap */
	size_t asked_count;
	struct control_order order;
	uint64_t matched, shown;
	pid_t replaced;
	pid_t looker;                   /* a child that looks; 0: none, or it has ended: */
	int look_status;                /* of waitpid */
	bool look_late;
	bool told;                      /* the child has answered */
};

/* The answer is whole. */
void control_finish(struct control_client *k);
/* … and it says that nothing was done. */
PRINTF(2, 3) void control_refuse(struct control_client *k, const char *format, ...);
/* It is whole when is_done says so; late in `ms` (0: never). */
void control_wait(struct control_client *k, bool (*is_done)(struct control_client *k),
    void (*late)(struct control_client *k), uint64_t ms);

/* ------------------------------------------------------------------ control_status.c */

void control_status(struct control_client *k);
void control_upstreams(struct control_client *k);
void control_take_sample(struct master *m, struct slot *s);

/* ------------------------------------------------------------------ control_ask.c */

/* `4`, or `4:1234` where another has its number. */
void control_worker_name(const struct slot *s, char name[static CONTROL_WORKER_NAME]);
/* The worker that has this number, as it is written; NULL: refused. */
struct slot *control_find_worker(struct control_client *k, struct slice number);
void control_connections(struct control_client *k);
void control_kick(struct control_client *k);
void control_snapshots(struct control_client *k);
void control_take_answer(struct control_client *k, struct slot *s);
void control_forget_asked(struct control_client *k);

/* ------------------------------------------------------------------ control_look.c */

void control_look(struct control_client *k);
/* `owner`: it is ended; else this is a fork, and it is not ours. */
void control_forget_look(struct control_client *k, bool owner);

#endif
