/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A declared protocol: struct frame behind the table that every protocol of messages fills. An
 * instance is memory of a snapshot, filled while it is built and immutable from then on; its
 * functions find it by the codec that they are given.
 */
#ifndef MILLRACE_PROTOCOLS_FRAME_DECLARED_H
#define MILLRACE_PROTOCOLS_FRAME_DECLARED_H

#include "core/protocol.h"
#include "protocols/frame/format.h"

struct condition;
struct text;

struct declared {
	struct protocol_ops ops;
	struct codec codec;
	struct frame frame;
	struct frame_name id;           /* what answers are paired by, where a field does */
	const struct text *error;       /* or NULL: it has no words for a failure */
	/* asking twice does no harm when one of these holds; NULL among them: always */
	const struct condition **idempotent;
	size_t idempotent_count;
	/* what a configuration asks of a body of JSON: found in one walk, on first use */
	struct json_path *paths;
	size_t path_count, path_room;
	size_t write_room;              /* bytes that a message has beside its body, at most */
};

/*
 * Fills ops and codec of a declaration that frame_check has found good. `name` lives as long as `x`
 * does.
 */
void declared_init(struct declared *x, const char *name);

static inline struct declared *
declared_of(const struct codec *k)
{
	return CONTAINER_OF(k, struct declared, codec);
}

/* What frame.h calls a message in hand. */
static inline struct frame_view
declared_view(const struct unit *u)
{
	return (struct frame_view){
		.wire = u->wire,
		.inner = u->inner,
		.head = slice_first(u->inner, u->body_at),
		.body = unit_body(u),
		.of = u->of,
		.by = u->by,
	};
}

/* declared_fields.c: of every declared protocol; and codec.set. */
extern const struct field declared_fields[];
bool declared_set(const struct codec *k, struct reading *r, const struct value *name,
    const struct value *value, struct unit_set *set);

/* declared_write.c: codec.write and codec.id_set. */
/* Of a message of a switch. */
uint64_t declared_type(const struct frame *f, struct slice inner);
/* What a field is set to, as its bits; false: it has no room for it. */
MUST_USE bool declared_number(const struct frame_field *field, struct slice text, uint64_t *bits);
const char *declared_write(
    const struct codec *k, const struct draft *d, struct scratch *scratch, struct slice *wire);
struct slice declared_body_id(const struct codec *k, struct slice body);
const char *declared_id_set(const struct codec *k, const struct unit *u, struct slice id,
    struct scratch *scratch, struct slice *wire);

#endif
