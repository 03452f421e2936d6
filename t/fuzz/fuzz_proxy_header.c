/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/proxy_header: whatever comes, a verdict holds for every longer input,
 * and what was read can be written and read again.
 */
#include "core/proxy_header.h"
#include "fuzz.h"

static void
check_back(const struct proxy_header *h)
{
	char memory[PROXY_HEADER_WRITTEN];
	struct builder to = builder_on(memory, sizeof(memory));
	struct proxy_header again;

	proxy_header_write_v2(&to, &h->src, &h->dst);
	MUST(!to.full && proxy_header_parse(builder_slice(&to), &again) == (ssize_t)to.n);
	if (again.known)
		MUST(addr_equal(&again.src, &h->src) && addr_equal(&again.dst, &h->dst));
	to = builder_on(memory, sizeof(memory));
	proxy_header_write_v1(&to, &h->src, &h->dst);
	MUST(!to.full && proxy_header_parse(builder_slice(&to), &again) == (ssize_t)to.n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_make((const char *)data, MIN_OF(n, (size_t)8192));
	struct proxy_header h, part;
	ssize_t whole = proxy_header_parse(in, &h);

	MUST(whole >= -1 && whole <= (ssize_t)in.n);
	for (size_t cut = 0; cut < MIN_OF(in.n, (size_t)512); cut++) {
		ssize_t got = proxy_header_parse(slice_first(in, cut), &part);

		MUST(got == 0 || got == whole);
	}
	if (h.known)
		check_back(&h);
	return 0;
}
