/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Upstreams: those that are named, and those that an address written in place
 * stands for. Each peer gets its object in the memory that workers share.
 */
#include "server/build_inner.h"

#include <stdio.h>
#include <string.h>

static void
keep(struct build *b, struct upstream *u)
{
	u->index = (uint32_t)b->upstream_count;
	*ARENA_PUSH(&b->work, b->upstream_items, b->upstream_count, b->upstream_room) = u;
}

static bool
read_peer(struct build *b, const struct upstream_server *from, struct peer *p)
{
	if (from->to.any) {
		diag_error(b->diag, from->to.span,
		    "\"%.*s\" says no host to connect to; write %s127.0.0.1:%u",
		    SLICE_ARG(diag_word(from->to.text)),
		    from->to.transport == ENDPOINT_UDP ? "udp:" : "", from->to.port);
		return false;
	}
	*p = (struct peer){
		.text = arena_slice(&b->snapshot->arena, from->to.text),
		.weight = (uint32_t)from->weight,
		.max_fails = (uint32_t)from->max_fails,
		.fail_timeout = from->fail_timeout,
		.backup = from->backup,
		.down = from->down,
	};
	return build_address(b, &from->to, &p->addr);
}

static void
report_double_peer(
    struct build *b, const struct upstream_server *one, const struct upstream_server *first)
{
	diag_error(b->diag, one->to.span,
	    "\"%.*s\" is in this upstream already; to give it more, write weight=2",
	    SLICE_ARG(diag_word(one->to.text)));
	diag_note(b->diag, first->to.span, "the first is here");
}

/* Adds one peer; an address of a peer that is there is an error. */
static void
add_peer(struct build *b, struct upstream *u, struct map *seen, const struct upstream_server *from)
{
	struct peer *p = &u->peers[u->peer_count];
	char text[ADDR_TEXT];

	if (!read_peer(b, from, p))
		return;

	struct slice key = arena_slice(&b->work, addr_print(&p->addr, text));

	if (!map_add(seen, key, (void *)(uintptr_t)from)) {
		report_double_peer(b, from, map_find(seen, key));
		return;
	}
	p->index = (uint32_t)u->peer_count++;
}

static void
check_peers(struct build *b, const struct upstream *u, const struct name *name)
{
	size_t up = 0;

	for (size_t i = 0; i < u->peer_count; i++)
		up += !u->peers[i].down;
	if (u->peer_count != 0 && up == 0)
		diag_warning(b->diag, name->span, "every server of upstream \"%.*s\" is down",
		    SLICE_ARG(diag_word(name->text)));
}

static void
build_peers(struct build *b, struct upstream *u, const struct named_upstream *named)
{
	const struct filled *items = named->block.servers.items;
	size_t count = named->block.servers.n;
	struct map seen;

	if (count == 0) {
		diag_error(b->diag, named->name.span, "upstream \"%.*s\" has no server",
		    SLICE_ARG(diag_word(named->name.text)));
		return;
	}
	if (count > UPSTREAM_PEERS_MAX) {
		diag_error(b->diag, items[UPSTREAM_PEERS_MAX].statement->span,
		    "an upstream has at most %d servers", UPSTREAM_PEERS_MAX);
		return;
	}
	map_init(&seen, &b->work, false);
	u->peers = arena_array(&b->snapshot->arena, count, sizeof(*u->peers));
	for (size_t i = 0; i < count; i++)
		if (!items[i].broken)
			add_peer(b, u, &seen, items[i].data);
	check_peers(b, u, &named->name);
}

static const struct upstream_block *plain_block(struct build *b);

static void
build_named(struct build *b, const struct named_upstream *named, const struct block *block)
{
	struct upstream *u = arena_alloc(&b->snapshot->arena, sizeof(*u));
	const struct upstream *first = map_find(&b->upstreams, named->name.text);

	*u = named->block.upstream;
	u->name = arena_slice(&b->snapshot->arena, named->name.text);
	u->heartbeat.send = arena_slice(&b->snapshot->arena, u->heartbeat.send);
	u->span = named->name.span;
	if (first != NULL) {
		diag_error(b->diag, u->span, "there are two upstreams \"%.*s\"",
		    SLICE_ARG(diag_word(u->name)));
		diag_note(b->diag, first->span, "the first is here");
		return;
	}
	map_add(&b->upstreams, u->name, u);
	if (named->block.protocol.text.n != 0)
		u->protocol = build_find_protocol(b, &named->block.protocol);
	if (u->protocol != NULL) {
		build_check_uses(b, &(struct build_said){
			.what = "upstream",
			.protocol = u->protocol,
			.block = block,
			.rows = upstream_rows,
			.own = (const char *)&named->block,
			.outer = (const char *)plain_block(b),
		});
		build_check_heartbeat(b, u->protocol, &u->heartbeat, true, block, u->span);
	}
	build_peers(b, u, named);
	keep(b, u);
}

void
build_upstreams(struct build *b)
{
	const struct filled *items = b->main.upstreams.items;

	for (size_t i = 0; i < b->main.upstreams.n; i++) {
		const struct named_upstream *named = items[i].data;

		if (named->name.text.n != 0)
			build_named(b, named, items[i].statement->block);
	}
}

static const char *
upstream_name(void *what, size_t i)
{
	const struct build *b = what;

	return b->upstream_items[i]->name.at;
}

struct upstream *
build_upstream(struct build *b, struct slice name, struct span at, bool quiet)
{
	struct upstream *u = map_find(&b->upstreams, name);

	if (u != NULL || quiet)
		return u;

	/* what is not kept needs no advice, and thousands of names are many to compare with */
	size_t count = b->diag->errors < DIAG_MAX ? b->upstream_count : 0;
	const char *closest = diag_closest(name, upstream_name, b, count);

	diag_error(b->diag, at, "there is no upstream \"%.*s\"" DIAG_MEANT,
	    SLICE_ARG(diag_word(name)), DIAG_MEANT_ARG(closest));
	return NULL;
}

/* What `upstream X { }` would be: every row's default. */
static const struct upstream_block *
plain_block(struct build *b)
{
	static const struct table tables[] = { { upstream_rows, 0 }, { NULL, 0 } };
	static const struct block nothing;

	if (b->plain == NULL) {
		struct upstream_block *block = arena_zalloc(&b->work, sizeof(*block));
		struct reading untraced = b->reading;

		untraced.trace = false;
		schema_fill(&untraced, tables, &nothing, "upstream", block);
		b->plain = block;
	}
	return b->plain;
}

struct upstream *
build_upstream_of(struct build *b, const struct endpoint *to)
{
	const struct upstream_server one = { .to = *to, .weight = 1, .max_fails = 0 };
	struct peer p;
	char text[ADDR_TEXT];

	if (!read_peer(b, &one, &p))
		return NULL;

	struct slice key = addr_print(&p.addr, text);
	struct upstream *u = map_find(&b->places, key);

	if (u != NULL)
		return u;
	u = arena_alloc(&b->snapshot->arena, sizeof(*u));
	*u = plain_block(b)->upstream;
	u->name = arena_slice(&b->snapshot->arena, key);
	u->span = to->span;
	u->peers = arena_alloc(&b->snapshot->arena, sizeof(*u->peers));
	u->peers[0] = p;
	u->peer_count = 1;
	map_add(&b->places, u->name, u);
	keep(b, u);
	return u;
}

/* "app/10.0.0.1:80"; what is too long is cut and ends in its fingerprint. */
static void
name_shared(struct shared_key *key, struct slice name, struct slice of)
{
	int n = snprintf(key->name, sizeof(key->name), SLICE_FORMAT "/" SLICE_FORMAT,
	    SLICE_ARG(name), SLICE_ARG(of));

	if (n >= 0 && (size_t)n < sizeof(key->name))
		return;

	uint64_t mark =
	    fingerprint_add(fingerprint_add(FINGERPRINT_START, name.at, name.n), "/", 1);

	mark = fingerprint_add(mark, of.at, of.n);
	snprintf(key->name + sizeof(key->name) - 18, 18, "~%016llx", (unsigned long long)mark);
}

uint32_t
build_add_shared(
    struct build *b, enum shared_kind kind, uint32_t size, struct slice name, struct slice of)
{
	struct shared_key *key = &b->snapshot->shared[b->snapshot->shared_count];

	*key = (struct shared_key){ .kind = kind, .size = size };
	name_shared(key, name, of);
	return (uint32_t)b->snapshot->shared_count++;
}

void
build_upstreams_end(struct build *b)
{
	struct snapshot *s = b->snapshot;
	size_t peers = 0;

	s->upstreams = arena_array(&s->arena, b->upstream_count, sizeof(*s->upstreams));
	s->upstream_count = b->upstream_count;
	for (size_t i = 0; i < b->upstream_count; i++) {
		s->upstreams[i] = b->upstream_items[i];
		peers += s->upstreams[i]->peer_count;
	}
	s->shared = arena_array(&s->arena, peers + b->limit_count, sizeof(*s->shared));
	for (size_t i = 0; i < s->upstream_count; i++)
		for (size_t j = 0; j < s->upstreams[i]->peer_count; j++) {
			struct peer *p = &s->upstreams[i]->peers[j];
			char text[ADDR_TEXT];

			p->shared = build_add_shared(b, SHARED_PEER, sizeof(struct peer_shared),
			    s->upstreams[i]->name, addr_print(&p->addr, text));
		}
}
