/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of `server explain` share: what was found out, before it is printed as text or as JSON.
 */
#ifndef MILLRACE_SERVER_EXPLAIN_INNER_H
#define MILLRACE_SERVER_EXPLAIN_INNER_H

#include "server/explain.h"
#include "server/stage.h"

/* What the words say. */
struct explain_words {
	const char *question;           /* the first that is no option */
	const char *protocol, *src, *listener;
	const char **headers;
	size_t header_count;
	bool json;
};

/* Why a step runs or does not. */
enum told_fate {
	TOLD_RUNS,
	TOLD_PASSED,                    /* its condition does not hold */
	TOLD_LATER,                     /* it runs when the answer comes */
	TOLD_UNREACHED                  /* a step before it answers */
};

struct told_step {
	const struct step *step;
	struct span line;               /* of several, the one that decides; file 0: all are shown */
	enum told_fate fate;
	bool of_error;                  /* of an error block */
	struct slice why;               /* fields of its condition and their values; or empty */
	struct slice does;              /* in words; or empty */
};

struct told_route {
	const struct route *route;
	struct slice why;
};

struct told_capture {
	struct slice name, value;
};

struct explanation {
	struct arena *arena;
	struct sources *files;
	struct slice question;          /* for people */
	struct slice src;               /* as conditions see it */
	const char *note;               /* or NULL */
	const struct listener *listener;
	struct slice others;            /* listeners that could have been meant; or empty */
	const struct server *server;    /* or NULL */
	const char *server_why;
	struct told_route *earlier;     /* that did not match */
	size_t earlier_count, earlier_room;
	size_t unshown;                 /* … whose patterns did not match, and which are not listed */
	struct told_route route;        /* .route NULL: none */
	struct told_capture *captures;
	size_t capture_count, capture_room;
	struct told_step *steps;
	size_t step_count, step_room;
	enum reason reason;
	uint16_t status;                /* that the client gets from us; 0: none */
	const struct upstream *upstream;
	struct slice answer;            /* in words */
};

/* ------------------------------------------------------------------ explain.c */

/* Fields of the condition that decide, with their values. */
struct slice explain_condition(
    struct arena *a, const struct condition *c, struct exchange *ex);

/* ------------------------------------------------------------------ explain_words.c */

/* False: it was said what is wrong. */
MUST_USE bool explain_words_read(struct arena *a, const char *const *words, size_t count,
    struct explain_words *out, FILE *wrong);
/* A question of HTTP as its bytes: `GET https://host/path`, and what it was asked of. */
struct explain_url {
	bool secure;                    /* https */
	struct slice host;              /* as it was written; or empty */
	uint16_t port;                  /* 0: none was said */
	struct slice bytes;
};
MUST_USE bool explain_url_read(
    struct arena *a, const struct explain_words *words, struct explain_url *out, FILE *wrong);

/* ------------------------------------------------------------------ explain_print.c */

/* Text for people, whatever stands in the files: what a terminal would follow becomes `?`. */
struct explain_plain {
	FILE *at;                       /* to print on */
	char *text;
	size_t n;
};
void explain_plain_begin(struct explain_plain *p);
void explain_plain_end(struct explain_plain *p, FILE *to);
void explain_print(const struct explanation *x, FILE *to);
void explain_print_json(const struct explanation *x, FILE *to);
/*
 * The nth line of a step, where several are one; false: it has no more.
 */
bool explain_line(const struct step *step, size_t nth, struct span *at);
/* The statement that stands there, up to its end or its block, on one line. Empty: it has no place. */
struct slice explain_statement(struct arena *a, struct sources *files, struct span at);
/* A route's, without the word; empty: it takes all. */
struct slice explain_route_words(
    struct arena *a, struct sources *files, const struct route *route);
/* ` (x.conf:3)`. */
void explain_place(struct sources *files, struct span at, FILE *to);
/* `"NAME":"TEXT"`, and a `,"place":"x.conf:3"`. */
void explain_json_text(FILE *to, const char *name, struct slice text);
void explain_json_place(struct sources *files, struct span at, FILE *to);

#endif
