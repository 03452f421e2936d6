/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The protocols that a configuration may name: builtin ones, those that are builtin declarations,
 * what modules offer, and those that it declares itself. What is built first is found by name from
 * then on.
 */
#include "core/match.h"
#include "protocols/frame/frame_builtin.h"
#include "protocols/frame/frame_rows.h"
#include "server/build_inner.h"

/* ------------------------------------------------------------------ all of them */

static void
add(struct build *b, const struct protocol_ops *ops)
{
	/* NULL stands behind the last one */
	*ARENA_PUSH(&b->work, b->protocols, b->protocol_count, b->protocol_room) = ops;
	*ARENA_PUSH(&b->work, b->protocols, b->protocol_count, b->protocol_room) = NULL;
	b->protocol_count--;
}

static const struct protocol_ops *
find(const struct build *b, struct slice name)
{
	for (size_t i = 0; i < b->protocol_count; i++)
		if (slice_is(name, b->protocols[i]->name))
			return b->protocols[i];
	return NULL;
}

bool
build_add_protocol(struct build *b, const struct protocol_ops *ops)
{
	if (find(b, slice_of(ops->name)) != NULL)
		return false;
	add(b, ops);
	return true;
}

static const char *
protocol_name(void *what, size_t i)
{
	const struct build *b = what;

	return b->protocols[i]->name;
}

static void
report_no_protocol(struct build *b, const struct name *name)
{
	char text[256];
	struct builder known = builder_on(text, sizeof(text) - 1);

	for (size_t i = 0; i < b->protocol_count; i++)
		builder_printf(&known, "%s%s",
		    i == 0                       ? ""
		    : i + 1 == b->protocol_count ? " and "
						 : ", ",
		    b->protocols[i]->name);
	diag_error(b->diag, name->span, "there is no protocol \"%.*s\"; there are %.*s",
	    SLICE_ARG(diag_word(name->text)), (int)known.n, known.at);
}

const struct protocol_ops *
build_find_protocol(struct build *b, const struct name *name)
{
	const struct protocol_ops *found = name->text.n == 0 ? b->protocols[0] : find(b, name->text);

	if (found != NULL || map_find(&b->declared, name->text) != NULL)
		return found;

	const char *closest = diag_closest(name->text, protocol_name, b, b->protocol_count);
	const struct elsewhere *elsewhere = schema_elsewhere(&b->reading, "protocol", name->text);

	if (elsewhere != NULL)
		schema_report_elsewhere(&b->reading, name->text, name->span, elsewhere);
	else if (closest != NULL)
		diag_error(b->diag, name->span,
		    "there is no protocol \"%.*s\"; did you mean \"%s\"?",
		    SLICE_ARG(diag_word(name->text)), closest);
	else if (!b->module_missing)    /* which may well be the one that offers it */
		report_no_protocol(b, name);
	return NULL;
}

/* ------------------------------------------------------------------ one that is declared */

static uint64_t
add_slice(uint64_t so_far, struct slice s)
{
	return fingerprint_add(fingerprint_add(so_far, &s.n, sizeof(s.n)), s.at, s.n);
}

/* What it says of bytes: not what is said of it, and tried with it. */
static uint64_t
fingerprint(uint64_t so_far, const struct block *block)
{
	static const char *const besides[] = { "error", "example", "idempotent" };

	for (const struct statement *s = block->first; s != NULL; s = s->next) {
		bool counts = true;

		for (size_t i = 0; i < ARRAY_COUNT(besides); i++)
			counts &= !slice_is(s->values[0].raw, besides[i]);
		if (!counts)
			continue;
		for (size_t i = 0; i < s->value_count; i++)
			so_far = add_slice(so_far, s->values[i].raw);
		so_far = fingerprint_add(so_far, ";", 1);
		if (s->block != NULL)
			so_far = fingerprint_add(fingerprint(so_far, s->block), "}", 1);
	}
	return so_far;
}

static struct scope
scope_of(struct build *b, const struct declared *x, enum moment moment, const char *where)
{
	return (struct scope){
		.protocol = &x->ops,
		.protocols = b->protocols,
		.moment = moment,
		.maps = &b->maps,
		.where = where,
	};
}

static bool
build_error(
    struct build *b, struct declared *x, struct filled *f, struct text *error)
{
	struct protocol_block *block = f->data;
	struct scope scope = scope_of(b, x, MOMENT_ANSWER, "the error of a protocol");

	block->error.place = text_place_for(slice_of(x->codec.type));
	if (!schema_compile(&b->reading, &scope, f))
		return false;
	*error = block->error;
	/* of a switch it has the form that the question has */
	if (!error->constant || x->frame.kind == FRAME_SWITCH)
		return true;

	struct draft draft = { .body = error->literal, .is_answer = true };

	return codec_check(&x->codec, x->ops.name, &draft, &b->reading, error->raw.span);
}

static bool
build_idempotent(struct build *b, struct declared *x, const struct list *lines)
{
	const struct filled *items = lines->items;
	struct scope scope = scope_of(b, x, MOMENT_QUESTION, "whether it may be asked twice");
	bool fine = true;

	for (size_t i = 0; i < lines->n; i++) {
		const struct expression *when = items[i].statement->when;

		if (when == NULL)
			continue;
		x->idempotent[i] = condition_compile(&b->reading, &scope, when);
		fine = fine && x->idempotent[i] != NULL;
	}
	return fine;
}

/* Its table is whole before what is asked of its messages is compiled. */
static struct declared *
declare(struct build *b, struct filled *f)
{
	const struct protocol_block *block = f->data;
	struct arena *a = &b->snapshot->arena;
	struct declared *x = arena_zalloc(a, sizeof(*x));
	struct text *error = block->error.raw.raw.at != NULL ? arena_zalloc(a, sizeof(*error)) : NULL;

	if (!frame_rows_read(&b->reading, block, f->statement, &x->frame, &x->id))
		return NULL;
	x->error = error;
	x->idempotent_count = block->idempotent.n;
	x->idempotent = arena_array(a, block->idempotent.n, sizeof(*x->idempotent));
	x->codec.independent = block->independent;
	x->codec.datagrams = block->datagram;
	x->codec.fingerprint = fingerprint(FINGERPRINT_START, f->statement->block);
	declared_init(x, arena_text(a, block->name.text));

	bool fine = error == NULL || build_error(b, x, f, error);

	return build_idempotent(b, x, &block->idempotent) && fine ? x : NULL;
}

/* False: reported. */
static bool
check_name(struct build *b, const struct name *name)
{
	const struct name *other = map_find(&b->declared, name->text);

	if (other != NULL) {
		diag_error(b->diag, name->span, "there are two protocols \"%.*s\"",
		    SLICE_ARG(diag_word(name->text)));
		diag_note(b->diag, other->span, "the first is here");
	} else if (find(b, name->text) != NULL) {
		diag_error(b->diag, name->span,
		    "\"%.*s\" is a protocol already, without being declared",
		    SLICE_ARG(diag_word(name->text)));
		build_modules_note(b, name->text);
	} else
		return true;
	return false;
}

static void
build_declared(struct build *b, struct filled *f)
{
	const struct protocol_block *block = f->data;
	struct declared *x;

	if (block->name.text.n == 0 || !check_name(b, &block->name))
		return;
	map_add(&b->declared, block->name.text, (void *)(uintptr_t)&block->name);
	if (f->broken)
		return;
	x = declare(b, f);
	if (x == NULL)
		return;
	add(b, &x->ops);
	build_examples(b, x, &block->examples);
}

static void
list_messages(struct build *b)
{
	struct snapshot *s = b->snapshot;

	s->messages = arena_array(&s->arena, b->protocol_count, sizeof(*s->messages));
	for (size_t i = 0; i < b->protocol_count; i++)
		if (b->protocols[i]->codec != NULL)
			s->messages[s->message_count++] = b->protocols[i];
}

void
build_protocols(struct build *b)
{
	struct filled *items = b->main.protocols.items;
	struct declared *x;

	for (size_t i = 0; registry_protocols[i] != NULL; i++)
		add(b, registry_protocols[i]);
	for (size_t i = 0; (x = frame_builtin(&b->snapshot->arena, i)) != NULL; i++)
		add(b, &x->ops);
	build_modules_settle(b);
	for (size_t i = 0; i < b->main.protocols.n; i++)
		build_declared(b, &items[i]);
	list_messages(b);
}
