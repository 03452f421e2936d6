/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limit NAME: a question that is one too many is refused: 429, or the protocol's own error.
 */
#include "base/clock.h"
#include "core/exchange.h"
#include "core/limit.h"
#include "core/text.h"
#include "handlers/handlers.h"

struct limit_step {
	struct name name;
	const struct limit *limit;
	struct field_ref key;
};

static bool
limit_step_build(struct build *b, struct step *step)
{
	struct limit_step *s = (struct limit_step *)(uintptr_t)step->settings;
	struct reading *r = build_reading(b);

	s->limit = build_limit(b, s->name.text, s->name.span);
	if (s->limit == NULL)
		return false;

	struct scope scope = *build_scope(b);

	/* the block is not part of the route that uses it */
	scope.captures = NULL;
	if (field_find(r, &scope, s->limit->key.raw, s->limit->key.span, &s->key))
		return true;
	diag_note(r->diag, s->name.span, "limit \"" SLICE_FORMAT "\" is used here",
	    SLICE_ARG(diag_word(s->limit->name)));
	return false;
}

static enum verdict
limit_question(struct exchange *ex, const struct step *step)
{
	const struct limit_step *s = step->settings;
	void *const *shared = ex->snapshot->shared_at;
	uint64_t hash;

	if (shared == NULL || !limit_hash(ex, &s->key, &hash) ||
	    limit_take(s->limit, shared[s->limit->shared], hash, clock_us()))
		return STEP_PASS;
	exchange_abort(ex, REASON_RATE);
	return STEP_TAKE;
}

static enum verdict
limit_explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	const struct limit_step *s = step->settings;
	struct slice key;

	if (!field_text(ex, &s->key, false, &key)) {
		builder_text(&out->does, "passes: what it counts by is absent");
		return STEP_PASS;
	}
	builder_text(&out->does, "passes, unless there were too many of");
	text_show_slice(key, &out->does);
	return STEP_PASS;
}

static const struct handler_ops limit_ops = {
	.name = "limit",
	.moment = MOMENT_QUESTION,
	.build = limit_step_build,
	.question = limit_question,
	.explain = limit_explain,
};

static const struct argument limit_step_arguments[] = {
	{ .name = "NAME", .type = &type_name, .offset = offsetof(struct limit_step, name) },
	{ 0 },
};

const struct directive handler_limit_rows[] = {
	{ "limit", DIRECTIVE_STEP, .arguments = limit_step_arguments,
	    .size = sizeof(struct limit_step), .ops = &limit_ops,
	    .help = "Counts against a limit; what is over it is refused: 429, or the protocol's "
	    "own error." },
	{ 0 },
};
