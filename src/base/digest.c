/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SHA-1 (FIPS 180-4 6.1) and base64 (RFC 4648 4), short rather than fast:
 * one handshake a connection hashes sixty bytes.
 */
#include "base/digest.h"

static inline uint32_t
rotate(uint32_t x, unsigned n)
{
	return x << n | x >> (32 - n);
}

static void
sha1_block(uint32_t h[5], const uint8_t *at)
{
	uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

	for (unsigned i = 0; i < 16; i++, at += 4)
		w[i] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
	for (unsigned i = 16; i < 80; i++)
		w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	for (unsigned i = 0; i < 80; i++) {
		uint32_t f, k;

		if (i < 20) {
			f = (b & c) | (~b & d);
			k = 0x5a827999;
		} else if (i < 40) {
			f = b ^ c ^ d;
			k = 0x6ed9eba1;
		} else if (i < 60) {
			f = (b & c) | (b & d) | (c & d);
			k = 0x8f1bbcdc;
		} else {
			f = b ^ c ^ d;
			k = 0xca62c1d6;
		}
		f += rotate(a, 5) + e + k + w[i];
		e = d;
		d = c;
		c = rotate(b, 30);
		b = a;
		a = f;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
}

void
digest_sha1(struct slice s, uint8_t out[static DIGEST_SHA1])
{
	uint32_t h[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
	uint8_t tail[128] = { 0 };
	uint64_t bits = (uint64_t)s.n * 8;
	size_t whole = s.n / 64 * 64, left = s.n - whole;
	size_t tail_n = left < 56 ? 64 : 128;   /* room for the 0x80 and the length */

	for (size_t i = 0; i < whole; i += 64)
		sha1_block(h, (const uint8_t *)s.at + i);
	if (left > 0)
		memcpy(tail, s.at + whole, left);
	tail[left] = 0x80;
	for (unsigned i = 0; i < 8; i++)
		tail[tail_n - 1 - i] = (uint8_t)(bits >> i * 8);
	for (size_t i = 0; i < tail_n; i += 64)
		sha1_block(h, tail + i);
	for (unsigned i = 0; i < DIGEST_SHA1; i++)
		out[i] = (uint8_t)(h[i / 4] >> (24 - i % 4 * 8));
}

void
base64_write(struct builder *b, struct slice s)
{
	static const char letters[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *at = (const uint8_t *)s.at;

	for (size_t i = 0; i < s.n; i += 3) {
		size_t n = MIN_OF(s.n - i, (size_t)3);
		uint32_t bits = (uint32_t)at[i] << 16;

		if (n > 1)
			bits |= (uint32_t)at[i + 1] << 8;
		if (n > 2)
			bits |= at[i + 2];
		builder_put(b, (char[]){ letters[bits >> 18], letters[bits >> 12 & 63],
		    n > 1 ? letters[bits >> 6 & 63] : '=', n > 2 ? letters[bits & 63] : '=' }, 4);
	}
}

static int
letter_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (ascii_is_digit(c))
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ssize_t
base64_read(struct slice s, uint8_t *out, size_t size)
{
	size_t letters = s.n, n = 0;
	uint32_t bits = 0;

	if (s.n % 4 != 0)
		return -1;
	while (letters > 0 && s.n - letters < 2 && s.at[letters - 1] == '=')
		letters--;
	if (letters * 6 / 8 > size)
		return -1;
	for (size_t i = 0; i < letters; i++) {
		int value = letter_value(s.at[i]);

		if (value < 0)
			return -1;
		bits = bits << 6 | (uint32_t)value;
		if (i % 4 > 0)
			out[n++] = (uint8_t)(bits >> (6 - i % 4 * 2));
	}
	/* the bits of the last letter that no byte has */
	if ((letters % 4 == 2 && (bits & 15) != 0) || (letters % 4 == 3 && (bits & 3) != 0))
		return -1;
	return (ssize_t)n;
}
