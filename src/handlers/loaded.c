/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The step of a loaded handler: the module is asked once, when the question is there, and what it
 * wants is done when it has returned.
 */
#include "handlers/loaded.h"

#include "core/exchange.h"
#include "core/module_call.h"
#include "core/text.h"

/* An instance is memory of a snapshot. */
struct loaded {
	struct handler_ops ops;
	struct millrace_handler h;      /* as much of it as both sides know */
	const struct millrace_module *module;
	const void *settings;
	struct log_limit *limit;
};

struct millrace_exchange {
	struct exchange *ex;
	bool replied;
	uint16_t status;
	struct slice type, body;        /* scratch memory */
};

struct millrace_text {
	struct text text;
};

/* ------------------------------------------------------------------ what a module may ask for */

struct millrace_span
loaded_body(struct millrace_exchange *ex)
{
	struct slice body = ex->ex->unit != NULL ? unit_body(ex->ex->unit) : SLICE_EMPTY;

	return (struct millrace_span){ body.at, body.n };
}

bool
loaded_text(
    struct millrace_exchange *ex, const struct millrace_text *text, struct millrace_span *out)
{
	struct slice built;

	*out = (struct millrace_span){ "", 0 };
	if (!text_get(&text->text, ex->ex, &built))
		return false;
	*out = (struct millrace_span){ built.at, built.n };
	return true;
}

static struct slice
keep(struct millrace_exchange *ex, const char *at, size_t n)
{
	char *copy = scratch_alloc(&ex->ex->engine->loop.scratch, n);

	if (n != 0)
		memcpy(copy, at, n);
	return slice_make(copy, n);
}

static bool
is_media_type(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

bool
loaded_reply(struct millrace_exchange *ex, unsigned status, const char *media_type,
    struct millrace_span body)
{
	ex->replied = status >= 200 && status <= 599 && (body.n == 0 || body.at != NULL) &&
	    body.n <= UINT32_MAX && (media_type == NULL || is_media_type(media_type));
	if (!ex->replied)
		return false;
	ex->status = (uint16_t)status;
	ex->body = keep(ex, body.at, body.n);
	ex->type = media_type == NULL ? SLICE_EMPTY : keep(ex, media_type, strlen(media_type));
	return true;
}

/* ------------------------------------------------------------------ the step */

static bool
is_message(const struct exchange *ex)
{
	return ex->unit != NULL;
}

static void
reply(const struct millrace_exchange *m)
{
	if (is_message(m->ex))
		exchange_return_message(m->ex, m->body, NULL, 0);
	else
		exchange_return(m->ex, m->status, m->type, m->body);
}

static void
drop(struct exchange *ex)
{
	if (is_message(ex))
		exchange_return_nothing(ex);
	else
		exchange_return(ex, 204, SLICE_EMPTY, SLICE_EMPTY);
}

static void
cut(struct exchange *ex)
{
	struct conn *client = ex->client;

	if (is_message(ex)) {
		ex->close_client = true;
		exchange_return_nothing(ex);
		return;
	}
	exchange_client_failed(ex, REASON_DENIED);
	if (client != NULL)
		conn_close(client);
}

static enum verdict
question(struct exchange *ex, const struct step *step)
{
	const struct loaded *x = CONTAINER_OF(step->ops, struct loaded, ops);
	struct millrace_exchange m = { .ex = ex };

	module_enter("question", x->h.name);

	enum millrace_verdict verdict = x->h.question(x->settings, step->settings, &m);

	module_leave();

	if (verdict == MILLRACE_PASS && (x->h.traits & MILLRACE_ANSWERS) == 0)
		return STEP_PASS;
	if (verdict == MILLRACE_REPLY && m.replied)
		reply(&m);
	else if (verdict == MILLRACE_DROP)
		drop(ex);
	else if (verdict == MILLRACE_CLOSE)
		cut(ex);
	else {
		if (verdict != MILLRACE_FAIL)
			log_limited(x->limit, LOG_ERROR,
			    "module %s: %s returned %d%s", x->module->name, x->h.name, (int)verdict,
			    verdict == MILLRACE_REPLY ? " without a reply" : "");
		exchange_abort(ex, REASON_INTERNAL);
	}
	return STEP_TAKE;
}

/* Whatever it would say, it would say it to the world that its code lives in: it is not asked. */
static enum verdict
explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	builder_text(&out->does, step->ops->takes ? "answers" :
	    "may answer or pass: a module knows when it runs");
	return step->ops->takes ? STEP_TAKE : STEP_PASS;
}

/* ------------------------------------------------------------------ the row */

static bool
check(struct build *b, struct step *step)
{
	const struct loaded *x = CONTAINER_OF(step->ops, struct loaded, ops);
	struct reading *r = build_reading(b);
	const struct millrace_setup setup = { r->arena, r->diag, step->span };
	size_t errors = r->diag->errors;

	/* what a step was read into is the build's until it runs */
	if (x->h.check(&setup, (void *)(uintptr_t)step->settings, x->settings))
		return true;
	if (r->diag->errors == errors)
		diag_error(r->diag, step->span, "module %s refuses this and does not say why",
		    x->module->name);
	return false;
}

static bool
read_text(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	struct millrace_text *text = arena_zalloc(r->arena, sizeof(*text));

	*(struct millrace_text **)out = text;
	return type_text.read(r, v, a, &text->text);
}

static bool
compile_text(struct reading *r, const struct scope *scope, const struct argument *a, void *out)
{
	struct millrace_text *text = *(struct millrace_text **)out;

	return type_text.compile(r, scope, a, &text->text);
}

const struct type loaded_type_text = {
	.name = "TEXT",
	.wanted = "a text",
	.size = sizeof(struct millrace_text *),
	.read = read_text,
	.compile = compile_text,
};

bool
loaded_handler_read(struct arena *a, const struct millrace_handler *given,
    const struct millrace_module *module, const void *settings, struct directive *row,
    const char **wrong)
{
	struct loaded *x = arena_zalloc(a, sizeof(*x));

	memcpy(&x->h, given, MIN_OF(given->size, sizeof(x->h)));
	x->module = module;
	x->settings = settings;
	x->limit = arena_zalloc(a, sizeof(*x->limit));
	*wrong = NULL;
	if (x->h.question == NULL)
		*wrong = "has no question";
	else if ((x->h.traits & ~(unsigned)MILLRACE_ANSWERS) != 0)
		*wrong = "has traits that are unknown here";
	x->ops = (struct handler_ops){
		.name = x->h.name,
		.protocols = PROTOCOL_TURNS,
		.moment = MOMENT_QUESTION,
		.takes = (x->h.traits & MILLRACE_ANSWERS) != 0,
		.build = x->h.check != NULL ? check : NULL,
		.question = question,
		.explain = explain,
	};
	*row = (struct directive){
		.name = x->h.name,
		.kind = DIRECTIVE_STEP,
		.size = x->h.settings_size,
		.ops = &x->ops,
		.help = x->h.help != NULL ? x->h.help : "",
	};
	return *wrong == NULL;
}
