/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The protocol of Redis: the first byte says which direction, how large a message may be and how the rest is cut.
 * A stream reads the same however it is cut, and takes nothing that is not there; the words of a question are as many as
 * it says, and written as an array they are the same words; what is written is read back as one.
 */
#include "base/memory.h"
#include "protocols/resp/resp.h"
#include "fuzz.h"

enum { EVENTS = 4096, STREAM = 4096 };

struct event {
	size_t end;                     /* in the stream; of what is bad: 0 */
	uint8_t verdict, mark;
	bool one_way, pushed;
};

static void
check_words(struct slice wire, struct scratch *scratch)
{
	struct resp_words one, other;
	struct slice word, same, again;
	size_t count = 0;

	resp_words_begin(&one, wire);
	while (resp_words_next(&one, scratch, &word)) {
		MUST(word.n <= wire.n);
		count++;
	}
	MUST(one.fault == NULL && count > 0 && count == resp_word_count(wire));
	if (resp_key(wire, scratch, &word))
		MUST(word.n <= wire.n);
	if (wire.at[0] == '*')
		return;
	if (resp_write_question(wire, scratch, &again) != NULL)
		return;
	resp_words_begin(&one, wire);
	resp_words_begin(&other, again);
	while (resp_words_next(&one, scratch, &word))
		MUST(resp_words_next(&other, scratch, &same) && slice_equal(word, same));
	MUST(!resp_words_next(&other, scratch, &same));
}

static void
check_message(bool question, const struct unit *u, struct scratch *scratch)
{
	struct resp_state state;
	struct unit alone;
	struct slice again;

	/* it is one by itself as well */
	resp_begin(&state, question);
	MUST(resp_measure(&state, RESP_MAX, u->wire, &alone) == CODEC_MESSAGE);
	MUST(alone.wire.n == u->wire.n && alone.pushed == u->pushed);
	if (question)
		check_words(u->wire, scratch);
	else if (!u->pushed && u->wire.at[0] != '|')
		MUST(resp_write_answer(u->wire, scratch, &again) == NULL && slice_equal(again, u->wire));
}

/* What is read of `in`, `step` bytes at a time: the events, those that are skipped together as one. */
static size_t
read_all(uint32_t max, bool question, struct slice in, size_t step, struct scratch *scratch, struct event *events)
{
	const struct codec k = { .max = max };
	char state[CODEC_STATE] __attribute__((aligned(8))) = { 0 };
	size_t at = 0, have = 0, count = 0;

	resp_codec.begin(&k, state, question);
	while (count < EVENTS) {
		struct unit u;
		char *copy = memory_alloc(have - at + 1);
		struct slice piece = { copy, have - at };

		memcpy(copy, in.at + at, piece.n);

		enum codec_verdict verdict = resp_codec.next(&k, state, piece, scratch, &u);

		if (verdict == CODEC_MESSAGE || verdict == CODEC_SKIP) {
			MUST(u.wire.at == copy && u.wire.n > 0 && u.wire.n <= piece.n && u.wire.n <= max);
			at += u.wire.n;
		}
		if (verdict == CODEC_MESSAGE)
			check_message(question, &u, scratch);
		free(copy);
		scratch_reset(scratch);
		if (verdict == CODEC_MORE && have == in.n)
			break;
		if (verdict == CODEC_MORE) {
			have += MIN_OF(step, in.n - have);
			continue;
		}
		if (verdict == CODEC_SKIP && count > 0 && events[count - 1].verdict == CODEC_SKIP)
			count--;
		MUST(verdict != CODEC_BAD || u.fault != NULL);
		events[count++] = (struct event){ verdict == CODEC_BAD ? 0 : at, (uint8_t)verdict, u.mark, u.one_way, u.pushed };
		if (verdict == CODEC_BAD)
			break;
	}
	return count;
}

static void
check_written(struct slice text, struct scratch *scratch)
{
	struct resp_state state;
	struct slice wire;
	struct unit u;

	for (int question = 0; question < 2; question++) {
		const char *fault = question ? resp_write_question(text, scratch, &wire) : resp_write_answer(text, scratch, &wire);

		if (fault != NULL)
			continue;
		resp_begin(&state, question);
		MUST(resp_measure(&state, RESP_MAX, wire, &u) == CODEC_MESSAGE && u.wire.n == wire.n && !u.pushed);
		if (question)
			check_words(wire, scratch);
	}
	scratch_reset(scratch);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct event whole[EVENTS], cut[EVENTS];
	static struct scratch scratch;

	if (n < 2 || n > STREAM)
		return 0;
	if (scratch.at == NULL)
		scratch_init(&scratch);

	bool question = data[0] & 1;
	uint32_t max = data[0] & 2 ? RESP_MAX : 24 + data[1];
	size_t step = data[0] >> 2;
	struct slice in = slice_make((const char *)data + 2, n - 2);
	size_t count = read_all(max, question, in, in.n + 1, &scratch, whole);

	for (size_t i = 0; i < 2; i++) {
		MUST(read_all(max, question, in, i == 0 ? 1 : step + 2, &scratch, cut) == count);
		for (size_t e = 0; e < count; e++)
			MUST(whole[e].end == cut[e].end && whole[e].verdict == cut[e].verdict && whole[e].mark == cut[e].mark &&
			     whole[e].one_way == cut[e].one_way && whole[e].pushed == cut[e].pushed);
	}
	check_written(in, &scratch);
	return 0;
}
