/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/client_walk: who is found in lists that are right, that are wrong, and that a client began to
 * its own advantage.
 */
#include "config_case.h"
#include "core/client_walk.h"

static struct network trusted[8];
static size_t trusted_count;

static int
setup(void **state)
{
	static const char *const texts[] = { "10.0.0.0/8", "fd00::/8", "192.0.2.1" };

	for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
		assert_int_equal(network_parse(slice_of(texts[i]), &trusted[trusted_count++]), NETWORK_OK);
	return 0;
}

/* As it is printed with its port; "-": nobody. */
static void
expect_client(const struct client_walk *w, const char *wanted, const char *list)
{
	char text[ADDR_TEXT] = "-";

	if (w->client.n != 0)
		addr_print(&w->client, text);
	if (strcmp(text, wanted) != 0)
		fail_msg("%s: got %s, wanted %s", list, text, wanted);
}

static struct client_walk
fresh(void)
{
	return (struct client_walk){ .trusted = trusted, .trusted_count = trusted_count };
}

static void
expect_list(const char *list, const char *wanted)
{
	struct client_walk w = fresh();

	client_walk_list(&w, slice_of(list));
	expect_client(&w, wanted, list);
}

static void
expect_forwarded(const char *list, const char *wanted)
{
	struct client_walk w = fresh();

	client_walk_forwarded(&w, slice_of(list));
	expect_client(&w, wanted, list);
}

static void
addresses(void **state)
{
	static const char *const good[][2] = {
		{ "1.2.3.4", "1.2.3.4:0" }, { "1.2.3.4:567", "1.2.3.4:567" }, { "::1", "[::1]:0" }, { "[::1]", "[::1]:0" },
		{ "[2001:db8::1]:567", "[2001:db8::1]:567" }, { "::ffff:1.2.3.4", "1.2.3.4:0" },
		{ "[::ffff:1.2.3.4]:5", "1.2.3.4:5" }, { "unix:", "unix:" },
	};
	static const char *const bad[] = {
		"", " 1.2.3.4", "1.2.3.4 ", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4:", "1.2.3.4:65536",
		"1.2.3.4:x", "1.2.3.4:-1", "[1.2.3.4]", "[::1", "::1]", "[::1]80", "[::1]:", "[]", "fe80::1%1", "[fe80::1%1]:2",
		"unix", "unix:/run/x", "unknown", "_hidden", "example.com", "\"1.2.3.4\"", "1.2.3.4;", ":80",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999",
	};
	struct addr a;
	char text[ADDR_TEXT];

	for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
		assert_true(client_address(slice_of(good[i][0]), &a));
		assert_string_equal(addr_print(&a, text).at, good[i][1]);
	}
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		if (client_address(slice_of(bad[i]), &a))
			fail_msg("\"%s\" was taken", bad[i]);
	assert_false(client_address(slice_make("1.2.3.4\0", 8), &a));
}

static void
lists(void **state)
{
	expect_list("", "-");
	expect_list("1.2.3.4", "1.2.3.4:0");
	expect_list("6.6.6.6, 1.2.3.4", "1.2.3.4:0");
	expect_list("6.6.6.6, 1.2.3.4, 10.1.1.1", "1.2.3.4:0");
	expect_list("6.6.6.6,1.2.3.4\t,  10.1.1.1:4711 ,fd00::5,[fd12::1]:99", "1.2.3.4:0");
	expect_list("2001:db8::7,10.0.0.1", "[2001:db8::7]:0");
	expect_list("[2001:db8::7]:1234, 10.0.0.1", "[2001:db8::7]:1234");
	/* all are trusted: the leftmost */
	expect_list("10.0.0.3, 192.0.2.1, 10.0.0.1", "10.0.0.3:0");
	expect_list("192.0.2.2, 192.0.2.1", "192.0.2.2:0");
	/* ends at what is no address, with the last that was one */
	expect_list("1.2.3.4, junk", "-");
	expect_list("1.2.3.4, junk, 10.0.0.2, 10.0.0.1", "10.0.0.2:0");
	expect_list("1.2.3.4, unknown, 5.6.7.8, 10.0.0.1", "5.6.7.8:0");
	expect_list("junk, 5.6.7.8", "5.6.7.8:0");
	expect_list("unknown", "-");
	/* empty elements are none */
	expect_list(",, 1.2.3.4 ,\t, 10.0.0.1,", "1.2.3.4:0");
	expect_list(" , ,", "-");
	/* only the word itself, and only where it is trusted */
	expect_list("1.2.3.4, unix:", "unix:");
	trusted[trusted_count++] = (struct network){ .family = AF_UNIX };
	expect_list("1.2.3.4, unix:", "1.2.3.4:0");
	trusted_count--;
}

static void
forwarded(void **state)
{
	expect_forwarded("for=1.2.3.4", "1.2.3.4:0");
	expect_forwarded("For=\"1.2.3.4:567\";Proto=http;by=203.0.113.43", "1.2.3.4:567");
	expect_forwarded("proto=https;for=\"[2001:db8::7]:1\", FOR=10.0.0.1", "[2001:db8::7]:1");
	expect_forwarded("for=6.6.6.6, for=1.2.3.4;host=\"a,b;for=9.9.9.9\", for=\"[fd00::1]\"", "1.2.3.4:0");
	expect_forwarded("for=\"1\\.2.3\\.4\"", "1.2.3.4:0");
	expect_forwarded(" ;for=1.2.3.4; ;proto=http , , for=10.0.0.1 ,", "1.2.3.4:0");
	expect_forwarded("for=10.0.0.2, for=10.0.0.1", "10.0.0.2:0");
	/* only the port is hidden */
	expect_forwarded("for=\"1.2.3.4:_p\"", "1.2.3.4:0");
	expect_forwarded("for=\"[2001:db8::7]:_p\", for=10.0.0.1", "[2001:db8::7]:0");
	/* who is hidden ends the walk, and so does an element that says nothing of it */
	expect_forwarded("for=1.2.3.4, for=unknown", "-");
	expect_forwarded("for=1.2.3.4, for=_secret, for=10.0.0.1", "10.0.0.1:0");
	expect_forwarded("for=1.2.3.4, proto=http, for=10.0.0.1", "10.0.0.1:0");
	expect_forwarded("for=1.2.3.4, ;", "-");
	/* malformed */
	static const char *const bad[] = {
		"for", "for=", "=1.2.3.4", "for =1.2.3.4", "for= 1.2.3.4", "for=1.2.3.4:80", "for=[::1]", "for=\"[::1]",
		"for=\"1.2.3.4\"x", "for=1.2.3.4 5", "for=1.2.3.4;for=5.6.7.8", "for=1.2.3.4;;proto", "for=\"1.2.3.4\\",
		"for=\"11111111111111111111111111111111111111111111111111111111111111111111111111\"", "1.2.3.4", "for:1.2.3.4",
	};

	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		char behind[256], before[256];

		expect_forwarded(bad[i], "-");
		snprintf(behind, sizeof(behind), "for=9.9.9.9, %s, for=10.0.0.1", bad[i]);
		expect_forwarded(behind, "10.0.0.1:0");
		/* what a client has left open does not swallow what a proxy wrote */
		snprintf(before, sizeof(before), "%s, for=5.6.7.8;proto=https, for=10.0.0.1", bad[i]);
		expect_forwarded(before, "5.6.7.8:0");
		snprintf(before, sizeof(before), "%s, for=\"[2001:db8::7]:80\";host=\"a:80\"", bad[i]);
		expect_forwarded(before, "[2001:db8::7]:80");
	}
	expect_forwarded("for=1.1.1.1;by=\"a\\, for=\"[2001:db8::7]\";host=\"h:80\"", "[2001:db8::7]:0");
}

/* Fields of one name are one list; what one leaves open ends with it. */
static void
several(void **state)
{
	struct client_walk w = fresh();

	client_walk_list(&w, SLICE("6.6.6.6, 1.2.3.4"));
	client_walk_list(&w, SLICE("10.0.0.2"));
	client_walk_list(&w, SLICE(""));
	client_walk_list(&w, SLICE("10.0.0.1"));
	expect_client(&w, "1.2.3.4:0", "several");
	w = fresh();
	client_walk_forwarded(&w, SLICE("for=\"1.1.1.1"));
	client_walk_forwarded(&w, SLICE("for=1.2.3.4"));
	expect_client(&w, "1.2.3.4:0", "several");
	w = fresh();
	client_walk_list(&w, SLICE("1.2.3.4"));
	client_walk_list(&w, SLICE("junk"));
	expect_client(&w, "-", "several");
}

/* The end of what it was given is the end of what it reads, at every byte. */
static void
cut(void **state)
{
	static const char list[] = "for=\"[2001:db8::7]:4711\";proto=http;by=\"_a\\b\" , for=10.0.0.1; host=\"a,b\"";

	for (size_t n = 0; n < sizeof(list); n++) {
		char *copy = malloc(n + 1);
		struct client_walk w = fresh();

		memcpy(copy, list, n);
		client_walk_forwarded(&w, slice_make(copy, n));
		client_walk_list(&w, slice_make(copy, n));
		free(copy);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),
		cmocka_unit_test(lists),
		cmocka_unit_test(forwarded),
		cmocka_unit_test(several),
		cmocka_unit_test(cut),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
