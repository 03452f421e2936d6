/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limit NAME { key FIELD; rate 5/m; burst 5; }: how often something may be asked with one value of
 * a field, by all workers together. The table has a fixed size and no locks: where two meet, a
 * count may be lost, and where it is full, those forgotten are the ones that have asked for least.
 */
#ifndef MILLRACE_CORE_LIMIT_H
#define MILLRACE_CORE_LIMIT_H

#include "core/field.h"
#include "core/rate.h"

struct snapshot;

/* What a `limit` block fills: NAME by limit_arguments, the inside by limit_rows. */
struct limit_block {
	struct name name;
	struct value key;               /* a field: compiled where it is used */
	struct rate rate;
	int64_t burst;
	int64_t keys;
};
extern const struct argument limit_arguments[];
extern const struct directive limit_rows[];

struct limit {
	struct slice name;
	struct value key;
	struct rate_limit limit;
	uint32_t sets;                  /* of the table; a power of two */
	uint32_t shared;                /* index of its table in snapshot.shared */
};

/* One key, by its hash; four of them are a line of the cache, and the places a key may have. */
struct limit_entry {
	_Atomic uint64_t hash;          /* 0: none */
	_Atomic uint64_t full;          /* of rate_take_shared */
};
enum { LIMIT_WAYS = 4 };

struct limit_set {
	struct limit_entry entries[LIMIT_WAYS];
};

/* NULL: reported. */
struct limit *limit_build(struct reading *r, const struct limit_block *block);
/* Bytes of its table. */
static inline uint32_t
limit_size(const struct limit *l)
{
	return l->sets * (uint32_t)sizeof(struct limit_set);
}

/* Counts one for that key; false: it is over the limit. */
MUST_USE bool limit_take(
    const struct limit *l, struct limit_set *table, uint64_t hash, uint64_t now_us);
/* Of the field's first value: of an address of IPv6 the first 64 bits. False: it has none. */
MUST_USE bool limit_hash(struct exchange *ex, const struct field_ref *ref, uint64_t *hash);

#endif
