/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hash table from bytes to pointers, keyed with SipHash so that who chooses
 * the keys cannot choose the collisions. (No table is filled by clients so far:
 * what they name is only looked up.) Keys are not copied: they live as
 * long as they are in it. Memory is of an arena, so a table is never freed by itself.
 */
#ifndef MILLRACE_BASE_MAP_H
#define MILLRACE_BASE_MAP_H

#include "base/arena.h"

struct map_entry {
	struct slice key;
	uint64_t hash;
	void *value;
};

struct map {
	struct arena *arena;
	struct map_entry *entries;      /* open addressing, a power of two */
	size_t count, room;
	bool nocase;                    /* keys compare without ASCII case */
};

void map_init(struct map *m, struct arena *a, bool nocase);
void *map_find(const struct map *m, struct slice key);           /* or NULL */
/* False when the key is there already (the value stays as it was). value is not NULL. */
bool map_add(struct map *m, struct slice key, void *value);
void map_set(struct map *m, struct slice key, void *value);
/*
 * Its value, or NULL. Entries behind it may move to where it was: who walks over all looks there
 * again.
 */
void *map_remove(struct map *m, struct slice key);

/* SipHash-1-3 with a key of this process (hash_seed sets it, at the start only). */
void hash_seed(uint64_t a, uint64_t b);
/* For a process that goes on with what this one has hashed. */
void hash_seed_tell(uint64_t key[static 2]);
uint64_t hash_bytes(struct slice s);
uint64_t hash_bytes_nocase(struct slice s);
/*
 * 64 bits, not keyed, the same in every process: for fingerprints. FNV-1a; start with
 * FINGERPRINT_START.
 */
#define FINGERPRINT_START UINT64_C(0xcbf29ce484222325)
uint64_t fingerprint_add(uint64_t so_far, const void *at, size_t n);

#endif
