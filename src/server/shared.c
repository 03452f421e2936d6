/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects stand one behind the other, each on lines of the cache of its own,
 * and are never given back: over a reload most are the same.
 */
#include "server/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW };

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

static void
keep(struct shared *s, const struct shared_key *key, uint64_t offset)
{
	struct shared_place *place = arena_alloc(&s->arena, sizeof(*place));

	*place = (struct shared_place){ *key, offset };
	map_set(&s->by_key, slice_make((char *)&place->key, sizeof(place->key)), place);
}

bool
shared_know(struct shared *s, const struct shared_place *place)
{
	struct shared_key plain = plain_key(&place->key);
	size_t need = room_of(plain.size);

	if (need == 0 || shared_at(s, place->offset, need) == NULL)
		return false;
	keep(s, &plain, place->offset);
	s->used = MAX_OF(s->used, place->offset + need);
	return true;
}

bool
shared_take(struct shared *s, const struct shared_key *key, uint64_t *offset)
{
	struct shared_key plain = plain_key(key);
	const struct shared_place *known =
	    map_find(&s->by_key, slice_make((char *)&plain, sizeof(plain)));
	size_t need = room_of(plain.size);

	if (known != NULL) {
		*offset = known->offset;
		return true;
	}
	shared_sync(s);
	if (need == 0 || need > s->size - s->used)
		return false;
	*offset = s->used;
	keep(s, &plain, s->used);
	s->used += need;
	return s->fd < 0 || lseek(s->fd, (off_t)s->used, SEEK_SET) >= 0;
}

void *
shared_at(const struct shared *s, uint64_t offset, size_t size)
{
	if (offset % SHARED_ALIGN != 0 || offset > s->size || size > s->size - offset)
		return NULL;
	return s->at + offset;
}
