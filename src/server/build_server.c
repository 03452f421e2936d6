/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One server: its routes, and the steps of each laid out as they run: the
 * server's own first, neighbours joined, state and answer bits given out.
 */
#include "server/build_inner.h"

#include <string.h>

enum { ANSWERS_MAX = 64, STATEFUL_MAX = 64, STEPS_MAX = UINT16_MAX };

/* A talk has no question: all that is known is known when it opens. */
static enum moment
moment_of(const struct build *b, enum moment moment)
{
	if ((b->protocol->traits & PROTOCOL_TURNS) == 0)
		return MOMENT_OPEN;
	return b->failing ? MOMENT_ANSWER : moment;
}

static struct scope
scope_of(struct build *b, enum moment moment, const char *const *captures, const char *where)
{
	return (struct scope){
		.protocol = b->protocol,
		.protocols = b->protocols,
		.moment = moment_of(b, moment),
		.captures = captures,
		.maps = &b->maps,
		.where = where,
	};
}

/* A protocol with one of these traits, as a message says it. */
static const char *
name_of_traits(unsigned wanted)
{
	if ((wanted & PROTOCOL_HTTP) == 0 && (wanted & PROTOCOL_MESSAGES) != 0)
		return "a protocol of messages";
	return (wanted & PROTOCOL_MESSAGES) != 0 ? "protocol http, or one of messages" :
	    "protocol http";
}

/* False: reported. `instead` is what to write, or NULL. */
static bool
speaks(struct build *b, unsigned wanted, struct span at, const char *word, const char *instead)
{
	if (wanted == 0 || (wanted & b->protocol->traits) != 0)
		return true;
	diag_error(b->diag, at, "\"%s\" needs %s; this server speaks %s%s%s", word,
	    name_of_traits(wanted), b->protocol->name, instead != NULL ? "; write: " : "",
	    instead != NULL ? instead : "");
	return false;
}

/* What to write in place of that step in this server, or NULL. */
static const char *
instead_of(const struct build *b, const struct handler_ops *ops)
{
	return (b->protocol->traits & (PROTOCOL_HTTP | PROTOCOL_MESSAGES)) != 0 ? ops->instead : NULL;
}

/* ------------------------------------------------------------------ steps */

/* With room for so many: there are as many lists as routes, and each is short. */
static struct step_list
step_list_of(struct build *b, size_t most)
{
	return (struct step_list){ arena_alloc(&b->work, most * sizeof(struct step)), 0 };
}

static void
add_step(struct build *b, struct filled *f, const char *const *captures, struct step_list *to)
{
	const struct handler_ops *ops = f->row->ops;
	const struct statement *s = f->statement;
	struct scope scope = scope_of(b, ops->moment, captures, "a step");
	struct step step = { .ops = ops, .settings = f->data, .span = s->span };

	b->scope = scope;
	if (f->broken || !speaks(b, ops->protocols, s->values[0].span, f->row->name,
			     instead_of(b, ops)))
		return;

	bool compiled = schema_compile(&b->reading, &scope, f);
	bool fine = compiled;

	if (s->when != NULL) {
		scope.where = "the condition of a step";
		step.when = condition_compile(&b->reading, &scope, s->when);
		fine &= step.when != NULL;
	}
	if (compiled && ops->build != NULL)
		fine &= ops->build(b, &step);
	if (!fine || step.ops == NULL)
		return;
	to->items[to->count++] = step;
}

static void
read_steps(
    struct build *b, const struct list *list, const char *const *captures, struct step_list *to)
{
	struct filled *items = list->items;

	*to = step_list_of(b, list->n);
	for (size_t i = 0; i < list->n; i++)
		add_step(b, &items[i], captures, to);
}

static bool
was_reset(const struct build *b, const struct step *step)
{
	for (size_t i = 0; i < b->reset_count; i++)
		if (b->reset[i] == step->ops)
			return true;
	return false;
}

/* From the last to the first, so that what is joined to is always one line. */
static void
join_neighbours(struct build *b, struct step_list *list)
{
	size_t kept = list->count;

	for (size_t i = list->count; i-- > 0;) {
		struct step *one = &list->items[i];

		if (kept < list->count && one->ops->join != NULL &&
		    one->ops == list->items[kept].ops &&
		    one->ops->join(&b->snapshot->arena, one, &list->items[kept]))
			list->items[kept] = *one;
		else
			list->items[--kept] = *one;
	}
	list->items += kept;
	list->count -= kept;
}

static void
warn_unreached(struct build *b, const struct step_list *list)
{
	for (size_t i = 0; i + 1 < list->count; i++) {
		const struct step *one = &list->items[i];

		if (!one->ops->takes || one->when != NULL)
			continue;
		diag_warning(b->diag, list->items[i + 1].span, "this step is never reached");
		diag_note(b->diag, one->span, "\"%s\" always answers", one->ops->name);
		return;
	}
}

/* Gives each step its place in the exchange's state and among those that see answers. */
static void
lay_out(struct build *b, struct steps *steps)
{
	for (uint16_t i = 0; i < steps->count; i++) {
		struct step *step = &steps->items[i];

		if (step->ops->answer != NULL) {
			if (steps->answers == ANSWERS_MAX)
				diag_error(b->diag, step->span,
				    "at most %d steps of a route may edit its answer", ANSWERS_MAX);
			step->answer_bit = (uint8_t)MIN_OF(steps->answers, ANSWERS_MAX - 1);
			steps->answers++;
		}
		if (step->ops->state_size == 0)
			continue;
		if (i >= STATEFUL_MAX)
			diag_error(b->diag, step->span, "more than %d steps stand before this one",
			    STATEFUL_MAX);
		step->state_at = steps->state_size;
		steps->state_size += (uint32_t)((step->ops->state_size + 15) & ~(size_t)15);
	}
}

static void
append_steps(struct build *b, struct step_list *all, const struct step_list *more, bool inherited)
{
	for (size_t i = 0; i < more->count; i++)
		if (!inherited || !was_reset(b, &more->items[i]))
			all->items[all->count++] = more->items[i];
}

/* The inherited steps and the own ones, as the snapshot keeps them. */
static void
make_steps(struct build *b, const struct step_list *inherited, const struct step_list *own,
    struct steps *out)
{
	struct step_list all = step_list_of(b, inherited->count + own->count);

	append_steps(b, &all, inherited, true);
	append_steps(b, &all, own, false);
	join_neighbours(b, &all);
	if (all.count > STEPS_MAX) {
		diag_error(
		    b->diag, all.items[STEPS_MAX].span, "a route has at most %d steps", STEPS_MAX);
		return;
	}
	warn_unreached(b, &all);
	out->items = arena_array(&b->snapshot->arena, all.count, sizeof(*out->items));
	if (all.count != 0)
		memcpy(out->items, all.items, all.count * sizeof(*out->items));
	out->count = (uint16_t)all.count;
	lay_out(b, out);
}

/* ------------------------------------------------------------------ routes */

static bool
path_is_sound(struct build *b, const struct value *v, struct slice path, enum route_kind kind)
{
	if (path.n == 0 || path.at[0] != '/') {
		diag_error(b->diag, v->span,
		    "a path begins with \"/\"; a pattern is written: route ~ \"REGEX\"");
		return false;
	}
	if (slice_find(path, '?', 0) < path.n) {
		diag_error(b->diag, v->span,
		    "a path has no query; ask for it: route %.*s when query.NAME == \"VALUE\"",
		    (int)slice_find(path, '?', 0), path.at);
		return false;
	}
	if (slice_find_slice(path, SLICE("//")) < path.n) {
		diag_error(b->diag, v->span,
		    "no path matches this: several slashes are one before routes are tried");
		return false;
	}
	if (slice_find_slice(path, SLICE("/./")) < path.n ||
	    slice_find_slice(path, SLICE("/../")) < path.n ||
	    (kind != ROUTE_BYTES &&
		(slice_ends(path, SLICE("/.")) || slice_ends(path, SLICE("/.."))))) {
		diag_error(b->diag, v->span,
		    "no path matches this: \"/./\" and \"/../\" are resolved before routes are tried");
		return false;
	}
	return true;
}

static bool
read_path(struct build *b, const struct value *v, bool exact, struct route *route)
{
	struct slice path;

	if (!schema_decode(&b->reading, v, false, &path))
		return false;
	route->kind = exact ? ROUTE_EXACT : ROUTE_SEGMENT;
	if (!exact && slice_ends(path, SLICE("*"))) {
		route->kind = ROUTE_BYTES;
		path.n--;
	}
	route->path = arena_slice(&b->snapshot->arena, path);
	return path_is_sound(b, v, path, route->kind);
}

/* nginx's modifiers of `location`; NULL: none of them. */
static const char *
meant_instead(struct slice word)
{
	if (slice_is(word, "~*"))
		return "route ~ \"(?i)REGEX\"";
	if (slice_is(word, "^~"))
		return "route PATH (the first route that matches wins)";
	return NULL;
}

static bool
read_pattern(struct build *b, const struct list *pattern, struct span at, struct route *route)
{
	const struct value *v = pattern->items;

	route->kind = ROUTE_ANY;
	if (pattern->n == 0)
		return true;
	if (!speaks(b, PROTOCOL_HTTP, v[0].span, "route PATH", NULL))
		return false;
	if (pattern->n == 1 && !slice_is(v[0].raw, "=") && !slice_is(v[0].raw, "~"))
		return read_path(b, &v[0], false, route);
	if (pattern->n == 2 && v[0].kind == VALUE_WORD && slice_is(v[0].raw, "="))
		return read_path(b, &v[1], true, route);
	if (pattern->n == 2 && v[0].kind == VALUE_WORD && slice_is(v[0].raw, "~")) {
		route->kind = ROUTE_REGEX;
		route->regex = regex_compile(&b->reading, v[1].raw, false, v[1].span);
		return route->regex != NULL;
	}
	if (meant_instead(v[0].raw) != NULL)
		diag_error(b->diag, v[0].span, "nginx's \"%.*s\" is written: %s",
		    SLICE_ARG(v[0].raw), meant_instead(v[0].raw));
	else
		diag_error(b->diag, at,
		    "write: route, route PATH, route PATH*, route = PATH or route ~ \"REGEX\"");
	return false;
}

/* As it was written, without the word `route`. */
static struct slice
shown(struct build *b, const struct statement *s)
{
	struct span first = s->when != NULL ? s->when->span : s->span;
	struct span from = s->value_count > 1 ? s->values[1].span : first;
	struct span to = s->when != NULL ? s->when->span : s->span;
	struct span all = span_join(from, to);

	all.n -= from.at - all.at;
	all.at = from.at;
	if (all.file == 0 || (s->value_count == 1 && s->when == NULL))
		return SLICE_EMPTY;
	return arena_slice(&b->snapshot->arena,
	    slice_make(b->in->files->items[all.file - 1]->text.at + all.at, all.n));
}

/* The parent's when they say the same. */
static const struct settings *
route_settings(struct build *b, const struct settings *own, const struct server_build *sb)
{
	if (memcmp(own, &sb->block->settings.common, sizeof(*own)) == 0)
		return &sb->server->settings;
	return build_keep_settings(b, own);
}

static bool
can_answer(const struct steps *steps)
{
	for (uint16_t i = 0; i < steps->count; i++)
		if (steps->items[i].ops->takes || steps->items[i].ops->join != NULL)
			return true;
	return false;
}

static void
build_route(struct build *b, struct server_build *sb, const struct step_list *inherited,
    struct filled *f, struct route *route)
{
	const struct route_line *line = f->data;
	const struct statement *s = f->statement;
	struct step_list own = { 0 };
	size_t errors = b->diag->errors;
	const char *const *captures = NULL;

	route->span = s->span;
	route->server = sb->server;
	route->shown = shown(b, s);
	route->settings = b->settings = route_settings(b, &line->settings, sb);
	if (read_pattern(b, &line->pattern, s->span, route) && route->regex != NULL)
		captures = regex_groups(&b->reading, route->regex);
	if (s->when != NULL) {
		struct scope scope =
		    scope_of(b, MOMENT_QUESTION, captures, "the condition of a route");

		route->when = condition_compile(&b->reading, &scope, s->when);
	}
	b->inherited = inherited;
	b->reset_count = 0;
	read_steps(b, &line->steps, captures, &own);
	make_steps(b, inherited, &own, &route->steps);
	b->inherited = NULL;
	b->reset_count = 0;
	if (b->diag->errors == errors && !f->broken && !can_answer(&route->steps))
		diag_error(b->diag, s->span,
		    "no step of this route answers; add proxy, %s, echo or close",
		    (b->protocol->traits & PROTOCOL_MESSAGES) != 0 ? "reply, drop" :
		    "return, redirect");
}

/* Without a route, the server's own steps are one. */
static void
build_only_route(
    struct build *b, struct server_build *sb, const struct step_list *own, struct route *route)
{
	const struct step_list none = { 0 };

	route->kind = ROUTE_ANY;
	route->span = sb->span;
	route->server = sb->server;
	route->settings = &sb->server->settings;
	route->shown = SLICE_EMPTY;
	make_steps(b, &none, own, &route->steps);
}

static bool
stands_behind(const struct statement *s, const struct statement *first)
{
	while (first != NULL && first != s)
		first = first->next;
	return first == s;
}

/* A step below a route would run before it all the same: nothing should look otherwise. */
static void
check_order(struct build *b, const struct server_build *sb)
{
	const struct filled *steps = sb->block->steps.items, *routes = sb->block->routes.items;
	size_t count = sb->block->steps.n;

	if (sb->block->routes.n == 0 || count == 0 ||
	    !stands_behind(steps[count - 1].statement, routes[0].statement))
		return;
	for (size_t i = 0; i < count; i++)
		if (stands_behind(steps[i].statement, routes[0].statement)) {
			diag_error(b->diag, steps[i].statement->span,
			    "a server's own steps run before every route's: write this above the "
			    "first route");
			diag_note(b->diag, routes[0].statement->span, "the first route is here");
			return;
		}
}

static void
build_routes(struct build *b, struct server_build *sb, const struct step_list *own)
{
	struct filled *items = sb->block->routes.items;
	size_t count = sb->block->routes.n;
	struct server *server = sb->server;
	struct route *routes =
	    arena_array(&b->snapshot->arena, MAX_OF(count, (size_t)1), sizeof(*routes));
	size_t errors = b->diag->errors;

	server->routes = routes;
	server->route_count = MAX_OF(count, (size_t)1);
	for (size_t i = 0; i < count; i++) {
		routes[i].order = (uint32_t)i;
		build_route(b, sb, own, &items[i], &routes[i]);
	}
	if (count == 0)
		build_only_route(b, sb, own, routes);
	if (b->diag->errors != errors)
		return;
	if (!b->diag->errors_only)
		route_report_unreachable(b->diag, routes, server->route_count);
	server->table = route_table_build(&b->snapshot->arena, routes, server->route_count);
}

/* ------------------------------------------------------------------ errors */

static void
report_overlap(
    struct build *b, const struct error_block *blocks, const struct span *spans, size_t count)
{
	for (size_t i = 0; i + 1 < count; i++)
		if (blocks[i].first <= blocks[count - 1].last &&
		    blocks[count - 1].first <= blocks[i].last) {
			diag_error(b->diag, spans[count - 1],
			    "status %u is served by another error block",
			    MAX_OF(blocks[i].first, blocks[count - 1].first));
			diag_note(b->diag, spans[i], "the other is here");
			return;
		}
}

static void
build_errors(struct build *b, struct server_build *sb)
{
	struct filled *items = sb->block->errors.items;
	const struct step_list none = { 0 };
	size_t count = 0, room = 0, span_count = 0, span_room = 0;
	struct error_block *blocks = NULL;
	struct span *spans = NULL;

	for (size_t i = 0; i < sb->block->errors.n; i++) {
		const struct error_line *line = items[i].data;
		const struct status_range *ranges = line->statuses.items;
		struct step_list own = { 0 };
		struct steps steps = { 0 };

		if (!speaks(b, PROTOCOL_HTTP, items[i].statement->values[0].span, "error", NULL))
			return;
		b->failing = true;
		read_steps(b, &line->steps, NULL, &own);
		b->failing = false;
		make_steps(b, &none, &own, &steps);
		for (size_t j = 0; j < line->statuses.n && !items[i].broken; j++) {
			*ARENA_PUSH(&b->snapshot->arena, blocks, count, room) =
			    (struct error_block){ ranges[j].first, ranges[j].last,
				line->intercept, steps };
			*ARENA_PUSH(&b->work, spans, span_count, span_room) =
			    items[i].statement->span;
			report_overlap(b, blocks, spans, count);
		}
	}
	sb->server->errors = blocks;
	sb->server->error_count = count;
}

/* ------------------------------------------------------------------ settings */

/* What it says itself, and its routes: defaults are for all. */
static void
check_settings(struct build *b, const struct server_build *sb)
{
	const struct filled *servers = b->main.servers.items, *routes = sb->block->routes.items;
	const struct server_settings *own = &sb->block->settings;
	struct build_said said = {
		.what = "server",
		.protocol = b->protocol,
		.block = servers[sb - b->servers].statement->block,
		.rows = server_settings_rows,
		.own = (const char *)own,
		.outer = (const char *)&b->main.defaults,
	};

	build_check_heartbeat(
	    b, b->protocol, &own->listener.heartbeat, false, said.block, sb->span);
	build_check_uses(b, &said);
	said.rows = route_settings_rows;
	said.outer = (const char *)&own->common;
	for (size_t i = 0; i < sb->block->routes.n; i++) {
		const struct route_line *line = routes[i].data;

		said.block = routes[i].statement->block;
		said.own = (const char *)&line->settings;
		build_check_uses(b, &said);
	}
}

void
build_server(struct build *b, struct server_build *sb)
{
	const struct server_block *block = sb->block;
	struct server *server = sb->server;
	struct step_list own = { 0 };

	b->protocol = server->protocol = build_find_protocol(b, &block->protocol);
	if (b->protocol == NULL)
		return;
	server->settings = *build_keep_settings(b, &block->settings.common);
	b->settings = &server->settings;
	server->trust = trust_keep(&block->settings.trust);
	check_settings(b, sb);
	check_order(b, sb);
	read_steps(b, &block->steps, NULL, &own);
	if (block->routes.n == 0 && block->steps.n == 0 && b->clean) {
		diag_error(
		    b->diag, sb->span, "this server does nothing: it has neither routes nor steps");
		return;
	}
	join_neighbours(b, &own);
	build_routes(b, sb, &own);
	build_errors(b, sb);
}
