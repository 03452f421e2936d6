/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects stand one behind the other, each on lines of the cache of its own. Over a reload most are the
 * same; those that are gone leave gaps, which are filled first.
 */
#include "server/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW };
enum { LARGE = 64 * 1024 };             /* bytes: worth asking the kernel to take them back */

/* A place as the master keeps it. */
struct object {
	struct shared_place place;
	/* generations whose configurations named it: the first, the last; 0: none did */
	struct shared_span named;
};

_Static_assert(offsetof(struct object, place) == 0, "to others the table is one of places");

/* Takes the descriptor. */
static bool
map_region(struct shared *s, int fd, size_t size)
{
	void *at =
	    mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	*s = (struct shared){ .at = NULL, .fd = -1 };
	if (at == MAP_FAILED) {
		int error = errno;

		close(fd);
		errno = error;
		return false;
	}
	*s = (struct shared){ .at = at, .size = size, .fd = fd };
	arena_init(&s->arena, NULL, 0);
	map_init(&s->by_key, &s->arena, false);
	shared_sync(s);
	return true;
}

bool
shared_open(struct shared *s, size_t size)
{
	int fd = memfd_create("shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	*s = (struct shared){ .at = NULL, .fd = -1 };
	if (fd < 0)
		return false;
	if (ftruncate(fd, (off_t)size) == 0 && fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) == 0)
		return map_region(s, fd, size);
	int error = errno;
	close(fd);
	errno = error;
	return false;
}

bool
shared_inherit(struct shared *s, int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat about;

	*s = (struct shared){ .at = NULL, .fd = -1 };
	if (seals >= 0 && (seals & SEALS) == SEALS && fstat(fd, &about) == 0 && about.st_size > 0)
		return map_region(s, fd, (size_t)about.st_size);
	close(fd);
	errno = EINVAL;
	return false;
}

void
shared_sync(struct shared *s)
{
	off_t used = s->fd < 0 ? 0 : lseek(s->fd, 0, SEEK_CUR);

	if (used > 0)
		s->used = MIN_OF(MAX_OF(s->used, (size_t)used), s->size);
}

void
shared_foretell(struct shared *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void
shared_close(struct shared *s)
{
	if (s->at == NULL)
		return;
	munmap(s->at, s->size);
	shared_foretell(s);
	arena_reset(&s->arena);
	*s = (struct shared){ .at = NULL, .fd = -1 };
}

/* What stands behind the NUL of a name does not make it another key. */
static struct shared_key
plain_key(const struct shared_key *key)
{
	struct shared_key plain = { .kind = key->kind, .size = key->size };

	memcpy(plain.name, key->name, strnlen(key->name, SHARED_NAME));
	return plain;
}

static size_t
room_of(uint32_t size)
{
	return ((size_t)size + SHARED_ALIGN - 1) & ~(size_t)(SHARED_ALIGN - 1);
}

static struct slice
slice_of_key(const struct shared_key *key)
{
	return slice_make((const char *)key, sizeof(*key));
}

static void
keep(struct shared *s, const struct shared_key *key, uint64_t offset, struct shared_span named)
{
	struct object *o = arena_alloc(&s->arena, sizeof(*o));

	*o = (struct object){ { *key, offset }, named };
	map_set(&s->by_key, slice_of_key(&o->place.key), o);
}

bool
shared_know(struct shared *s, const struct shared_place *place)
{
	struct shared_key plain = plain_key(&place->key);
	size_t need = room_of(plain.size);

	if (need == 0 || shared_at(s, place->offset, need) == NULL)
		return false;
	keep(s, &plain, place->offset, (struct shared_span){ 0 });
	s->used = MAX_OF(s->used, place->offset + need);
	return true;
}

/* The first that is large enough. */
static bool
take_gap(struct shared *s, size_t need, uint64_t *offset)
{
	for (struct shared_gap *g = s->gaps; g < s->gaps + s->gap_count; g++)
		if (g->size >= need) {
			*offset = g->offset;
			g->offset += need;
			g->size -= need;
			return true;
		}
	return false;
}

static bool
take_end(struct shared *s, size_t need, uint64_t *offset)
{
	shared_sync(s);
	if (need > s->size - s->used)
		return false;
	*offset = s->used;
	s->used += need;
	return s->fd < 0 || lseek(s->fd, (off_t)s->used, SEEK_SET) >= 0;
}

bool
shared_take(struct shared *s, const struct shared_key *key, uint64_t *offset)
{
	struct shared_key plain = plain_key(key);
	const struct object *known = map_find(&s->by_key, slice_of_key(&plain));
	size_t need = room_of(plain.size);

	if (known != NULL) {
		*offset = known->place.offset;
		return true;
	}
	if (need == 0 || (!take_gap(s, need, offset) && !take_end(s, need, offset)))
		return false;
	keep(s, &plain, *offset, (struct shared_span){ 0 });
	return true;
}

/* ------------------------------------------------------------------ giving back */

void
shared_name(struct shared *s, const struct shared_key *key, uint64_t generation)
{
	struct shared_key plain = plain_key(key);
	struct object *o = map_find(&s->by_key, slice_of_key(&plain));

	if (o == NULL)
		return;
	if (o->named.oldest == 0)
		o->named.oldest = generation;
	o->named.newest = generation;
}

static bool
is_held(const struct object *o, const struct shared_span *held, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (o->named.newest >= held[i].oldest && o->named.oldest <= held[i].newest)
			return true;
	return o->place.key.kind == SHARED_WORKER;
}

static int
compare_offsets(const void *a, const void *b)
{
	const struct object *const *one = a, *const *other = b;

	return ((*one)->place.offset > (*other)->place.offset) -
	    ((*one)->place.offset < (*other)->place.offset);
}

/* By their offsets. NULL: all stay. */
static const struct object **
those_that_stay(
    const struct shared *s, const struct shared_span *held, size_t held_count, size_t *count)
{
	const struct object **stay = memory_alloc((s->by_key.count + 1) * sizeof(*stay));

	*count = 0;
	for (size_t i = 0; i < s->by_key.room; i++) {
		const struct object *o = s->by_key.entries[i].value;

		if (o != NULL && is_held(o, held, held_count))
			stay[(*count)++] = o;
	}
	if (*count == s->by_key.count) {
		free(stay);
		return NULL;
	}
	qsort(stay, *count, sizeof(*stay), compare_offsets);
	return stay;
}

static void
clear(struct shared *s, uint64_t from, uint64_t end)
{
	const int how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	if (end - from < LARGE || fallocate(s->fd, how, (off_t)from, (off_t)(end - from)) < 0)
		memset(s->at + from, 0, end - from);
}

static void
leave_gap(struct shared *s, uint64_t from, uint64_t end)
{
	if (from >= end)
		return;
	clear(s, from, end);
	s->gaps[s->gap_count++] = (struct shared_gap){ from, end - from };
}

/* What is behind the last object is no gap. */
static void
cut_end(struct shared *s, uint64_t end)
{
	clear(s, end, s->used);
	s->used = end;
	(void)lseek(s->fd, (off_t)end, SEEK_SET);
}

void
shared_sweep(struct shared *s, const struct shared_span *held, size_t held_count)
{
	struct arena before = s->arena;
	size_t count;
	const struct object **stay = those_that_stay(s, held, held_count, &count);
	uint64_t end = 0;

	if (stay == NULL)
		return;
	shared_sync(s);
	arena_init(&s->arena, NULL, 0);
	map_init(&s->by_key, &s->arena, false);
	s->gaps = arena_array(&s->arena, count + 1, sizeof(*s->gaps));
	s->gap_count = 0;
	for (size_t i = 0; i < count; i++) {
		const struct shared_place *p = &stay[i]->place;

		leave_gap(s, end, p->offset);
		keep(s, &p->key, p->offset, stay[i]->named);
		end = p->offset + room_of(p->key.size);
	}
	cut_end(s, end);
	arena_reset(&before);
	free(stay);
}

void *
shared_at(const struct shared *s, uint64_t offset, size_t size)
{
	if (offset % SHARED_ALIGN != 0 || offset > s->size || size > s->size - offset)
		return NULL;
	return s->at + offset;
}
