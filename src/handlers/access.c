/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * allow and deny. Neighbouring lines are one step in which the first line that
 * matches decides; who is met by none passes. Lines are joined as a rope that
 * is never changed, so that those of a server are shared by all its routes.
 */
#include "core/exchange.h"
#include "handlers/handlers.h"

struct access {
	const struct access *left, *right; /* of a join; a line has neither */
	struct list networks; /* struct network; none: everybody */
	const struct condition *when;
	struct span span;
	bool allow;
};

static bool
read_network(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	struct network *net = out;

	if (slice_is(v->raw, "all")) {
		net->family = AF_UNSPEC;
		return true;
	}
	return type_network.read(r, v, a, out);
}

static const struct type type_network_or_all = {
	.name = "NETWORK",
	.wanted = "a network (10.0.0.0/8, fe80::/10, unix:) or all",
	.size = sizeof(struct network),
	.read = read_network,
};

static bool
allow_check(struct reading *r, const struct statement *s, void *filled)
{
	struct access *access = filled;

	access->allow = true;
	return true;
}

/* The condition belongs to the line from here on: a joined step has none of its own. */
static bool
access_build(struct build *b, struct step *step)
{
	struct access *line = arena_alloc(build_reading(b)->arena, sizeof(*line));

	*line = *(const struct access *)step->settings;
	line->when = step->when;
	line->span = step->span;
	step->when = NULL;
	step->settings = line;
	return true;
}

static bool
access_join(struct arena *a, struct step *first, const struct step *next)
{
	struct access *both = arena_zalloc(a, sizeof(*both));

	both->left = first->settings;
	both->right = next->settings;
	first->settings = both;
	return true;
}

static bool
line_matches(const struct access *line, struct exchange *ex)
{
	const struct network *networks = line->networks.items;
	bool found = line->networks.n == 0;

	for (size_t i = 0; i < line->networks.n && !found; i++)
		found = networks[i].family == AF_UNSPEC || network_has(&networks[i], ex->src);
	return found && (line->when == NULL || condition_is(line->when, ex));
}

/* The nth line; NULL: there are not so many, and *nth is how many less. */
static const struct access *
access_nth(const struct access *access, size_t *nth)
{
	for (; access->right != NULL; access = access->right) {
		const struct access *line = access_nth(access->left, nth);

		if (line != NULL)
			return line;
	}
	return (*nth)-- == 0 ? access : NULL;
}

static bool
access_line(const struct step *step, size_t nth, struct span *at)
{
	const struct access *line = access_nth(step->settings, &nth);

	if (line != NULL)
		*at = line->span;
	return line != NULL;
}

/* The line that decides; NULL: none is for this client. */
static const struct access *
access_find(const struct access *access, struct exchange *ex)
{
	while (access->right != NULL) {
		const struct access *line = access_find(access->left, ex);

		if (line != NULL)
			return line;
		access = access->right;
	}
	return line_matches(access, ex) ? access : NULL;
}

static enum verdict
access_question(struct exchange *ex, const struct step *step)
{
	const struct access *line = access_find(step->settings, ex);

	if (line == NULL || line->allow)
		return STEP_PASS;
	exchange_abort(ex, REASON_DENIED);
	return STEP_TAKE;
}

static enum verdict
access_explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	const struct access *line = access_find(step->settings, ex);
	char text[ADDR_TEXT];
	struct slice src = addr_print_host(ex->src, text);

	if (line == NULL) {
		builder_printf(&out->does, "passes " SLICE_FORMAT ": no line is for it",
		    SLICE_ARG(src));
		return STEP_PASS;
	}
	out->line = line->span;
	out->when = line->when;
	builder_printf(&out->does, "%s " SLICE_FORMAT, line->allow ? "allows" : "denies",
	    SLICE_ARG(src));
	if (line->allow)
		return STEP_PASS;
	out->reason = REASON_DENIED;
	return STEP_TAKE;
}

static const struct handler_ops access_ops = {
	.name = "access",
	.moment = MOMENT_QUESTION,
	.build = access_build,
	.join = access_join,
	.line = access_line,
	.question = access_question,
	.explain = access_explain,
};

static const struct argument allow_arguments[] = {
	{ "NETWORK", &type_network_or_all, offsetof(struct access, networks),
	    .flags = ARGUMENT_MANY },
	{ 0 },
};

static const struct argument deny_arguments[] = {
	{ "NETWORK", &type_network_or_all, offsetof(struct access, networks),
	    .flags = ARGUMENT_MANY | ARGUMENT_OPTIONAL },
	{ 0 },
};

const struct directive handler_access_rows[] = {
	{ "allow", DIRECTIVE_STEP, .arguments = allow_arguments, .size = sizeof(struct access),
	    .check = allow_check, .ops = &access_ops,
	    .help = "Lets these clients (or all) pass the allow and deny lines that follow "
	    "directly." },
	{ "deny", DIRECTIVE_STEP, .arguments = deny_arguments, .size = sizeof(struct access),
	    .ops = &access_ops,
	    .help = "Refuses these clients (without a network: all) with 403, or with a protocol's own "
	    "error; a talk is closed." },
	{ 0 },
};
