/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Settings that servers and routes inherit by copy, and those that act before
 * a server is known and so belong to the listener. Rows in settings.c.
 */
#ifndef MILLRACE_CORE_SETTINGS_H
#define MILLRACE_CORE_SETTINGS_H

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
	uint64_t answer_buffer;         /* buffer { answer }: taken ahead of the client */
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

#endif
