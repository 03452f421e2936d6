/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects stand one behind the other, each on lines of the cache of its own,
 * and are never given back: over a reload most are the same.
 */
#include "server/shared.h"

#include <sys/mman.h>

struct shared_place {
	struct shared_key key;
	uint64_t offset;
};

bool
shared_open(struct shared *s, size_t size)
{
	void *at = mmap(
	    NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	*s = (struct shared){ .at = NULL };
	if (at == MAP_FAILED)
		return false;
	s->at = at;
	s->size = size;
	arena_init(&s->arena, NULL, 0);
	map_init(&s->by_key, &s->arena, false);
	return true;
}

void
shared_close(struct shared *s)
{
	if (s->at == NULL)
		return;
	munmap(s->at, s->size);
	arena_reset(&s->arena);
	*s = (struct shared){ .at = NULL };
}

/* What stands behind the NUL of a name does not make it another key. */
static struct shared_key
plain_key(const struct shared_key *key)
{
	struct shared_key plain = { .kind = key->kind, .size = key->size };

	memcpy(plain.name, key->name, strnlen(key->name, SHARED_NAME));
	return plain;
}

bool
shared_take(struct shared *s, const struct shared_key *key, uint64_t *offset)
{
	struct shared_key plain = plain_key(key);
	const struct shared_place *known =
	    map_find(&s->by_key, slice_make((char *)&plain, sizeof(plain)));
	size_t need = ((size_t)plain.size + SHARED_ALIGN - 1) & ~(size_t)(SHARED_ALIGN - 1);

	if (known != NULL) {
		*offset = known->offset;
		return true;
	}
	if (need == 0 || need > s->size - s->used)
		return false;

	struct shared_place *place = arena_alloc(&s->arena, sizeof(*place));

	*place = (struct shared_place){ plain, s->used };
	map_set(&s->by_key, slice_make((char *)&place->key, sizeof(place->key)), place);
	s->used += need;
	*offset = place->offset;
	return true;
}

void *
shared_at(const struct shared *s, uint64_t offset, size_t size)
{
	if (offset % SHARED_ALIGN != 0 || offset > s->size || size > s->size - offset)
		return NULL;
	return s->at + offset;
}
