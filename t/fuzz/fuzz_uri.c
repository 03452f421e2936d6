/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Targets: no dots, NULs and backslashes are left in a path, what is forwarded is clean, and
 * normalising that once more gives the same.
 */
#include "protocols/http/uri.h"
#include "fuzz.h"

static bool
normalise(struct message *m, struct arena *a, struct slice target)
{
	enum reason why = REASON_NONE;

	message_init(m);
	m->base = target.at;
	m->size = (uint32_t)target.n;
	m->target = (struct piece){ 0, (uint32_t)target.n };
	m->method = METHOD_OPTIONS;

	bool good = uri_normalise(m, a, &why);

	MUST(good == (why == REASON_NONE));
	return good;
}

static void
check_path(struct slice path)
{
	struct slice segment;

	MUST(path.n > 0 && (path.at[0] == '/' || slice_is(path, "*")));
	MUST(memchr(path.at, '\0', path.n) == NULL && memchr(path.at, '\\', path.n) == NULL);
	MUST(slice_find_slice(path, SLICE("//")) == path.n);
	while (slice_split(&path, '/', &segment))
		MUST(!slice_is(segment, ".") && !slice_is(segment, ".."));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice target = slice_make((const char *)data, n);
	struct message m, again;
	struct arena a;

	arena_init(&a, NULL, 0);
	if (normalise(&m, &a, target)) {
		check_path(m.path);
		MUST(m.path.n <= n + 1 && m.query.n <= n);
		for (size_t i = 0; i < m.forward.n; i++)
			MUST(m.forward.at[i] > ' ' && m.forward.at[i] < 0x7f && m.forward.at[i] != '#');
		MUST(slice_ends(m.forward, m.query));
		MUST(normalise(&again, &a, m.forward));
		MUST(slice_equal(again.path, m.path) && slice_equal(again.query, m.query) && slice_equal(again.forward, m.forward));
	}
	arena_reset(&a);
	return 0;
}
