/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The protocol of Redis, RESP2 and RESP3, as pure functions: where a question or an answer ends,
 * which words stand in a question, what a connection was told that the next one would not know.
 *
 *   question    *2 $3 GET $1 k      an array of bulk strings; or inline: a line of words
 *   answer      any value; one of type > belongs to no question
 */
#ifndef MILLRACE_PROTOCOLS_RESP_RESP_H
#define MILLRACE_PROTOCOLS_RESP_RESP_H

#include "core/protocol.h"

enum {
	RESP_MAX = 64 << 20,            /* bytes of a question or an answer */
	RESP_INLINE_LONGEST = 64 << 10, /* bytes of an inline command; redis takes no more */
	RESP_STREAMS = 4,               /* streamed aggregates, one within another */
};

extern const struct protocol_ops protocol_resp;
extern const struct codec resp_codec;

/* ------------------------------------------------------------------ measuring */

/* What was said on a connection, as far as it changes what comes later. */
enum resp_session {
	RESP_QUESTIONS = 1,             /* the direction is the one of questions */
	RESP_BOUND = 2,                 /* SELECT, AUTH, HELLO, …: another one would not know */
	RESP_MULTI = 4,                 /* a transaction is open */
	RESP_WATCH = 8,                 /* a key is watched */
	RESP_THREE = 16,                /* HELLO 3 */
	RESP_SILENT = 32,               /* CLIENT REPLY OFF */
	RESP_SKIP = 64,                 /* CLIENT REPLY SKIP: the next one gets no answer */
	RESP_LISTENS = 128,             /* SUBSCRIBE, MONITOR: what comes answers no question */
};

/* What a direction keeps between reads. */
struct resp_state {
	uint32_t at;                    /* where what is awaited begins */
	uint32_t looked;                /* bytes that are not looked at again */
	uint32_t left;                  /* values still to come; in a stream: of its current one */
	uint32_t outer[RESP_STREAMS];   /* what `left` was when each stream began */
	uint8_t streams;                /* that are open */
	uint8_t pairs : 4, odd : 4;     /* bits of the streams: a map; an odd number came */
	uint8_t session;                /* enum resp_session */
	uint8_t step;
};

_Static_assert(sizeof(struct resp_state) <= CODEC_STATE, "resp keeps too much");

void resp_begin(struct resp_state *s, bool question);
/*
 * Looks for the end of what `in` begins with: wire, pushed and fault of `u` are set. What it says
 * does not depend on how the bytes are cut, and none is looked at more often than a few times;
 * those of a bulk string are not looked at.
 */
enum codec_verdict resp_measure(
    struct resp_state *s, uint32_t max, struct slice in, struct unit *u);

/* ------------------------------------------------------------------ words */

/* A walk over the words of a question: the command and its arguments. */
struct resp_words {
	struct slice rest;
	bool is_line;                   /* inline: quotes and escapes, as redis-cli has them */
	const char *fault;              /* "bad_quotes", or NULL */
};

/* `wire` was measured. */
void resp_words_begin(struct resp_words *w, struct slice wire);
/* Any text as an inline command. */
void resp_words_begin_line(struct resp_words *w, struct slice line);
/*
 * False: there is no more, or there is a fault. A word lies in the question, or decoded in
 * scratch memory (NULL: such ones are passed, and empty).
 */
MUST_USE bool resp_words_next(struct resp_words *w, struct scratch *scratch, struct slice *word);
/* The nth, the command being 0; false: there is none. */
MUST_USE bool resp_word(
    struct slice wire, size_t nth, struct scratch *scratch, struct slice *word);
size_t resp_word_count(struct slice wire);

/* ------------------------------------------------------------------ commands */

enum resp_command_flags {
	RESP_READS = 1,                 /* it changes nothing: asking twice does no harm */
	RESP_BINDS = 2,                 /* RESP_BOUND */
	RESP_SUBSCRIBES = 4,            /* RESP_LISTENS; in RESP3 it has no answer but pushes */
	RESP_FOLLOWED = 8,              /* its name or its arguments say what it does */
};

/* Where its first key stands. */
enum resp_key {
	RESP_KEY_NONE,
	RESP_KEY_1,
	RESP_KEY_2,
	RESP_KEY_3,
	/* behind an argument that says how many there are: that one is the first, second */
	RESP_KEY_COUNTED_1,
	RESP_KEY_COUNTED_2,
	RESP_KEY_STREAMS,               /* behind the word STREAMS */
};

struct resp_command {
	const char *name;               /* capitals */
	uint8_t flags;
	uint8_t key;                    /* enum resp_key */
};

/*
 * What is known of the command of that name, in any case; of one that is not (of a module): its
 * key is argument 1, and nothing else is known.
 */
const struct resp_command *resp_command_find(struct slice name);
/* The first key of a question; false: it has none. */
MUST_USE bool resp_key(struct slice wire, struct scratch *scratch, struct slice *key);
/*
 * What a question does to its connection: u->mark, the session before and behind it; u->one_way:
 * redis gives it no answer.
 */
void resp_follow(struct resp_state *s, struct scratch *scratch, struct unit *u);

/* ------------------------------------------------------------------ writing */

/*
 * `text` as an answer: a simple string, error or any other complete value, with or without its last
 * CRLF; what is none as a bulk string. NULL, or a word.
 */
const char *resp_write_answer(struct slice text, struct scratch *scratch, struct slice *wire);
/* As a question: an array of bulk strings; a line is cut in words. */
const char *resp_write_question(struct slice text, struct scratch *scratch, struct slice *wire);

#endif
