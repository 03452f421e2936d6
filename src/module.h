/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a loadable module of millrace includes, and all that it includes: plain C11 (C++ will do),
 * no struct of the server's. A module offers protocols, and handlers (steps of a route), by one
 * function, millrace_module, which is called where its code is loaded: in whoever checks a
 * configuration, and in each worker. All that it hands over is checked, and every value that it
 * returns.
 *
 * modules/README leads from nothing to a running protocol; modules/line_protocol.c is the file to
 * copy.
 *
 * How this grows. MILLRACE_ABI changes when something here no longer means what it did: the server
 * then refuses the module. Else structs only get members at their end. Each struct that crosses the
 * border begins with its size as the side that made it knows it, and nobody looks past that; so an
 * old module works in a new server, and a new one in an old server if it asks (MILLRACE_HAS) before
 * it uses what may be missing. Rows (arguments, directives, fields) stand in arrays and never grow.
 *
 * Who may call what, and when. All functions of a module are called by one thread of one process at
 * a time. They must not block. What the server hands over (spans, messages, exchanges, contexts) is
 * a module's only until its function returns.
 */
#ifndef MILLRACE_MODULE_H
#define MILLRACE_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MILLRACE_ABI 1u

/* Whether a struct of the other side has this member. */
#define MILLRACE_HAS(pointer, type, member) \
	((pointer)->size >= offsetof(type, member) + sizeof((pointer)->member))

/* Bytes of somebody else. Strings from a configuration have a NUL behind them, not counted. */
struct millrace_span {
	const char *at;
	size_t n;
};

struct millrace_setup;                  /* a configuration that is being checked */
struct millrace_message;                /* a message that is being decoded */
struct millrace_out;                    /* where bytes are written to */
struct millrace_exchange;               /* a question that is being answered */
struct millrace_text;                   /* a string of the configuration with ${fields} in it */

enum millrace_result {
	MILLRACE_OK = 0,
	MILLRACE_MORE = 0,              /* input: the end of the message is not there yet */
	MILLRACE_SKIP = 1,              /* decode: it is none (an empty line); what is next? */
	MILLRACE_BAD = -1,              /* malformed */
	MILLRACE_TOO_LARGE = -2,
	MILLRACE_UNSUPPORTED = -3,
};

/* ------------------------------------------------------------------ directives */

/*
 * Settings are read from the configuration into a struct of the module's, each to its offset,
 * checked as the server's own are: type, bounds, said twice, unknown words with a suggestion.
 */
enum millrace_type {
	MILLRACE_FLAG = 1,              /* bool: on, off */
	MILLRACE_INTEGER,               /* int64_t */
	MILLRACE_SIZE,                  /* uint64_t, bytes: 512, 8k, 1m */
	MILLRACE_DURATION,              /* uint64_t, milliseconds: 500ms, 30s, 7d */
	MILLRACE_WORD,                  /* int: which one of `words` */
	MILLRACE_STRING,                /* struct millrace_span */
	MILLRACE_BYTES,                 /* struct millrace_span; NUL and all may stand in it */
	/* const struct millrace_text *, of handlers alone: host->text() says what it comes to */
	MILLRACE_TEXT,
};

enum millrace_flags {
	MILLRACE_OPTIONAL = 1,          /* an argument may be missing, and all behind it */
	/* the last argument: one or more values; struct millrace_list of what its type fills */
	MILLRACE_MANY = 2,
	MILLRACE_OPTION = 4,            /* an argument NAME=VALUE behind the others; may be missing */
	MILLRACE_REQUIRED = 8,          /* a directive must be said */
	/* a directive may be said often: struct millrace_list of structs of `size` bytes each */
	MILLRACE_REPEATS = 16,
};

struct millrace_list {
	const void *items;
	size_t n;
	size_t unused;
};

struct millrace_argument {
	const char *name;               /* as manuals show it: SIZE; of an option its word */
	enum millrace_type type;        /* 0 ends the array */
	unsigned flags;
	size_t offset;
	int64_t min, max;               /* of numbers, bytes, milliseconds; both 0: no bounds */
	const char *const *words;       /* of WORD; NULL ends them */
	const char *otherwise;          /* OPTIONAL, OPTION: the default, as it would be written */
};

struct millrace_directive {
	const char *name;               /* NULL ends the array */
	unsigned flags;
	const struct millrace_argument *arguments;
	size_t offset;                  /* where the offsets of its arguments begin, or its list is */
	size_t size;                    /* REPEATS: bytes of one */
	const char *otherwise;          /* its arguments by default; NULL: all zero */
	const char *help;               /* one line that ends with a full stop */
};

/* ------------------------------------------------------------------ protocols */

/* How answers find their questions. */
enum millrace_answers {
	MILLRACE_NONE = 1,              /* there are no answers */
	MILLRACE_IN_ORDER,
	MILLRACE_BY_ID,                 /* decode says set_id; `replace_id` is there */
};

enum millrace_traits {
	/* messages of several clients may share one connection to a peer */
	MILLRACE_INDEPENDENT = 1,
	MILLRACE_DATAGRAMS = 2,         /* a message is a datagram; for udp alone */
};

enum { MILLRACE_CONTEXT = 16, MILLRACE_ID_LONGEST = 64 };

enum millrace_field_type { MILLRACE_FIELD_TEXT = 1, MILLRACE_FIELD_NUMBER };

/* What decode may find in a question: `msg.NAME` in conditions, texts and logs. */
struct millrace_field {
	const char *name;               /* NULL ends the array */
	enum millrace_field_type type;  /* a NUMBER is set as decimal digits */
	const char *help;
};

/* What `encode` writes a message from. */
struct millrace_draft {
	size_t size;
	struct millrace_span body;
	struct millrace_span id;        /* that the message must carry; empty: none */
	struct millrace_span question;  /* the message that is answered; empty: none is, or unknown */
	bool is_answer;
};

/* Why a question has no answer. */
struct millrace_failure {
	size_t size;
	const char *word;               /* "peer_timeout" */
	const char *text;               /* "the peer did not answer in time" */
	unsigned status;                /* what HTTP would answer: 504; 0: nothing */
	struct millrace_span question;
};

/*
 * `settings` are the module's own (millrace_module.settings_size), or NULL when it has none. Only
 * name, max, answers and input must be there.
 */
struct millrace_protocol {
	size_t size;                    /* sizeof(struct millrace_protocol) */
	const char *name;               /* letters, digits, _ and -: the word in the configuration */
	const char *help;
	unsigned traits;
	enum millrace_answers answers;
	/*
	 * Bytes that a message may have, and so what of an unfinished one is kept. max_of, when it
	 * is there, is asked instead, once the configuration was read.
	 */
	uint32_t max;
	uint32_t header;                /* no message is shorter than this */
	const char *media_type;         /* of a body, where HTTP carries it: "application/json" */
	const struct millrace_field *fields;
	uint32_t (*max_of)(const void *settings);

	/*
	 * A direction of a connection begins: `question` from client to server. `context` is
	 * MILLRACE_CONTEXT bytes, aligned to 8, zeroed: what input wants to remember from message
	 * to message. There is no end: it holds nothing that must be freed.
	 */
	void (*begin)(const void *settings, void *context, bool question);
	/*
	 * The length of the first message of `in`, which begins where the message does and may end
	 * anywhere. MILLRACE_MORE: unknown, there is more to come; it is called again with more,
	 * and with *resume as it was left: bytes that need not be looked at again (0 at first). A
	 * length that is known is not asked for again, so it may be more than there is. Negative:
	 * why it cannot be read; the connection ends.
	 */
	int64_t (*input)(const void *settings, void *context, struct millrace_span in, size_t *resume);
	/*
	 * A whole message: set_body, set_id, … of what stands in it. MILLRACE_OK, MILLRACE_SKIP or
	 * negative. NULL, or nothing set: the body is the whole message.
	 */
	int (*decode)(const void *settings, struct millrace_span in, struct millrace_message *m);
	/*
	 * The opposite: writes (host->write) the message of a draft. NULL: it is the body as it
	 * stands. What was written must be one message to `input` with a fresh context, or it is
	 * not sent.
	 */
	int (*encode)(
	    const void *settings, const struct millrace_draft *draft, struct millrace_out *out);
	/*
	 * BY_ID. On a connection that clients share the server has ids of its own: writes the
	 * message `in` with the id `id` for the one that decode finds in it.
	 */
	int (*replace_id)(const void *settings, struct millrace_span in, struct millrace_span id,
	    struct millrace_out *out);
	/*
	 * An id of the server's as bytes, at most MILLRACE_ID_LONGEST, and back; decimal digits
	 * when these are NULL. Numbers go from 1 to id_most (0: 2^32 - 1).
	 */
	size_t (*make_id)(const void *settings, uint64_t number, char room[MILLRACE_ID_LONGEST]);
	bool (*read_id)(const void *settings, struct millrace_span id, uint64_t *number);
	uint64_t id_most;
	/*
	 * The body of what is said instead of an answer. NULL, or nothing written: the connection
	 * ends.
	 */
	int (*make_error)(const void *settings, const struct millrace_failure *why,
	    struct millrace_out *out);
	/* What a heartbeat sends, where the configuration does not say it: a whole message. */
	int (*make_ping)(const void *settings, struct millrace_out *out);
	/*
	 * Whether asking this twice does no harm (of another peer, after a failure). NULL: never
	 * known.
	 */
	bool (*is_idempotent)(const void *settings, struct millrace_span question);
};

/* ------------------------------------------------------------------ handlers */

enum millrace_verdict {
	MILLRACE_PASS = 0,              /* the next step */
	MILLRACE_REPLY,                 /* what host->reply was given is the answer */
	MILLRACE_DROP,                  /* no answer; a question over HTTP is answered by 204 */
	MILLRACE_CLOSE,                 /* the connection ends without a word */
	MILLRACE_FAIL,                  /* 500, or the protocol's error */
};

enum millrace_handler_traits {
	MILLRACE_ANSWERS = 1,           /* it never passes: a step behind it is not reached */
};

/*
 * A step of a route: `NAME arguments…;`. It keeps nothing from question to question but what its
 * settings hold.
 */
struct millrace_handler {
	size_t size;                    /* sizeof(struct millrace_handler) */
	const char *name;
	const char *help;
	unsigned traits;
	const struct millrace_argument *arguments;
	size_t settings_size;           /* of the struct that they fill */
	/* Rules beyond types and bounds; says what is wrong (host->refuse) and returns false. */
	bool (*check)(const struct millrace_setup *setup, void *own, const void *settings);
	/* `own` is what the step's arguments filled, `settings` the module's. */
	enum millrace_verdict (*question)(
	    const void *settings, const void *own, struct millrace_exchange *ex);
};

/* ------------------------------------------------------------------ the two tables */

struct millrace_module {
	unsigned abi;                   /* MILLRACE_ABI */
	unsigned size;                  /* sizeof(struct millrace_module) */
	const char *name;               /* for logs */
	const struct millrace_protocol *const *protocols;       /* NULL ends them; or NULL */
	const struct millrace_handler *const *handlers;         /* the same */
	/* What may stand in `module "x.so" { … }`, and the struct that it fills; or NULL, 0. */
	const struct millrace_directive *directives;
	size_t settings_size;
	/*
	 * The settings were read: rules beyond types and bounds, and what is to be made of them.
	 * False: it said what is wrong (host->refuse).
	 */
	bool (*configure)(const struct millrace_setup *setup, void *settings);
	/* A configuration that was fine is no longer used by anything. */
	void (*release)(void *settings);
};

enum millrace_level { MILLRACE_LOG_DEBUG, MILLRACE_LOG_INFO, MILLRACE_LOG_WARN, MILLRACE_LOG_ERROR };

/* What the server offers. Spans that are handed over are copied. */
struct millrace_host {
	unsigned abi;
	unsigned size;

	/* A line of the error log, behind the module's name. */
	void (*log)(const struct millrace_module *module, enum millrace_level level, const char *text);

	/*
	 * check, configure. What is wrong, said at the directive's line. Memory as long as the
	 * settings live.
	 */
	void (*refuse)(const struct millrace_setup *setup, const char *text);
	void *(*keep)(const struct millrace_setup *setup, size_t n);

	/*
	 * decode. Spans of the message itself need no copy. `field` is an index of the protocol's
	 * fields.
	 */
	void (*set_body)(struct millrace_message *m, struct millrace_span body);
	void (*set_field)(struct millrace_message *m, unsigned field, struct millrace_span value);
	void (*set_id)(struct millrace_message *m, struct millrace_span id);
	/* A question that has no answer; an answer that belongs to no question. */
	void (*set_one_way)(struct millrace_message *m);
	/* Memory to the end of the call, and of what is set; NULL: too much was asked for. */
	void *(*alloc)(struct millrace_message *m, size_t n);

	/* False: it would be more than a message may have; what is written then is not sent. */
	bool (*write)(struct millrace_out *out, const void *at, size_t n);

	/* question. Of a protocol of messages; empty: it is none. */
	struct millrace_span (*body)(struct millrace_exchange *ex);
	/* A TEXT with its fields filled in; false: it is longer than 32 KiB. */
	bool (*text)(struct millrace_exchange *ex, const struct millrace_text *text,
	    struct millrace_span *out);
	/* The answer's body. HTTP: with this status, from 200 to 599, and media type (or NULL). */
	bool (*reply)(struct millrace_exchange *ex, unsigned status, const char *media_type,
	    struct millrace_span body);
};

/*
 * The one function that a module must have, in front of it: MILLRACE_EXPORT. NULL: it cannot work
 * in this server. What it returns lives as long as the module.
 */
#if defined(__GNUC__)
#define MILLRACE_EXPORT __attribute__((visibility("default")))
#else
#define MILLRACE_EXPORT
#endif
MILLRACE_EXPORT const struct millrace_module *millrace_module(const struct millrace_host *host);

#ifdef __cplusplus
}
#endif

#endif
