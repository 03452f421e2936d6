/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inotify. Each path is walked from the root: where a symbolic link stands, or the path ends, the
 * directory is watched for that name; where nothing stands yet, for what is missing. Directories on
 * the way tell no more than that they are moved themselves. The descriptor stays the same over all
 * sets, so nothing that happens between two of them is lost.
 */
#include "server/watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum {
	LINKS_MAX = 40,                 /* on the way to a file, as the kernel has it */
	GLOB_DEPTH = 8,
	EVENTS_ROOM = 64 * 1024
};

/* Not what is written: a file is looked at when it is closed. */
static const uint32_t mask = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
    IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

/* A directory. */
struct watch_place {
	struct watch_place *next;
	int wd;
	bool whole;                     /* what happens in it; else that it is moved, with all of it */
	struct slice path;
	struct wish {                   /* names with * ? [ */
		const char *pattern;
		struct wish *next;
	} *patterns;
};

/* ------------------------------------------------------------------ what is wanted */

static void
miss(struct watch *w, struct slice path, const char *why)
{
	w->missed = true;
	if (!w->told)
		log_line(LOG_WARN, "watch: changes in " SLICE_FORMAT " are not seen: %s",
		    SLICE_ARG(path), why);
	w->told = true;
}

static struct watch_place *
place_of(struct watch_place *place, int wd)
{
	while (place != NULL && place->wd != wd)
		place = place->next;
	return place;
}

static struct watch_place *
find_place(const struct watch *w, int wd)
{
	return place_of(w->places, wd);
}

/* Two ways to spell a directory lead to one place. NULL: it cannot be watched. */
static struct watch_place *
add_place(struct watch *w, struct slice path, bool whole)
{
	struct watch_place *place = map_find(&w->by_path, path);
	bool known = place != NULL;

	if (known && (place->whole || !whole))
		return place;
	if (!known && w->by_path.count >= WATCH_DIRECTORIES_MAX) {
		miss(w, path, "there are too many directories");
		return NULL;
	}
	path = arena_slice(&w->arena, path);

	int wd = inotify_add_watch(
	    w->fd, path.at, whole ? mask : IN_MOVE_SELF | IN_ONLYDIR | IN_MASK_ADD);

	if (wd < 0) {
		/* What may be passed through need not be readable. */
		if (whole || errno != EACCES)
			miss(w, path, strerror(errno));
		return NULL;
	}
	place = find_place(w, wd);
	if (place == NULL) {
		place = arena_zalloc(&w->arena, sizeof(*place));
		*place = (struct watch_place){ .next = w->places, .wd = wd, .path = path };
		w->places = place;
	}
	place->whole |= whole;
	if (!known)
		map_add(&w->by_path, path, place);
	return place;
}

static struct slice
key_of(struct arena *a, const struct watch_place *place, struct slice name)
{
	struct builder b = builder_on(arena_alloc(a, sizeof(place->wd) + name.n),
	    sizeof(place->wd) + name.n);

	builder_put(&b, (const char *)&place->wd, sizeof(place->wd));
	builder_slice_put(&b, name);
	return builder_slice(&b);
}

static void
want_name(struct watch *w, struct slice directory, struct slice name)
{
	struct watch_place *place = add_place(w, directory, true);

	if (place != NULL)
		(void)map_add(&w->names, key_of(&w->arena, place, name), place);
}

static void
want_pattern(struct watch *w, struct slice directory, struct slice pattern)
{
	struct watch_place *place = add_place(w, directory, true);
	struct wish *wish;

	if (place == NULL)
		return;
	for (wish = place->patterns; wish != NULL; wish = wish->next)
		if (slice_is(pattern, wish->pattern))
			return;
	wish = arena_alloc(&w->arena, sizeof(*wish));
	*wish = (struct wish){ arena_text(&w->arena, pattern), place->patterns };
	place->patterns = wish;
}

/* ------------------------------------------------------------------ walking a path */

/* Where a walk is: a real directory, and what is still in front of it. */
struct walk {
	struct watch *w;
	char at[PATH_MAX];
	size_t n;
	char rest[PATH_MAX];
	unsigned links, depth;
	bool globs;                     /* pieces with * ? [ are patterns */
};

static void walk(struct walk *k);

static struct slice
here(const struct walk *k)
{
	return slice_make(k->at, k->n);
}

/* `at/piece`, the NUL behind it; false: too long. */
static bool
enter(struct walk *k, struct slice piece)
{
	bool root = k->n == 1;

	if (k->n + 1 + piece.n >= sizeof(k->at))
		return false;
	if (!root)
		k->at[k->n++] = '/';
	memcpy(k->at + k->n, piece.at, piece.n);
	k->n += piece.n;
	k->at[k->n] = '\0';
	return true;
}

static void
leave(struct walk *k, size_t n)
{
	k->n = n;
	k->at[n] = '\0';
}

/* The link that stands at `at` leads elsewhere: from `directory` bytes of it, or from the root. */
static bool
follow(struct walk *k, size_t directory, struct slice rest)
{
	char target[PATH_MAX];
	ssize_t n = readlink(k->at, target, sizeof(target));

	leave(k, directory);
	if (n <= 0 || (size_t)n + 1 + rest.n >= sizeof(target) || k->links++ >= LINKS_MAX)
		return false;
	if (target[0] == '/')
		leave(k, 1);
	target[n] = '/';
	memmove(k->rest + n + 1, rest.at, rest.n);
	memcpy(k->rest, target, (size_t)n + 1);
	k->rest[(size_t)n + 1 + rest.n] = '\0';
	return true;
}

/* Every directory that the pattern leads to, and the rest behind it. */
static void
walk_matches(struct walk *k, const char *pattern, struct slice rest)
{
	DIR *directory = opendir(k->at);
	const struct dirent *entry;
	struct walk *inner;

	if (directory == NULL)
		return;
	inner = memory_alloc(sizeof(*inner));
	while ((entry = readdir(directory)) != NULL) {
		if (fnmatch(pattern, entry->d_name, FNM_PERIOD) != 0)
			continue;
		*inner = (struct walk){ .w = k->w, .links = k->links, .depth = k->depth + 1,
			.n = k->n, .globs = true };
		memcpy(inner->at, k->at, k->n + 1);
		if (strlen(entry->d_name) + 1 + rest.n >= sizeof(inner->rest))
			continue;
		snprintf(inner->rest, sizeof(inner->rest), "%s/" SLICE_FORMAT, entry->d_name,
		    SLICE_ARG(rest));
		walk(inner);
	}
	closedir(directory);
	free(inner);
}

static void
walk_pattern(struct walk *k, struct slice piece, struct slice rest)
{
	want_pattern(k->w, here(k), piece);
	if (rest.n > 0 && k->depth < GLOB_DEPTH)
		walk_matches(k, arena_text(&k->w->arena, piece), rest);
}

/* One piece of the path further; false: it ends here. */
static bool
walk_on(struct walk *k, struct slice piece, struct slice rest)
{
	size_t directory = k->n;
	struct stat about;

	if (k->globs && source_is_pattern(piece)) {
		walk_pattern(k, piece, rest);
		return false;
	}
	if (!enter(k, piece))
		return false;

	bool there = lstat(k->at, &about) == 0, leads = there && S_ISDIR(about.st_mode) && rest.n > 0;

	if (leads)
		(void)add_place(k->w, here(k), false);
	else
		want_name(k->w, slice_make(k->at, directory), piece);
	if (there && S_ISLNK(about.st_mode))
		return follow(k, directory, rest);
	memmove(k->rest, rest.at, rest.n);
	k->rest[rest.n] = '\0';
	return leads;
}

static void
walk(struct walk *k)
{
	for (;;) {
		struct slice rest = slice_of(k->rest), piece;

		while (slice_split(&rest, '/', &piece) && piece.n == 0)
			;
		if (piece.n == 0)
			return;
		/* what add_place is given ends there */
		piece = arena_slice(&k->w->arena, piece);
		if (!walk_on(k, piece, rest))
			return;
	}
}

static void
want(struct watch *w, const struct source *s)
{
	struct walk *k = memory_alloc(sizeof(*k));
	bool glob = s->kind == SOURCE_GLOB;
	/* the *.conf of a directory */
	bool bare = glob && !source_is_pattern(s->name);

	*k = (struct walk){ .w = w, .at = "/", .n = 1, .globs = glob };
	if (s->name.n > 0 && s->name.at[0] == '/' && s->name.n + sizeof("/*.conf") <= sizeof(k->rest)) {
		snprintf(k->rest, sizeof(k->rest), SLICE_FORMAT "%s", SLICE_ARG(s->name),
		    bare ? "/*.conf" : "");
		walk(k);
	}
	free(k);
}

static bool
are_same(const struct source *a, const struct source *b)
{
	if (a->name_count != b->name_count)
		return false;
	for (size_t i = 0; i < a->name_count; i++)
		if (!slice_equal(a->names[i], b->names[i]))
			return false;
	return true;
}

/* A file came, or went, since the patterns were read. */
static bool
match_others(const struct sources *files)
{
	struct arena arena;
	struct sources now;
	bool others = false;

	arena_init(&arena, NULL, 0);
	sources_init(&now, &arena, true);
	for (size_t i = 0; i < files->count && !others; i++)
		others = files->items[i]->kind == SOURCE_GLOB &&
		    !are_same(files->items[i], sources_glob(&now, files->items[i]->name));
	arena_reset(&arena);
	return others;
}

static bool
has_new(const struct watch *w, struct watch_place *before)
{
	for (const struct watch_place *place = w->places; place != NULL; place = place->next)
		if (place_of(before, place->wd) == NULL)
			return true;
	return false;
}

static void
tell_later(struct watch *w)
{
	if (w->since == 0)
		w->since = clock_ms();
	if (clock_ms() - w->since < WATCH_PATIENCE)
		deadline_set(w->loop, &w->silence, WATCH_SILENCE);
}

void
watch_set(struct watch *w, const struct sources *files, bool good)
{
	struct arena old = w->arena;
	struct watch_place *before = w->places;

	if (w->fd < 0)
		return;
	arena_init(&w->arena, NULL, 0);
	map_init(&w->names, &w->arena, false);
	map_init(&w->by_path, &w->arena, false);
	w->places = NULL;
	w->missed = false;
	w->retries = !good;
	for (size_t i = 0; i < files->count; i++)
		want(w, files->items[i]);
	/* What came into a directory before that was watched, and behind its reading. */
	if (has_new(w, before) && (!good || match_others(files)))
		tell_later(w);
	for (; before != NULL; before = before->next)
		if (find_place(w, before->wd) == NULL)
			(void)inotify_rm_watch(w->fd, before->wd);
	arena_reset(&old);
	if (!w->missed)
		w->told = false;
}

/* ------------------------------------------------------------------ what happens */

/* A file that was only made is looked at when it has been written; links are there at once. */
static bool
is_unwritten(const struct watch_place *place, const struct inotify_event *e)
{
	char path[PATH_MAX];
	struct stat about;

	if ((e->mask & IN_CREATE) == 0 || (e->mask & IN_ISDIR) != 0 ||
	    place->path.n + 1 + strlen(e->name) >= sizeof(path))
		return false;
	snprintf(path, sizeof(path), "%s/%s", place->path.at, e->name);
	return lstat(path, &about) != 0 || (S_ISREG(about.st_mode) && about.st_nlink == 1);
}

static bool
is_wanted(struct watch *w, const struct watch_place *place, const char *text)
{
	char room[sizeof(place->wd) + NAME_MAX + 1];
	struct slice name = slice_of(text);
	struct builder key = builder_on(room, sizeof(room));

	builder_put(&key, (const char *)&place->wd, sizeof(place->wd));
	builder_slice_put(&key, name);
	if (!key.full && map_find(&w->names, builder_slice(&key)) != NULL)
		return true;
	for (const struct wish *wish = place->patterns; wish != NULL; wish = wish->next)
		if (fnmatch(wish->pattern, text, FNM_PERIOD) == 0)
			return true;
	return w->retries && place->whole && text[0] != '.' && slice_ends(name, SLICE(".conf"));
}

static bool
matters(struct watch *w, const struct inotify_event *e)
{
	struct watch_place *place = find_place(w, e->wd);

	if ((e->mask & IN_Q_OVERFLOW) != 0)
		return true;
	if (place == NULL)
		return false;
	if ((e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) != 0)
		return true;
	return e->len > 0 && is_wanted(w, place, e->name) && !is_unwritten(place, e);
}

static bool
take_events(struct watch *w, const char *at, size_t n)
{
	bool changed = false;

	while (n >= sizeof(struct inotify_event)) {
		const struct inotify_event *e = (const void *)at;
		size_t size = sizeof(*e) + e->len;

		changed |= matters(w, e);
		at += size;
		n -= size;
	}
	return changed;
}

static void
on_event(struct loop_event *event, unsigned what)
{
	struct watch *w = CONTAINER_OF(event, struct watch, event);
	_Alignas(struct inotify_event) char room[EVENTS_ROOM];
	ssize_t n = read(w->fd, room, sizeof(room));

	if (n > 0 && take_events(w, room, (size_t)n))
		tell_later(w);
}

static void
on_silence(struct deadline *d)
{
	struct watch *w = CONTAINER_OF(d, struct watch, silence);

	w->since = 0;
	w->changed(w);
}

/* ------------------------------------------------------------------ open, close */

bool
watch_open(struct watch *w, struct loop *loop, void (*changed)(struct watch *w))
{
	*w = (struct watch){ .loop = loop, .changed = changed };
	w->silence.run = on_silence;
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (w->fd < 0)
		return false;
	arena_init(&w->arena, NULL, 0);
	if (loop_watch(loop, &w->event, w->fd, LOOP_LEVEL, on_event))
		return true;

	int error = errno;

	close(w->fd);
	w->fd = -1;
	errno = error;
	return false;
}

void
watch_close(struct watch *w, bool owner)
{
	if (w->fd < 0)
		return;
	if (owner) {
		loop_unwatch(&w->event);
		deadline_remove(w->loop, &w->silence);
	}
	close(w->fd);
	arena_reset(&w->arena);
	*w = WATCH_OFF;
}
