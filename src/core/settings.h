/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Settings that servers and routes inherit by copy, and those that act before
 * a server is known and so belong to the listener. Rows in settings.c.
 */
#ifndef MILLRACE_CORE_SETTINGS_H
#define MILLRACE_CORE_SETTINGS_H

#include "core/rate.h"
#include "core/trust.h"

/* `access_log off;` `access_log PATH [combined|json];` */
enum access_format { ACCESS_OFF, ACCESS_COMBINED, ACCESS_JSON };

struct access_setting {
	struct slice path;
	int format;                     /* enum access_format */
	struct value raw;
	int log;                        /* index into snapshot.logs, set by the build; -1: off */
};

/* What a peer is told of who asks: X-Forwarded-*, Forwarded (RFC 7239). */
enum forwarded { FORWARDED_X, FORWARDED_RFC7239, FORWARDED_BOTH, FORWARDED_OFF };

enum trailers { TRAILERS_DROP, TRAILERS_PASS };

/*
 * More answers wait for a client of messages than buffer { answer } allows: its next question is
 * not read until half of it is gone; the new answer is dropped; the oldest that are whole; it ends.
 */
enum answer_over { ANSWER_WAIT, ANSWER_DROP, ANSWER_DROP_OLDEST, ANSWER_CLOSE };

/* More messages than message_rate allows: wait in the socket; get the protocol's error; it ends. */
enum rate_over { RATE_WAIT, RATE_REFUSE, RATE_CLOSE };

struct message_rate {
	struct rate rate;
	int64_t burst;
	int over;                       /* enum rate_over */
	struct rate_limit limit;        /* made of them */
};

/* heartbeat { … } of a server for its clients, of an upstream for its peers. */
struct heartbeat {
	uint64_t interval;              /* ms of silence; 0: none */
	struct slice send;              /* a message's body; empty: the protocol's own ping */
	int64_t miss;                   /* silent intervals that end the connection */
};

/* flow by FIELD: compiled for each listener of datagrams; `source`: they are told apart by that. */
struct flow_setting {
	int by;
	struct value field;
};

/* Durations in ms, sizes in bytes. */
struct settings {
	struct access_setting access;
	uint64_t body_timeout;          /* timeout { body }: silence inside a question's body */
	uint64_t write_timeout;         /* timeout { write }: the client takes nothing */
	uint64_t keepalive_timeout;     /* timeout { keepalive }: silence between two exchanges */
	uint64_t idle_timeout;          /* timeout { idle }: silence in a tunnel, both ways */
	uint64_t body_max;              /* max { body } */
	int forwarded;                  /* enum forwarded */
	int trailers;                   /* enum trailers */
	/* min { body; write }, bytes a second; min { after }: ms that are not judged */
	uint64_t body_least, write_least, least_grace;
	uint64_t question_buffer;       /* buffer { question }: taken before a peer is asked */
	/* buffer { answer }: taken ahead of the client; what waits for a client of messages */
	uint64_t answer_buffer;
	int answer_over;                /* enum answer_over */
};

/*
 * Must be the same for every server of a listener (a difference is an error that shows both lines).
 */
struct listener_settings {
	/* timeout { header }: to the end of the head (and of the PROXY line) */
	uint64_t head_timeout;
	uint64_t uri_max;               /* max { uri }: the request line */
	uint64_t field_max;             /* max { header } */
	uint64_t head_max;              /* max { headers }: all of a head */
	int64_t field_count_max;        /* max { header_count } */

	/* of protocols of messages */
	uint64_t first_message_timeout; /* from accept to the first whole one; 0: any */
	uint64_t message_timeout;       /* from a message's first byte to its last */
	int64_t messages_max;           /* max { messages }: unanswered, of one client */
	struct message_rate message_rate;
	struct heartbeat heartbeat;
	int64_t flows_max;              /* max { flows }: of datagrams, of a worker */
	struct flow_setting flow;
};

struct server_settings {
	struct settings common;
	struct listener_settings listener;
	struct trust trust;
};

/*
 * Fill a struct server_settings: for defaults and server. And a struct settings: for route (those
 * inside `timeout` and `max` that belong to the listener are then an error that says so).
 */
extern const struct directive server_settings_rows[];
extern const struct directive route_settings_rows[];
/* Fill a struct heartbeat. */
extern const struct table heartbeat_tables[];

/* A row that does something only where the protocol has these traits. */
struct setting_use {
	const char *block, *word;       /* block NULL: the word stands by itself */
	/* what of it counts: an argument, of a block a row; NULL: all */
	const char *part;
	unsigned traits;                /* any of them */
	bool only_said;                 /* it does nothing elsewhere: a warning, no error */
};
/* Ended by word NULL. */
extern const struct setting_use setting_uses[];

#endif
