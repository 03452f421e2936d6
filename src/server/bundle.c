/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing, checking and reading back the bundle. The check trusts nothing
 * but the length: every table, text, index and enumeration is looked at once, so that
 * whoever reads later need not ask again.
 */
#include "server/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = { 'm', 'i', 'l', 'l', 'r', 'a', 'c', 'e' };

enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

_Static_assert(sizeof(struct bundle_header) % 8 == 0 && sizeof(struct bundle_listener) % 8 == 0 &&
    sizeof(struct bundle_shared) % 8 == 0 && sizeof(struct bundle_source) % 8 == 0 &&
    sizeof(struct bundle_text) % 8 == 0 && sizeof(struct bundle_part) % 8 == 0, "tables follow each other without gaps");

enum endpoint_transport
bundle_transport(const struct listener *l)
{
	return addr_is_unix(&l->addr) ? ENDPOINT_UNIX
	    : l->addr.datagram != 0	  ? ENDPOINT_UDP
				  : ENDPOINT_TCP;
}

/* ------------------------------------------------------------------ writing */

struct writer {
	struct arena arena;
	struct bundle_header header;
	struct bundle_listener *listeners;
	struct bundle_text *logs;
	struct bundle_shared *shared;
	struct bundle_source *sources;
	struct bundle_part *parts;
	size_t part_count;
	struct bundle_text *names;
	size_t name_count, name_room;
	char *pool;
	size_t n, room;
};

static struct bundle_text
put_text(struct writer *w, struct slice s)
{
	struct bundle_text text = { w->n, s.n };

	if (w->room - w->n <= s.n) {
		w->room = 2 * (w->room + s.n + 1);
		w->pool = memory_realloc(w->pool, w->room);
	}
	if (s.n > 0)
		memcpy(w->pool + w->n, s.at, s.n);
	w->n += s.n;
	w->pool[w->n++] = '\0';
	return text;
}

/* Field by field: the padding and the unused tail of an address stay zero. */
static void
put_addr(struct addr *to, const struct addr *from)
{
	memcpy(to, from, offsetof(struct addr, any) + MIN_OF((size_t)from->n, sizeof(from->local)));
	to->n = from->n;
	to->datagram = from->datagram;
}

static void
put_listeners(struct writer *w, const struct bundle_contents *c)
{
	const struct snapshot *s = c->snapshot;

	w->listeners = arena_array(&w->arena, s->listener_count, sizeof(*w->listeners));
	for (size_t i = 0; i < s->listener_count; i++) {
		const struct listener *l = &s->listeners[i];
		struct bundle_listener *to = &w->listeners[i];

		put_addr(&to->addr, &l->addr);
		to->text = put_text(w, l->text);
		to->fingerprint = l->fingerprint;
		to->backlog = l->backlog;
		to->mode = l->mode;
		to->binding = c->bindings[i];
		to->transport = (uint8_t)bundle_transport(l);
		to->gathered = l->flow_by != NULL;
	}
}

static uint32_t
peer_flags(const struct upstream *u, const struct peer *p)
{
	return (p->down ? BUNDLE_PEER_DOWN : 0u) |
	    (p->max_fails != 0 && u->peer_count > 1 ? BUNDLE_PEER_RESTS : 0u);
}

static void
put_shared(struct writer *w, const struct bundle_contents *c)
{
	const struct snapshot *s = c->snapshot;

	w->shared = arena_array(&w->arena, s->shared_count, sizeof(*w->shared));
	for (size_t i = 0; i < s->shared_count; i++)
		w->shared[i] = (struct bundle_shared){ s->shared[i], c->offsets[i], 0, 0 };
	for (size_t i = 0; i < s->upstream_count; i++)
		for (size_t k = 0; k < s->upstreams[i]->peer_count; k++) {
			const struct peer *p = &s->upstreams[i]->peers[k];

			w->shared[p->shared].peer = peer_flags(s->upstreams[i], p);
		}
}

static void
put_source(struct writer *w, struct bundle_source *to, const struct source *s)
{
	to->kind = s->kind;
	to->error = s->error;
	to->mode = s->mode;
	to->name = put_text(w, s->name);
	to->shown = put_text(w, s->shown);
	to->text = put_text(w, s->text);
	to->first_name = w->name_count;
	to->name_count = s->name_count;
	for (size_t i = 0; i < s->name_count; i++)
		*ARENA_PUSH(&w->arena, w->names, w->name_count, w->name_room) =
		    put_text(w, s->names[i]);
}

static void
put_sources(struct writer *w, const struct sources *files)
{
	w->sources = arena_array(&w->arena, files->count, sizeof(*w->sources));
	for (size_t i = 0; i < files->count; i++)
		put_source(w, &w->sources[i], files->items[i]);
}

static void
put_parts(struct writer *w, const struct compare_list *list)
{
	w->part_count = list != NULL ? list->count : 0;
	w->parts = arena_array(&w->arena, w->part_count, sizeof(*w->parts));
	for (size_t i = 0; i < w->part_count; i++) {
		const struct compare_part *p = &list->parts[i];

		w->parts[i] = (struct bundle_part){ put_text(w, p->name), put_text(w, p->of),
			p->fingerprint, p->kind, 0 };
	}
}

static void
put_settings(struct writer *w, const struct bundle_contents *c)
{
	const struct snapshot *s = c->snapshot;
	struct bundle_header *h = &w->header;

	memcpy(h->magic, magic, sizeof(magic));
	h->version = BUNDLE_VERSION;
	h->header_size = sizeof(*h);
	h->path = put_text(w, c->path);
	h->prefix = put_text(w, c->prefix);
	h->directory = put_text(w, c->files->directory);
	h->shown_directory = put_text(w, c->files->shown_directory);
	h->pid_path = put_text(w, s->pid_path);
	h->control_path = put_text(w, s->control_path);
	h->error_path = put_text(w, s->error_path);
	h->error_level = (uint32_t)s->error_level;
	h->daemon = s->daemon;
	h->watch = s->watch;
	h->workers = c->workers;
	h->descriptors = c->descriptors;
	h->identity = c->identity;
}

static void
put_all(struct writer *w, const struct bundle_contents *c)
{
	const struct snapshot *s = c->snapshot;

	put_settings(w, c);
	put_listeners(w, c);
	w->logs = arena_array(&w->arena, s->log_count, sizeof(*w->logs));
	for (size_t i = 0; i < s->log_count; i++)
		w->logs[i] = put_text(w, s->logs[i].path);
	put_shared(w, c);
	put_sources(w, c->files);
	put_parts(w, c->parts);
}

static bool
write_all(int fd, const void *at, size_t n)
{
	for (const char *p = at; n > 0;) {
		ssize_t wrote = write(fd, p, n);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return false;
		p += wrote;
		n -= (size_t)wrote;
	}
	return true;
}

/* Where each table goes, and then all of them behind the header. */
static bool
write_tables(struct writer *w, const struct bundle_contents *c, int fd)
{
	struct bundle_header *h = &w->header;
	const struct snapshot *s = c->snapshot;
	const struct {
		struct bundle_table *table;
		const void *at;
		size_t count, size;
	} tables[] = {
		{ &h->listeners, w->listeners, s->listener_count, sizeof(*w->listeners) },
		{ &h->logs, w->logs, s->log_count, sizeof(*w->logs) },
		{ &h->shared, w->shared, s->shared_count, sizeof(*w->shared) },
		{ &h->sources, w->sources, c->files->count, sizeof(*w->sources) },
		{ &h->names, w->names, w->name_count, sizeof(*w->names) },
		{ &h->parts, w->parts, w->part_count, sizeof(*w->parts) },
		{ &h->texts, w->pool, w->n, 1 },
	};

	h->size = sizeof(*h);
	for (size_t i = 0; i < ARRAY_COUNT(tables); i++) {
		*tables[i].table = (struct bundle_table){ h->size, tables[i].count };
		h->size += tables[i].count * tables[i].size;
	}
	if (!write_all(fd, h, sizeof(*h)))
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(tables); i++)
		if (!write_all(fd, tables[i].at, tables[i].count * tables[i].size))
			return false;
	return true;
}

int
bundle_write(const struct bundle_contents *c)
{
	struct writer w = { .n = 0 };
	int fd = memfd_create("millrace bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -1;
	arena_init(&w.arena, NULL, 0);
	put_all(&w, c);
	bool written = write_tables(&w, c, fd) && fcntl(fd, F_ADD_SEALS, SEALS) == 0;
	int error = errno;
	arena_reset(&w.arena);
	free(w.pool);
	if (written)
		return fd;
	close(fd);
	errno = error;
	return -1;
}

/* ------------------------------------------------------------------ checking */

static bool
table_fits(struct bundle_table t, size_t record, uint64_t size)
{
	return t.at >= sizeof(struct bundle_header) && t.at <= size &&
	    (record == 1 || t.at % 8 == 0) && t.count <= (size - t.at) / record;
}

static bool
text_fits(const char *at, struct bundle_text t)
{
	const struct bundle_header *h = (const void *)at;

	return t.at < h->texts.count && t.n < h->texts.count - t.at &&
	    at[h->texts.at + t.at + t.n] == '\0';
}

/* One that goes to system calls as a path, or to a terminal. */
static bool
plain_text_fits(const char *at, struct bundle_text t)
{
	const struct bundle_header *h = (const void *)at;

	return text_fits(at, t) && memchr(at + h->texts.at + t.at, '\0', t.n) == NULL;
}

static bool
addr_fits(const struct addr *a, uint8_t transport)
{
	enum { PATH = offsetof(struct sockaddr_un, sun_path) };

	if (a->datagram != (transport == ENDPOINT_UDP))
		return false;
	switch (a->any.sa_family) {
	case AF_INET:
		return a->n == sizeof(a->v4) &&
		       (transport == ENDPOINT_TCP || transport == ENDPOINT_UDP);
	case AF_INET6:
		return a->n == sizeof(a->v6) &&
		       (transport == ENDPOINT_TCP || transport == ENDPOINT_UDP);
	case AF_UNIX:
		return a->n > PATH && a->n <= sizeof(a->local) && transport == ENDPOINT_UNIX &&
		    (a->local.sun_path[0] == '\0' ||
		    memchr(a->local.sun_path, '\0', sizeof(a->local.sun_path)) != NULL);
	default:
		return false;
	}
}

static bool
listeners_fit(const char *at)
{
	const struct bundle_header *h = (const void *)at;
	const struct bundle_listener *all = (const void *)(at + h->listeners.at);

	for (size_t i = 0; i < h->listeners.count; i++)
		if (!addr_fits(&all[i].addr, all[i].transport) ||
		    !plain_text_fits(at, all[i].text) || all[i].binding == BINDING_NONE ||
		    all[i].backlog < 0 || all[i].mode > 07777)
			return false;
	return true;
}

static bool
shared_fit(const char *at)
{
	const struct bundle_header *h = (const void *)at;
	const struct bundle_shared *all = (const void *)(at + h->shared.at);

	for (size_t i = 0; i < h->shared.count; i++)
		if (all[i].key.size == 0 || all[i].peer > (BUNDLE_PEER_DOWN | BUNDLE_PEER_RESTS) ||
		    memchr(all[i].key.name, '\0', SHARED_NAME) == NULL)
			return false;
	return true;
}

static bool
sources_fit(const char *at)
{
	const struct bundle_header *h = (const void *)at;
	const struct bundle_source *all = (const void *)(at + h->sources.at);

	for (size_t i = 0; i < h->sources.count; i++) {
		const struct bundle_source *s = &all[i];

		if ((s->kind != SOURCE_FILE && s->kind != SOURCE_GLOB) || !text_fits(at, s->name) ||
		    !text_fits(at, s->shown) || !text_fits(at, s->text) ||
		    s->first_name > h->names.count ||
		    s->name_count > h->names.count - s->first_name)
			return false;
	}
	return true;
}

static bool
parts_fit(const char *at)
{
	const struct bundle_header *h = (const void *)at;
	const struct bundle_part *all = (const void *)(at + h->parts.at);

	for (size_t i = 0; i < h->parts.count; i++)
		if (!text_fits(at, all[i].name) || !text_fits(at, all[i].of) ||
		    all[i].kind >= COMPARE_KINDS)
			return false;
	return true;
}

static bool
texts_fit(const char *at, struct bundle_table table, bool (*fits)(const char *, struct bundle_text))
{
	const struct bundle_text *all = (const void *)(at + table.at);

	for (size_t i = 0; i < table.count; i++)
		if (!fits(at, all[i]))
			return false;
	return true;
}

static bool
tables_fit(const struct bundle_header *h)
{
	return table_fits(h->listeners, sizeof(struct bundle_listener), h->size) &&
	    table_fits(h->logs, sizeof(struct bundle_text), h->size) &&
	    table_fits(h->shared, sizeof(struct bundle_shared), h->size) &&
	    table_fits(h->sources, sizeof(struct bundle_source), h->size) &&
	    table_fits(h->names, sizeof(struct bundle_text), h->size) &&
	    table_fits(h->parts, sizeof(struct bundle_part), h->size) &&
	    table_fits(h->texts, 1, h->size) && h->listeners.count <= BINDINGS_MAX;
}

static bool
settings_fit(const char *at)
{
	const struct bundle_header *h = (const void *)at;

	return plain_text_fits(at, h->path) && plain_text_fits(at, h->prefix) &&
	    plain_text_fits(at, h->directory) && plain_text_fits(at, h->shown_directory) &&
	    plain_text_fits(at, h->pid_path) && plain_text_fits(at, h->control_path) &&
	    plain_text_fits(at, h->error_path) &&
	    h->identity.group_count <= BUNDLE_GROUPS_MAX && h->error_level < LOG_LEVELS &&
	    h->workers >= 1 && h->workers <= BUNDLE_WORKERS_MAX;
}

bool
bundle_check(const void *at, size_t n)
{
	const struct bundle_header *h = at;

	return n >= sizeof(*h) && memcmp(h->magic, magic, sizeof(magic)) == 0 &&
	    h->version == BUNDLE_VERSION && h->header_size == sizeof(*h) && h->size == n &&
	    tables_fit(h) && settings_fit(at) && listeners_fit(at) && shared_fit(at) &&
	    texts_fit(at, h->logs, plain_text_fits) && texts_fit(at, h->names, text_fits) &&
	    sources_fit(at) && parts_fit(at);
}

/* ------------------------------------------------------------------ reading */

static bool
map_bundle(struct bundle *b)
{
	struct stat about;

	/* Without its seals it could change, or shrink below us, after the check. */
	if (fcntl(b->fd, F_GET_SEALS) != SEALS || fstat(b->fd, &about) < 0 || about.st_size <= 0)
		return false;
	void *at = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED, b->fd, 0);
	if (at == MAP_FAILED)
		return false;
	b->at = at;
	b->n = (size_t)about.st_size;
	b->header = at;
	return bundle_check(at, b->n);
}

bool
bundle_open(struct bundle *b, int fd)
{
	*b = (struct bundle){ .fd = fd };
	if (map_bundle(b))
		return true;
	bundle_close(b);
	return false;
}

void
bundle_close(struct bundle *b)
{
	if (b->at != NULL)
		munmap((void *)(uintptr_t)b->at, b->n);
	if (b->fd >= 0)
		close(b->fd);
	*b = BUNDLE_NONE;
}

struct slice
bundle_text(const struct bundle *b, struct bundle_text text)
{
	return slice_make(b->at + b->header->texts.at + text.at, text.n);
}

const struct bundle_listener *
bundle_listeners(const struct bundle *b)
{
	return (const void *)(b->at + b->header->listeners.at);
}

const struct bundle_shared *
bundle_shared(const struct bundle *b)
{
	return (const void *)(b->at + b->header->shared.at);
}

struct slice
bundle_log(const struct bundle *b, size_t index)
{
	const struct bundle_text *logs = (const void *)(b->at + b->header->logs.at);

	return bundle_text(b, logs[index]);
}

void
bundle_parts(const struct bundle *b, struct compare_list *list, struct arena *arena)
{
	const struct bundle_part *all = (const void *)(b->at + b->header->parts.at);

	list->count = list->room = b->header->parts.count;
	list->parts = arena_array(arena, list->count, sizeof(*list->parts));
	for (size_t i = 0; i < list->count; i++)
		list->parts[i] = (struct compare_part){ bundle_text(b, all[i].name),
			bundle_text(b, all[i].of), all[i].fingerprint, all[i].kind };
}

static void
add_source(const struct bundle *b, struct sources *files, const struct bundle_source *from)
{
	const struct bundle_text *names = (const void *)(b->at + b->header->names.at);
	struct source s = {
		.kind = (enum source_kind)from->kind,
		.name = bundle_text(b, from->name),
		.shown = bundle_text(b, from->shown),
		.text = bundle_text(b, from->text),
		.name_count = from->name_count,
		.error = from->error,
		.mode = from->mode,
	};

	s.names = arena_array(files->arena, s.name_count, sizeof(*s.names));
	for (size_t i = 0; i < s.name_count; i++)
		s.names[i] = bundle_text(b, names[from->first_name + i]);
	sources_add(files, &s);
}

void
bundle_sources(const struct bundle *b, struct sources *files, struct arena *arena)
{
	const struct bundle_source *all = (const void *)(b->at + b->header->sources.at);

	sources_init(files, arena, false);
	files->directory = bundle_text(b, b->header->directory);
	files->shown_directory = bundle_text(b, b->header->shown_directory);
	for (size_t i = 0; i < b->header->sources.count; i++)
		add_source(b, files, &all[i]);
}
