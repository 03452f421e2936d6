/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files a configuration is made of. Who has a disk reads from it once and
 * everything asked for is recorded, answers of globs and failures included;
 * who has only the records (a worker, from the bundle) gets the same answers.
 * So the build of a snapshot is a pure function of this set.
 */
#ifndef MILLRACE_CONFIG_SOURCE_H
#define MILLRACE_CONFIG_SOURCE_H

#include "base/arena.h"
#include "base/map.h"

enum source_kind { SOURCE_FILE, SOURCE_GLOB };

enum { SOURCE_FILE_MAX = 64 * 1024 * 1024 };   /* bytes; a larger file is an error (EFBIG) */

struct source {
	enum source_kind kind;
	struct slice name;              /* resolved path or pattern: the key */
	struct slice shown;             /* as messages name it (relative where it was given so) */
	struct slice text;              /* FILE: the content */
	struct slice *names;            /* GLOB: sorted matches; a FILE key each */
	size_t name_count;
	int error;                      /* errno of the attempt, 0 = fine */
	unsigned mode;                  /* FILE: permission bits as found */
	/* offsets of line starts, made when a message first wants one */
	size_t *lines;
	size_t line_count;
	uint32_t index;                 /* in sources.items; what a span names */
	struct arena *arena;            /* of the set */
};

struct sources {
	struct arena *arena;
	struct map by_name;             /* kind + name -> struct source */
	struct source **items;
	size_t count, room;
	bool disk;                      /* false: only what is recorded exists (ENOENT otherwise) */
	/* relative paths start here: the configuration's directory */
	struct slice directory;
	struct slice shown_directory;   /* as messages name it; empty: as it is */
};

void sources_init(struct sources *all, struct arena *arena, bool disk);
/*
 * `path` relative to all->directory unless absolute. Never NULL: look at ->error. Regular files
 * only (else EISDIR, EINVAL…).
 */
struct source *sources_file(struct sources *all, struct slice path);
/* The *.conf of a directory, or a pattern with * ? [. Sorted by bytes. No match is no error. */
struct source *sources_glob(struct sources *all, struct slice pattern);
/*
 * Records one as it stands (from a bundle, from a test); what it points to lives as long as the
 * arena.
 */
struct source *sources_add(struct sources *all, const struct source *like);
bool source_is_pattern(struct slice path);
struct slice sources_resolve(struct sources *all, struct slice path);

/* A piece of one file. */
struct span {
	/* sources.items index + 1; 0: no place (a default, the command line) */
	uint32_t file;
	uint32_t at, n;                 /* bytes */
};

static inline struct span
span_join(struct span a, struct span b)
{
	if (a.file == 0)
		return b;
	if (b.file != a.file)
		return a;
	uint32_t from = MIN_OF(a.at, b.at), end = MAX_OF(a.at + a.n, b.at + b.n);

	return (struct span){ a.file, from, end - from };
}

/* Line and column from 1; the column counts characters (UTF-8), a tab is one. */
void source_place(struct source *s, uint32_t at, unsigned *line, unsigned *column);
struct slice source_line(struct source *s, unsigned line);    /* without its line end */

#endif
