/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The build: files -> tree -> what the tables filled -> snapshot. Whatever is
 * wrong is reported and the build goes on as far as it makes sense, so that one run shows all.
 */
#include "server/build_inner.h"

#include <errno.h>
#include <string.h>

/* ------------------------------------------------------------------ what handlers may ask for */

struct reading *
build_reading(struct build *b)
{
	return &b->reading;
}

const struct protocol_ops *
build_protocol(struct build *b)
{
	return b->protocol;
}

const struct scope *
build_scope(struct build *b)
{
	return &b->scope;
}

const struct settings *
build_settings(struct build *b)
{
	return b->settings;
}

const struct field_map *
build_map(struct build *b, struct slice name)
{
	return map_find(&b->maps, name);
}

bool
build_reset(struct build *b, const struct handler_ops *ops)
{
	if (b->inherited == NULL)
		return false;
	*ARENA_PUSH(&b->work, b->reset, b->reset_count, b->reset_room) = ops;
	return true;
}

/* ------------------------------------------------------------------ small things */

static bool
read_place(struct build *b, const struct endpoint *e, struct addr *out)
{
	if (e->any) {
		*out =
		    (struct addr){ .v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT },
			    .n = sizeof(out->v6) };
		addr_set_port(out, e->port);
		return true;
	}
	if (e->addr != NULL) {
		*out = *e->addr;
		return true;
	}
	if (!slice_equal_nocase(e->host, SLICE("localhost")) ||
	    !addr_parse_host(SLICE("127.0.0.1"), out)) {
		diag_error(b->diag, e->span,
		    "\"%.*s\": names are not resolved yet; write an address",
		    SLICE_ARG(diag_word(e->host)));
		return false;
	}
	addr_set_port(out, e->port);
	return true;
}

bool
build_address(struct build *b, const struct endpoint *e, struct addr *out)
{
	if (!read_place(b, e, out))
		return false;
	out->datagram = e->transport == ENDPOINT_UDP;
	return true;
}

/* A path that the server writes to: below the prefix, or the configuration's directory. */
static struct slice
output_path(struct build *b, struct slice path)
{
	struct arena *a = &b->snapshot->arena;

	if (path.n == 0 || path.at[0] == '/')
		return arena_slice(a, path);
	if (b->in->prefix.n == 0)
		return arena_slice(a, sources_resolve(b->in->files, path));
	return slice_of(arena_printf(
	    a, SLICE_FORMAT "/" SLICE_FORMAT, SLICE_ARG(b->in->prefix), SLICE_ARG(path)));
}

/* The number of an access log; a new path gets the next one. */
static int
log_number(struct build *b, struct slice path)
{
	struct slice full =
	    slice_is(path, "stderr") || slice_is(path, "stdout") ? path : output_path(b, path);
	size_t known = (size_t)(uintptr_t)map_find(&b->logs, full);

	if (known == 0) {
		struct slice kept = arena_slice(&b->snapshot->arena, full);

		*ARENA_PUSH(&b->work, b->log_items, b->log_count, b->log_room) =
		    (struct log_file){ kept };
		known = b->log_count;
		map_set(&b->logs, kept, (void *)(uintptr_t)known);
	}
	return (int)known - 1;
}

const struct settings *
build_keep_settings(struct build *b, const struct settings *settings)
{
	struct settings *kept = arena_alloc(&b->snapshot->arena, sizeof(*kept));

	*kept = *settings;
	kept->access.log =
	    kept->access.format == ACCESS_OFF ? -1 : log_number(b, kept->access.path);
	return kept;
}

/* ------------------------------------------------------------------ the top level */

/* Beside the pid file, where nothing else is said. */
static struct slice
control_path(struct build *b)
{
	struct slice said = b->main.control_path, pid = b->snapshot->pid_path;

	if (slice_is(said, "off") || (said.n == 0 && pid.n == 0))
		return SLICE_EMPTY;
	if (said.n != 0)
		return output_path(b, said);
	if (slice_ends(pid, SLICE(".pid")))
		pid.n -= 4;
	return slice_of(
	    arena_printf(&b->snapshot->arena, SLICE_FORMAT ".control", SLICE_ARG(pid)));
}

/* Where it comes of the pid file nobody has written it. */
static void
check_control_path(struct build *b)
{
	const size_t most = sizeof((struct sockaddr_un *){ 0 }->sun_path) - 1;
	struct slice path = b->snapshot->control_path;

	if (path.n > most)
		diag_error(b->diag, (struct span){ 0 },
		    "the path of the control socket, \"%.*s\", has %zu bytes, and that of a Unix socket has at most "
		    "%zu; write: control PATH, or control off", SLICE_ARG(diag_word(path)), path.n, most);
}

static void
build_main(struct build *b)
{
	const struct main_block *m = &b->main;
	struct snapshot *s = b->snapshot;

	/* The default stands in no file: who is not root need not hear that it cannot be. */
	if (m->user.span.file != 0)
		s->user = arena_slice(&s->arena, m->user.text);
	s->group = arena_slice(&s->arena, m->group.text);
	s->workers = m->workers;
	s->daemon = m->daemon;
	s->watch = m->watch;
	s->error_level = m->error_level;
	s->connections_max = m->connections_max;
	s->memory_max = m->memory_max;
	s->drain_deadline = m->drain.deadline;
	s->pid_path = output_path(b, m->pid_path);
	s->control_path = control_path(b);
	check_control_path(b);
	if (!slice_is(m->error_path, "stderr"))
		s->error_path = output_path(b, m->error_path);
}

static void
build_maps(struct build *b)
{
	const struct filled *items = b->main.maps.items;

	for (size_t i = 0; i < b->main.maps.n; i++) {
		const struct map_block *block = items[i].data;

		if (items[i].broken)
			continue;

		struct field_map *map = field_map_build(&b->reading, block);

		if (map == NULL || map_add(&b->maps, map->name, map))
			continue;
		diag_error(b->diag, block->name.span, "there are two maps \"%.*s\"",
		    SLICE_ARG(diag_word(block->name.text)));
		for (size_t j = 0; j < i; j++) {
			const struct map_block *other = items[j].data;

			if (slice_equal(other->name.text, block->name.text))
				diag_note(b->diag, other->name.span, "the first is here");
		}
	}
}

static void
report_double_server(
    struct build *b, const struct server_build *one, const struct server_build *other)
{
	diag_error(b->diag, one->block->name.span, "there are two servers \"%.*s\"",
	    SLICE_ARG(diag_word(one->block->name.text)));
	diag_note(b->diag, other->block->name.span, "the first is here");
}

static void
build_servers(struct build *b)
{
	const struct filled *items = b->main.servers.items;
	size_t count = b->main.servers.n;
	struct map by_name;

	map_init(&by_name, &b->work, false);
	b->servers = arena_array(&b->work, count, sizeof(*b->servers));
	b->snapshot->servers =
	    arena_array(&b->snapshot->arena, count, sizeof(*b->snapshot->servers));
	b->snapshot->server_count = count;
	for (size_t i = 0; i < count; i++) {
		struct server_build *sb = &b->servers[i];

		sb->block = items[i].data;
		sb->span = items[i].statement->span;
		sb->server = &b->snapshot->servers[i];
		sb->server->span = sb->span;
		if (sb->block->name.text.n != 0 && !map_add(&by_name, sb->block->name.text, sb))
			report_double_server(b, sb, map_find(&by_name, sb->block->name.text));
		build_names(b, sb);
		build_server(b, sb);
	}
}

static void
resolve(struct build *b)
{
	struct arena *a = &b->snapshot->arena;

	build_main(b);
	build_maps(b);
	build_protocols(b);
	build_limits(b);
	build_upstreams(b);
	build_servers(b);
	build_listeners(b);
	build_upstreams_end(b);
	build_limits_end(b);

	b->snapshot->logs = arena_array(a, b->log_count, sizeof(*b->log_items));
	b->snapshot->log_count = b->log_count;
	if (b->log_count != 0)
		memcpy(b->snapshot->logs, b->log_items, b->log_count * sizeof(*b->log_items));
}

/* ------------------------------------------------------------------ the road */

/* Of a directory that was given, `shown` is not as the user wrote it. */
static struct slice
shown_main(const struct sources *files, const struct source *main)
{
	return slice_equal(main->name, files->directory) && files->shown_directory.n != 0
		   ? files->shown_directory
		   : main->shown;
}

/* The configuration as one block; false: it could not be read as one. */
static bool
parse(struct build *b, struct block **out)
{
	struct sources *files = b->in->files;
	struct source *main = sources_file(files, b->in->path);

	if (main->error == EISDIR)
		main = sources_glob(files, b->in->path);
	if (main->error != 0) {
		diag_error(b->diag, (struct span){ 0 }, "cannot read \"%.*s\": %s",
		    SLICE_ARG(diag_word(shown_main(files, main))), strerror(main->error));
		return false;
	}
	if (main->kind == SOURCE_GLOB && main->name_count == 0) {
		diag_error(b->diag, (struct span){ 0 }, "\"%.*s\" holds no *.conf",
		    SLICE_ARG(diag_word(shown_main(files, main))));
		return false;
	}
	*out = ast_parse_all(&b->work, files, main, b->diag);
	return true;
}

static void
begin(struct build *b, const struct build_input *in, struct diag *diag)
{
	struct snapshot *s = snapshot_new();

	*b = (struct build){ .in = in, .diag = diag, .snapshot = s };
	b->reading = (struct reading){
		.arena = &s->arena,
		.work = &b->work,
		.sources = in->files,
		.diag = diag,
		.elsewhere = registry_elsewhere,
		.trace = in->trace,
		.more = b,
	};
	arena_init(&b->work, NULL, 0);
	map_init(&b->maps, &s->arena, false);
	map_init(&b->declared, &b->work, false);
	map_init(&b->limits, &b->work, false);
	map_init(&b->upstreams, &b->work, false);
	map_init(&b->places, &b->work, false);
	map_init(&b->logs, &b->work, false);
}

static bool
run(struct build *b, FILE *effective)
{
	struct block *tree;
	size_t errors = b->diag->errors;

	if (!parse(b, &tree))
		return false;
	if (b->in->parts != NULL)
		compare_read(b->in->parts, b->in->files->arena, tree);

	bool parsed = b->diag->errors == errors;

	build_modules_load(b, tree);
	b->clean = schema_fill(&b->reading, registry_main, tree, "the top level", &b->main);
	/* What the grammar had to leave out would be missed everywhere. */
	if (parsed)
		resolve(b);
	if (b->diag->errors != errors)
		return false;
	if (effective != NULL)
		schema_print_effective(&b->reading, effective);
	return true;
}

static struct snapshot *
build(const struct build_input *in, struct diag *diag, FILE *effective)
{
	struct build b;

	begin(&b, in, diag);

	bool fine = run(&b, effective);

	arena_reset(&b.work);
	if (fine)
		return b.snapshot;
	snapshot_release(NULL, b.snapshot);
	return NULL;
}

struct snapshot *
build_snapshot(const struct build_input *in, struct diag *diag)
{
	return build(in, diag, NULL);
}

bool
build_print_effective(const struct build_input *in, struct diag *diag, FILE *to)
{
	struct build_input traced = *in;

	traced.trace = true;

	struct snapshot *s = build(&traced, diag, to);

	if (s == NULL)
		return false;
	snapshot_release(NULL, s);
	return true;
}

bool
build_print_module(const struct build_input *in, struct diag *diag, FILE *to, bool roff,
    void (*show)(const struct protocol_ops *ops, bool roff))
{
	struct value values[] = { { VALUE_WORD, { 0 }, SLICE("module") },
		{ VALUE_WORD, { 0 }, in->path } };
	struct statement module = { .values = values, .value_count = ARRAY_COUNT(values) };
	const struct block tree = { .first = &module };
	struct build b;

	begin(&b, in, diag);
	build_modules_load(&b, &tree);
	if (diag->errors == 0)
		build_modules_print(&b, to, roff, show);
	arena_reset(&b.work);
	snapshot_release(NULL, b.snapshot);
	return diag->errors == 0;
}

static void
keep_only(struct block *tree, const char *const *words, size_t count)
{
	for (struct statement **at = &tree->first, *s; (s = *at) != NULL;) {
		size_t i = 0;

		while (i < count && !slice_is(s->values[0].raw, words[i]))
			i++;
		if (i == count)
			*at = s->next;
		else
			at = &s->next;
	}
}

bool
build_paths(const struct build_input *in, struct diag *diag, struct build_paths *to)
{
	static const char *const words[] = { "pid", "control" };
	struct arena *a = in->files->arena;
	size_t errors = diag->errors;
	struct block *tree;
	struct build b;

	begin(&b, in, diag);
	if (parse(&b, &tree)) {
		keep_only(tree, words, ARRAY_COUNT(words));
		schema_fill(&b.reading, registry_main, tree, "the top level", &b.main);
	}
	b.snapshot->pid_path = output_path(&b, b.main.pid_path);
	to->pid = arena_slice(a, b.snapshot->pid_path);
	to->control = arena_slice(a, control_path(&b));
	arena_reset(&b.work);
	snapshot_release(NULL, b.snapshot);
	return diag->errors == errors;
}
