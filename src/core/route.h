/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a question to the route that serves it: hosts to servers, paths to routes. Compiled: exact
 * and prefix routes by a trie, regexes behind their literal prefixes, so that ten thousand cost
 * about what ten do. The first match in file order wins.
 */
#ifndef MILLRACE_CORE_ROUTE_H
#define MILLRACE_CORE_ROUTE_H

#include "core/handler.h"
#include "core/settings.h"

struct server;

enum route_kind {
	ROUTE_ANY,                      /* route { … } */
	ROUTE_EXACT,                    /* route = /x */
	ROUTE_SEGMENT,                  /* route /api: /api and /api/… ; route /api/: /api/… */
	ROUTE_BYTES,                    /* route /api*: whatever begins so */
	ROUTE_REGEX                     /* route ~ "re" */
};

struct route {
	enum route_kind kind;
	struct slice path;              /* of EXACT, SEGMENT, BYTES (without the `*`) */
	struct regex *regex;
	const struct condition *when;   /* or NULL */
	uint32_t order;                 /* in the server, from 0 */
	struct span span;
	struct slice shown;             /* as written: `= /x`; for logs and explain */
	const struct server *server;
	const struct settings *settings;
	struct steps steps;             /* the server's own steps stand before the route's */
};

struct route_table;

/* Routes in file order; `routes[i].order == i`. */
struct route_table *route_table_build(struct arena *a, const struct route *routes, size_t count);
/*
 * The first route that matches the exchange's question (path, then `when`), or NULL. Sets
 * ex->captures for a regex.
 */
const struct route *route_find(const struct route_table *t, struct exchange *ex);
/* One route by itself: what keeps it from being chosen. */
enum route_fit { ROUTE_FITS, ROUTE_HAS_OTHER_PATH, ROUTE_HAS_OTHER_CONDITION };
enum route_fit route_try(const struct route *route, struct exchange *ex);
/*
 * Every route that can never be chosen, since an earlier one takes all it could: a warning each,
 * with a note at the earlier one.
 */
void route_report_unreachable(struct diag *d, const struct route *routes, size_t count);

struct host_table;
struct host_entry {
	struct slice name;              /* lower case; *.example.com for a wildcard */
	const struct server *server;
	struct span span;
};
/* Exact names first, then the longest wildcard. Duplicates were reported before. */
struct host_table *host_table_build(
    struct arena *a, const struct host_entry *entries, size_t count);
/* lower case, no port; or NULL */
const struct server *host_find(const struct host_table *t, struct slice host);
/* All of them, by server and name; without places. */
struct host_entry *host_table_list(const struct host_table *t, struct arena *a, size_t *count);

#endif
