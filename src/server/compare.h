/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a reload changes, for people: two configurations as lists of named parts, each with a fingerprint
 * of what is written in it. The list is made from the tree of one, travels in its bundle, and is
 * compared with that of the next.
 */
#ifndef MILLRACE_SERVER_COMPARE_H
#define MILLRACE_SERVER_COMPARE_H

#include <stdio.h>

#include "config/ast.h"

enum compare_kind {
	COMPARE_LISTENER, COMPARE_UPSTREAM, COMPARE_PEER, COMPARE_SERVER, COMPARE_ROUTE,
	COMPARE_PROTOCOL, COMPARE_LIMIT, COMPARE_MAP, COMPARE_MODULE, COMPARE_SETTING, COMPARE_KINDS
};

struct compare_part {
	struct slice name;              /* "/api", "app" */
	struct slice of;                /* the server of a route, the upstream of a peer; or empty */
	uint64_t fingerprint;
	uint32_t kind;                  /* enum compare_kind */
};

struct compare_list {
	struct compare_part *parts;
	size_t count, room;
};

/* All but the listeners, which the tree says in many ways. Names lie in the tree, or in the arena. */
void compare_read(struct compare_list *list, struct arena *a, const struct block *tree);
void compare_add(struct compare_list *list, struct arena *a, const struct compare_part *part);
/* What the file of a part holds is part of it, too. */
void compare_add_file(
    struct compare_list *list, enum compare_kind kind, struct slice name, struct slice text);
/*
 * A line for each that was added, removed or changed, and one for many of a kind; one that says so
 * where nothing was.
 */
void compare_print(const struct compare_list *before, const struct compare_list *now, FILE *to);

#endif
