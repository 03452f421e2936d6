/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A protocol of messages as the lane (lane.h) sees it: where a message ends, what stands in it,
 * what pairs it with its answer, how one is written. Declared, builtin and loaded protocols fill
 * this one table; a codec opens nothing, keeps nothing and knows no connection: bytes in, views
 * out. What a direction of a connection must remember is the codec's state, which the lane keeps.
 */
#ifndef MILLRACE_CORE_CODEC_H
#define MILLRACE_CORE_CODEC_H

#include "base/scratch.h"
#include "config/schema.h"
#include "core/reason.h"

struct exchange;

enum {
	CODEC_STATE = 32,               /* bytes that a codec may keep for a direction */
	CODEC_ID_LONGEST = 64,          /* bytes of an id that is kept and restored */
};

enum codec_verdict {
	CODEC_MORE,                     /* not all of it is there */
	CODEC_MESSAGE,                  /* unit.wire is one */
	CODEC_SKIP,                     /* unit.wire is none: an empty one, junk */
	CODEC_BAD,                      /* it cannot be read on: unit.fault says why */
	CODEC_STARVED,                  /* there is no memory for it */
};

/* How answers find their questions. */
enum codec_pairing {
	CODEC_NONE,                     /* there are no answers */
	CODEC_IN_ORDER,
	CODEC_BY_ID
};

/*
 * A message in hand. Slices lie in the bytes that were read, or in scratch memory; the lane moves
 * them when the message outlives the pass (unit_move).
 */
struct unit {
	struct slice wire;              /* as it came */
	/* what stands in it, unescaped: in wire, or decoded into scratch; head, then body */
	struct slice inner;
	uint32_t body_at, body_n;       /* in inner */
	uint32_t id_at, id_n;           /* in inner: what pairs it; id_n 0: it has none */
	bool one_way;                   /* a question without an answer: it has no id, or says so */
	bool pushed;                    /* an answer that belongs to no question (RESP3 push) */
	uint8_t mark;                   /* the codec's own */
	/* the codec's own; what they point to lives as long as the codec does */
	const void *of, *by;
	/* of a decoder that made more than views: the exchange's arena holds it (loaded modules) */
	void *decoded;
	/*
	 * what fields found in it, for the next that is asked for: of the exchange's arena; or NULL
	 */
	void *found;
	/*
	 * BAD; SKIP: what was wrong, for the first time, or NULL. MESSAGE: why its id is in doubt,
	 * or NULL; such a question is not asked, because the answer might be found to be another's.
	 */
	const char *fault;
};

static inline struct slice
unit_body(const struct unit *u)
{
	return (struct slice){ u->inner.at + u->body_at, u->body_n };
}

static inline struct slice
unit_id(const struct unit *u)
{
	return (struct slice){ u->inner.at + u->id_at, u->id_n };
}

/*
 * A header field that is written: declared by the codec, checked when the configuration was built.
 */
struct unit_set {
	const void *field;              /* the codec's own */
	struct slice value;             /* as text */
};

/* What a message is to be written from. */
struct draft {
	struct slice body;
	struct slice id;                /* the pairing id as it stands in a message; or empty */
	/* the question that is answered: a codec may take from it what answers repeat; or NULL */
	const struct unit *question;
	const struct unit_set *sets;
	size_t set_count;
	bool is_answer;
};

struct codec {
	/* said by the declaration */
	enum codec_pairing pairing;
	bool independent;               /* messages of several clients may share a connection */
	bool datagrams;                 /* a message is a datagram: it is read from datagrams alone */
	uint32_t max;                   /* bytes of a message; obligatory */
	/* the media type of a body: where HTTP carries it, and as what texts in it are escaped */
	const char *type;
	/* of its declaration: another one frames messages in another way */
	uint64_t fingerprint;

	/* A direction begins: `question` from client to peer. State is zeroed. */
	void (*begin)(const struct codec *k, void *state, bool question);
	/*
	 * What `in` begins with. MORE: it comes again with more behind it, and what was looked at
	 * is not looked at again. MESSAGE and SKIP take unit.wire.n >= 1 bytes. Never reads past
	 * `max`. Those and BAD set all of `u`.
	 */
	enum codec_verdict (*next)(const struct codec *k, void *state, struct slice in,
	    struct scratch *scratch, struct unit *u);
	/* The end came behind `in`, of which next() said MORE. MORE: nothing is left to say. */
	enum codec_verdict (*finish)(const struct codec *k, void *state, struct slice in,
	    struct scratch *scratch, struct unit *u);
	/*
	 * The message of a draft, in scratch memory. NULL, or why it cannot be written (the body
	 * holds the boundary, a value does not fit, …), one word.
	 */
	const char *(*write)(const struct codec *k, const struct draft *d, struct scratch *scratch,
	    struct slice *wire);

	/*
	 * The message as it is sent on, with what marks its ends where others may have stood before
	 * it and behind it. NULL: that is unit.wire.
	 */
	struct slice (*alone)(const struct codec *k, const struct unit *u, struct scratch *scratch);

	/*
	 * Build time: the header field of that name, into set->field. `value` is what it shall be;
	 * its raw.at is NULL where that is known later. False: reported. NULL: there are none.
	 */
	bool (*set)(const struct codec *k, struct reading *r, const struct value *name,
	    const struct value *value, struct unit_set *set);

	/* BY_ID. The largest number that an id of ours may be, >= 1. */
	uint64_t (*id_most)(const struct codec *k);
	/* As an id in a message: `room` holds it. */
	struct slice (*id_make)(const struct codec *k, uint64_t number, char room[CODEC_ID_LONGEST]);
	/* Back; false: not one that id_make made. */
	bool (*id_number)(const struct codec *k, struct slice id, uint64_t *number);
	/*
	 * What `write` replaces by an id where a body has one in it; empty: it has none. NULL: so
	 * do all.
	 */
	struct slice (*body_id)(const struct codec *k, struct slice body);
	/*
	 * The message with another id, in scratch memory (or in place where `wire` may be changed).
	 */
	const char *(*id_set)(const struct codec *k, const struct unit *u, struct slice id,
	    struct scratch *scratch, struct slice *wire);

	/*
	 * The body of what is answered when `reason` keeps an exchange from its answer, in scratch
	 * memory; false: the protocol has no words for it. NULL: it never has.
	 */
	bool (*error)(
	    const struct codec *k, struct exchange *ex, enum reason reason, struct slice *body);
	/* Whether asking twice does no harm. NULL: never known. */
	bool (*idempotent)(const struct codec *k, struct exchange *ex);
	/* What a heartbeat sends where the configuration says nothing; NULL: nothing is known. */
	struct slice (*ping)(const struct codec *k);
	/*
	 * Whether a heartbeat may come among the questions of a client whose `state` this is, on a
	 * connection of its own. NULL: always.
	 */
	bool (*may_beat)(const struct codec *k, const void *state);
};

static inline struct slice
codec_alone(const struct codec *k, const struct unit *u, struct scratch *scratch)
{
	return unlikely(k->alone != NULL) ? k->alone(k, u, scratch) : u->wire;
}

/*
 * Build time: whether a draft can be written, in the protocol of that name. An answer is tried with
 * an id where it will have one. False: reported.
 */
bool codec_check(const struct codec *k, const char *protocol, const struct draft *d,
    struct reading *r, struct span at);

/* The slices that lie in `from` now lie in `to`: the same bytes elsewhere. */
void unit_move(struct unit *u, struct slice from, const char *to);

#endif
