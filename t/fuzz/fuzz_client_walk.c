/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lists of clients: the walk from the left finds whom one from the right would find, and whatever a client
 * has begun, who a proxy has put behind it is found.
 */
#include "base/arena.h"
#include "core/client_walk.h"
#include "fuzz.h"

static struct network trusted[3];

static struct client_walk
walk(void (*read)(struct client_walk *, struct slice), struct slice one, struct slice other)
{
	struct client_walk w = { .trusted = trusted, .trusted_count = ARRAY_COUNT(trusted) };

	read(&w, one);
	read(&w, other);
	MUST(w.client.n == 0 || addr_is_unix(&w.client) || w.client.any.sa_family == AF_INET ||
	    w.client.any.sa_family == AF_INET6);
	return w;
}

/* As it is said: from the right. */
static struct addr
find(struct slice list)
{
	struct addr found = { .n = 0 }, a;

	while (list.n != 0) {
		size_t at = list.n;

		while (at != 0 && list.at[at - 1] != ',')
			at--;

		struct slice element = slice_trim(slice_after(list, at));

		list.n = at == 0 ? 0 : at - 1;
		if (element.n == 0)
			continue;
		if (!client_address(element, &a))
			return found;
		found = a;
		if (!client_is_trusted(trusted, ARRAY_COUNT(trusted), &a))
			return found;
	}
	return found;
}

/* What a proxy puts behind a list wins, whatever quotes are open. */
static void
check_behind(struct slice in, struct slice put, struct slice host)
{
	struct builder b = builder_on(memory_alloc(in.n + put.n), in.n + put.n);
	struct client_walk w;
	struct addr wanted;

	builder_slice_put(&b, in);
	builder_slice_put(&b, put);
	w = walk(client_walk_forwarded, builder_slice(&b), SLICE_EMPTY);
	MUST(addr_parse(host, &wanted) && addr_equal(&wanted, &w.client));
	free(b.at);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_make((const char *)data, n);
	size_t cut = slice_find(in, '\n', 0);
	struct slice one = slice_first(in, cut), other = slice_after(in, MIN_OF(cut + 1, n));
	struct addr wanted;

	MUST(network_parse(SLICE("10.0.0.0/8"), &trusted[0]) == NETWORK_OK);
	MUST(network_parse(SLICE("fd00::/8"), &trusted[1]) == NETWORK_OK);
	MUST(network_parse(SLICE("unix:"), &trusted[2]) == NETWORK_OK);

	struct client_walk list = walk(client_walk_list, one, SLICE_EMPTY);

	wanted = find(one);
	MUST(addr_equal(&wanted, &list.client));
	(void)walk(client_walk_list, one, other);
	(void)walk(client_walk_forwarded, one, other);
	check_behind(in, SLICE(", for=5.6.7.8"), SLICE("5.6.7.8:0"));
	check_behind(in, SLICE(", for=5.6.7.8;proto=https;host=a, for=10.0.0.1"), SLICE("5.6.7.8:0"));
	check_behind(in, SLICE(", for=\"[2001:db8::7]:80\";host=\"a:80\""), SLICE("[2001:db8::7]:80"));
	return 0;
}
