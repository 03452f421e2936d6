/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The set of files: reading, globbing, recording, and where a byte offset
 * stands. A record is keyed by its kind and its resolved name, so the same
 * question is asked of the disk once and answered alike ever after.
 */
#include "config/source.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void
sources_init(struct sources *all, struct arena *arena, bool disk)
{
	*all = (struct sources){ .arena = arena, .disk = disk };
	map_init(&all->by_name, arena, false);
}

bool
source_is_pattern(struct slice path)
{
	for (size_t i = 0; i < path.n; i++)
		if (path.at[i] == '*' || path.at[i] == '?' || path.at[i] == '[')
			return true;
	return false;
}

/*
 * Appends one path, without its "./" and doubled slashes: two spellings of a file are one record.
 */
static void
put_path(struct builder *b, struct slice path)
{
	if (path.n > 0 && path.at[0] == '/')
		builder_byte(b, '/');
	for (struct slice piece; slice_split(&path, '/', &piece);) {
		if (piece.n == 0 || slice_is(piece, "."))
			continue;
		if (b->n > 0 && b->at[b->n - 1] != '/')
			builder_byte(b, '/');
		builder_slice_put(b, piece);
	}
}

static struct slice
join(struct arena *arena, struct slice directory, struct slice path)
{
	size_t room = directory.n + path.n + 2;
	struct builder b = builder_on(arena_alloc(arena, room + 1), room);

	if (path.n == 0 || path.at[0] != '/')
		put_path(&b, directory);
	put_path(&b, path);
	if (b.n == 0)
		builder_byte(&b, '.');
	b.at[b.n] = '\0';
	return builder_slice(&b);
}

struct slice
sources_resolve(struct sources *all, struct slice path)
{
	return join(all->arena, all->directory, path);
}

static struct slice
key_of(struct sources *all, enum source_kind kind, struct slice name)
{
	char *key = arena_alloc(all->arena, name.n + 1);

	key[0] = kind == SOURCE_FILE ? 'f' : 'g';
	memcpy(key + 1, name.at, name.n);
	return slice_make(key, name.n + 1);
}

/* What messages say for `name`: the directory as the user wrote it, where that is known. */
static struct slice
shown_of(struct sources *all, struct slice name)
{
	struct slice directory = all->directory;

	if (all->shown_directory.n == 0 || directory.n == 0 || !slice_starts(name, directory) ||
	    name.n <= directory.n || name.at[directory.n] != '/')
		return name;
	return join(all->arena, all->shown_directory, slice_after(name, directory.n + 1));
}

struct source *
sources_add(struct sources *all, const struct source *like)
{
	struct source *s = arena_alloc(all->arena, sizeof(*s));

	*s = *like;
	s->lines = NULL;
	s->line_count = 0;
	s->arena = all->arena;
	s->index = (uint32_t)all->count;
	if (s->shown.n == 0)
		s->shown = shown_of(all, s->name);
	*ARENA_PUSH(all->arena, all->items, all->count, all->room) = s;
	map_add(&all->by_name, key_of(all, s->kind, s->name), s);
	return s;
}

static struct source *
recorded(struct sources *all, enum source_kind kind, struct slice name)
{
	return map_find(&all->by_name, key_of(all, kind, name));
}

/* At most the size it had when it was opened: a file that grows meanwhile is read as it was. */
static int
read_all(struct source *s, int fd, size_t size, struct arena *arena)
{
	char *text = arena_alloc(arena, size + 1);
	size_t n = 0;

	while (n < size) {
		ssize_t got = read(fd, text + n, size - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	text[n] = '\0';
	s->text = slice_make(text, n);
	return 0;
}

static int
read_open(struct source *s, int fd, struct arena *arena)
{
	struct stat about;

	if (fstat(fd, &about) < 0)
		return errno;
	if (S_ISDIR(about.st_mode))
		return EISDIR;
	if (!S_ISREG(about.st_mode))
		return EINVAL;
	if (about.st_size > SOURCE_FILE_MAX)
		return EFBIG;
	s->mode = about.st_mode & 07777;
	return read_all(s, fd, (size_t)about.st_size, arena);
}

static int
read_disk(struct source *s, struct arena *arena)
{
	if (memchr(s->name.at, '\0', s->name.n) != NULL)
		return ENOENT;
	/* Not blocking: a FIFO without a writer must not hold up the check. */
	int fd = open(s->name.at, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return errno;
	int error = read_open(s, fd, arena);
	close(fd);
	return error;
}

struct source *
sources_file(struct sources *all, struct slice path)
{
	struct slice name = sources_resolve(all, path);
	struct source *known = recorded(all, SOURCE_FILE, name);

	if (known != NULL)
		return known;
	struct source s = {
		.kind = SOURCE_FILE, .name = name, .text = SLICE_EMPTY, .error = ENOENT
	};
	if (all->disk)
		s.error = read_disk(&s, all->arena);
	return sources_add(all, &s);
}

static int
by_bytes(const void *a, const void *b)
{
	return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* Directories match like anything else but are not files to read: GLOB_MARK shows them. */
static void
keep_matches(struct source *s, const glob_t *found, struct arena *arena)
{
	s->names = arena_array(arena, found->gl_pathc, sizeof(*s->names));
	for (size_t i = 0; i < found->gl_pathc; i++) {
		struct slice name = slice_of(found->gl_pathv[i]);

		if (!slice_ends(name, SLICE("/")))
			s->names[s->name_count++] = join(arena, SLICE_EMPTY, name);
	}
	if (s->name_count > 0)
		qsort(s->names, s->name_count, sizeof(*s->names), by_bytes);
}

static int
glob_disk(struct source *s, const char *pattern, struct arena *arena)
{
	glob_t found;
	int error = 0;

	errno = 0;
	int result = glob(pattern, GLOB_ERR | GLOB_MARK | GLOB_NOSORT, NULL, &found);
	if (result == 0)
		keep_matches(s, &found, arena);
	else if (result != GLOB_NOMATCH && errno != ENOENT && errno != ENOTDIR)
		error = result == GLOB_NOSPACE ? ENOMEM : errno != 0 ? errno : EACCES;
	if (result != GLOB_NOSPACE)
		globfree(&found);
	return error;
}

/* The pattern for glob(3): what comes from the directory's own name must match itself. */
static char *
escape_directory(struct sources *all, struct slice name, struct slice pattern)
{
	size_t plain = pattern.n > 0 && pattern.at[0] == '/' ? 0 : MIN_OF(all->directory.n, name.n);
	size_t room = 2 * name.n + 8;
	struct builder b = builder_on(arena_alloc(all->arena, room), room);

	if (!source_is_pattern(pattern))
		plain = name.n;
	for (size_t i = 0; i < name.n; i++) {
		if (i < plain && strchr("*?[\\", name.at[i]) != NULL)
			builder_byte(&b, '\\');
		builder_byte(&b, name.at[i]);
	}
	if (!source_is_pattern(pattern))
		BUILDER_LITERAL(&b, "/*.conf");
	builder_byte(&b, '\0');
	return b.at;
}

struct source *
sources_glob(struct sources *all, struct slice pattern)
{
	struct slice name = sources_resolve(all, pattern);
	struct source *known = recorded(all, SOURCE_GLOB, name);

	if (known != NULL)
		return known;
	struct source s = {
		.kind = SOURCE_GLOB, .name = name, .text = SLICE_EMPTY, .error = ENOENT
	};
	if (all->disk) {
		struct stat about;

		s.error = 0;
		if (!source_is_pattern(pattern) && stat(name.at, &about) < 0)
			s.error = errno;
		else if (!source_is_pattern(pattern) && !S_ISDIR(about.st_mode))
			s.error = ENOTDIR;
		else
			s.error = glob_disk(&s, escape_directory(all, name, pattern), all->arena);
	}
	return sources_add(all, &s);
}

static void
make_lines(struct source *s)
{
	size_t count = 1;

	for (size_t i = 0; (i = slice_find(s->text, '\n', i)) < s->text.n; i++)
		count++;
	s->lines = arena_array(s->arena, count, sizeof(*s->lines));
	s->line_count = 1;
	for (size_t i = 0; (i = slice_find(s->text, '\n', i)) < s->text.n; i++)
		s->lines[s->line_count++] = i + 1;
}

/* Index of the last line that starts at or before `at`. */
static size_t
find_line(struct source *s, size_t at)
{
	if (s->lines == NULL)
		make_lines(s);
	size_t low = 0, high = s->line_count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (s->lines[middle] <= at)
			low = middle;
		else
			high = middle;
	}
	return low;
}

void
source_place(struct source *s, uint32_t at, unsigned *line, unsigned *column)
{
	size_t end = MIN_OF(at, s->text.n);
	size_t index = find_line(s, end);

	*line = (unsigned)index + 1;
	*column = 1;
	for (size_t i = s->lines[index]; i < end; i++)
		if (((unsigned char)s->text.at[i] & 0xc0) != 0x80)
			++*column;
}

struct slice
source_line(struct source *s, unsigned line)
{
	if (s->lines == NULL)
		make_lines(s);
	if (line == 0 || line > s->line_count)
		return SLICE_EMPTY;
	size_t from = s->lines[line - 1];
	size_t n = slice_find(s->text, '\n', from) - from;

	if (n > 0 && s->text.at[from + n - 1] == '\r')
		n--;
	return slice_make(s->text.at + from, n);
}
