/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rewrite "TEXT": what a later `proxy` forwards in place of the target that
 * was asked for. It never changes which route was chosen.
 */
#include "core/exchange.h"
#include "core/text.h"
#include "handlers/handlers.h"

struct rewrite {
	struct text target;
	bool has_query;
};

static bool
rewrite_check(struct reading *r, const struct statement *s, void *filled)
{
	struct rewrite *rewrite = filled;
	struct value v = rewrite->target.raw;

	if (v.raw.n != 0 && v.raw.at[0] == '^') {
		diag_error(r->diag, v.span,
		    "rewrite takes no pattern, its route does: route ~ \"^/u/(?<id>.*)$\" { "
		    "rewrite \"/user/${id}\"; … }");
		return false;
	}
	if (v.raw.n == 0 || (v.raw.at[0] != '/' && v.raw.at[0] != '$')) {
		diag_error(r->diag, v.span, "what is forwarded begins with \"/\"");
		return false;
	}
	for (size_t i = 0; i < v.raw.n; i++)
		if ((unsigned char)v.raw.at[i] <= ' ' || v.raw.at[i] == 0x7f ||
		    v.raw.at[i] == '#') {
			diag_error(r->diag, v.span,
			    "what is forwarded has no spaces and no \"#\"; write %%20, %%23");
			return false;
		}
	rewrite->has_query = slice_find(v.raw, '?', 0) < v.raw.n;
	return true;
}

/* `target` with the client's query behind it. */
static struct slice
with_query(struct exchange *ex, struct slice target)
{
	struct slice query = ex->question.query;
	size_t size = target.n + 1 + query.n;
	struct builder b = builder_on(arena_alloc(&ex->arena, size), size);

	builder_slice_put(&b, target);
	builder_byte(&b, '?');
	builder_slice_put(&b, query);
	return builder_slice(&b);
}

/* A value that brings `..` would lead out of what was written in front of it. */
static bool
has_dots(struct slice target)
{
	struct slice path = slice_first(target, slice_find(target, '?', 0)), segment;

	while (slice_split(&path, '/', &segment))
		if (slice_is(segment, ".") || slice_is(segment, ".."))
			return true;
	return false;
}

static enum verdict
rewrite_question(struct exchange *ex, const struct step *step)
{
	const struct rewrite *rewrite = step->settings;
	struct slice target;

	if (!text_get(&rewrite->target, ex, &target) || target.n == 0 || target.at[0] != '/') {
		exchange_abort(ex, REASON_INTERNAL);
		return STEP_TAKE;
	}
	if (unlikely(!rewrite->target.constant && has_dots(target))) {
		exchange_abort(ex, REASON_BAD_MESSAGE);
		return STEP_TAKE;
	}
	if (!rewrite->has_query && ex->question.query.n != 0)
		target = with_query(ex, target);
	ex->question.forward = target;
	return STEP_PASS;
}

static const struct handler_ops rewrite_ops = {
	.name = "rewrite",
	.protocols = PROTOCOL_HTTP | PROTOCOL_MESSAGES,
	.moment = MOMENT_QUESTION,
	.question = rewrite_question,
};

static const struct argument rewrite_arguments[] = {
	{ "TARGET", &type_text, offsetof(struct rewrite, target), .more = TEXT_URL },
	{ 0 },
};

const struct directive handler_rewrite_rows[] = {
	{ "rewrite", DIRECTIVE_STEP, .arguments = rewrite_arguments, .size = sizeof(struct rewrite),
	    .check = rewrite_check, .ops = &rewrite_ops,
	    .help = "Forwards this path (and query; the client's, if it has none) in place of "
	    "what was asked for." },
	{ 0 },
};
