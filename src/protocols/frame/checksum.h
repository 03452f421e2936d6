/* SPDX-License-Identifier: BSD-2-Clause */
/* Checksums that frames carry. */
#ifndef MILLRACE_PROTOCOLS_FRAME_CHECKSUM_H
#define MILLRACE_PROTOCOLS_FRAME_CHECKSUM_H

#include "base/bytes.h"

enum checksum {
	CHECKSUM_NONE,
	CHECKSUM_XOR8,
	CHECKSUM_CRC16_MODBUS,          /* polynomial 8005 reflected, from ffff */
	CHECKSUM_CRC32,                 /* of Ethernet and zlib */
};

uint32_t checksum(enum checksum kind, struct slice bytes);
unsigned checksum_width(enum checksum kind);            /* in bytes, as a binary number */

#endif
