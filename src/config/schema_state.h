/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What schema.c and schema_print.c share: tables made quick to look up, and
 * the trace of what was said where. Nobody else includes it.
 */
#ifndef MILLRACE_CONFIG_SCHEMA_STATE_H
#define MILLRACE_CONFIG_SCHEMA_STATE_H

#include "config/schema.h"

/* One row of one of a block's tables. */
struct entry {
	const struct directive *row;
	size_t base;                    /* the table's offset */
	size_t number;                  /* in `said` */
	size_t list;                    /* number of the first entry that fills the same list */
};

/* One argument's default, ready to be copied into a block's struct. */
struct ready {
	const struct argument *argument;
	size_t offset, size;
	const void *bytes;
	bool compiles;
};

/* All rows that may stand in one kind of block. Made once for each array of tables. */
struct rows {
	const struct table *tables;
	struct entry *entries;
	size_t count;
	const struct entry *free;       /* or NULL */
	bool requires;                  /* one of them must be said */
	struct map by_name;
	struct ready *defaults;
	size_t default_count, default_room;
	struct rows *next;
};

struct compile_item {
	struct compile_item *next;
	/* the items of a row inside this one; then the rest is empty */
	struct compile_item *group;
	const struct argument *argument;
	void *out;
	bool done;
};

/* A block, or a statement without one, as it was read. */
struct trace {
	const struct rows *rows;        /* of its inside, or NULL */
	const struct entry *entry;      /* NULL: the outermost block */
	const struct statement *statement;
	const void *target;
	const struct statement **said;  /* by entry.number; NULL: not said here */
	struct trace *parent, *first, *last, *next;
	struct trace *same;             /* another one with this target */
};

/* What is read once all settings of its block are. */
struct waiting {
	const struct statement *statement;
	const struct entry *entry;
};

struct schema_state {
	struct rows *rows;
	const struct table *root;
	const struct statement **said;  /* a stack: the frames of the blocks being read */
	size_t said_count, said_room;
	struct waiting *waiting;        /* another, of the same blocks */
	size_t waiting_count, waiting_room;
	unsigned steps;                 /* how many of the blocks being read are inside a step */
	struct map traces;              /* by target */
};

struct schema_state *schema_state(struct reading *r);
/* The rows of these tables, indexed. */
struct rows *schema_rows(struct reading *r, const struct table *tables);

static inline const struct directive *
table_rows(const struct reading *r, const struct table *t)
{
	return t->rows == schema_loaded && r->loaded != NULL ? r->loaded : t->rows;
}

enum { SCHEMA_PLACE = 64 };

/* What a block is called as a place for others; `where` is the place that it stands in. */
const char *schema_place(
    char text[static SCHEMA_PLACE], const struct directive *row, const char *where, bool outermost);

/* A bound or a number as it would be written for this type: 30s, 64k, 0.5%. */
const char *schema_bound(char text[static 32], const struct type *type, int64_t n);

static inline bool
row_repeats(const struct directive *row)
{
	return row->kind == DIRECTIVE_STEP || (row->flags & DIRECTIVE_REPEATS) != 0;
}

static inline size_t
argument_size(const struct argument *a)
{
	return (a->flags & ARGUMENT_MANY) != 0 ? sizeof(struct list) : a->type->size;
}

#endif
