/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is asked over the control socket: one line of at most 1 KiB, words with a TAB between
 * them. There is nothing to escape and nothing to nest, since the master reads it.
 */
#ifndef MILLRACE_SERVER_CONTROL_REQUEST_H
#define MILLRACE_SERVER_CONTROL_REQUEST_H

#include "base/addr.h"

enum { CONTROL_REQUEST_MAX = 1024, CONTROL_WORDS_MAX = 16 };

struct control_request {
	struct slice words[CONTROL_WORDS_MAX];
	size_t count;                   /* at least 1 */
};

enum control_reading { CONTROL_MORE, CONTROL_WHOLE, CONTROL_BAD };

/* `in`: all that has come. WHOLE: the words are pieces of it. BAD: *fault says why. */
MUST_USE enum control_reading control_request_read(
    struct control_request *r, struct slice in, const char **fault);
/* The same, written: false: it does not fit, or is none. */
MUST_USE bool control_request_write(
    struct builder *b, const struct slice *words, size_t count);

/* ------------------------------------------------------------------ of `connections` */

enum { CONTROL_NAME_MAX = 128, CONTROL_ROWS = 1000, CONTROL_ROWS_MAX = 100 * 1000 };

/* Which of them. Empty texts, and a span of 0 to UINT64_MAX: any. Plain bytes, so that it can be passed on. */
struct control_filter {
	char server[CONTROL_NAME_MAX], upstream[CONTROL_NAME_MAX], protocol[CONTROL_NAME_MAX];
	char state[CONTROL_NAME_MAX], side[CONTROL_NAME_MAX];
	struct network source;          /* family 0: any */
	/* ms: longer than, shorter than */
	uint64_t idle_over, idle_under, age_over, age_under;
	uint32_t limit;                 /* rows; what is more is counted */
};

/*
 * server=NAME upstream=NAME protocol=NAME state=WORD side=client|peer src=CIDR idle>30s age<5m limit=N. False:
 * said in `fault`.
 */
MUST_USE bool control_filter_read(
    struct control_filter *f, const struct slice *words, size_t count, struct builder *fault);

/* `4.711`: of worker 4 the connection 711; `4:1234.711` of one that leaves, process 1234. */
MUST_USE bool control_id_read(struct slice text, struct slice *worker, uint64_t *number);

#endif
