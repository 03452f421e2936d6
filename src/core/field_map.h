/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map NAME FIELD { "value" "result"; ~ "regex" "result"; default "result"; }
 * is the field map.NAME. The first entry in file order that matches wins; values are found by hash.
 */
#ifndef MILLRACE_CORE_FIELD_MAP_H
#define MILLRACE_CORE_FIELD_MAP_H

#include "base/map.h"
#include "core/field.h"

/* What a `map` statement fills: NAME and FIELD by map_arguments, the inside by map_rows. */
struct map_block {
	struct name name;
	struct value field;
	struct list entries;            /* struct filled, in file order */
	struct value otherwise;         /* raw.at NULL: no default */
};
extern const struct argument map_arguments[];
extern const struct directive map_rows[];

struct map_result {
	struct slice text;
	struct span span;
	uint32_t index;                 /* in field_map.results */
};

struct field_map {
	struct slice name;
	/* compiled where the map is used: it depends on the protocol there */
	struct value field;
	struct map_result *results;     /* in file order, the default last */
	size_t result_count;
	const struct map_result *otherwise;     /* or NULL */
	struct map_value *values;       /* those that are compared, in file order */
	size_t value_count;
	struct map exact;               /* value -> its map_value */
	struct map_regex *regexes;      /* in file order */
	size_t regex_count;
};

/* NULL: reported. */
struct field_map *field_map_build(struct reading *r, const struct map_block *block);

/* A map in one place of the configuration. */
struct field_map_use {
	const struct field_map *map;
	/* the map's own, or without case where the field compares so */
	const struct map *exact;
	const struct map_regex *regexes;
	struct field_ref ref;
};
/* Compiles the map's field for the scope; `at` is where it is asked for. False: reported. */
MUST_USE bool field_map_use(struct reading *r, const struct scope *scope,
    const struct field_map *map, struct span at, struct field_map_use *out);
/* NULL: nothing matches, and there is no default. */
const struct map_result *field_map_find(const struct field_map_use *use, struct exchange *ex);

#endif
