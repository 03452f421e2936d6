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

static enum reason
rewrite_run(struct exchange *ex, const struct rewrite *rewrite)
{
	struct slice target;

	if (!text_get(&rewrite->target, ex, &target) || target.n == 0 || target.at[0] != '/')
		return REASON_INTERNAL;
	if (unlikely(!rewrite->target.constant && has_dots(target)))
		return REASON_BAD_MESSAGE;
	if (!rewrite->has_query && ex->question.query.n != 0)
		target = with_query(ex, target);
	ex->question.forward = target;
	return REASON_NONE;
}

static enum verdict
rewrite_question(struct exchange *ex, const struct step *step)
{
	enum reason wrong = rewrite_run(ex, step->settings);

	if (wrong == REASON_NONE)
		return STEP_PASS;
	exchange_abort(ex, wrong);
	return STEP_TAKE;
}

static enum verdict
rewrite_explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	out->reason = (uint8_t)rewrite_run(ex, step->settings);
	if (out->reason != REASON_NONE)
		return STEP_TAKE;
	builder_text(&out->does, "forwards");
	text_show_slice(ex->question.forward, &out->does);
	return STEP_PASS;
}

static const struct handler_ops rewrite_ops = {
	.name = "rewrite",
	.protocols = PROTOCOL_HTTP | PROTOCOL_MESSAGES,
	.moment = MOMENT_QUESTION,
	.question = rewrite_question,
	.explain = rewrite_explain,
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
