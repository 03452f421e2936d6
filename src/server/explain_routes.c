/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `server routes`: what is tried, in the order in which it is tried. Listeners with the hosts that tell servers
 * apart, then each server's routes, and the steps that a question meets in them.
 */
#include <string.h>

#include "server/explain_inner.h"

struct listing {
	const struct explain_input *in;
	struct arena arena;
	const char *server;             /* the one that is wanted; NULL: all */
	bool json;
	FILE *to;
};

static bool
is_wanted(const struct listing *o, const struct server *s)
{
	return o->server == NULL || slice_is(s->name, o->server);
}

static bool
leads_to(const struct listener *l, const struct server *s, const struct host_entry *hosts,
    size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (hosts[i].server == s)
			return true;
	return l->only == s;
}

/* Names of the servers of a listener; none where whatever the host says leads to one. */
static struct host_entry *
hosts_of(struct listing *o, const struct listener *l, size_t *count)
{
	*count = 0;
	return l->hosts != NULL ? host_table_list(l->hosts, &o->arena, count) : NULL;
}

static bool
leads_to_wanted(struct listing *o, const struct listener *l)
{
	const struct snapshot *s = o->in->snapshot;
	size_t count;
	const struct host_entry *hosts = hosts_of(o, l, &count);

	for (size_t i = 0; i < s->server_count; i++)
		if (is_wanted(o, &s->servers[i]) && leads_to(l, &s->servers[i], hosts, count))
			return true;
	return false;
}

/* ------------------------------------------------------------------ for people */

static void
print_listener(struct listing *o, const struct listener *l)
{
	size_t count;
	const struct host_entry *hosts = hosts_of(o, l, &count);

	fprintf(o->to, "listener  " SLICE_FORMAT ", protocol %s\n", SLICE_ARG(l->text),
	    l->protocol->name);
	for (size_t i = 0; i < count; i++)
		if (is_wanted(o, hosts[i].server))
			fprintf(o->to, "          host " SLICE_FORMAT ": server " SLICE_FORMAT "\n",
			    SLICE_ARG(hosts[i].name), SLICE_ARG(hosts[i].server->name));
	if (l->only == NULL)
		fprintf(o->to, "          any other host: refused (421)\n");
	else if (is_wanted(o, l->only))
		fprintf(o->to, "          %s: server " SLICE_FORMAT "\n",
		    l->alone ? "all" : "any other host", SLICE_ARG(l->only->name));
}

static void
print_line(struct listing *o, const char *label, struct slice words, struct span at)
{
	fprintf(o->to, "%-10s" SLICE_FORMAT, label, SLICE_ARG(words));
	explain_place(o->in->files, at, o->to);
	fputc('\n', o->to);
}

static void
print_steps(struct listing *o, const struct steps *steps)
{
	struct span at;

	for (uint16_t i = 0; i < steps->count; i++)
		for (size_t n = 0; explain_line(&steps->items[i], n, &at); n++) {
			struct slice words = explain_statement(&o->arena, o->in->files, at);

			fprintf(o->to, "              " SLICE_FORMAT "\n", SLICE_ARG(words));
		}
}

static void
print_server(struct listing *o, const struct server *s)
{
	fputc('\n', o->to);
	print_line(o, "server", s->name, s->span);
	for (size_t i = 0; i < s->route_count; i++) {
		struct slice words = explain_route_words(&o->arena, o->in->files, &s->routes[i]);
		char number[32];

		snprintf(number, sizeof(number), "  %zu", i + 1);
		print_line(o, number, words.n > 0 ? words : SLICE("(every question)"),
		    s->routes[i].span);
		print_steps(o, &s->routes[i].steps);
	}
	for (size_t i = 0; i < s->error_count; i++) {
		const struct error_block *e = &s->errors[i];

		fprintf(o->to, "  error   %u", e->first);
		if (e->last != e->first)
			fprintf(o->to, "..%u", e->last);
		fprintf(o->to, "%s\n", e->intercept ? " intercept" : "");
		print_steps(o, &e->steps);
	}
}

static void
print_all(struct listing *o)
{
	const struct snapshot *s = o->in->snapshot;
	struct explain_plain plain;
	FILE *to = o->to;

	explain_plain_begin(&plain);
	o->to = plain.at;
	for (size_t i = 0; i < s->listener_count; i++)
		if (leads_to_wanted(o, &s->listeners[i]))
			print_listener(o, &s->listeners[i]);
	for (size_t i = 0; i < s->server_count; i++)
		if (is_wanted(o, &s->servers[i]))
			print_server(o, &s->servers[i]);
	explain_plain_end(&plain, to);
}

/* ------------------------------------------------------------------ for programs */

static void
json_listener(struct listing *o, const struct listener *l)
{
	size_t count;
	const struct host_entry *hosts = hosts_of(o, l, &count);
	const char *between = "{";

	fputc('{', o->to);
	explain_json_text(o->to, "listener", l->text);
	fputc(',', o->to);
	explain_json_text(o->to, "protocol", slice_of(l->protocol->name));
	fputs(",\"hosts\":[", o->to);
	for (size_t i = 0; i < count; i++) {
		if (!is_wanted(o, hosts[i].server))
			continue;
		fputs(between, o->to);
		between = ",{";
		explain_json_text(o->to, "host", hosts[i].name);
		fputc(',', o->to);
		explain_json_text(o->to, "server", hosts[i].server->name);
		fputc('}', o->to);
	}
	fputc(']', o->to);
	if (l->only != NULL) {
		fputc(',', o->to);
		explain_json_text(o->to, "otherwise", l->only->name);
	}
	fputc('}', o->to);
}

static void
json_steps(struct listing *o, const struct steps *steps)
{
	struct span at;

	fputs(",\"steps\":[", o->to);
	for (uint16_t i = 0; i < steps->count; i++)
		for (size_t n = 0; explain_line(&steps->items[i], n, &at); n++) {
			fputs(i + n > 0 ? ",{" : "{", o->to);
			explain_json_text(
			    o->to, "step", explain_statement(&o->arena, o->in->files, at));
			explain_json_place(o->in->files, at, o->to);
			fputc('}', o->to);
		}
	fputs("]}", o->to);
}

static void
json_server(struct listing *o, const struct server *s)
{
	fputc('{', o->to);
	explain_json_text(o->to, "server", s->name);
	explain_json_place(o->in->files, s->span, o->to);
	fputs(",\"routes\":[", o->to);
	for (size_t i = 0; i < s->route_count; i++) {
		fputs(i > 0 ? ",{" : "{", o->to);
		explain_json_text(o->to, "route",
		    explain_route_words(&o->arena, o->in->files, &s->routes[i]));
		explain_json_place(o->in->files, s->routes[i].span, o->to);
		json_steps(o, &s->routes[i].steps);
	}
	fputs("],\"errors\":[", o->to);
	for (size_t i = 0; i < s->error_count; i++) {
		const struct error_block *e = &s->errors[i];

		fprintf(o->to, "%s{\"first\":%u,\"last\":%u,\"intercept\":%s", i > 0 ? "," : "",
		    e->first, e->last, e->intercept ? "true" : "false");
		json_steps(o, &e->steps);
	}
	fputs("]}", o->to);
}

static void
json_all(struct listing *o)
{
	const struct snapshot *s = o->in->snapshot;
	const char *between = "";

	fputs("{\"listeners\":[", o->to);
	for (size_t i = 0; i < s->listener_count; i++) {
		if (!leads_to_wanted(o, &s->listeners[i]))
			continue;
		fputs(between, o->to);
		between = ",";
		json_listener(o, &s->listeners[i]);
	}
	fputs("],\"servers\":[", o->to);
	between = "";
	for (size_t i = 0; i < s->server_count; i++) {
		if (!is_wanted(o, &s->servers[i]))
			continue;
		fputs(between, o->to);
		between = ",";
		json_server(o, &s->servers[i]);
	}
	fputs("]}\n", o->to);
}

/* ------------------------------------------------------------------ the words */

static bool
is_there(const struct listing *o)
{
	const struct snapshot *s = o->in->snapshot;

	for (size_t i = 0; i < s->server_count; i++)
		if (is_wanted(o, &s->servers[i]))
			return true;
	return o->server == NULL;
}

int
explain_routes(const struct explain_input *in, const char *const *words, size_t count, FILE *to,
    FILE *wrong)
{
	struct listing o = { .in = in, .to = to };

	for (size_t i = 0; i < count; i++) {
		if (strcmp(words[i], "--json") == 0) {
			o.json = true;
		} else if (words[i][0] == '-' || o.server != NULL) {
			fprintf(wrong, "routes: it cannot read \"%s\"\n"
			    "usage: server routes [SERVER] [--json]\n", words[i]);
			return EXPLAIN_USAGE;
		} else {
			o.server = words[i];
		}
	}
	if (!is_there(&o)) {
		fprintf(wrong, "routes: there is no server \"%s\"\n", o.server);
		return EXPLAIN_FAILED;
	}
	arena_init(&o.arena, NULL, 0);
	if (o.json)
		json_all(&o);
	else
		print_all(&o);
	arena_reset(&o.arena);
	return EXPLAIN_GOOD;
}
