/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Chunked bodies: whole and byte by byte give the same body, the same end, the same verdict; and so does a
 * reader that stops in front of the trailers and has them parsed as a section.
 */
#include "protocols/http/h1_parse.h"
#include "protocols/http/trailers.h"
#include "fuzz.h"

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

/* The same end, if there is one; nothing of a section goes on that is not whole. */
static void
check_stopping(const struct body *whole, struct slice in)
{
	struct body b = { .text = memory_alloc(in.n) };
	struct h1_chunks c = { .stops = true };
	struct message m;
	struct arena a;
	ssize_t n = 0;

	arena_init(&a, NULL, 0);
	message_init(&m);
	while (in.n > 0 && !b.done && !b.bad && !h1_chunks_stopped(&c)) {
		struct slice data;
		size_t taken = h1_chunks_read(&c, in, &data, &b.done, &b.bad);

		b.n += data.n;
		b.taken += taken;
		in = slice_after(in, taken);
	}
	MUST(!b.done && b.n == whole->n);
	if (h1_chunks_stopped(&c))
		n = trailers_take(&m, &a, in);
	MUST((n > 0) == whole->done && (n <= 0 || b.taken + (size_t)n == whole->taken));
	/* a section is refused a byte or two later than its bytes are one by one */
	MUST(!whole->bad || b.bad || n == -1 || in.n <= H1_TRAILER + 2);
	MUST(n > 0 || m.trailers == NULL);
	for (const struct message_edit *e = m.trailers; e != NULL; e = e->next)
		MUST(e->name.n > 0 && known_find(e->name) == KNOWN_NONE);
	arena_reset(&a);
	free(b.text);
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
	check_stopping(&whole, in);
	free(whole.text);
	free(bytes.text);
	return 0;
}
