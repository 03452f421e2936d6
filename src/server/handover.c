/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table: a header, the bindings, their descriptors, the keys of the shared memory. Whoever
 * wrote it is our parent, and may be older or newer than we are: nothing is believed that is not in
 * bounds.
 */
#include "server/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char variable[] = "MILLRACE_HANDOVER";

enum {
	SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL,
	SIZE_MOST = 256 * 1024 * 1024,
};

struct handover_header {
	char magic[8];
	uint32_t version, layout;       /* layout: SHARED_LAYOUT */
	uint64_t size;                  /* of all */
	uint32_t binding_count, fd_count, key_count;
	uint32_t next, group;           /* of the table of bindings */
	int32_t shared_fd;
	uint64_t hash_key[2];           /* of what lies in shared memory by its hash */
	struct handover_about about;
};

struct handover_binding {
	struct addr addr;
	uint64_t device, inode;
	uint32_t fd_count;              /* the next ones of the table of descriptors */
	int32_t backlog;
	uint32_t mode;
	uint16_t number;
	uint8_t transport, common;
	uint8_t unused[8];
};

static const char magic[8] = "handover";

/* ------------------------------------------------------------------ writing */

static size_t
size_of(const struct handover_header *h)
{
	return sizeof(*h) + h->binding_count * sizeof(struct handover_binding) +
	    h->key_count * sizeof(struct shared_place) + h->fd_count * sizeof(int32_t);
}

static struct handover_header
header_of(const struct handover_about *about, const struct binding_table *bindings,
    const struct shared *shared)
{
	struct handover_header h = { .version = HANDOVER_VERSION, .layout = SHARED_LAYOUT,
		.binding_count = (uint32_t)bindings->count,
		.key_count = (uint32_t)shared->by_key.count, .next = bindings->next,
		.group = (uint32_t)bindings->group, .shared_fd = shared->fd, .about = *about };

	memcpy(h.magic, magic, sizeof(magic));
	hash_seed_tell(h.hash_key);
	for (size_t i = 0; i < bindings->count; i++)
		h.fd_count += (uint32_t)bindings->all[i].fd_count;
	h.size = size_of(&h);
	return h;
}

static struct handover_binding
record_of(const struct bound *b)
{
	return (struct handover_binding){ .addr = b->addr, .device = b->device,
		.inode = b->inode, .fd_count = (uint32_t)b->fd_count, .backlog = b->backlog,
		.mode = b->mode, .number = b->number, .transport = b->transport,
		.common = b->common };
}

static void
write_all(FILE *to, const struct handover_header *h, const struct binding_table *bindings,
    const struct shared *shared)
{
	fwrite(h, sizeof(*h), 1, to);
	for (size_t i = 0; i < bindings->count; i++) {
		const struct handover_binding r = record_of(&bindings->all[i]);

		fwrite(&r, sizeof(r), 1, to);
	}
	for (size_t i = 0; i < shared->by_key.room; i++)
		if (shared->by_key.entries[i].value != NULL)
			fwrite(shared->by_key.entries[i].value, sizeof(struct shared_place), 1, to);
	for (size_t i = 0; i < bindings->count; i++)
		fwrite(bindings->all[i].fds, sizeof(int32_t), bindings->all[i].fd_count, to);
}

int
handover_write(const struct handover_about *about, const struct binding_table *bindings,
    const struct shared *shared)
{
	const struct handover_header h = header_of(about, bindings, shared);
	int fd = memfd_create("handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *to = copy < 0 ? NULL : fdopen(copy, "w");

	if (to != NULL) {
		write_all(to, &h, bindings, shared);
		bool good = !ferror(to);

		if (fclose(to) == 0 && good && fcntl(fd, F_ADD_SEALS, SEALS) == 0)
			return fd;
	} else if (copy >= 0) {
		close(copy);
	}
	int error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	return -1;
}

static bool
keep(int fd)
{
	return fd < 0 || fcntl(fd, F_SETFD, 0) == 0;
}

bool
handover_keep(const struct handover_about *about, const struct binding_table *bindings,
    const struct shared *shared, int table)
{
	bool good = keep(about->link) && keep(about->stderr_fd) && keep(shared->fd) && keep(table);
	char number[16];

	for (size_t i = 0; i < bindings->count; i++)
		for (size_t k = 0; k < bindings->all[i].fd_count; k++)
			good = good && keep(bindings->all[i].fds[k]);
	snprintf(number, sizeof(number), "%d", table);
	return good && setenv(variable, number, 1) == 0;
}

/* ------------------------------------------------------------------ reading */

struct handover_table {
	const struct handover_header *header;
	size_t size;
};

static bool
is_whole(const struct handover_table *t)
{
	const struct handover_header *h = t->header;

	return h->size == t->size && h->size == size_of(h) &&
	    memchr(h->about.pid_path, '\0', sizeof(h->about.pid_path)) != NULL &&
	    h->group > 0 && h->group <= BUNDLE_WORKERS_MAX && h->next <= BINDINGS_MAX + 1;
}

/* NULL, or what is wrong. */
static const char *
open_table(struct handover_table *t, int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat about;

	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &about) < 0 ||
	    (size_t)about.st_size < sizeof(struct handover_header) || about.st_size > SIZE_MOST)
		return "it is no sealed table";
	t->size = (size_t)about.st_size;

	void *at = mmap(NULL, t->size, PROT_READ, MAP_PRIVATE, fd, 0);

	if (at == MAP_FAILED)
		return strerror(errno);
	t->header = at;
	if (memcmp(t->header->magic, magic, sizeof(magic)) == 0 &&
	    t->header->version == HANDOVER_VERSION && is_whole(t))
		return NULL;
	munmap(at, t->size);
	return "the server that runs hands over in another way";
}

static bool
take_fd(int fd)
{
	return fd > STDERR_FILENO && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static bool
take_binding(struct binding_table *t, const struct handover_binding *r, const int32_t *fds)
{
	struct bound b = { .number = r->number, .transport = r->transport, .addr = r->addr,
		.backlog = r->backlog, .mode = r->mode, .common = r->common != 0,
		.device = r->device,
		.inode = r->inode, .fd_count = r->fd_count };
	char text[ADDR_TEXT];

	if (r->number == BINDING_NONE || r->fd_count == 0 ||
	    r->fd_count > BUNDLE_WORKERS_MAX || r->addr.n > sizeof(r->addr.local))
		return false;
	for (uint32_t i = 0; i < r->fd_count; i++)
		if (!take_fd(fds[i]))
			return false;
	b.fds = memory_zalloc(r->fd_count * sizeof(*b.fds));
	memcpy(b.fds, fds, r->fd_count * sizeof(*b.fds));
	struct slice shown = addr_print(&b.addr, text);
	b.text = strndup(shown.at, shown.n);
	binding_inherit(t, &b);
	return true;
}

static bool
take_bindings(struct binding_table *t, const struct handover_header *h)
{
	const struct handover_binding *all = (const void *)(h + 1);
	const struct shared_place *keys = (const void *)(all + h->binding_count);
	const int32_t *fds = (const void *)(keys + h->key_count);
	uint32_t left = h->fd_count;

	binding_init(t, h->group);
	t->next = h->next;
	for (uint32_t i = 0; i < h->binding_count; i++) {
		if (all[i].fd_count > left || !take_binding(t, &all[i], fds))
			return false;
		fds += all[i].fd_count;
		left -= all[i].fd_count;
	}
	return left == 0;
}

/* What is of another layout is not taken over: it begins anew. */
static bool
take_shared(struct shared *s, const struct handover_header *h)
{
	const struct handover_binding *bindings = (const void *)(h + 1);
	const struct shared_place *keys = (const void *)(bindings + h->binding_count);

	if (!take_fd(h->shared_fd))
		return false;
	if (h->layout != SHARED_LAYOUT) {
		close(h->shared_fd);
		*s = (struct shared){ .fd = -1 };
		return true;
	}
	hash_seed(h->hash_key[0], h->hash_key[1]);
	if (!shared_inherit(s, h->shared_fd))
		return false;
	for (uint32_t i = 0; i < h->key_count; i++)
		if (!shared_know(s, &keys[i]))
			return false;
	return true;
}

static const char *
take(struct handover_about *about, struct binding_table *bindings, struct shared *shared, int fd)
{
	struct handover_table t = { .header = NULL };
	const char *wrong = open_table(&t, fd);

	if (wrong != NULL)
		return wrong;
	*about = t.header->about;
	if (!take_fd(about->link) || !take_fd(about->stderr_fd) ||
	    !take_bindings(bindings, t.header) || !take_shared(shared, t.header))
		wrong = "what the table names is not there";
	munmap((void *)(uintptr_t)t.header, t.size);
	return wrong;
}

enum handover_taking
handover_take(struct handover_about *about, struct binding_table *bindings, struct shared *shared,
    const char **why)
{
	const char *text = getenv(variable);
	uint64_t fd;

	if (text == NULL)
		return HANDOVER_NONE;
	bool is_number = slice_to_u64(slice_of(text), &fd) && fd > STDERR_FILENO && fd <= INT32_MAX;

	unsetenv(variable);
	*why = "its number is none";
	if (!is_number)
		return HANDOVER_BAD;
	*why = take(about, bindings, shared, (int)fd);
	close((int)fd);
	return *why == NULL ? HANDOVER_TAKEN : HANDOVER_BAD;
}
