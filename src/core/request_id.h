/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ids of exchanges: 128 bits in hex, no two alike, whoever made them and when, and none tells the
 * next. Made when one is asked for, at no cost to who does not ask.
 */
#ifndef MILLRACE_CORE_REQUEST_ID_H
#define MILLRACE_CORE_REQUEST_ID_H

#include "base/bytes.h"

struct exchange;

enum {
	REQUEST_ID = 32,                /* bytes of one made here */
	REQUEST_ID_MAX = 128            /* of one that is taken over */
};

/* One a process. */
struct request_ids {
	uint64_t key[2];
	uint64_t base, made;            /* what is enciphered */
};

/* Draws the key; false: errno. */
MUST_USE bool request_ids_open(struct request_ids *ids);
/* The exchange's, the same to its end; made at the first call. */
struct slice request_id(struct exchange *ex);
/* Visible ASCII without quotes and backslash: it means the same in a field, a log and JSON. */
bool request_id_is_sound(struct slice text);

/* Speck128/128 (Beaulieu and others, 2013) of the block, in place. */
void request_id_encipher(const uint64_t key[static 2], uint64_t block[static 2]);

#endif
