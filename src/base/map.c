/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Open addressing with linear probing, at most three quarters full. The hash
 * stands in the entry: growing compares no keys, and a foreign key is almost
 * never looked at. A table that has grown leaves the old one to the arena.
 */
#include "base/map.h"

enum { MAP_START = 8 };                  /* entries; a power of two */

static uint64_t seed[2];

/* SipHash-1-3 (Aumasson, Bernstein): one round a word, three at the end. */
struct sip {
	uint64_t a, b, c, d;
};

static inline uint64_t
rotate(uint64_t word, int bits)
{
	return word << bits | word >> (64 - bits);
}

static inline void
sip_round(struct sip *s)
{
	s->a += s->b;
	s->b = rotate(s->b, 13) ^ s->a;
	s->a = rotate(s->a, 32);
	s->c += s->d;
	s->d = rotate(s->d, 16) ^ s->c;
	s->a += s->d;
	s->d = rotate(s->d, 21) ^ s->a;
	s->c += s->b;
	s->b = rotate(s->b, 17) ^ s->c;
	s->c = rotate(s->c, 32);
}

static inline void
sip_add(struct sip *s, uint64_t word)
{
	s->d ^= word;
	sip_round(s);
	s->a ^= word;
}

static inline uint64_t
sip_hash(struct slice key, bool nocase)
{
	struct sip s = {
		seed[0] ^ UINT64_C(0x736f6d6570736575),
		seed[1] ^ UINT64_C(0x646f72616e646f6d),
		seed[0] ^ UINT64_C(0x6c7967656e657261),
		seed[1] ^ UINT64_C(0x7465646279746573),
	};
	const char *at = key.at;
	size_t left = key.n;

	for (; left >= 8; at += 8, left -= 8) {
		uint64_t word = bytes_word(at, 8);

		sip_add(&s, nocase ? ascii_lower_word(word) : word);
	}

	uint64_t last = bytes_word(at, left);

	sip_add(&s, (nocase ? ascii_lower_word(last) : last) | (uint64_t)key.n << 56);
	s.c ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return s.a ^ s.b ^ s.c ^ s.d;
}

void
hash_seed(uint64_t a, uint64_t b)
{
	seed[0] = a;
	seed[1] = b;
}

void
hash_seed_tell(uint64_t key[static 2])
{
	key[0] = seed[0];
	key[1] = seed[1];
}

uint64_t
hash_bytes(struct slice s)
{
	return sip_hash(s, false);
}

uint64_t
hash_bytes_nocase(struct slice s)
{
	return sip_hash(s, true);
}

uint64_t
fingerprint_add(uint64_t so_far, const void *at, size_t n)
{
	const uint8_t *byte = at;

	for (size_t i = 0; i < n; i++)
		so_far = (so_far ^ byte[i]) * UINT64_C(0x100000001b3);
	return so_far;
}

void
map_init(struct map *m, struct arena *a, bool nocase)
{
	*m = (struct map){ .arena = a, .nocase = nocase };
}

static uint64_t
map_hash(const struct map *m, struct slice key)
{
	return m->nocase ? hash_bytes_nocase(key) : hash_bytes(key);
}

/* The entry of `key`, or the free one where it belongs; there is a free one. */
static struct map_entry *
map_place(const struct map *m, struct slice key, uint64_t hash)
{
	for (size_t i = hash & (m->room - 1);; i = (i + 1) & (m->room - 1)) {
		struct map_entry *e = &m->entries[i];

		if (e->value == NULL)
			return e;
		if (e->hash == hash &&
		    (m->nocase ? slice_equal_nocase(e->key, key) : slice_equal(e->key, key)))
			return e;
	}
}

static void
map_grow(struct map *m)
{
	struct map_entry *old = m->entries;
	size_t count = m->room;

	m->room = count == 0 ? MAP_START : count * 2;
	m->entries = arena_array(m->arena, m->room, sizeof(*m->entries));
	for (size_t i = 0; i < count; i++) {
		if (old[i].value == NULL)
			continue;

		/* all keys differ: the first free entry is the place */
		size_t at = old[i].hash & (m->room - 1);

		while (m->entries[at].value != NULL)
			at = (at + 1) & (m->room - 1);
		m->entries[at] = old[i];
	}
}

void *
map_find(const struct map *m, struct slice key)
{
	return m->count == 0 ? NULL : map_place(m, key, map_hash(m, key))->value;
}

/* The entry of `key`, with its key and hash in it but without a value when it is new. */
static struct map_entry *
map_claim(struct map *m, struct slice key)
{
	uint64_t hash = map_hash(m, key);

	if ((m->count + 1) * 4 > m->room * 3)
		map_grow(m);

	struct map_entry *e = map_place(m, key, hash);

	if (e->value == NULL) {
		e->key = key;
		e->hash = hash;
		m->count++;
	}
	return e;
}

bool
map_add(struct map *m, struct slice key, void *value)
{
	struct map_entry *e = map_claim(m, key);

	if (e->value != NULL)
		return false;
	e->value = value;
	return true;
}

void
map_set(struct map *m, struct slice key, void *value)
{
	map_claim(m, key)->value = value;
}

/* No hole may part an entry from where it is looked for: those behind it move up. */
static void
map_close_hole(struct map *m, size_t hole)
{
	size_t mask = m->room - 1;

	for (size_t i = (hole + 1) & mask; m->entries[i].value != NULL; i = (i + 1) & mask) {
		size_t home = m->entries[i].hash & mask;

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		m->entries[hole] = m->entries[i];
		hole = i;
	}
	m->entries[hole] = (struct map_entry){ .value = NULL };
}

void *
map_remove(struct map *m, struct slice key)
{
	struct map_entry *e = m->count == 0 ? NULL : map_place(m, key, map_hash(m, key));
	void *value = e == NULL ? NULL : e->value;

	if (value == NULL)
		return NULL;
	m->count--;
	map_close_hole(m, (size_t)(e - m->entries));
	return value;
}
