/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a number stands on the wire: lengths, types, checksums and declared fields. Reading says when
 * more bytes are needed and never looks past the width; writing is its mirror.
 */
#ifndef MILLRACE_PROTOCOLS_FRAME_NUMBER_H
#define MILLRACE_PROTOCOLS_FRAME_NUMBER_H

#include "base/bytes.h"

enum number_form {
	NUMBER_UNSIGNED,                /* of 1, 2, 3, 4 or 8 bytes */
	NUMBER_SIGNED,                  /* the same, two's complement */
	NUMBER_DECIMAL,                 /* ASCII digits, zeros in front */
	NUMBER_HEX,                     /* either case is read, small letters are written */
	NUMBER_BYTES,                   /* no number at all: text of a width */
	/* these vary in width */
	NUMBER_DECIMAL_UNTIL,           /* digits, ended by a byte */
	NUMBER_HEX_UNTIL,
	NUMBER_VARINT,                  /* seven bits a byte, lowest first (protobuf) */
	NUMBER_MQTT,                    /* the same, four bytes at most and no longer than needed */
};

struct number {
	uint8_t form;                   /* enum number_form */
	bool little;                    /* of UNSIGNED and SIGNED: the lowest byte comes first */
	char until;                     /* of ..._UNTIL */
	/* bytes; of a varying form 0 */
	uint16_t width;
};

enum { NUMBER_WIDEST = 20 };            /* bytes of a varying one, with the byte that ends it */

enum number_verdict { NUMBER_GOOD, NUMBER_MORE, NUMBER_BAD };

static inline bool
number_varies(const struct number *n)
{
	return n->form >= NUMBER_DECIMAL_UNTIL;
}

/* The number that `in` begins with, and how many bytes it has. A negative one as its 64 bits. */
enum number_verdict number_read(
    const struct number *n, struct slice in, uint64_t *value, size_t *taken);
/* How many bytes it is written in. */
size_t number_size(const struct number *n, uint64_t value);
/* Whether it can be written at all. */
bool number_fits(const struct number *n, uint64_t value);
/* Writes number_size() bytes of a number that fits. */
void number_put(const struct number *n, uint64_t value, char *at);
/* The largest that it can hold; of SIGNED the largest positive one. */
uint64_t number_most(const struct number *n);

#endif
