/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every target has: its one function, and what ends it.
 */
#ifndef MILLRACE_FUZZ_FUZZ_H
#define MILLRACE_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define MUST(x) \
	do { \
		if (!(x)) \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
