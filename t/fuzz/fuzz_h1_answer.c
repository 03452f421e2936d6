/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Heads of answers: what the parser takes is inside and clean, the start of it incomplete, and
 * the body is what the status and the fields say.
 */
#include "h1_head.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct message m;
	struct arena a;

	arena_init(&a, NULL, 0);
	if (h1_head_check(h1_parse_answer, &m, &a, slice_make((const char *)data, n)) > 0) {
		MUST(m.status >= 100 && m.status <= 599);
		MUST(m.body == BODY_NONE || (m.status >= 200 && m.status != 204 && m.status != 304));
		MUST(m.body != BODY_TO_CLOSE || !m.keep_alive);
		MUST(!m.upgrade || m.status == 101);
		fields_strip(&m);
	}
	arena_reset(&a);
	return 0;
}
