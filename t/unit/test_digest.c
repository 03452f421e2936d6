/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base/digest: SHA-1 and base64 against published examples (FIPS 180, RFC 4648 10,
 * RFC 6455 1.3), every length round a block, there and back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/digest.h"

static struct slice
hex(const uint8_t *at, size_t n, char text[static 40])
{
	for (size_t i = 0; i < n; i++) {
		text[i * 2] = "0123456789abcdef"[at[i] >> 4];
		text[i * 2 + 1] = "0123456789abcdef"[at[i] & 15];
	}
	return slice_make(text, n * 2);
}

static bool
sha1_is(struct slice s, const char *want)
{
	uint8_t digest[DIGEST_SHA1];
	char text[40];

	digest_sha1(s, digest);
	return slice_is(hex(digest, sizeof(digest), text), want);
}

static void
digests(void **state)
{
	static char many[1000000];

	assert_true(sha1_is(SLICE_EMPTY, "da39a3ee5e6b4b0d3255bfef95601890afd80709"));
	assert_true(sha1_is(SLICE("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d"));
	assert_true(sha1_is(SLICE("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
	    "84983e441c3bd26ebaae4aa1f95129e5e54670f1"));
	memset(many, 'a', sizeof(many));
	assert_true(sha1_is(slice_make(many, sizeof(many)), "34aa973cd4c4daa4f61eeb2bdbad27316534016f"));
}

/* What every length up to two blocks gives, digested once more. */
static void
digests_every_length(void **state)
{
	char text[130], all[130 * DIGEST_SHA1];

	memset(text, 'a', sizeof(text));
	for (size_t n = 0; n < sizeof(text); n++)
		digest_sha1(slice_make(text, n), (uint8_t *)all + n * DIGEST_SHA1);
	assert_true(sha1_is(slice_make(all, sizeof(all)), "f4def80e0e53c803b671aed255f87d83c3a1fe29"));
}

static void
writes_and_reads_base64(void **state)
{
	static const char *const rows[][2] = {
		{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" }, { "\xfb\xff\xfe", "+//+" },
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct slice plain = slice_of(rows[i][0]);
		char text[16];
		uint8_t back[8];
		struct builder b = builder_on(text, sizeof(text));

		base64_write(&b, plain);
		assert_true(slice_is(builder_slice(&b), rows[i][1]));
		assert_int_equal(base64_read(builder_slice(&b), back, plain.n), plain.n);
		assert_memory_equal(back, plain.at, plain.n);
		if (plain.n > 0)
			assert_int_equal(base64_read(builder_slice(&b), back, plain.n - 1), -1);
	}
}

static void
refuses_base64(void **state)
{
	static const struct slice rows[] = {
		SLICE("Z"), SLICE("Zg"), SLICE("Zg="), SLICE("Zg==="), SLICE("===="), SLICE("Z==="), SLICE("Zh=="), SLICE("Zm9="),
		SLICE("Zm 9"), SLICE("Zm9v\n"), SLICE("Zm-_"), SLICE("=Zm9"), SLICE("Zg==Zg=="), SLICE("Zm\0v"),
	};
	uint8_t out[16];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		assert_int_equal(base64_read(rows[i], out, sizeof(out)), -1);
}

static void
answers_a_handshake(void **state)
{
	uint8_t digest[DIGEST_SHA1];
	char text[28];
	struct builder b = builder_on(text, sizeof(text));

	digest_sha1(SLICE("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11"), digest);
	base64_write(&b, slice_make((const char *)digest, sizeof(digest)));
	assert_true(slice_is(builder_slice(&b), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests),
		cmocka_unit_test(digests_every_length),
		cmocka_unit_test(writes_and_reads_base64),
		cmocka_unit_test(refuses_base64),
		cmocka_unit_test(answers_a_handshake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
