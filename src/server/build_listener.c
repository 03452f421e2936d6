/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listeners: the addresses of all servers brought together, and what must be
 * one for an address checked to be one; then the names that tell servers apart.
 */
#include "protocols/proxy_line.h"
#include "server/build_inner.h"

#include <string.h>

/* A listener while servers are still being added. */
struct gathering {
	struct listener listener;
	struct span span; /* of the `listen` that opened it */
	struct use {
		struct server_build *server;
		struct span span;
		bool by_default;
	} * uses;
	size_t use_count, use_room;
	struct span default_span, backlog_span, mode_span;
	struct gathering *next;
};

struct gather {
	struct build *b;
	struct map by_address;
	struct gathering *first, **end;
	size_t count;
};

/* ------------------------------------------------------------------ names */

/* RFC 1123 2.1, and the underscore that people use; a wildcard only as the first label. */
static const char *
wrong_with_name(struct slice name)
{
	struct slice rest = slice_starts(name, SLICE("*.")) ? slice_after(name, 2) : name, label;

	if (slice_is(name, "_"))
		return "\"_\" is not a name; to serve every host, write: listen … default_server";
	if (name.n > 0 && name.at[0] == '~')
		return "server_name takes no patterns; write the names, or route when host ~ "
		       "\"REGEX\"";
	if (name.n == 0 || name.n > 253)
		return "a host name has 1 to 253 bytes";
	if (slice_find(name, ':', 0) < name.n && name.at[0] != '[')
		return "server_name takes no port; the port is said by listen";
	if (slice_find(rest, '*', 0) < rest.n)
		return "a wildcard stands only as the first label: *.example.com";
	if (name.at[0] == '[')
		return NULL;
	if (rest.n > 0 && rest.at[rest.n - 1] == '.')
		return "a host name ends without a dot";
	while (slice_split(&rest, '.', &label)) {
		if (label.n == 0 || label.n > 63)
			return "each label of a host name has 1 to 63 bytes";
		for (size_t i = 0; i < label.n; i++)
			if (!ascii_is_alpha(label.at[i]) && !ascii_is_digit(label.at[i]) &&
			    label.at[i] != '-' && label.at[i] != '_')
				return "a host name has letters, digits, \"-\" and \".\"; others "
				       "are written in punycode (xn--…)";
	}
	return NULL;
}

static struct slice
lower(struct arena *a, struct slice s)
{
	char *text = arena_text(a, s);

	for (size_t i = 0; i < s.n; i++)
		text[i] = ascii_lower(text[i]);
	return slice_make(text, s.n);
}

static void
add_name(struct build *b, struct server_build *sb, struct map *seen, const struct name *name)
{
	const char *wrong = wrong_with_name(name->text);

	if (wrong != NULL) {
		diag_error(b->diag, name->span, "%s", wrong);
		return;
	}

	struct server_name one = { lower(&b->snapshot->arena, name->text), name->span, false };
	const struct name *before = map_find(seen, one.text);

	if (before != NULL) {
		diag_error(b->diag, name->span, "\"%.*s\" is said twice",
		    SLICE_ARG(diag_word(name->text)));
		diag_note(b->diag, before->span, "first said here");
		return;
	}
	map_add(seen, one.text, (void *)(uintptr_t)name);
	*ARENA_PUSH(&b->work, sb->names, sb->name_count, sb->name_room) = one;
}

void
build_names(struct build *b, struct server_build *sb)
{
	const struct filled *lines = sb->block->name_lines.items;
	struct map seen;

	map_init(&seen, &b->work, false);
	for (size_t i = 0; i < sb->block->name_lines.n; i++) {
		const struct server_name_line *line = lines[i].data;
		const struct name *names = line->names.items;

		for (size_t j = 0; j < line->names.n && !lines[i].broken; j++)
			add_name(b, sb, &seen, &names[j]);
	}

	const struct filled *listens = sb->block->listens.items;

	if (sb->block->name.text.n != 0)
		sb->server->name = arena_slice(&b->snapshot->arena, sb->block->name.text);
	else if (sb->name_count != 0)
		sb->server->name = sb->names[0].text;
	else if (sb->block->listens.n != 0)
		sb->server->name = arena_slice(
		    &b->snapshot->arena, ((const struct listen_line *)listens[0].data)->to.text);
}

/* ------------------------------------------------------------------ addresses */

static struct gathering *
open_listener(struct gather *g, const struct addr *addr, struct slice key, struct server_build *sb,
    const struct listen_line *line, struct span at)
{
	struct gathering *one = arena_zalloc(&g->b->work, sizeof(*one));

	one->listener = (struct listener){
		.addr = *addr,
		.text = arena_slice(&g->b->snapshot->arena, key),
		.protocol = sb->server->protocol,
		.settings = sb->block->settings.listener,
		.flow_by = addr->datagram != 0 ? sb->flow_by : NULL,
		.proxy_line = line->proxy_protocol,
		.first_protocol = line->proxy_protocol ? &protocol_proxy_line : NULL,
	};
	one->listener.settings.heartbeat.send = arena_slice(
	    &g->b->snapshot->arena, sb->block->settings.listener.heartbeat.send);
	one->span = at;
	map_add(&g->by_address, one->listener.text, one);
	*g->end = one;
	g->end = &one->next;
	g->count++;
	return one;
}

static void
report_differs(struct gather *g, const struct gathering *one, struct span at, const char *what)
{
	diag_error(g->b->diag, at, "%s of %.*s differs: an address has one", what,
	    SLICE_ARG(one->listener.text));
	diag_note(g->b->diag, one->span, "the other is here");
}

struct listener_word {
	const char *block, *word;
};

/* The first listener setting that is not the same; its word is NULL: all are. */
static struct listener_word
different_setting(const struct listener_settings *a, const struct listener_settings *b)
{
	if (a->head_timeout != b->head_timeout)
		return (struct listener_word){ "timeout", "header" };
	return (struct listener_word){ "max",
		a->uri_max != b->uri_max                   ? "uri"
		: a->field_max != b->field_max             ? "header"
		: a->head_max != b->head_max               ? "headers"
		: a->field_count_max != b->field_count_max ? "header_count"
		: a->flows_max != b->flows_max             ? "flows"
							   : NULL };
}

static const struct statement *
find_statement(const struct block *block, const char *word)
{
	const struct statement *s = block != NULL ? block->first : NULL;

	while (s != NULL && !slice_is(s->values[0].raw, word))
		s = s->next;
	return s;
}

/* Where a server says it; `otherwise` when it has it from elsewhere. */
static struct span
span_of_setting(const struct build *b, const struct server_build *sb, struct listener_word setting,
    struct span otherwise)
{
	const struct filled *servers = b->main.servers.items;
	const struct statement *s =
	    find_statement(servers[sb - b->servers].statement->block, setting.block);

	s = s != NULL ? find_statement(s->block, setting.word) : NULL;
	return s != NULL ? s->span : otherwise;
}

static void
report_setting(struct gather *g, const struct gathering *one, const struct server_build *sb,
    struct span at, struct listener_word setting)
{
	diag_error(g->b->diag, span_of_setting(g->b, sb, setting, at),
	    "%s { %s } of %.*s differs: an address has one", setting.block, setting.word,
	    SLICE_ARG(one->listener.text));
	diag_note(g->b->diag, span_of_setting(g->b, one->uses[0].server, setting, one->span),
	    "the other is here");
}

static void
check_same(struct gather *g, const struct gathering *one, const struct server_build *sb,
    const struct listen_line *line, struct span at)
{
	const struct listener *l = &one->listener;
	struct listener_word setting =
	    different_setting(&l->settings, &sb->block->settings.listener);

	if (l->protocol != sb->server->protocol)
		report_differs(g, one, at, "the protocol");
	if (l->proxy_line != line->proxy_protocol)
		report_differs(g, one, at, "proxy_protocol");
	if (setting.word != NULL)
		report_setting(g, one, sb, at, setting);
}

/* A number that may be said by any of the servers, but not differently. */
static void
say_once(struct gather *g, const struct gathering *one, struct span at, const char *what,
    int64_t said, int64_t *kept, struct span *kept_at)
{
	if (said == 0 || said == *kept)
		return;
	if (*kept != 0) {
		diag_error(g->b->diag, at, "%s of %.*s is said twice", what,
		    SLICE_ARG(one->listener.text));
		diag_note(g->b->diag, *kept_at, "first said here");
		return;
	}
	*kept = said;
	*kept_at = at;
}

static void
say_default(struct gather *g, struct gathering *one, const struct listen_line *line, struct span at)
{
	if (!line->default_server)
		return;
	if (one->listener.only != NULL) {
		diag_error(g->b->diag, at, "%.*s has a default_server already",
		    SLICE_ARG(one->listener.text));
		diag_note(g->b->diag, one->default_span, "it is here");
		return;
	}
	one->default_span = at;
	one->listener.only = one->uses[one->use_count - 1].server->server;
}

/* What the options of this `listen` say of the address. */
static void
take_options(
    struct gather *g, struct gathering *one, const struct listen_line *line, struct span at)
{
	int64_t backlog = one->listener.backlog, mode = one->listener.mode;

	say_once(g, one, at, "the backlog", line->backlog, &backlog, &one->backlog_span);
	say_once(g, one, at, "the mode", line->mode, &mode, &one->mode_span);
	one->listener.backlog = (int)backlog;
	one->listener.mode = (unsigned)mode;
	say_default(g, one, line, at);
}

/* A stream has no datagrams, and most protocols need one. */
static bool
transport_fits(struct gather *g, const struct protocol_ops *p, const struct listen_line *line,
    const struct addr *addr)
{
	struct diag *d = g->b->diag;

	if (addr->datagram != 0 && (p->traits & PROTOCOL_DATAGRAMS) == 0)
		diag_error(d, line->to.span,
		    "\"%.*s\": protocol %s needs connections; for datagrams write: protocol udp;",
		    SLICE_ARG(diag_word(line->to.text)), p->name);
	else if (addr->datagram == 0 && protocol_needs_datagrams(p))
		diag_error(d, line->to.span, "\"%.*s\": protocol %s needs datagrams; write udp:%.*s",
		    SLICE_ARG(diag_word(line->to.text)), p->name,
		    SLICE_ARG(diag_word(line->to.text)));
	else if (addr->datagram != 0 && (line->proxy_protocol || line->backlog != 0))
		diag_error(d, line->to.span, "\"%.*s\": \"%s\" is of connections",
		    SLICE_ARG(diag_word(line->to.text)),
		    line->proxy_protocol ? "proxy_protocol" : "backlog");
	else
		return true;
	return false;
}

static void
add_listen(struct gather *g, struct server_build *sb, const struct filled *f)
{
	const struct listen_line *line = f->data;
	struct span at = f->statement->span;
	char text[ADDR_TEXT];
	struct addr addr;

	if (f->broken || !build_address(g->b, &line->to, &addr) ||
	    !transport_fits(g, sb->server->protocol, line, &addr))
		return;

	struct slice key = addr_print(&addr, text);
	struct gathering *one = map_find(&g->by_address, key);

	if (one == NULL)
		one = open_listener(g, &addr, key, sb, line, at);
	else if (one->uses[one->use_count - 1].server == sb) {
		diag_error(g->b->diag, at, "this server listens on %.*s already",
		    SLICE_ARG(one->listener.text));
		diag_note(g->b->diag, one->uses[one->use_count - 1].span, "the first is here");
		return;
	} else
		check_same(g, one, sb, line, at);
	*ARENA_PUSH(&g->b->work, one->uses, one->use_count, one->use_room) =
	    (struct use){ sb, at, line->default_server };
	take_options(g, one, line, at);
}

/* ------------------------------------------------------------------ flows */

static bool
has_datagrams(const struct server_build *sb)
{
	const struct filled *listens = sb->block->listens.items;
	bool has = false;

	for (size_t i = 0; i < sb->block->listens.n; i++) {
		const struct listen_line *line = listens[i].data;

		has |= listens[i].broken || line->to.transport == ENDPOINT_UDP;
	}
	return has;
}

/* What is known without a message tells none from another. */
static const struct field_ref *
read_flow_field(struct build *b, const struct server_build *sb, const struct value *v)
{
	struct field_ref *ref = arena_zalloc(&b->snapshot->arena, sizeof(*ref));
	const struct scope scope = {
		.protocol = sb->server->protocol,
		.protocols = b->protocols,
		.moment = MOMENT_QUESTION,
		.maps = &b->maps,
		.where = "\"flow by\"",
	};

	if (v->kind == VALUE_STRING) {
		diag_error(b->diag, v->span, "a field is written without quotes: " SLICE_FORMAT,
		    SLICE_ARG(diag_word(v->raw)));
		return NULL;
	}
	if (!field_find(&b->reading, &scope, arena_slice(&b->snapshot->arena, v->raw), v->span, ref))
		return NULL;
	if (field_moment(ref) >= MOMENT_QUESTION)
		return ref;
	diag_error(b->diag, v->span,
	    "\"flow by\" wants a field of the message, or source; \"" SLICE_FORMAT
	    "\" is known without one", SLICE_ARG(diag_word(v->raw)));
	return NULL;
}

/* What it says itself, other than all do: what is inherited is for those that have datagrams. */
static bool
says_flow(const struct build *b, const struct server_build *sb)
{
	return !slice_equal(sb->block->settings.listener.flow.field.raw,
	    b->main.defaults.listener.flow.field.raw);
}

static void
take_flow(struct build *b, struct server_build *sb)
{
	const struct value *field = &sb->block->settings.listener.flow.field;

	if ((sb->server->protocol->traits & PROTOCOL_MESSAGES) == 0 || field->raw.n == 0 ||
	    (field->kind == VALUE_WORD && slice_is(field->raw, "source")))
		return;
	if (has_datagrams(sb))
		sb->flow_by = read_flow_field(b, sb, field);
	else if (sb->block->listens.n != 0 && says_flow(b, sb))
		diag_error(b->diag, field->span,
		    "flows are of datagrams, and this server has connections only; write: listen "
		    "udp:…");
}

/* ------------------------------------------------------------------ telling servers apart */

static void
add_host(struct gather *g, struct gathering *one, struct map *names, struct server_build *sb,
    struct server_name *name)
{
	struct server_name *other = map_find(names, name->text);

	if (other == NULL) {
		map_add(names, name->text, name);
		return;
	}
	if (!name->reported) {
		diag_error(g->b->diag, name->span, "\"%.*s\" is the name of another server on %.*s",
		    SLICE_ARG(name->text), SLICE_ARG(one->listener.text));
		diag_note(g->b->diag, other->span, "the other is here");
	}
	name->reported = true;
}

static void
make_hosts(struct gather *g, struct gathering *one)
{
	struct build *b = g->b;
	struct host_entry *entries = NULL;
	size_t count = 0, room = 0;
	struct map names;

	map_init(&names, &b->work, false);
	for (size_t i = 0; i < one->use_count; i++) {
		struct server_build *sb = one->uses[i].server;

		if (sb->name_count == 0 && !one->uses[i].by_default && b->clean &&
		    sb->server->protocol == one->listener.protocol)
			diag_error(b->diag, one->uses[i].span,
			    "nothing leads to this server on %.*s: add server_name, or "
			    "default_server here",
			    SLICE_ARG(one->listener.text));
		for (size_t j = 0; j < sb->name_count; j++) {
			add_host(g, one, &names, sb, &sb->names[j]);
			*ARENA_PUSH(&b->work, entries, count, room) =
			    (struct host_entry){ sb->names[j].text, sb->server, sb->names[j].span };
		}
	}
	one->listener.hosts = host_table_build(&b->snapshot->arena, entries, count);
}

static void
tell_apart(struct gather *g, struct gathering *one)
{
	if (one->use_count == 1) {
		one->listener.only = one->uses[0].server->server;
		one->listener.alone = true;
		return;
	}
	if ((one->listener.protocol->traits & PROTOCOL_HTTP) != 0) {
		make_hosts(g, one);
		return;
	}
	diag_error(g->b->diag, one->uses[1].span,
	    "two servers on %.*s: protocol %s has no hosts to tell them apart by",
	    SLICE_ARG(one->listener.text), one->listener.protocol->name);
	diag_note(g->b->diag, one->uses[0].span, "the other is here");
}

/* What told flows apart is part of it: under another field they are others. */
static uint64_t
fingerprint(const struct listener *l)
{
	uint64_t so_far =
	    fingerprint_add(FINGERPRINT_START, l->protocol->name, strlen(l->protocol->name) + 1);

	if (l->protocol->codec != NULL)
		so_far = fingerprint_add(so_far, &l->protocol->codec->fingerprint,
		    sizeof(l->protocol->codec->fingerprint));
	if (l->flow_by != NULL)
		so_far = fingerprint_add(
		    so_far, l->settings.flow.field.raw.at, l->settings.flow.field.raw.n);
	return fingerprint_add(so_far, l->proxy_line ? "proxy" : "plain", 5);
}

static void
check_names_matter(struct build *b, const struct server_build *sb)
{
	if (sb->name_count != 0 && (sb->server->protocol->traits & PROTOCOL_HTTP) == 0)
		diag_error(b->diag, sb->names[0].span,
		    "\"server_name\" needs protocol http; this server speaks %s",
		    sb->server->protocol->name);
}

void
build_listeners(struct build *b)
{
	struct gather g = { .b = b, .end = &g.first };
	struct snapshot *s = b->snapshot;

	map_init(&g.by_address, &b->work, false);
	for (size_t i = 0; i < b->main.servers.n; i++) {
		struct server_build *sb = &b->servers[i];
		const struct filled *listens = sb->block->listens.items;

		if (sb->block->listens.n == 0 && b->clean)
			diag_error(b->diag, sb->span,
			    "this server has no listen: no client could reach it");
		if (sb->server->protocol == NULL)
			continue;
		check_names_matter(b, sb);
		take_flow(b, sb);
		for (size_t j = 0; j < sb->block->listens.n; j++)
			add_listen(&g, sb, &listens[j]);
	}
	s->listeners = arena_array(&s->arena, g.count, sizeof(*s->listeners));
	for (struct gathering *one = g.first; one != NULL; one = one->next) {
		tell_apart(&g, one);
		one->listener.fingerprint = fingerprint(&one->listener);
		s->listeners[s->listener_count++] = one->listener;
	}
}
