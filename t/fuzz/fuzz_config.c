/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole pipeline of a configuration, from bytes to a snapshot and to -T,
 * over sources in memory: no input may crash it, and what it says is printed both ways.
 * An input may hold several files: a line `#: NAME` begins the next one.
 */
#include "server/build.h"
#include "fuzz.h"

enum { INPUT_MAX = 64 * 1024 };

static void
add_file(struct sources *files, struct slice name, struct slice text)
{
	struct source like = { .kind = SOURCE_FILE, .name = sources_resolve(files, name),
		.text = arena_slice(files->arena, text) };

	sources_add(files, &like);
}

static void
add_files(struct sources *files, struct slice all)
{
	struct slice name = SLICE("main.conf");

	for (;;) {
		size_t end = slice_find_slice(all, SLICE("\n#: "));

		add_file(files, name, slice_first(all, end));
		if (end == all.n)
			return;
		all = slice_after(all, end + 4);
		name = slice_first(all, slice_find(all, '\n', 0));
		all = slice_after(all, name.n);
	}
}

static void
build_once(struct slice text, FILE *to, bool effective)
{
	struct arena arena;
	struct sources files;
	struct diag diag;

	arena_init(&arena, NULL, 0);
	sources_init(&files, &arena, false);
	files.directory = SLICE("/c");
	diag_init(&diag, &arena, &files);
	add_files(&files, text);

	const struct build_input in = { .files = &files, .path = SLICE("/c/main.conf") };

	if (effective)
		MUST(build_print_effective(&in, &diag, to) == (diag.errors == 0));
	else {
		struct snapshot *s = build_snapshot(&in, &diag);

		MUST((s == NULL) == (diag.errors != 0));
		if (s != NULL)
			snapshot_release(NULL, s);
	}
	diag_print(&diag, to);
	diag_print_json(&diag, to);
	arena_reset(&arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static FILE *to;
	struct slice text = slice_make((const char *)data, MIN_OF(n, (size_t)INPUT_MAX));

	if (to == NULL)
		to = fopen("/dev/null", "w");
	MUST(to != NULL);
	build_once(text, to, false);
	build_once(text, to, true);
	return 0;
}
