/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Chunked bodies: whole and byte by byte give the same body, the same end, the same verdict.
 */
#include <stdlib.h>

#include "protocols/http/h1_parse.h"

#define MUST(x) \
	do { \
		if (!(x)) \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct body {
	char *text;
	size_t n, taken;
	bool done, bad;
};

static void
feed(struct body *b, struct slice in, size_t most)
{
	struct h1_chunks c = { 0 };

	while (in.n > 0 && !b->done && !b->bad) {
		struct slice data, piece = slice_first(in, MIN_OF(in.n, most));
		size_t n = h1_chunks_read(&c, piece, &data, &b->done, &b->bad);

		MUST(n <= piece.n && (n > 0 || b->bad));
		MUST(data.n == 0 || (data.at >= piece.at && data.at + data.n <= piece.at + n));
		if (data.n > 0)
			memcpy(b->text + b->n, data.at, data.n);
		b->n += data.n;
		b->taken += n;
		in = slice_after(in, n);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_make((const char *)data, n);
	struct body whole = { .text = memory_alloc(n) }, bytes = { .text = memory_alloc(n) };

	feed(&whole, in, SIZE_MAX);
	feed(&bytes, in, 1);
	MUST(whole.n == bytes.n && whole.taken == bytes.taken && whole.done == bytes.done && whole.bad == bytes.bad);
	MUST(memcmp(whole.text, bytes.text, whole.n) == 0);
	MUST(whole.taken == n || whole.done || whole.bad);
	MUST(!(whole.done && whole.bad));
	free(whole.text);
	free(bytes.text);
	return 0;
}
