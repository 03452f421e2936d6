/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket: a Unix socket of the master's, for whoever may open it (0600). Each connection brings
 * one request and gets one answer; none of them can hold the master, or end it.
 */
#ifndef MILLRACE_SERVER_CONTROL_H
#define MILLRACE_SERVER_CONTROL_H

#include "core/engine.h"
#include "server/channel.h"

struct control_client;
struct master;
struct slot;

struct control {
	struct loop_event event;
	int fd;                         /* -1: there is none */
	char *path;
	uint64_t device, inode;         /* of its file: what we made and may remove */
	struct control_client *clients;
	size_t count;                   /* of clients */
	uint64_t asked;                 /* clients that there ever were */
	struct deadline sample;
	uint64_t opened, generation;
	int level;                      /* enum log_level, said at run time; -1: the configuration's */
};

/* Of what a worker has done, so that it is known how much a second is. */
struct control_sample {
	uint64_t at;                    /* clock_ms(); 0: none yet */
	uint64_t exchanges, messages;
	uint64_t exchange_rate, message_rate;   /* thousandths a second */
};

void control_init(struct control *c);
/* Where the bundle says, once the loop is there; false: said. */
MUST_USE bool control_open(struct master *m);
/* Who waits is answered, where what is waited for is there; part of every pass. */
void control_settle(struct master *m);
/*
 * The socket is ours anew, whoever has its path: another master has given it up, or had it and has ended. Where it is
 * ours already: nothing.
 */
void control_renew(struct master *m);
enum { CONTROL_DOING = TALE_MOST + 64 };
/* What it did when it was last seen, in words; false: it does nothing. */
bool control_doing(const struct slot *s, char *text, size_t size);
/* A worker reports: true: it was to us. */
bool control_report(struct master *m, struct slot *s, const struct channel_message *r);
/* A child ended: true: it was of ours. */
bool control_reaped(struct master *m, pid_t pid, int status);
/* `owner`: the master itself, which takes its file along; else a fork of it. */
void control_close(struct master *m, bool owner);
/* From which level on the error log is written. */
int control_level(const struct master *m);

#endif
