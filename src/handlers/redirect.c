/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * redirect [STATUS] TARGET: sends the client elsewhere. The target `https` is
 * what was asked for, over https.
 */
#include "core/exchange.h"
#include "core/text.h"
#include "handlers/handlers.h"

struct redirect {
	struct text first,
	    second; /* [STATUS] TARGET: which is which is known when both were read */
	const struct text *target; /* NULL: https://HOST and what was asked for */
	uint16_t status;
};

static bool
is_status(const struct value *v, uint64_t *status)
{
	return v->kind == VALUE_WORD && slice_to_u64(v->raw, status) &&
	       (*status == 301 || *status == 302 || *status == 303 || *status == 307 ||
	       *status == 308);
}

static bool
redirect_status(struct reading *r, struct redirect *redirect)
{
	struct value v = redirect->first.raw;
	uint64_t status;

	redirect->status = 302;
	if (redirect->second.raw.span.n == 0) {
		redirect->target = &redirect->first;
		return true;
	}
	redirect->target = &redirect->second;
	if (is_status(&v, &status)) {
		redirect->status = (uint16_t)status;
		return true;
	}
	if (is_status(&redirect->second.raw, &status)) {
		diag_error(r->diag, redirect->second.raw.span,
		    "the status stands in front of the target: redirect %u TARGET;", (unsigned)status);
		return false;
	}
	diag_error(r->diag, v.span, "the status of a redirect is 301, 302, 303, 307 or 308");
	return false;
}

static bool
redirect_check(struct reading *r, const struct statement *s, void *filled)
{
	struct redirect *redirect = filled;

	if (!redirect_status(r, redirect))
		return false;

	struct value target = redirect->target->raw;

	if (target.kind == VALUE_WORD && slice_is(target.raw, "https")) {
		redirect->target = NULL;
		return true;
	}
	for (size_t i = 0; i < target.raw.n; i++)
		if ((unsigned char)target.raw.at[i] <= ' ' || target.raw.at[i] == 0x7f) {
			diag_error(r->diag, target.span,
			    "the target of a redirect has no spaces; write %%20");
			return false;
		}
	if (target.raw.n != 0 && !ascii_is_digit(target.raw.at[0]))
		return true;
	diag_error(
	    r->diag, target.span, "redirect wants a target: redirect 302 /other; redirect https;");
	return false;
}

static bool
redirect_to_https(struct exchange *ex, struct slice *out)
{
	const struct message *m = &ex->question;
	size_t size = sizeof("https://") + m->host.n + m->forward.n;
	struct builder b = builder_on(arena_alloc(&ex->arena, size), size);

	BUILDER_LITERAL(&b, "https://");
	builder_slice_put(&b, m->host);
	builder_slice_put(&b, m->forward);
	*out = builder_slice(&b);
	return m->host.n != 0 && m->forward.n != 0 && m->forward.at[0] == '/';
}

static enum reason
redirect_find(struct exchange *ex, const struct redirect *redirect, struct slice *target)
{
	if (redirect->target == NULL)
		return redirect_to_https(ex, target) ? REASON_NONE : REASON_BAD_HOST;
	return text_get(redirect->target, ex, target) ? REASON_NONE : REASON_INTERNAL;
}

static enum verdict
redirect_question(struct exchange *ex, const struct step *step)
{
	const struct redirect *redirect = step->settings;
	struct slice target;
	enum reason wrong = redirect_find(ex, redirect, &target);

	if (wrong != REASON_NONE) {
		exchange_abort(ex, wrong);
		return STEP_TAKE;
	}
	message_add_known(&ex->answer, &ex->arena, KNOWN_LOCATION, target);
	exchange_return(ex, redirect->status, SLICE_EMPTY, SLICE_EMPTY);
	return STEP_TAKE;
}

static enum verdict
redirect_explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	const struct redirect *redirect = step->settings;
	struct slice target;

	out->reason = (uint8_t)redirect_find(ex, redirect, &target);
	if (out->reason != REASON_NONE)
		return STEP_TAKE;
	out->status = redirect->status;
	builder_printf(&out->does, "answers %u, to", redirect->status);
	text_show_slice(target, &out->does);
	return STEP_TAKE;
}

static const struct handler_ops redirect_ops = {
	.name = "redirect",
	.protocols = PROTOCOL_HTTP,
	.moment = MOMENT_QUESTION,
	.takes = true,
	.question = redirect_question,
	.explain = redirect_explain,
};

static const struct argument redirect_arguments[] = {
	{ "STATUS|TARGET", &type_text, offsetof(struct redirect, first), .more = TEXT_URL },
	{ "TARGET", &type_text, offsetof(struct redirect, second), .flags = ARGUMENT_OPTIONAL,
	    .more = TEXT_URL },
	{ 0 },
};

const struct directive handler_redirect_rows[] = {
	{ "redirect", DIRECTIVE_STEP, .arguments = redirect_arguments,
	    .size = sizeof(struct redirect),
	    .check = redirect_check, .ops = &redirect_ops,
	    .help = "Sends the client elsewhere (302 unless a status is given); `https` is the "
	    "same place over https." },
	{ 0 },
};
