/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A key's bucket is found by its keyed hash in the one set where it may be. A key that is new takes
 * the place of the one whose bucket is fullest: most often that one is full, and nothing is
 * forgotten.
 */
#include "core/limit.h"

#include <stdatomic.h>

#include "base/map.h"

enum { LIMIT_KEYS_LEAST = 64, LIMIT_KEYS_MOST = 1024 * 1024 };

const struct argument limit_arguments[] = {
	{ .name = "NAME", .type = &type_name, .offset = offsetof(struct limit_block, name) },
	{ 0 },
};

static const struct argument key_arguments[] = { { .name = "FIELD", .type = &type_raw }, { 0 } };
static const struct argument rate_arguments[] = {
	{ .name = "RATE", .type = &type_rate, .min = 1, .max = RATE_MOST },
	{ 0 },
};
static const struct argument burst_arguments[] = {
	{ .name = "N", .type = &type_integer, .min = 1, .max = RATE_BURST_MOST },
	{ 0 },
};
static const struct argument keys_arguments[] = {
	{ .name = "N", .type = &type_integer, .min = LIMIT_KEYS_LEAST, .max = LIMIT_KEYS_MOST },
	{ 0 },
};

const struct directive limit_rows[] = {
	{ .name = "key",
	    .kind = DIRECTIVE_SETTING,
	    .flags = DIRECTIVE_REQUIRED,
	    .arguments = key_arguments,
	    .offset = offsetof(struct limit_block, key),
	    .help = "The field whose values are counted one by one: src (an IPv6 network of 64 "
	    "bits is one), header.authorization, msg.user. What has no value passes." },
	{ .name = "rate",
	    .kind = DIRECTIVE_SETTING,
	    .flags = DIRECTIVE_REQUIRED,
	    .arguments = rate_arguments,
	    .offset = offsetof(struct limit_block, rate),
	    .help = "How many each may bring: 20/s, 5/m, 100/h." },
	{ .name = "burst",
	    .kind = DIRECTIVE_SETTING,
	    .arguments = burst_arguments,
	    .offset = offsetof(struct limit_block, burst),
	    .help = "How many at once; not said: as many as the rate says." },
	{ .name = "keys",
	    .kind = DIRECTIVE_SETTING,
	    .arguments = keys_arguments,
	    .offset = offsetof(struct limit_block, keys),
	    .otherwise = "65536",
	    .help = "How many values are known at once, 16 bytes each." },
	{ 0 },
};

struct limit *
limit_build(struct reading *r, const struct limit_block *block)
{
	struct limit *l = arena_zalloc(r->arena, sizeof(*l));

	if (block->key.kind != VALUE_WORD) {
		diag_error(r->diag, block->key.span,
		    "a field is written without quotes: " SLICE_FORMAT,
		    SLICE_ARG(diag_word(block->key.raw)));
		return NULL;
	}
	l->name = arena_slice(r->arena, block->name.text);
	l->key = block->key;
	l->limit = rate_limit_of(&block->rate, (uint64_t)block->burst);
	l->sets = 1;
	while (l->sets * LIMIT_WAYS < block->keys)
		l->sets *= 2;
	return l;
}

/* ------------------------------------------------------------------ keys */

bool
limit_hash(struct exchange *ex, const struct field_ref *ref, uint64_t *hash)
{
	struct field_value value;
	struct slice text;

	if (ref->field->type == FIELD_ADDRESS && ref->field->get(ex, ref, 0, &value) &&
	    value.addr->v6.sin6_family == AF_INET6 &&
	    !IN6_IS_ADDR_V4MAPPED(&value.addr->v6.sin6_addr))
		text = slice_make((const char *)&value.addr->v6.sin6_addr, 8);
	else if (!field_text(ex, ref, false, &text))
		return false;
	*hash = hash_bytes(text);
	return true;
}

/* ------------------------------------------------------------------ the table */

static struct limit_entry *
known_in(struct limit_set *set, uint64_t hash)
{
	for (size_t i = 0; i < LIMIT_WAYS; i++)
		if (atomic_load_explicit(&set->entries[i].hash, memory_order_relaxed) == hash)
			return &set->entries[i];
	return NULL;
}

static struct limit_entry *
fullest_in(struct limit_set *set)
{
	struct limit_entry *fullest = &set->entries[0];

	for (size_t i = 1; i < LIMIT_WAYS; i++)
		if (atomic_load_explicit(&set->entries[i].full, memory_order_relaxed) <
		    atomic_load_explicit(&fullest->full, memory_order_relaxed))
			fullest = &set->entries[i];
	return fullest;
}

bool
limit_take(const struct limit *l, struct limit_set *table, uint64_t hash, uint64_t now_us)
{
	struct limit_set *set = &table[hash >> 32 & (l->sets - 1)];
	struct limit_entry *entry;

	hash |= hash == 0;
	entry = known_in(set, hash);
	if (entry == NULL) {
		entry = fullest_in(set);
		atomic_store_explicit(&entry->full, 0, memory_order_relaxed);
		atomic_store_explicit(&entry->hash, hash, memory_order_relaxed);
	}
	return rate_take_shared(&l->limit, &entry->full, now_us) == 0;
}
