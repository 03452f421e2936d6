/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A number that goes up, enciphered: a permutation, so that a process never makes the same id
 * twice, with a random key, so that nobody sees the number. Block and key are words, the low one
 * first.
 */
#include "core/request_id.h"

#include <errno.h>
#include <sys/random.h>

#include "core/exchange.h"

enum { ROUNDS = 32 };

static inline void
cipher_round(uint64_t *high, uint64_t *low, uint64_t key)
{
	*high = ((*high >> 8 | *high << 56) + *low) ^ key;
	*low = (*low << 3 | *low >> 61) ^ *high;
}

void
request_id_encipher(const uint64_t key[static 2], uint64_t block[static 2])
{
	uint64_t low = key[0], high = key[1];

	for (uint64_t i = 0; i < ROUNDS; i++) {
		cipher_round(&block[1], &block[0], low);
		cipher_round(&high, &low, i);
	}
}

bool
request_ids_open(struct request_ids *ids)
{
	uint64_t random[3];
	ssize_t n;

	do
		n = getrandom(random, sizeof(random), 0);
	while (n < 0 && errno == EINTR);
	*ids = (struct request_ids){ .key = { random[0], random[1] }, .base = random[2] };
	return n == sizeof(random);
}

static void
put_word(char *to, uint64_t word)
{
	for (int i = 0; i < 16; i++)
		to[i] = "0123456789abcdef"[word >> (60 - 4 * i) & 15];
}

struct slice
request_id(struct exchange *ex)
{
	struct request_ids *ids = &ex->engine->request_ids;

	if (ex->id.n == 0) {
		uint64_t block[2] = { ids->made++, ids->base };
		char *text = arena_alloc(&ex->arena, REQUEST_ID);

		request_id_encipher(ids->key, block);
		put_word(text, block[1]);
		put_word(text + 16, block[0]);
		ex->id = slice_make(text, REQUEST_ID);
	}
	return ex->id;
}

bool
request_id_is_sound(struct slice text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.at[i] < '!' || text.at[i] > '~' || text.at[i] == '"' ||
		    text.at[i] == '\'' || text.at[i] == '\\')
			return false;
	return text.n != 0 && text.n <= REQUEST_ID_MAX;
}
