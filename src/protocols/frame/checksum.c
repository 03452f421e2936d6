/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checksums, half a byte a step: small tables, and messages of the protocols that have them are
 * short.
 */
#include "protocols/frame/checksum.h"

static const uint16_t crc16_steps[16] = {
	0x0000, 0xcc01, 0xd801, 0x1400, 0xf001, 0x3c00, 0x2800, 0xe401,
	0xa001, 0x6c00, 0x7800, 0xb401, 0x5000, 0x9c01, 0x8801, 0x4400,
};

static const uint32_t crc32_steps[16] = {
	0x00000000,
	0x1db71064,
	0x3b6e20c8,
	0x26d930ac,
	0x76dc4190,
	0x6b6b51f4,
	0x4db26158,
	0x5005713c,
	0xedb88320,
	0xf00f9344,
	0xd6d6a3e8,
	0xcb61b38c,
	0x9b64c2b0,
	0x86d3d2d4,
	0xa00ae278,
	0xbdbdf21c,
};

static uint32_t
xor8(struct slice bytes)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < bytes.n; i++)
		sum ^= (uint8_t)bytes.at[i];
	return sum;
}

static uint32_t
crc16_modbus(struct slice bytes)
{
	uint32_t crc = 0xffff;

	for (size_t i = 0; i < bytes.n; i++) {
		crc ^= (uint8_t)bytes.at[i];
		crc = crc >> 4 ^ crc16_steps[crc & 15];
		crc = crc >> 4 ^ crc16_steps[crc & 15];
	}
	return crc;
}

static uint32_t
crc32(struct slice bytes)
{
	uint32_t crc = ~UINT32_C(0);

	for (size_t i = 0; i < bytes.n; i++) {
		crc ^= (uint8_t)bytes.at[i];
		crc = crc >> 4 ^ crc32_steps[crc & 15];
		crc = crc >> 4 ^ crc32_steps[crc & 15];
	}
	return ~crc;
}

uint32_t
checksum(enum checksum kind, struct slice bytes)
{
	switch (kind) {
	case CHECKSUM_XOR8: return xor8(bytes);
	case CHECKSUM_CRC16_MODBUS: return crc16_modbus(bytes);
	case CHECKSUM_CRC32: return crc32(bytes);
	case CHECKSUM_NONE: break;
	}
	return 0;
}

unsigned
checksum_width(enum checksum kind)
{
	static const uint8_t widths[] = { 0, 1, 2, 4 };

	return widths[kind];
}
