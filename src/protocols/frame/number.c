/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers on the wire. */
#include "protocols/frame/number.h"

enum {
	VARINT_WIDEST = 10,             /* ten times seven bits hold 64 */
	MQTT_WIDEST = 4,
};

static uint64_t
fixed_read(const struct number *n, const char *at)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n->width; i++)
		value = value << 8 | (uint8_t)at[n->little ? n->width - 1u - i : i];
	if (n->form == NUMBER_SIGNED && n->width < 8 && value >> (8 * n->width - 1) != 0)
		value |= ~UINT64_C(0) << 8 * n->width;
	return value;
}

static bool
digits_read(const struct number *n, struct slice digits, uint64_t *value)
{
	bool hex = n->form == NUMBER_HEX || n->form == NUMBER_HEX_UNTIL;

	return hex ? slice_to_u64_hex(digits, value) : slice_to_u64(digits, value);
}

static enum number_verdict
until_read(const struct number *n, struct slice in, uint64_t *value, size_t *taken)
{
	struct slice window = slice_first(in, MIN_OF(in.n, (size_t)NUMBER_WIDEST));
	size_t end = slice_find(window, n->until, 0);

	/* what can be no digit is wrong at once: nobody waits for its end */
	if (end > 0 && !digits_read(n, slice_first(window, end), value))
		return NUMBER_BAD;
	if (end == window.n)
		return end < NUMBER_WIDEST ? NUMBER_MORE : NUMBER_BAD;
	*taken = end + 1;
	return end > 0 ? NUMBER_GOOD : NUMBER_BAD;
}

static enum number_verdict
varint_read(const struct number *n, struct slice in, uint64_t *value, size_t *taken)
{
	size_t widest = n->form == NUMBER_MQTT ? MQTT_WIDEST : VARINT_WIDEST;

	*value = 0;
	for (size_t i = 0; i < widest; i++) {
		if (i == in.n)
			return NUMBER_MORE;

		uint64_t bits = (uint8_t)in.at[i] & 0x7f;

		/* the tenth byte has room for one bit */
		if (i == VARINT_WIDEST - 1 && bits > 1)
			return NUMBER_BAD;
		*value |= bits << 7 * i;
		if (((uint8_t)in.at[i] & 0x80) != 0)
			continue;
		*taken = i + 1;
		return n->form == NUMBER_MQTT && bits == 0 && i > 0 ? NUMBER_BAD : NUMBER_GOOD;
	}
	return NUMBER_BAD;
}

enum number_verdict
number_read(const struct number *n, struct slice in, uint64_t *value, size_t *taken)
{
	if (n->form == NUMBER_VARINT || n->form == NUMBER_MQTT)
		return varint_read(n, in, value, taken);
	if (number_varies(n))
		return until_read(n, in, value, taken);
	if (in.n < n->width)
		return NUMBER_MORE;
	*taken = n->width;
	if (n->form == NUMBER_BYTES)
		return NUMBER_BAD;
	if (n->form == NUMBER_UNSIGNED || n->form == NUMBER_SIGNED)
		*value = fixed_read(n, in.at);
	else if (!digits_read(n, slice_first(in, n->width), value))
		return NUMBER_BAD;
	return NUMBER_GOOD;
}

static size_t
digits_count(uint64_t value, unsigned base)
{
	size_t n = 1;

	while (value >= base) {
		value /= base;
		n++;
	}
	return n;
}

size_t
number_size(const struct number *n, uint64_t value)
{
	switch (n->form) {
	case NUMBER_DECIMAL_UNTIL: return digits_count(value, 10) + 1;
	case NUMBER_HEX_UNTIL: return digits_count(value, 16) + 1;
	case NUMBER_VARINT:
	case NUMBER_MQTT: return digits_count(value, 128);
	default: return n->width;
	}
}

bool
number_fits(const struct number *n, uint64_t value)
{
	switch (n->form) {
	case NUMBER_UNSIGNED: return n->width == 8 || value >> 8 * n->width == 0;
	case NUMBER_SIGNED:
		return n->width == 8 ||
		       (value + (UINT64_C(1) << (8 * n->width - 1))) >> 8 * n->width == 0;
	case NUMBER_DECIMAL: return digits_count(value, 10) <= n->width;
	case NUMBER_HEX: return digits_count(value, 16) <= n->width;
	case NUMBER_DECIMAL_UNTIL: return digits_count(value, 10) < NUMBER_WIDEST;
	case NUMBER_HEX_UNTIL: return digits_count(value, 16) < NUMBER_WIDEST;
	case NUMBER_MQTT: return value >> 7 * MQTT_WIDEST == 0;
	case NUMBER_BYTES: return false;
	default: return true;
	}
}

static void
digits_put(uint64_t value, unsigned base, size_t n, char *at)
{
	for (size_t i = n; i > 0; i--, value /= base)
		at[i - 1] = "0123456789abcdef"[value % base];
}

static void
varint_put(uint64_t value, char *at)
{
	while (value >= 0x80) {
		*at++ = (char)(0x80 | (value & 0x7f));
		value >>= 7;
	}
	*at = (char)value;
}

void
number_put(const struct number *n, uint64_t value, char *at)
{
	size_t size = number_size(n, value);

	switch (n->form) {
	case NUMBER_DECIMAL: digits_put(value, 10, size, at); break;
	case NUMBER_HEX: digits_put(value, 16, size, at); break;
	case NUMBER_DECIMAL_UNTIL:
	case NUMBER_HEX_UNTIL:
		digits_put(value, n->form == NUMBER_HEX_UNTIL ? 16 : 10, size - 1, at);
		at[size - 1] = n->until;
		break;
	case NUMBER_VARINT:
	case NUMBER_MQTT: varint_put(value, at); break;
	default:
		for (size_t i = 0; i < size; i++, value >>= 8)
			at[n->little ? i : size - 1 - i] = (char)value;
	}
}

uint64_t
number_most(const struct number *n)
{
	unsigned bits = n->form == NUMBER_SIGNED ? 8 * n->width - 1u : 8u * n->width;
	uint64_t most = 0;

	switch (n->form) {
	case NUMBER_UNSIGNED:
	case NUMBER_SIGNED: return bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
	case NUMBER_HEX: return n->width >= 16 ? UINT64_MAX : (UINT64_C(1) << 4 * n->width) - 1;
	case NUMBER_DECIMAL:
		if (n->width >= NUMBER_WIDEST)
			return UINT64_MAX;
		for (size_t i = 0; i < n->width; i++)
			most = most * 10 + 9;
		return most;
	case NUMBER_MQTT: return (UINT64_C(1) << 7 * MQTT_WIDEST) - 1;
	case NUMBER_BYTES: return 0;
	default: return UINT64_MAX;
	}
}
