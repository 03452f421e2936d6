/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Heads of questions: what the parser takes is inside and clean, the start of it incomplete, and
 * what the URI and the hop-by-hop fields make of it holds too.
 */
#include "h1_head.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct message m;
	struct arena a;
	enum reason why;
	struct slice value;

	arena_init(&a, NULL, 0);
	if (h1_head_check(h1_parse_question, &m, &a, slice_make((const char *)data, n)) > 0) {
		MUST(m.minor == 0 || (m.known >> KNOWN_HOST & 1) != 0);
		MUST(m.minor == 0 || m.host.n > 0);
		for (size_t i = 0; i < m.host.n; i++)
			MUST(ascii_lower(m.host.at[i]) == m.host.at[i] && strchr(" \t/?#@%", m.host.at[i]) == NULL);
		MUST(!m.upgrade || (m.method == METHOD_GET && m.body == BODY_NONE));
		MUST(!(message_find(&m, KNOWN_CONTENT_LENGTH, SLICE_EMPTY, 0, &value) &&
		    message_find(&m, KNOWN_TRANSFER_ENCODING, SLICE_EMPTY, 0, &value)));
		MUST(m.body != BODY_TO_CLOSE);
		if (uri_normalise(&m, &a, &why))
			MUST(m.path.at[0] == '/' || slice_is(m.path, "*"));
		fields_strip(&m);
		MUST(!message_find(&m, KNOWN_CONNECTION, SLICE_EMPTY, 0, &value));
		MUST(!message_find(&m, KNOWN_TRANSFER_ENCODING, SLICE_EMPTY, 0, &value));
		MUST(m.minor == 0 || message_find(&m, KNOWN_HOST, SLICE_EMPTY, 0, &value));
	}
	arena_reset(&a);
	return 0;
}
