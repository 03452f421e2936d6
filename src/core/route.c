/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Routes in a compressed trie over what their paths begin with. A path walks
 * down it once and meets the few lists of routes that can match; of these the
 * earliest in the file is tried first. Regular expressions stand in the trie by their
 * literal prefix, so that only those run which could match; where many would stand at one place,
 * they stand in a sieve instead, which a path walks once more.
 */
#include "core/route.h"

#include <stdlib.h>

#include "base/map.h"
#include "core/exchange.h"
#include "core/sieve.h"

/* ------------------------------------------------------------------ the trie */

/* How a path fits the node that it has reached. */
enum fit {
	FIT_BEGINS, /* whatever follows: BYTES, ANY, SEGMENT with a slash at its end, REGEX */
	FIT_SEGMENT, /* the end, or a slash */
	FIT_EXACT, /* the end */
	FIT_COUNT
};

/* Orders of routes, ascending; nothing stands behind one that always matches. */
struct orders {
	const uint32_t *at, *end;
};

struct node {
	const char *label;              /* what stands between the parent and this node */
	size_t label_n;
	const unsigned char *firsts;    /* of the children's labels */
	const struct node *children;
	size_t child_count;
	struct orders lists[FIT_COUNT];
};

struct route_table {
	const struct route *routes;
	struct node root;
	const struct sieve *sieve;      /* of regexes that do not stand in the trie; or NULL */
	size_t depth;                   /* the most lists that a path can meet */
	/* routes in front that take every path, if no other can be reached; else 0 */
	size_t pathless;
};

struct key {
	struct slice text;
	enum fit fit;
	uint32_t order;
};

static struct key
route_key(const struct route *route)
{
	struct key key = { SLICE_EMPTY, FIT_BEGINS, route->order };
	bool anchored;

	switch (route->kind) {
	case ROUTE_ANY:
		break;
	case ROUTE_EXACT:
		key.text = route->path;
		key.fit = FIT_EXACT;
		break;
	case ROUTE_SEGMENT:
		/* `/` is everything, `*` of OPTIONS included */
		if (!slice_is(route->path, "/"))
			key.text = route->path;
		if (key.text.n > 0 && key.text.at[key.text.n - 1] != '/')
			key.fit = FIT_SEGMENT;
		break;
	case ROUTE_BYTES:
		key.text = route->path;
		break;
	case ROUTE_REGEX:
		key.text = regex_prefix(route->regex, &anchored);
		break;
	}
	return key;
}

static int
key_compare(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	size_t n = MIN_OF(x->text.n, y->text.n);
	int difference = n == 0 ? 0 : memcmp(x->text.at, y->text.at, n);

	if (difference == 0)
		difference = (x->text.n > y->text.n) - (x->text.n < y->text.n);
	if (difference == 0)
		difference = (x->fit > y->fit) - (x->fit < y->fit);
	if (difference == 0)
		difference = (x->order > y->order) - (x->order < y->order);
	return difference;
}

static bool
matches_always(const struct route *route)
{
	return route->when == NULL && route->kind != ROUTE_REGEX;
}

struct planter {
	struct arena *arena;
	struct route_table *table;
	const struct key *keys;         /* sorted */
};

/* The routes that end at this node; returns how many keys they are. */
static size_t
plant_lists(struct planter *p, struct node *node, size_t from, size_t to, size_t end, size_t *lists)
{
	size_t i = from;

	for (; i < to && p->keys[i].text.n == end;) {
		enum fit fit = p->keys[i].fit;
		uint32_t *orders = NULL;
		size_t n = 0, first = i;
		bool open = true;

		while (i < to && p->keys[i].text.n == end && p->keys[i].fit == fit)
			i++;
		orders = arena_array(p->arena, i - first, sizeof(*orders));
		for (size_t k = first; k < i && open; k++) {
			orders[n++] = p->keys[k].order;
			open = !matches_always(&p->table->routes[p->keys[k].order]);
		}
		node->lists[fit] = (struct orders){ orders, orders + n };
		++*lists;
	}
	return i - from;
}

static size_t
common_length(struct slice a, struct slice b, size_t from)
{
	while (from < a.n && from < b.n && a.at[from] == b.at[from])
		from++;
	return from;
}

/* Keys from..to (at least one) agree in their first `depth` bytes; `lists` were met above. */
static void
plant(struct planter *p, struct node *node, size_t from, size_t to, size_t depth, size_t lists)
{
	struct slice first = p->keys[from].text;
	/* sorted: what the first and the last have in common, all have */
	size_t end = common_length(first, p->keys[to - 1].text, depth), count = 0;

	node->label = first.at + depth;
	node->label_n = end - depth;
	from += plant_lists(p, node, from, to, end, &lists);
	p->table->depth = MAX_OF(p->table->depth, lists);
	for (size_t i = from; i < to; i++)
		count += i == from || p->keys[i].text.at[end] != p->keys[i - 1].text.at[end];
	if (count == 0)
		return;

	struct node *children = arena_array(p->arena, count, sizeof(*children));
	unsigned char *firsts = arena_alloc(p->arena, count);

	node->children = children;
	node->firsts = firsts;
	for (size_t group = from; from < to; group = from) {
		char byte = p->keys[from].text.at[end];

		while (from < to && p->keys[from].text.at[end] == byte)
			from++;
		firsts[node->child_count] = (unsigned char)byte;
		plant(p, &children[node->child_count++], group, from, end, lists);
	}
}

/* As many regexes at one place are dearer than a walk over the path. */
enum { MANY_REGEXES = 4 };

static bool
is_regex(const struct route_table *t, const struct key *key)
{
	return t->routes[key->order].kind == ROUTE_REGEX;
}

static int
item_compare(const void *a, const void *b)
{
	const struct sieve_item *x = a, *y = b;

	return (x->order > y->order) - (x->order < y->order);
}

/* Moves regexes of places that have many out of `keys`, which are sorted; returns what is left. */
static size_t
take_many(struct route_table *t, struct arena *a, struct key *keys, size_t count)
{
	struct sieve_item *items = memory_alloc((count + 1) * sizeof(*items));
	size_t left = 0, taken = 0;

	for (size_t i = 0, from = 0; i < count; from = i) {
		size_t regexes = 0;

		for (; i < count && slice_equal(keys[i].text, keys[from].text); i++)
			regexes += is_regex(t, &keys[i]);
		for (size_t k = from; k < i; k++)
			if (regexes >= MANY_REGEXES && is_regex(t, &keys[k]))
				items[taken++] = (struct sieve_item){
					regex_pieces(t->routes[keys[k].order].regex), keys[k].order
				};
			else
				keys[left++] = keys[k];
	}
	qsort(items, taken, sizeof(*items), item_compare);
	if (taken > 0)
		t->sieve = sieve_build(a, items, taken);
	free(items);
	return left;
}

static size_t
count_pathless(const struct route *routes, size_t count)
{
	size_t n = 0;

	while (n < count && routes[n].kind == ROUTE_ANY)
		if (routes[n++].when == NULL)
			return n;
	return n == count ? n : 0;
}

static struct route_table *
table_build(struct arena *a, const struct route *routes, size_t count, bool sieved)
{
	struct route_table *t = arena_zalloc(a, sizeof(*t));
	struct key *keys = memory_alloc((count + 1) * sizeof(*keys));
	struct planter p = { a, t, keys };

	t->routes = routes;
	t->pathless = count_pathless(routes, count);
	for (size_t i = 0; i < count; i++)
		keys[i] = route_key(&routes[i]);
	qsort(keys, count, sizeof(*keys), key_compare);
	if (sieved)
		count = take_many(t, a, keys, count);
	if (count > 0)
		plant(&p, &t->root, 0, count, 0, 0);
	t->depth += t->sieve != NULL;
	free(keys);
	return t;
}

struct route_table *
route_table_build(struct arena *a, const struct route *routes, size_t count)
{
	return table_build(a, routes, count, true);
}

static const struct node *
find_child(const struct node *node, char byte)
{
	const unsigned char *found =
	    node->child_count == 0 ? NULL : memchr(node->firsts, byte, node->child_count);

	return found == NULL ? NULL : &node->children[found - node->firsts];
}

static size_t
meet(const struct node *node, enum fit fit, struct orders *met, size_t count)
{
	if (node->lists[fit].at != node->lists[fit].end)
		met[count++] = node->lists[fit];
	return count;
}

/* Every list of routes that take all that fits (text, fit). `met` has room for table->depth. */
static size_t
gather(const struct route_table *t, struct slice text, enum fit fit, struct orders *met)
{
	const struct node *node = &t->root;
	size_t count = 0, at = 0;

	while (node != NULL && text.n - at >= node->label_n &&
	    (node->label_n == 0 || memcmp(text.at + at, node->label, node->label_n) == 0)) {
		at += node->label_n;
		count = meet(node, FIT_BEGINS, met, count);
		if (at == text.n ? fit != FIT_BEGINS : text.at[at] == '/')
			count = meet(node, FIT_SEGMENT, met, count);
		if (at == text.n)
			return fit == FIT_EXACT ? meet(node, FIT_EXACT, met, count) : count;
		node = find_child(node, text.at[at]);
	}
	return count;
}

/* ------------------------------------------------------------------ the choice */

enum { FEW_LISTS = 32 };

static bool
regex_fits(const struct route *route, struct exchange *ex)
{
	size_t found[2 * REGEX_CAPTURES_MAX];

	if (!regex_match_in(ex, route->regex, ex->question.path, found))
		return false;
	if (ex->captures == NULL)
		ex->captures = arena_array(&ex->arena, ARRAY_COUNT(found), sizeof(*ex->captures));
	for (size_t i = 0; i < ARRAY_COUNT(found); i++)
		ex->captures[i] = found[i] == SIZE_MAX ? UINT32_MAX : (uint32_t)found[i];
	ex->captured = route->regex;
	return true;
}

/* The path fits already; a condition may ask for captures, so the regex goes first. */
static bool
route_fits(const struct route *route, struct exchange *ex)
{
	ex->captured = NULL;
	if (route->kind == ROUTE_REGEX && !regex_fits(route, ex))
		return false;
	return route->when == NULL || condition_is(route->when, ex);
}

static size_t
meet_sieved(const struct route_table *t, struct exchange *ex, struct orders *met, size_t count)
{
	const uint32_t *at;
	size_t n = sieve_ask(t->sieve, &ex->engine->loop.scratch, ex->question.path, &at);

	if (n > 0)
		met[count++] = (struct orders){ at, at + n };
	return count;
}

/* The earliest order of all lists is taken off its list. */
static uint32_t
take_first(struct orders *met, size_t *count)
{
	size_t first = 0;

	for (size_t i = 1; i < *count; i++)
		if (*met[i].at < *met[first].at)
			first = i;

	uint32_t order = *met[first].at++;

	if (met[first].at == met[first].end)
		met[first] = met[--*count];
	return order;
}

static const struct route *
find_by_path(const struct route_table *t, struct exchange *ex)
{
	struct orders few[FEW_LISTS], *met = few;

	if (t->depth > FEW_LISTS)
		met = scratch_alloc(&ex->engine->loop.scratch, t->depth * sizeof(*met));

	size_t count = gather(t, ex->question.path, FIT_EXACT, met);

	if (t->sieve != NULL)
		count = meet_sieved(t, ex, met, count);
	while (count > 0) {
		const struct route *route = &t->routes[take_first(met, &count)];

		if (route_fits(route, ex))
			return route;
	}
	ex->captured = NULL;
	return NULL;
}

const struct route *
route_find(const struct route_table *t, struct exchange *ex)
{
	if (t->pathless == 0)
		return find_by_path(t, ex);
	for (size_t i = 0; i < t->pathless; i++)
		if (route_fits(&t->routes[i], ex))
			return &t->routes[i];
	return NULL;
}

static bool
path_fits(const struct route *route, struct slice path)
{
	struct slice own = route->path;

	switch (route->kind) {
	case ROUTE_ANY:
	case ROUTE_REGEX:
		return true;
	case ROUTE_EXACT:
		return slice_equal(path, own);
	case ROUTE_BYTES:
		return slice_starts(path, own);
	case ROUTE_SEGMENT:
		break;
	}
	return slice_starts(path, own) &&
	    (path.n == own.n || own.at[own.n - 1] == '/' || path.at[own.n] == '/');
}

enum route_fit
route_try(const struct route *route, struct exchange *ex)
{
	if (!path_fits(route, ex->question.path))
		return ROUTE_HAS_OTHER_PATH;
	if (route_fits(route, ex))
		return ROUTE_FITS;
	/* A regex that did not match has left no captures. */
	return route->kind == ROUTE_REGEX && ex->captured == NULL ? ROUTE_HAS_OTHER_PATH :
								   ROUTE_HAS_OTHER_CONDITION;
}

/* ------------------------------------------------------------------ what is never reached */

/* Pairs of conditions compared for one route: finding every case is not worth a slow check. */
enum { COMPARISONS_MAX = 64 };

/* The first route of a list, or of a regex, with that condition; two members are the key. */
struct twin {
	const void *of;                 /* the list's orders, or the regex */
	uint64_t condition;             /* fingerprint; 0: none */
	const struct route *route;
};

struct survey {
	struct arena arena;
	const struct route_table *table;
	struct map twins;
	struct orders *met;
};

static struct twin
twin_of(const void *of, const struct route *route)
{
	return (
	    struct twin){ of, route->when == NULL ? 0 : condition_fingerprint(route->when), route };
}

static struct slice
twin_key(const struct twin *twin)
{
	return slice_make((const char *)twin, offsetof(struct twin, route));
}

static const struct route *
find_twin(const struct survey *s, const void *of, const struct route *route)
{
	struct twin twin = twin_of(of, route);
	const struct twin *found = map_find(&s->twins, twin_key(&twin));

	return found != NULL && condition_implies(route->when, found->route->when) ? found->route
										   : NULL;
}

static void
add_twin(struct survey *s, const void *of, const struct route *route)
{
	struct twin *twin = arena_alloc(&s->arena, sizeof(*twin));

	*twin = twin_of(of, route);
	map_add(&s->twins, twin_key(twin), twin);
}

/* `earlier` stands in a list that `route` meets: but for regexes, its path takes all of it. */
static bool
takes_all(const struct route *earlier, const struct route *route)
{
	if (earlier->kind == ROUTE_REGEX &&
	    (route->kind != ROUTE_REGEX || route->regex != earlier->regex))
		return false;
	return condition_implies(route->when, earlier->when);
}

static const struct route *
find_in_list(
    const struct survey *s, const struct orders *list, const struct route *route, unsigned *budget)
{
	const struct route *last = &s->table->routes[list->end[-1]];

	if (last->order < route->order && matches_always(last))
		return last;

	const struct route *twin = find_twin(s, list->at, route);

	if (twin != NULL)
		return twin;
	for (const uint32_t *at = list->at; at < list->end && *at<route->order && * budget> 0;
	     at++, --*budget)
		if (takes_all(&s->table->routes[*at], route))
			return &s->table->routes[*at];
	return NULL;
}

static const struct route *
find_cover(struct survey *s, const struct route *route)
{
	struct key key = route_key(route);
	size_t count = gather(s->table, key.text, key.fit, s->met);
	unsigned budget = COMPARISONS_MAX;
	const struct route *cover = NULL;

	for (size_t i = 0; i < count && cover == NULL; i++)
		cover = find_in_list(s, &s->met[i], route, &budget);
	if (cover == NULL && route->kind == ROUTE_REGEX) {
		struct route bare = *route;

		bare.when = NULL;
		cover = find_twin(s, route->regex, &bare);
		if (cover == NULL)
			cover = find_twin(s, route->regex, route);
	}
	return cover;
}

static int
order_compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The list that the route stands in itself; NULL: it was left out, one before it always matches. */
static const void *
own_list(struct survey *s, const struct route *route)
{
	struct key key = route_key(route);
	size_t count = gather(s->table, key.text, key.fit, s->met);

	for (size_t i = count; i-- > 0;)
		if (bsearch(&route->order, s->met[i].at, (size_t)(s->met[i].end - s->met[i].at),
			sizeof(uint32_t), order_compare) != NULL)
			return s->met[i].at;
	return NULL;
}

static void
report(struct diag *d, const struct route *route, const struct route *cover)
{
	diag_warning(d, route->span, "this route can never match");
	diag_note(d, cover->span, "\"route%s" SLICE_FORMAT "\" takes every question it could get",
	    cover->shown.n > 0 ? " " : "", SLICE_ARG(diag_word(cover->shown)));
}

void
route_report_unreachable(struct diag *d, const struct route *routes, size_t count)
{
	struct survey s = { 0 };

	arena_init(&s.arena, NULL, 0);
	s.table = table_build(&s.arena, routes, count, false);
	map_init(&s.twins, &s.arena, false);
	s.met = arena_array(&s.arena, s.table->depth + 1, sizeof(*s.met));
	for (size_t i = 0; i < count; i++) {
		const struct route *cover = find_cover(&s, &routes[i]);
		const void *of =
		    routes[i].kind == ROUTE_REGEX ? routes[i].regex : own_list(&s, &routes[i]);

		if (cover != NULL)
			report(d, &routes[i], cover);
		if (of != NULL)
			add_twin(&s, of, &routes[i]);
	}
	arena_reset(&s.arena);
}

/* ------------------------------------------------------------------ hosts */

struct host_table {
	struct map exact;
	struct map suffixes;            /* of wildcards, from the dot: .example.com */
};

struct host_table *
host_table_build(struct arena *a, const struct host_entry *entries, size_t count)
{
	struct host_table *t = arena_zalloc(a, sizeof(*t));

	map_init(&t->exact, a, false);
	map_init(&t->suffixes, a, false);
	for (size_t i = 0; i < count; i++) {
		struct slice name = entries[i].name;
		bool wildcard = slice_starts(name, SLICE("*."));

		map_add(wildcard ? &t->suffixes : &t->exact, wildcard ? slice_after(name, 1) : name,
		    (void *)entries[i].server);
	}
	return t;
}

const struct server *
host_find(const struct host_table *t, struct slice host)
{
	const struct server *server;

	/* the root's dot changes nothing: RFC 3986 3.2.2 */
	if (host.n > 1 && host.at[host.n - 1] == '.')
		host.n--;
	server = map_find(&t->exact, host);
	/* from the left: the longest suffix first; at least one byte stands for the star */
	for (size_t dot = slice_find(host, '.', 1); server == NULL && dot < host.n;
	     dot = slice_find(host, '.', dot + 1))
		server = map_find(&t->suffixes, slice_after(host, dot));
	return server;
}

static int
host_compare(const void *a, const void *b)
{
	const struct host_entry *x = a, *y = b;
	int names = memcmp(x->name.at, y->name.at, MIN_OF(x->name.n, y->name.n));

	if (x->server != y->server)
		return x->server < y->server ? -1 : 1;
	return names != 0 ? names : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

struct host_entry *
host_table_list(const struct host_table *t, struct arena *a, size_t *count)
{
	struct host_entry *all =
	    arena_array(a, t->exact.count + t->suffixes.count, sizeof(*all));

	*count = 0;
	for (size_t i = 0; i < t->exact.room; i++)
		if (t->exact.entries[i].value != NULL)
			all[(*count)++] = (struct host_entry){ t->exact.entries[i].key,
				t->exact.entries[i].value, { 0 } };
	for (size_t i = 0; i < t->suffixes.room; i++) {
		const struct map_entry *e = &t->suffixes.entries[i];

		if (e->value != NULL)
			all[(*count)++] = (struct host_entry){
				slice_of(arena_printf(a, "*" SLICE_FORMAT, SLICE_ARG(e->key))),
				e->value, { 0 } };
	}
	if (*count > 1)
		qsort(all, *count, sizeof(*all), host_compare);
	return all;
}
