/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Modules: found and loaded before anything else is read, for their words may stand anywhere; each
 * row that they bring is looked at before it becomes one of ours; their protocols are ready once
 * their settings were read.
 */
#include "server/build_inner.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"
#include "handlers/loaded.h"
#include "protocols/loaded.h"
#include "server/module_code.h"

#ifndef MILLRACE_MODULE_DIR
#define MILLRACE_MODULE_DIR "/usr/local/lib/millrace/modules"
#endif

enum {
	OFFERS_MAX = 64,                /* protocols, and handlers */
	ROWS_MAX = 256,
	ARGUMENTS_MAX = 32,
	SETTINGS_MAX = 1 << 20,         /* bytes of a struct of settings */
	NAME_MAX_BYTES = 63,
};

struct build_module {
	const struct statement *statement;
	struct slice path;              /* as it was written */
	struct span at;                 /* of it */
	struct module_code *code;
	struct millrace_module m;       /* as much of its table as both sides know */
	void *settings;
	struct table tables[2];         /* its directives */
	struct protocol_ops **protocols;
	size_t protocol_count;
	bool loaded;                    /* without an error, so far */
	bool configured;
};

_Static_assert(sizeof(struct millrace_span) == sizeof(struct slice) &&
    offsetof(struct millrace_span, n) == offsetof(struct slice, n), "a span is a slice");
_Static_assert(sizeof(struct millrace_list) == sizeof(struct list) &&
    offsetof(struct millrace_list, n) == offsetof(struct list, n), "a list is a list");

PRINTF(3, 4) static bool
refuse(struct build *b, const struct build_module *one, const char *format, ...)
{
	char text[MODULE_WHY + 256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	diag_error(b->diag, one->at, "module \"%.*s\" %s", SLICE_ARG(diag_word(one->path)), text);
	return false;
}

/* ------------------------------------------------------------------ the file */

/* Beside the configuration, else where modules are installed. */
static const struct source *
find_file(struct build *b, const struct build_module *one)
{
	struct sources *files = b->in->files;
	const struct source *here = sources_file(files, one->path), *there;

	if (here->error == 0)
		return here;
	if (here->error != ENOENT || one->path.at[0] == '/') {
		diag_error(b->diag, one->at, "cannot read module \"%.*s\": %s",
		    SLICE_ARG(here->shown), strerror(here->error));
		return NULL;
	}
	there = sources_file(files, slice_of(arena_printf(&b->work, MILLRACE_MODULE_DIR "/%.*s",
	    SLICE_ARG(one->path))));
	if (there->error == 0)
		return there;
	if (there->error == ENOENT)
		diag_error(b->diag, one->at, "there is neither a module \"%.*s\" nor \"%.*s\"",
		    SLICE_ARG(here->shown), SLICE_ARG(there->shown));
	else
		diag_error(b->diag, one->at, "cannot read module \"%.*s\": %s",
		    SLICE_ARG(there->shown), strerror(there->error));
	return NULL;
}

static void
release_code(void *code)
{
	module_code_release(code);
}

static bool
load_code(struct build *b, struct build_module *one, const struct source *file)
{
	char why[MODULE_WHY], name[128];
	struct slice base = file->name, piece;

	while (slice_split(&base, '/', &piece))
		;
	snprintf(name, sizeof(name), "millrace %.*s", SLICE_ARG(slice_first(piece,
	    MIN_OF(piece.n, (size_t)100))));
	one->code = module_code_hold(file->text, name, why);
	if (one->code == NULL) {
		diag_error(b->diag, one->at, "module \"%.*s\" %s", SLICE_ARG(file->shown), why);
		return false;
	}
	arena_on_reset(&b->snapshot->arena, release_code, one->code);

	const struct millrace_module *table = module_code_table(one->code);

	memcpy(&one->m, table, MIN_OF(table->size, sizeof(one->m)));
	return true;
}

/* ------------------------------------------------------------------ its rows as ours */

/* What a module keeps of a configuration lives as long as its settings; a NUL stands behind it. */
static bool
keep_string(struct reading *r, bool read, void *out)
{
	if (read)
		*(struct slice *)out = arena_slice(r->arena, *(struct slice *)out);
	return read;
}

static bool
read_string(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	return keep_string(r, type_string.read(r, v, a, out), out);
}

static bool
read_bytes(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	return keep_string(r, type_bytes.read(r, v, a, out), out);
}

static const struct type type_module_string = {
	.name = "STRING", .wanted = "a string", .size = sizeof(struct slice), .read = read_string,
};
static const struct type type_module_bytes = {
	.name = "BYTES", .wanted = "bytes", .size = sizeof(struct slice), .read = read_bytes,
};

static const struct type *const types[] = {
	[MILLRACE_FLAG] = &type_flag,
	[MILLRACE_INTEGER] = &type_integer,
	[MILLRACE_SIZE] = &type_size,
	[MILLRACE_DURATION] = &type_duration,
	[MILLRACE_WORD] = &type_word,
	[MILLRACE_STRING] = &type_module_string,
	[MILLRACE_BYTES] = &type_module_bytes,
	[MILLRACE_TEXT] = &loaded_type_text,
};

static bool
is_word(const char *name)
{
	size_t n = 0;

	while (ascii_is_alpha(name[n]) || ascii_is_digit(name[n]) || name[n] == '_' ||
	    name[n] == '-')
		n++;
	return n >= 1 && n <= NAME_MAX_BYTES && name[n] == '\0';
}

static bool
fits(size_t offset, size_t size, size_t room)
{
	size_t alignment = MIN_OF(size, sizeof(void *));

	return size <= room && offset <= room - size && offset % alignment == 0;
}

/* One argument, of what fills `room` bytes; false: reported. */
static bool
make_argument(struct build *b, const struct build_module *one, const char *of,
    const struct millrace_argument *from, size_t room, struct argument *to)
{
	static const unsigned known = MILLRACE_OPTIONAL | MILLRACE_MANY | MILLRACE_OPTION;

	if (from->name == NULL || from->type < 0 || (size_t)from->type >= ARRAY_COUNT(types) ||
	    (from->flags & ~known) != 0)
		return refuse(b, one, "has an argument of \"%s\" that is unknown here", of);
	if (from->type == MILLRACE_WORD && (from->words == NULL || from->words[0] == NULL))
		return refuse(b, one, "has an argument of \"%s\" without words", of);
	*to = (struct argument){
		.name = from->name,
		.type = types[from->type],
		.offset = from->offset,
		.flags = ((from->flags & MILLRACE_OPTIONAL) != 0 ? ARGUMENT_OPTIONAL : 0u) |
		    ((from->flags & MILLRACE_MANY) != 0 ? ARGUMENT_MANY : 0u) |
		    ((from->flags & MILLRACE_OPTION) != 0 ? ARGUMENT_OPTION : 0u),
		.min = from->min,
		.max = from->max,
		.words = from->type == MILLRACE_WORD ? from->words : NULL,
		.more = TEXT_PLAIN,
		.otherwise = from->otherwise,
	};
	if (!fits(to->offset,
		(to->flags & ARGUMENT_MANY) != 0 ? sizeof(struct list) : to->type->size, room))
		return refuse(
		    b, one, "has an argument of \"%s\" that lies outside of its struct", of);
	return true;
}

/* False: reported. Texts are for steps: elsewhere nothing is known that could stand in them. */
static bool
make_arguments(struct build *b, const struct build_module *one, const char *of,
    const struct millrace_argument *from, size_t room, bool texts, const struct argument **out)
{
	size_t count = 0;

	while (from != NULL && from[count].type != 0)
		if (++count > ARGUMENTS_MAX)
			return refuse(b, one, "has more than %d arguments of \"%s\"",
			    ARGUMENTS_MAX, of);

	struct argument *to = arena_array(&b->snapshot->arena, count + 1, sizeof(*to));

	*out = to;
	for (size_t i = 0; i < count; i++) {
		if (from[i].type == MILLRACE_TEXT && !texts)
			return refuse(b, one, "has a text in \"%s\": those are for handlers", of);
		if (!make_argument(b, one, of, &from[i], room, &to[i]))
			return false;
	}
	return true;
}

static bool
make_directive(struct build *b, const struct build_module *one,
    const struct millrace_directive *from, struct directive *to)
{
	bool repeats = (from->flags & MILLRACE_REPEATS) != 0;
	size_t room = one->m.settings_size;

	if (!is_word(from->name) ||
	    (from->flags & ~(unsigned)(MILLRACE_REPEATS | MILLRACE_REQUIRED)) != 0)
		return refuse(b, one, "has a directive \"%.40s\" that is unknown here", from->name);
	if (!fits(from->offset, repeats ? sizeof(struct list) : 1, room) ||
	    (repeats && from->size > SETTINGS_MAX))
		return refuse(
		    b, one, "has a directive \"%s\" that lies outside of its struct", from->name);
	*to = (struct directive){
		.name = from->name,
		.kind = DIRECTIVE_SETTING,
		.flags = (repeats ? DIRECTIVE_REPEATS : 0u) |
		    ((from->flags & MILLRACE_REQUIRED) != 0 ? DIRECTIVE_REQUIRED : 0u),
		.offset = from->offset,
		.size = repeats ? from->size : 0,
		.otherwise = repeats ? NULL : from->otherwise,
		.help = from->help != NULL ? from->help : "",
	};
	return make_arguments(b, one, from->name, from->arguments,
	    repeats ? from->size : room - from->offset, false, &to->arguments);
}

static bool
make_directives(struct build *b, struct build_module *one)
{
	const struct millrace_directive *from = one->m.directives;
	size_t count = 0;

	if (one->m.settings_size > SETTINGS_MAX)
		return refuse(b, one, "has settings of more than 1 MiB");
	while (from != NULL && from[count].name != NULL)
		if (++count > ROWS_MAX)
			return refuse(b, one, "has more than %d directives", ROWS_MAX);

	struct directive *to = arena_array(&b->snapshot->arena, count + 1, sizeof(*to));

	for (size_t i = 0; i < count; i++)
		if (!make_directive(b, one, &from[i], &to[i]))
			return false;
	one->tables[0].rows = to;
	one->settings = arena_zalloc(&b->snapshot->arena, one->m.settings_size);
	return true;
}

/* ------------------------------------------------------------------ what it offers */

/* Whose protocol that is; NULL: nobody's. */
static const struct build_module *
find_owner(const struct build *b, struct slice name)
{
	for (size_t i = 0; i < b->module_count; i++)
		for (size_t j = 0; j < b->modules[i]->protocol_count; j++)
			if (slice_is(name, b->modules[i]->protocols[j]->name))
				return b->modules[i];
	return NULL;
}

void
build_modules_note(struct build *b, struct slice name)
{
	const struct build_module *owner = find_owner(b, name);

	if (owner != NULL)
		diag_note(b->diag, owner->at, "this module offers it");
}

/* False: reported. */
static bool
add_protocol(struct build *b, struct build_module *one, const struct millrace_protocol *from)
{
	const unsigned least = offsetof(struct millrace_protocol, is_idempotent) + sizeof(void *);
	const struct build_module *owner;
	const char *wrong;

	if (from->size < least)
		return refuse(b, one, "has a struct millrace_protocol of %zu bytes; ABI %u has at "
		    "least %u", from->size, MILLRACE_ABI, least);
	if (from->name == NULL || !is_word(from->name))
		return refuse(b, one, "offers a protocol without a name");
	owner = find_owner(b, slice_of(from->name));
	if (owner != NULL) {
		(void)refuse(b, one, "offers a second protocol \"%s\"", from->name);
		diag_note(b->diag, owner->at, "the first is from here");
		return false;
	}

	struct protocol_ops *ops = loaded_protocol_read(&b->snapshot->arena, from, &wrong);

	if (ops == NULL)
		return refuse(b, one, "offers a protocol \"%s\" that %s", from->name, wrong);
	one->protocols[one->protocol_count++] = ops;
	return true;
}

static bool
add_protocols(struct build *b, struct build_module *one)
{
	size_t count = 0;

	while (one->m.protocols != NULL && one->m.protocols[count] != NULL)
		if (++count > OFFERS_MAX)
			return refuse(b, one, "offers more than %d protocols", OFFERS_MAX);
	one->protocols = arena_array(&b->work, count + 1, sizeof(struct protocol_ops *));
	for (size_t i = 0; i < count; i++)
		if (!add_protocol(b, one, one->m.protocols[i]))
			return false;
	return true;
}

static const struct build_module *
find_step_owner(const struct build *b, const char *name)
{
	for (size_t i = 0; i < b->step_count; i++)
		if (strcmp(b->steps[i].name, name) == 0)
			return b->step_owners[i];
	return NULL;
}

static bool
add_handler(struct build *b, struct build_module *one, const struct millrace_handler *from)
{
	const unsigned least = offsetof(struct millrace_handler, question) + sizeof(void *);
	const struct build_module *owner;
	struct directive row;
	const char *wrong;

	if (from->size < least)
		return refuse(b, one, "has a struct millrace_handler of %zu bytes; ABI %u has at "
		    "least %u", from->size, MILLRACE_ABI, least);
	if (from->name == NULL || !is_word(from->name))
		return refuse(b, one, "offers a handler without a name");
	if (registry_has_word(slice_of(from->name)))
		return refuse(b, one, "offers a handler \"%s\", which is builtin", from->name);
	owner = find_step_owner(b, from->name);
	if (owner != NULL) {
		(void)refuse(b, one, "offers a second handler \"%s\"", from->name);
		diag_note(b->diag, owner->at, "the first is from here");
		return false;
	}
	if (from->settings_size > SETTINGS_MAX)
		return refuse(b, one, "has settings of more than 1 MiB");
	if (!loaded_handler_read(
		&b->snapshot->arena, from, &one->m, one->settings, &row, &wrong))
		return refuse(b, one, "offers a handler \"%s\" that %s", from->name, wrong);
	if (!make_arguments(b, one, from->name, from->arguments, from->settings_size, true,
		&row.arguments))
		return false;
	*ARENA_PUSH(&b->work, b->step_owners, b->step_owner_count, b->step_owner_room) = one;
	*ARENA_PUSH(&b->snapshot->arena, b->steps, b->step_count, b->step_room) = row;
	return true;
}

static bool
add_handlers(struct build *b, struct build_module *one)
{
	size_t count = 0;

	while (one->m.handlers != NULL && one->m.handlers[count] != NULL)
		if (++count > OFFERS_MAX)
			return refuse(b, one, "offers more than %d handlers", OFFERS_MAX);
	for (size_t i = 0; i < count; i++)
		if (!add_handler(b, one, one->m.handlers[i]))
			return false;
	return true;
}

/* ------------------------------------------------------------------ the statements */

static bool
is_first_of_its_code(struct build *b, const struct build_module *one)
{
	for (size_t i = 0; i < b->module_count; i++)
		if (b->modules[i]->code == one->code) {
			(void)refuse(b, one, "is loaded twice");
			diag_note(b->diag, b->modules[i]->at, "the first is here");
			return false;
		}
	return true;
}

static void
load_one(struct build *b, const struct statement *s)
{
	struct build_module *one = arena_zalloc(&b->snapshot->arena, sizeof(*one));
	const struct source *file;

	*one = (struct build_module){ .statement = s, .at = s->values[1].span };
	if (!type_path.read(&b->reading, &s->values[1], NULL, &one->path) ||
	    !schema_decode(&b->reading, &s->values[1], false, &one->path))
		return;
	file = find_file(b, one);
	if (file == NULL || !load_code(b, one, file)) {
		b->module_missing = true;
		return;
	}
	if (!is_first_of_its_code(b, one))
		return;
	if (b->in->parts != NULL)
		compare_add_file(b->in->parts, COMPARE_MODULE, s->values[1].raw, file->text);
	*ARENA_PUSH(&b->work, b->modules, b->module_count, b->module_room) = one;
	one->loaded =
	    make_directives(b, one) && add_protocols(b, one) && add_handlers(b, one);
}

void
build_modules_load(struct build *b, const struct block *tree)
{
	for (const struct statement *s = tree->first; s != NULL; s = s->next)
		if (s->values[0].kind == VALUE_WORD && slice_is(s->values[0].raw, "module") &&
		    s->value_count > 1)
			load_one(b, s);
	/* ended by a row without a name */
	memset(ARENA_PUSH(&b->snapshot->arena, b->steps, b->step_count, b->step_room), 0,
	    sizeof(*b->steps));
	b->step_count--;
	b->reading.loaded = b->steps;
}

static struct build_module *
find_module(struct reading *r, const struct statement *s)
{
	struct build *b = r->more;

	for (size_t i = 0; i < b->module_count; i++)
		if (b->modules[i]->statement == s)
			return b->modules[i];
	return NULL;
}

const struct table *
build_module_inside(
    struct reading *r, const struct statement *s, void *filled, void **target)
{
	struct build_module *one = find_module(r, s);

	if (one == NULL || !one->loaded)
		return NULL;
	*target = one->settings;
	return one->tables;
}

/* What was read of a repeated directive as the module is to see it. */
static void
pack_lists(struct build *b, struct build_module *one)
{
	for (const struct directive *row = one->tables[0].rows; row->name != NULL; row++) {
		struct list *list = (void *)((char *)one->settings + row->offset);
		const struct filled *filled;
		char *items;

		if ((row->flags & DIRECTIVE_REPEATS) == 0)
			continue;
		filled = list->items;
		items = arena_array(&b->snapshot->arena, list->n, row->size);
		for (size_t i = 0; i < list->n; i++)
			memcpy(items + i * row->size, filled[i].data, row->size);
		list->items = items;
	}
}

static void
release_settings(void *what)
{
	const struct build_module *one = what;

	one->m.release(one->settings);
}

bool
build_module_check(struct reading *r, const struct statement *s, void *filled)
{
	struct build_module *one = find_module(r, s);
	struct build *b = r->more;
	const struct millrace_setup setup = { &b->snapshot->arena, b->diag, s->span };
	size_t errors = b->diag->errors;

	/* reported when it was loaded */
	if (one == NULL || !one->loaded)
		return false;
	pack_lists(b, one);
	one->configured = one->m.configure == NULL || one->m.configure(&setup, one->settings);
	if (one->configured && one->m.release != NULL)
		arena_on_reset(&b->snapshot->arena, release_settings, one);
	if (!one->configured && b->diag->errors == errors)
		return refuse(b, one, "refuses its settings and does not say why");
	return one->configured;
}

static uint64_t
fingerprint(uint64_t so_far, const struct statement *s)
{
	for (; s != NULL; s = s->next) {
		for (size_t i = 0; i < s->value_count; i++) {
			struct slice raw = s->values[i].raw;

			so_far = fingerprint_add(so_far, &raw.n, sizeof(raw.n));
			so_far = fingerprint_add(so_far, raw.at, raw.n);
		}
		so_far = fingerprint_add(so_far, ";", 1);
	}
	return so_far;
}

static void
settle(struct build *b, struct build_module *one)
{
	const struct block *block = one->statement->block;
	uint64_t settings = fingerprint(
	    module_code_fingerprint(one->code), block != NULL ? block->first : NULL);
	const char *wrong;

	for (size_t i = 0; i < one->protocol_count; i++) {
		struct protocol_ops *ops = one->protocols[i];

		if (!loaded_protocol_settle(
			ops, &b->snapshot->arena, one->settings, settings, &wrong))
			(void)refuse(b, one, "offers a protocol \"%s\" that %s", ops->name, wrong);
		else if (!build_add_protocol(b, ops))
			(void)refuse(b, one, "offers a protocol \"%s\", which is builtin", ops->name);
	}
}

void
build_modules_settle(struct build *b)
{
	for (size_t i = 0; i < b->module_count; i++) {
		struct build_module *one = b->modules[i];

		if (one->configured)
			settle(b, one);
		else if (one->loaded && b->diag->errors == 0)
			(void)refuse(b, one, "has a default that is none");
	}
}

#define PLACE(word, tables) \
	{ .name = (word), .kind = DIRECTIVE_BLOCK, .flags = DIRECTIVE_HIDDEN, .inside = (tables) }

void
build_modules_print(const struct build *b, FILE *to, bool roff,
    void (*show)(const struct protocol_ops *ops, bool roff))
{
	for (size_t i = 0; i < b->module_count; i++) {
		const struct build_module *one = b->modules[i];
		const struct table steps[] = { { b->steps, 0 }, { NULL, 0 } };
		const struct directive places[] = { PLACE("module", one->tables),
			PLACE("server", steps), PLACE("route", steps), PLACE("error", steps), { 0 } };
		const struct table top[] = { { places, 0 }, { NULL, 0 } };

		schema_print_reference(top, to, roff);
		for (size_t j = 0; j < one->protocol_count; j++)
			show(one->protocols[j], roff);
	}
}
