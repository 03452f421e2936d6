/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base/addr: what is parsed prints the same, what is not an address is
 * refused wherever it is cut, and networks hold exactly what they say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/addr.h"

static struct addr
parsed(const char *text)
{
	struct addr a = { 0 };

	assert_true(addr_parse(slice_of(text), &a));
	return a;
}

static struct addr
host(const char *text)
{
	struct addr a = { 0 };

	assert_true(addr_parse_host(slice_of(text), &a));
	return a;
}

static void
prints_what_it_parsed(void **state)
{
	static const struct { const char *text, *host; uint16_t port; } rows[] = {
		{ "10.0.0.1:80", "10.0.0.1", 80 },
		{ "0.0.0.0:0", "0.0.0.0", 0 },
		{ "255.255.255.255:65535", "255.255.255.255", 65535 },
		{ "[::1]:80", "::1", 80 },
		{ "[::]:443", "::", 443 },
		{ "[2001:db8::a:b]:8080", "2001:db8::a:b", 8080 },
		{ "[fe80::1%7]:53", "fe80::1%7", 53 },
		{ "unix:/run/app.sock", "unix:/run/app.sock", 0 },
	};
	char text[ADDR_TEXT];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr a = parsed(rows[i].text);
		struct slice s = addr_print(&a, text);

		assert_string_equal(text, rows[i].text);
		assert_int_equal(s.n, strlen(rows[i].text));
		addr_print_host(&a, text);
		assert_string_equal(text, rows[i].host);
		assert_int_equal(addr_port(&a), rows[i].port);

		/* cut anywhere it is refused or something shorter, and never read past */
		for (size_t n = 0; n < s.n; n++) {
			char *cut = malloc(n + 1), again[ADDR_TEXT];
			struct addr part = { 0 };

			memcpy(cut, rows[i].text, n);
			cut = realloc(cut, n == 0 ? 1 : n);
			if (addr_parse(slice_make(cut, n), &part))
				assert_int_equal(addr_print(&part, again).n, n);
			else
				assert_int_equal(part.n, 0);
			free(cut);
		}
	}
}

static void
refuses_what_is_no_address(void **state)
{
	static const char *const bad[] = { "", ":", ":80", "10.0.0.1", "10.0.0.1:", "10.0.0.1:x",
		"10.0.0.1:65536", "10.0.0.1:000080", "10.0.0.1:-1", "10.0.0.1:+1", "10.0.0.1: 80",
		"10.0.0:80", "10.0.0.256:80", "10.0.0.01:80", "10.0.0.1.1:80", "1:80", "host:80",
		"::1:80", "[::1]", "[::1]80", "[::1:80", "[]:80", "[10.0.0.1]:80", "[::g]:80",
		"[::1%]:80", "[::1%x]:80", "[::1%4294967296]:80", "[::1]:", "[::1]:80:80",
		"unix:", "Unix:/a", "/run/x.sock", " 10.0.0.1:80" };
	char path[200] = "unix:/";
	struct addr a;

	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		assert_false(addr_parse(slice_of(bad[i]), &a));
	assert_false(addr_parse(SLICE("10.0.0.1\0:80"), &a));
	assert_false(addr_parse(SLICE("[::1\0]:80"), &a));
	assert_false(addr_parse(SLICE("unix:/a\0b"), &a));
	memset(path + 6, 'x', sizeof(path) - 6);
	assert_true(addr_parse(slice_make(path, 5 + 107), &a));
	assert_false(addr_parse(slice_make(path, 5 + 108), &a));
}

static void
parses_hosts(void **state)
{
	struct addr a, b = parsed("[::1]:0");

	a = host("::1");
	assert_true(addr_equal(&a, &b));
	a = host("[::1]");
	assert_true(addr_equal(&a, &b));
	a = host("10.0.0.1");
	assert_int_equal(addr_port(&a), 0);
	addr_set_port(&a, 8080);
	b = parsed("10.0.0.1:8080");
	assert_true(addr_equal(&a, &b));
	assert_false(addr_parse_host(SLICE("10.0.0.1:80"), &a));
	assert_false(addr_parse_host(SLICE("[10.0.0.1]"), &a));
	assert_false(addr_parse_host(SLICE("[::1"), &a));
	assert_false(addr_parse_host(SLICE("[]"), &a));
	assert_false(addr_parse_host(SLICE("["), &a));
	assert_false(addr_parse_host(SLICE(""), &a));
	assert_false(addr_parse_host(SLICE("example.com"), &a));
}

static void
compares(void **state)
{
	static const char *const all[] = { "10.0.0.1:80", "10.0.0.1:81", "10.0.0.2:80", "[::1]:80",
		"[::1]:81", "[::2]:80", "[fe80::1%1]:80", "[fe80::1%2]:80", "[::ffff:10.0.0.1]:80",
		"unix:/a", "unix:/ab" };

	for (size_t i = 0; i < ARRAY_COUNT(all); i++)
		for (size_t k = 0; k < ARRAY_COUNT(all); k++) {
			struct addr a = parsed(all[i]), b = parsed(all[k]);

			assert_int_equal(addr_equal(&a, &b), i == k);
		}

	struct addr none = { 0 }, one = parsed("10.0.0.1:80");

	assert_true(addr_equal(&none, &none));
	assert_false(addr_equal(&none, &one));
}

/* As the kernel hands them out: without a NUL, without a name, abstract. */
static void
prints_unix_names_of_the_kernel(void **state)
{
	struct addr a = { .local.sun_family = AF_UNIX, .n = sizeof(sa_family_t) };
	char text[ADDR_TEXT];

	assert_true(addr_is_unix(&a));
	addr_print(&a, text);
	assert_string_equal(text, "unix:");
	addr_set_port(&a, 1);
	assert_int_equal(addr_port(&a), 0);

	memcpy(a.local.sun_path, "/aXXX", 5);
	a.n = offsetof(struct sockaddr_un, sun_path) + 2;
	addr_print(&a, text);
	assert_string_equal(text, "unix:/a");

	struct addr b = parsed("unix:/a");

	assert_true(addr_equal(&a, &b));

	memcpy(a.local.sun_path, "\0x\0y", 4);
	a.n = offsetof(struct sockaddr_un, sun_path) + 4;
	addr_print(&a, text);
	assert_string_equal(text, "unix:@x@y");

	memset(a.local.sun_path, 'p', sizeof(a.local.sun_path));
	a.n = sizeof(a.local);
	assert_int_equal(addr_print(&a, text).n, 5 + sizeof(a.local.sun_path));

	a.n = 0;
	assert_int_equal(addr_print(&a, text).n, 0);
	assert_string_equal(text, "");
	assert_false(addr_is_unix(&a));
}

static void
unmaps(void **state)
{
	struct addr a = parsed("[::ffff:10.1.2.3]:80"), b = parsed("10.1.2.3:80");
	char text[ADDR_TEXT];

	addr_print(&a, text);
	assert_string_equal(text, "10.1.2.3:80");
	addr_print_host(&a, text);
	assert_string_equal(text, "10.1.2.3");
	addr_unmap(&a);
	assert_int_equal(a.n, sizeof(a.v4));
	assert_true(addr_equal(&a, &b));
	addr_unmap(&a);
	assert_true(addr_equal(&a, &b));
	a = b = parsed("[::1]:80");
	addr_unmap(&a);
	assert_true(addr_equal(&a, &b));
}

static void
parses_networks(void **state)
{
	static const struct { const char *text; enum network_parse result; const char *printed; }
	rows[] = {
		{ "10.0.0.0/8", NETWORK_OK, "10.0.0.0/8" },
		{ "10.0.0.1", NETWORK_OK, "10.0.0.1" },
		{ "10.0.0.1/32", NETWORK_OK, "10.0.0.1" },
		{ "0.0.0.0/0", NETWORK_OK, "0.0.0.0/0" },
		{ "fe80::/10", NETWORK_OK, "fe80::/10" },
		{ "::1", NETWORK_OK, "::1" },
		{ "::/0", NETWORK_OK, "::/0" },
		{ "::ffff:10.0.0.0/104", NETWORK_OK, "10.0.0.0/8" },
		{ "unix:", NETWORK_OK, "unix:" },
		{ "10.1.2.3/8", NETWORK_HOST_BITS, "10.0.0.0/8" },
		{ "10.255.255.255/9", NETWORK_HOST_BITS, "10.128.0.0/9" },
		{ "10.0.0.1/31", NETWORK_HOST_BITS, "10.0.0.0/31" },
		{ "1.0.0.0/0", NETWORK_HOST_BITS, "0.0.0.0/0" },
		{ "2001:db8::1/32", NETWORK_HOST_BITS, "2001:db8::/32" },
	};
	static const char *const bad[] = { "", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
		"10.0.0.0/8/8", "10.0.0.0/0008", "10.0.0/8", "::/129", "::/999", "[::1]", "::1%1",
		"unix:/a", "all", "10.0.0.0 /8" };
	struct network net;
	char text[ADDR_TEXT];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		assert_int_equal(network_parse(slice_of(rows[i].text), &net), rows[i].result);
		network_print(&net, text);
		assert_string_equal(text, rows[i].printed);
	}
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		assert_int_equal(network_parse(slice_of(bad[i]), &net), NETWORK_BAD);
}

static bool
has(const char *network, const char *address)
{
	struct network net;
	struct addr a = strncmp(address, "unix:", 5) == 0 ? parsed(address) : host(address);

	assert_int_equal(network_parse(slice_of(network), &net), NETWORK_OK);
	return network_has(&net, &a);
}

static void
holds_its_addresses(void **state)
{
	assert_true(has("10.0.0.0/8", "10.255.0.1"));
	assert_false(has("10.0.0.0/8", "11.0.0.1"));
	assert_true(has("10.128.0.0/9", "10.255.0.1"));
	assert_false(has("10.128.0.0/9", "10.127.255.255"));
	assert_true(has("10.0.0.1", "10.0.0.1"));
	assert_false(has("10.0.0.1", "10.0.0.0"));
	assert_true(has("0.0.0.0/0", "1.2.3.4"));
	assert_false(has("0.0.0.0/0", "::1"));
	assert_true(has("10.0.0.0/8", "::ffff:10.0.0.1"));
	assert_true(has("::ffff:10.0.0.0/104", "10.0.0.1"));
	assert_true(has("fe80::/10", "febf::1"));
	assert_false(has("fe80::/10", "fec0::1"));
	assert_true(has("fe80::/10", "fe80::1%3"));
	assert_true(has("::1", "::1"));
	assert_false(has("::1", "::2"));
	assert_true(has("::/0", "2001:db8::1"));
	assert_false(has("::/0", "10.0.0.1"));
	assert_true(has("unix:", "unix:/a"));
	assert_false(has("unix:", "10.0.0.1"));
	assert_false(has("0.0.0.0/0", "unix:/a"));

	/* every width, against the bit that it leaves out */
	for (unsigned bits = 1; bits <= 32; bits++) {
		struct network net = { .family = AF_INET, .bits = (uint8_t)bits };
		struct addr in = host("0.0.0.0"), out = in;

		in.v4.sin_addr.s_addr = bits == 32 ? 0 : htonl(UINT32_MAX >> bits);
		out.v4.sin_addr.s_addr = htonl(UINT32_C(1) << (32 - bits));
		assert_true(network_has(&net, &in));
		assert_false(network_has(&net, &out));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prints_what_it_parsed),
		cmocka_unit_test(refuses_what_is_no_address),
		cmocka_unit_test(parses_hosts),
		cmocka_unit_test(compares),
		cmocka_unit_test(prints_unix_names_of_the_kernel),
		cmocka_unit_test(unmaps),
		cmocka_unit_test(parses_networks),
		cmocka_unit_test(holds_its_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
