/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a step of a route runs. Stateless: what a handler must remember while an
 * exchange lasts sits in exchange_state(ex, step). Questions run the steps
 * 1…n in the order written, answers n…1.
 */
#ifndef MILLRACE_CORE_HANDLER_H
#define MILLRACE_CORE_HANDLER_H

#include "core/match.h"
#include "core/message.h"
#include "core/reason.h"

struct exchange;
struct step;
struct upstream;
struct build;

enum verdict {
	STEP_PASS,              /* on to the next step */
	STEP_TAKE,              /* this step answers, now or later; no later step runs */
	STEP_HOLD,              /* nothing yet: exchange_resume(ex) will run the next one */
};

/* What a step would do: for `server explain`. */
struct outlook {
	struct builder does;            /* in words: answers 200 "ok" */
	uint16_t status;                /* what its answer has; 0: none, or a peer's */
	uint8_t reason;                 /* enum reason: why it would fail */
	const struct upstream *upstream;        /* whose peers would be asked */
	/* of several lines that are one step: the one that decides, and its condition */
	struct span line;
	const struct condition *when;
};

struct handler_ops {
	const char *name;
	size_t state_size;              /* bytes in each exchange; zeroed */
	/* traits of which a server's protocol must have one; 0: any protocol */
	unsigned protocols;
	/* what is written where it has not: `reply "TEXT";`; or NULL */
	const char *instead;
	/* when its `when` is asked: MOMENT_QUESTION, or MOMENT_ANSWER (then only `answer` runs) */
	enum moment moment;
	/* always answers: a step behind it without `when` between is never reached */
	bool takes;

	/*
	 * Build time. Rules beyond the row, references (upstreams, maps) resolved. False: reported.
	 * NULL: none.
	 */
	bool (*build)(struct build *b, struct step *step);
	/*
	 * `next` stands directly behind `first` and is of the same handler: true when first has
	 * absorbed it (allow/deny).
	 */
	bool (*join)(struct arena *a, struct step *first, const struct step *next);

	/* The nth line of what was joined; false: there are no more. NULL: it is its own. */
	bool (*line)(const struct step *step, size_t nth, struct span *at);

	/* The head of the question is there. */
	enum verdict (*question)(struct exchange *ex, const struct step *step);
	/*
	 * The same without a connection, an answer or a count: the exchange is a stand-in
	 * (server/stage.h), in which a step may edit the question and nothing else. NULL: it
	 * `takes`, or passes, and there is no more to say.
	 */
	enum verdict (*explain)(struct exchange *ex, const struct step *step, struct outlook *out);
	/*
	 * Of the step that took the exchange: the question's body (talks: the client's bytes).
	 * NULL: it is dropped.
	 */
	void (*data)(struct exchange *ex, const struct step *step, const struct part *part);
	/*
	 * An answer passes on its way to the client. HEAD and DATA; it may edit the head. NULL: not
	 * interested.
	 */
	void (*answer)(struct exchange *ex, const struct step *step, struct part *part);
	/*
	 * Of the step that took: its peer connection is open / failed.
	 */
	void (*peer_open)(struct exchange *ex, const struct step *step);
	void (*peer_fail)(struct exchange *ex, const struct step *step, enum reason reason);
	/* The peer has taken what was sent to it, after it had not for a while. */
	void (*peer_room)(struct exchange *ex, const struct step *step);
	/* The head of its answer came. Called only where exchange.keeps is set. */
	void (*peer_answer)(struct exchange *ex, const struct step *step);
	/*
	 * The exchange ends, whichever way: give back what the state holds. Called for every step
	 * that ran with state_size != 0.
	 */
	void (*end)(struct exchange *ex, const struct step *step);
};

struct step {
	const struct handler_ops *ops;
	const void *settings;           /* what its row filled */
	const struct condition *when;   /* or NULL */
	struct span span;
	uint32_t state_at;              /* in the exchange's state */
	/* which bit of exchange.answers says that it sees the answer */
	uint8_t answer_bit;
};

/* The steps of a route or of an error block, ready to run. */
struct steps {
	struct step *items;
	uint16_t count;
	uint16_t answers;               /* of them want answers: 0 is the short road */
	uint32_t state_size;
};

/* What build() may ask for by name; server/build.c gives it. */
struct limit;
struct settings;
struct reading *build_reading(struct build *b);
const struct protocol_ops *build_protocol(struct build *b);        /* of the server being built */
/* what the step being built may ask for */
const struct scope *build_scope(struct build *b);
struct upstream *build_upstream(struct build *b, struct slice name, struct span at, bool quiet);
/* An upstream of one peer made from an address written in place; equal ones are one. */
struct upstream *build_upstream_of(struct build *b, const struct endpoint *to);
const struct field_map *build_map(struct build *b, struct slice name);
/* The limit of that name; NULL: reported. */
const struct limit *build_limit(struct build *b, struct slice name, struct span at);
const struct settings *build_settings(struct build *b);            /* of the route being built */
/*
 * From build(): drops the steps of this handler that the route being built has from its server;
 * false: it is in no route. (A build that sets step->ops to NULL has done all there was to do: the
 * step is dropped.)
 */
bool build_reset(struct build *b, const struct handler_ops *ops);

#endif
