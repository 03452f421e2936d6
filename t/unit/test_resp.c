/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/resp: every type cut at every byte, streams of a thousand, hostile numbers, values in
 * values; words split as redis splits them; what a connection was told; what is written for what
 * people write.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/memory.h"
#include "protocols/resp/resp.h"

enum { MAX = 128 };

static struct scratch scratch;

/* ------------------------------------------------------------------ transcripts */

/* A question as its words: GET|k */
static void
put_words(struct builder *out, struct slice wire)
{
	struct resp_words w;
	struct slice word;
	bool first = true;

	resp_words_begin(&w, wire);
	for (; resp_words_next(&w, &scratch, &word); first = false) {
		if (!first)
			builder_byte(out, '|');
		builder_log(out, word);
	}
	assert_null(w.fault);
}

/*
 * What is read of `in` when it comes `first` bytes, then `step` at a time: messages as [wire] or [words], pushes as
 * [>wire], questions without an answer as [=words], what is skipped as ~, faults as !word. Each piece lies in
 * memory of its own size.
 */
static void
transcript(uint32_t max, bool question, struct slice in, size_t first, size_t step, struct builder *out)
{
	const struct codec k = { .max = max };
	char state[CODEC_STATE] __attribute__((aligned(8))) = { 0 };
	size_t at = 0, have = 0, grow = first > 0 ? first : step;
	bool skipped = false;

	resp_codec.begin(&k, state, question);
	for (;;) {
		struct unit u;
		char *copy = memory_alloc(have - at);
		struct slice piece = { copy, have - at };

		if (piece.n > 0)
			memcpy(copy, in.at + at, piece.n);

		enum codec_verdict verdict = resp_codec.next(&k, state, piece, &scratch, &u);

		if (verdict == CODEC_MORE && have == in.n)
			verdict = resp_codec.finish(&k, state, piece, &scratch, &u);
		else if (verdict == CODEC_MORE) {
			free(copy);
			have += MIN_OF(grow, in.n - have);
			grow = step;
			continue;
		}
		if (verdict == CODEC_MESSAGE || verdict == CODEC_SKIP) {
			assert_true(u.wire.at == copy && u.wire.n > 0 && u.wire.n <= piece.n);
			at += u.wire.n;
		}
		if (verdict == CODEC_MESSAGE) {
			assert_true(slice_equal(unit_body(&u), u.wire) && u.id_n == 0);
			builder_text(out, u.pushed ? "[>" : u.one_way ? "[=" : "[");
			if (question)
				put_words(out, u.wire);
			else
				builder_log(out, u.wire);
			builder_byte(out, ']');
		} else if (verdict == CODEC_SKIP && !skipped) {
			builder_byte(out, '~');
		} else if (verdict == CODEC_BAD) {
			assert_non_null(u.fault);
			builder_printf(out, "!%s", u.fault);
		}
		skipped = verdict == CODEC_SKIP;
		free(copy);
		scratch_reset(&scratch);
		if (verdict == CODEC_BAD || verdict == CODEC_MORE)
			break;
	}
	builder_byte(out, '\0');
	assert_false(out->full);
}

/* Whole, cut in two at every byte, and in pieces of every size: always that. */
static void
assert_reads(uint32_t max, bool question, struct slice in, const char *want)
{
	static char got[1 << 16];
	struct builder b = builder_on(got, sizeof(got));

	transcript(max, question, in, 0, in.n + 1, &b);
	assert_string_equal(got, want);
	for (size_t cut = 1; cut < in.n; cut++) {
		b.n = 0;
		transcript(max, question, in, cut, in.n, &b);
		assert_string_equal(got, want);
		b.n = 0;
		transcript(max, question, in, 0, cut, &b);
		assert_string_equal(got, want);
	}
}

/* One answer, and all of it. */
static void
assert_value(struct slice in)
{
	char want[2048];
	struct builder b = builder_on(want, sizeof(want));

	for (int i = 0; i < 2; i++) {
		builder_byte(&b, '[');
		builder_log(&b, in);
		BUILDER_LITERAL(&b, "]");
	}
	builder_byte(&b, '\0');

	char *twice = memory_alloc(2 * in.n);

	memcpy(twice, in.at, in.n);
	memcpy(twice + in.n, in.at, in.n);
	assert_reads(1024, false, slice_make(twice, 2 * in.n), want);
	free(twice);
}

#define VALUE(in)           assert_value(SLICE(in))
#define ANSWER(in, want)    assert_reads(MAX, false, SLICE(in), want)
#define QUESTION(in, want)  assert_reads(MAX, true, SLICE(in), want)

/* ------------------------------------------------------------------ answers */

static void
reads_every_type(void **state)
{
	VALUE("+OK\r\n");
	VALUE("+\r\n");
	VALUE("-ERR no such \x80 key\r\n");
	VALUE(":0\r\n");
	VALUE(":-9223372036854775808\r\n");
	VALUE(":9223372036854775807\r\n");
	VALUE(":+7\r\n");
	VALUE("$0\r\n\r\n");
	VALUE("$-1\r\n");
	VALUE("$7\r\n\r\n$1\r\n\n\r\n");
	VALUE("*0\r\n");
	VALUE("*-1\r\n");
	VALUE("*2\r\n$1\r\na\r\n*1\r\n:1\r\n");
	VALUE("_\r\n");
	VALUE("#t\r\n");
	VALUE("#f\r\n");
	VALUE("!5\r\nERR x\r\n");
	VALUE("=7\r\ntxt:abc\r\n");
	VALUE("(-3492890328409238509324850943850943825024385\r\n");
	VALUE(",1.5\r\n");
	VALUE(",10\r\n");
	VALUE(",-.5e+10\r\n");
	VALUE(",1.e5\r\n");
	VALUE(",inf\r\n");
	VALUE(",-inf\r\n");
	VALUE(",nan\r\n");
	VALUE(",-nan\r\n");
	VALUE("%2\r\n+a\r\n:1\r\n+b\r\n%1\r\n_\r\n_\r\n");
	VALUE("%0\r\n");
	VALUE("~2\r\n+a\r\n~0\r\n");
	VALUE("|1\r\n+ttl\r\n:3600\r\n$1\r\nv\r\n");
	VALUE("*2\r\n|1\r\n+a\r\n*2\r\n_\r\n_\r\n:1\r\n:2\r\n");
	VALUE("|0\r\n|0\r\n+x\r\n");
}

static void
reads_streams(void **state)
{
	VALUE("$?\r\n;4\r\nHell\r\n;1\r\no\r\n;0\r\n");
	VALUE("$?\r\n;0\r\n");
	VALUE("*?\r\n:1\r\n*2\r\n:2\r\n:3\r\n.\r\n");
	VALUE("*?\r\n.\r\n");
	VALUE("~?\r\n+a\r\n.\r\n");
	VALUE("%?\r\n+a\r\n:1\r\n|1\r\n+x\r\n+y\r\n+b\r\n%?\r\n.\r\n.\r\n");
	VALUE("*3\r\n*?\r\n*2\r\n*?\r\n.\r\n:2\r\n*0\r\n.\r\n$?\r\n;1\r\nx\r\n;0\r\n%?\r\n*?\r\n*?\r\n~?\r\n.\r\n.\r\n.\r\n_\r\n.\r\n");
	ANSWER("*?\r\n*?\r\n*?\r\n*?\r\n*?\r\n", "!too_deep");
	ANSWER("%?\r\n+a\r\n.\r\n", "!bad_stream");
	ANSWER("*?\r\n.x\r\n", "!bad_stream");
	ANSWER("*?\r\n|0\r\n.\r\n", "!bad_type");
	ANSWER("*?\r\n*1\r\n.\r\n", "!bad_type");
	ANSWER(".\r\n", "!bad_type");
	ANSWER("$?\r\n+x\r\n", "!bad_stream");
	ANSWER("$?\r\n;-1\r\n", "!bad_number");
	ANSWER("$?\r\n;1\r\nxy", "!bad_length");
	ANSWER(";1\r\nx\r\n", "!bad_type");
	ANSWER("|?\r\n", "!bad_number");
	ANSWER(">?\r\n", "!bad_number");
	ANSWER("=?\r\n", "!bad_number");
}

static void
tells_pushes(void **state)
{
	ANSWER("+OK\r\n>2\r\n+message\r\n*1\r\n:1\r\n+OK\r\n",
	    "[+OK\\x0d\\x0a][>>2\\x0d\\x0a+message\\x0d\\x0a*1\\x0d\\x0a:1\\x0d\\x0a][+OK\\x0d\\x0a]");
	ANSWER("*1\r\n>1\r\n+x\r\n", "!bad_type");
}

static void
refuses_bad_answers(void **state)
{
	ANSWER("x", "!bad_type");
	ANSWER("\r\n", "!bad_type");
	ANSWER("\xff", "!bad_type");
	ANSWER("*1\r\nGET\r\n", "!bad_type");
	ANSWER("+OK\n", "!bare_lf");
	ANSWER("+O\rK\r\n", "!bare_cr");
	ANSWER("+OK\r\r\n", "!bare_cr");
	ANSWER("*1\n", "!bare_lf");
	ANSWER("+OK", "!truncated");
	ANSWER("+OK\r", "!truncated");
	ANSWER("$3\r\nabc", "!truncated");
	ANSWER("*1\r\n", "!truncated");
	ANSWER("$3\r\nabcd\r\n", "!bad_length");
	ANSWER("$3\r\nabc\n\r", "!bad_length");
	ANSWER("$3\r\nabc\rx", "!bad_length");
	ANSWER("#x\r\n", "!bad_value");
	ANSWER("#\r\n", "!bad_value");
	ANSWER("_x\r\n", "!bad_value");
	ANSWER(":\r\n", "!bad_value");
	ANSWER(":-\r\n", "!bad_value");
	ANSWER(":1x\r\n", "!bad_value");
	ANSWER(":9223372036854775808\r\n", "!bad_value");
	ANSWER(":-9223372036854775809\r\n", "!bad_value");
	ANSWER(",\r\n", "!bad_value");
	ANSWER(",.\r\n", "!bad_value");
	ANSWER(",1e\r\n", "!bad_value");
	ANSWER(",1.5.5\r\n", "!bad_value");
	ANSWER("(12a\r\n", "!bad_value");
	ANSWER("(\r\n", "!bad_value");
	ANSWER("=3\r\ntxt\r\n", "!bad_value");
	ANSWER("%-1\r\n", "!bad_number");
	ANSWER("!-1\r\n", "!bad_number");
}

static void
believes_no_number(void **state)
{
	static const char *const bad[] = { "", "-", "-0", "-2", "+1", "01", "00", " 1", "1 ", "1x", "0x1", "?1", "18446744073709551616",
		"99999999999999999999999999999999", "\t" };
	static const char *const large[] = { "129", "123", "2147483647", "2147483648", "4294967295", "4294967296",
		"9223372036854775807", "9223372036854775808", "18446744073709551615" };
	char text[128];

	for (const char *type = "$*"; *type != '\0'; type++) {
		for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
			snprintf(text, sizeof(text), "%c%s\r\n", *type, bad[i]);
			assert_reads(MAX, false, slice_of(text), "!bad_number");
		}
		for (size_t i = 0; i < ARRAY_COUNT(large); i++) {
			snprintf(text, sizeof(text), "%c%s\r\n", *type, large[i]);
			assert_reads(MAX, false, slice_of(text), "!too_long");
		}
	}
	/* a line that never ends is refused when it is longer than any number */
	memset(text, '1', sizeof(text));
	text[0] = '$';
	assert_reads(1 << 20, false, slice_make(text, 80), "!bad_number");
}

static void
holds_max(void **state)
{
	char text[512];
	struct builder b;

	/* exactly, and one more */
	for (size_t over = 0; over < 2; over++) {
		b = builder_on(text, sizeof(text));
		builder_printf(&b, "$%zu\r\n", MAX - 8 + over);
		memset(text + b.n, 'x', MAX - 8 + over);
		b.n += MAX - 8 + over;
		BUILDER_LITERAL(&b, "\r\n");
		b.n = b.n > MAX + over ? MAX + over : b.n;
		char *shown = memory_alloc(1024);
		struct builder want = builder_on(shown, 1024);

		builder_byte(&want, '[');
		builder_log(&want, builder_slice(&b));
		BUILDER_LITERAL(&want, "]");
		builder_byte(&want, '\0');
		assert_reads((uint32_t)b.n, false, builder_slice(&b), shown);
		assert_reads((uint32_t)b.n - 1, false, builder_slice(&b), "!too_long");
		free(shown);
	}
	/* a line, an array of lines, and what is announced */
	memset(text, 'x', sizeof(text));
	text[0] = '+';
	assert_reads(MAX, false, slice_make(text, MAX), "!too_long");
	assert_reads(MAX, false, slice_make(text, MAX - 1), "!truncated");
	assert_reads(MAX, true, slice_make(text + 1, MAX), "!too_long");
	ANSWER("*41\r\n", "!truncated");
	ANSWER("*42\r\n", "!too_long");
	ANSWER("%21\r\n", "!too_long");
	ANSWER("*40\r\n$4\r\n", "!too_long");
	ANSWER("*2\r\n$114\r\n", "!too_long");
	ANSWER("$?\r\n;118\r\n", "!too_long");
	QUESTION("*20\r\n", "!truncated");
	QUESTION("*21\r\n", "!too_long");
}

static void
reads_what_is_deep(void **state)
{
	enum { DEPTH = 10000 };
	static const char ones[] = "*1\r\n", twos[] = "*2\r\n:1\r\n";
	struct builder b = builder_on(memory_alloc(DEPTH * 16), DEPTH * 16);
	struct resp_state s;
	struct unit u;

	for (size_t i = 0; i < DEPTH; i++)
		builder_put(&b, i & 1 ? ones : twos, i & 1 ? sizeof(ones) - 1 : sizeof(twos) - 1);
	resp_begin(&s, false);
	assert_int_equal(resp_measure(&s, RESP_MAX, builder_slice(&b), &u), CODEC_MORE);
	BUILDER_LITERAL(&b, "_\r\n");
	assert_int_equal(resp_measure(&s, RESP_MAX, builder_slice(&b), &u), CODEC_MESSAGE);
	assert_int_equal(u.wire.n, b.n);
	/* and as a question it is none */
	resp_begin(&s, true);
	assert_int_equal(resp_measure(&s, RESP_MAX, builder_slice(&b), &u), CODEC_BAD);
	free(b.at);
}

/* A thousand bytes that drip, and a bulk that is not looked at: the state says how far it is. */
static void
looks_once(void **state)
{
	enum { BIG = 1 << 20 };
	char *text = memory_alloc(BIG + 32);
	size_t head = (size_t)snprintf(text, 32, "$%d\r\n", BIG);
	struct resp_state s;
	struct unit u;

	memset(text + head, '\n', BIG);
	memcpy(text + head + BIG, "\r\n", 2);
	resp_begin(&s, false);
	assert_int_equal(resp_measure(&s, RESP_MAX, slice_make(text, head), &u), CODEC_MORE);
	assert_int_equal(s.at, head + BIG);
	/* nothing of it is read: it is not there */
	char *bare = memory_alloc(head);

	memcpy(bare, text, head);
	assert_int_equal(resp_measure(&s, RESP_MAX, slice_make(bare, head + BIG), &u), CODEC_MORE);
	free(bare);
	assert_int_equal(resp_measure(&s, RESP_MAX, slice_make(text, head + BIG + 2), &u), CODEC_MESSAGE);

	memset(text, 'x', BIG);
	text[0] = '+';
	for (size_t n = 1; n < 1000; n++) {
		assert_int_equal(resp_measure(&s, RESP_MAX, slice_make(text, n), &u), CODEC_MORE);
		assert_int_equal(s.looked, n);
	}
	free(text);
}

/* ------------------------------------------------------------------ questions */

static void
reads_questions(void **state)
{
	QUESTION("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n", "[GET|k][PING]");
	QUESTION("*3\r\n$3\r\nSET\r\n$0\r\n\r\n$5\r\n\r\n*1\r\r\n", "[SET||\\x0d\\x0a*1\\x0d]");
	QUESTION("\r\n\r\n\n*0\r\n\r\n*-1\r\nPING\r\n*0\r\n", "~[PING]~");
	QUESTION("   \r\nPING\n", "~[PING]");
	QUESTION("*1\r\n:1\r\n", "!bad_question");
	QUESTION("*1\r\n*1\r\n$1\r\nx\r\n", "!bad_question");
	QUESTION("*1\r\n$-1\r\n", "!bad_question");
	QUESTION("*1\r\n$?\r\n", "!bad_question");
	QUESTION("*?\r\n", "!bad_question");
	QUESTION("*-2\r\n", "!bad_number");
	QUESTION("*01\r\n", "!bad_number");
	QUESTION("*1\r\n$1\r\nxy\r\n", "!bad_length");
	for (const char *type = "+-:$_#,(!=%~>|;."; *type != '\0'; type++) {
		char text[] = "?1\r\n";

		text[0] = *type;
		assert_reads(MAX, true, slice_of(text), *type == ';' || *type == '.' ?
		    (*type == ';' ? "[;1]" : "[.1]") : "!bad_question");
	}
	/* TLS */
	QUESTION("\x16\x03\x01", "!bad_question");
	QUESTION("\rx", "!bad_question");
	QUESTION("\r", "!truncated");
	QUESTION("PING", "!truncated");
}

static void
splits_lines_as_redis_does(void **state)
{
	QUESTION("GET k\r\nSET  a\tb \r\n", "[GET|k][SET|a|b]");
	QUESTION("\"FLUSH\\x41LL\"\r\n", "[FLUSHALL]");
	QUESTION("\"\\n\\r\\t\\b\\a\\q\\\\\\\"\" '' 'a\\'b\\n'\n", "[\\x0a\\x0d\\x09\\x08\\x07q\\x5c\\x22||a'b\\x5cn]");
	QUESTION("a\"b c\" d'e'\r\n", "[ab c|de]");
	QUESTION("a\\x41 \"\\xzz\\x4\"\r\n", "[a\\x5cx41|xzzx4]");
	/* VT and FF part words only behind quotes and in front */
	QUESTION(" \v\fa\vb \"c\"\fd\r\n", "[a\\x0bb|c|d]");
	QUESTION("\"a\"b\r\n", "!bad_quotes");
	QUESTION("'a'b\r\n", "!bad_quotes");
	QUESTION("\"a\r\n", "!bad_quotes");
	QUESTION("\"a\\\"\r\n", "!bad_quotes");
	QUESTION("'a\n", "!bad_quotes");
	QUESTION("GET \0k\r\n", "!bad_question");

	enum { LONG = RESP_INLINE_LONGEST };
	char *text = memory_alloc(LONG + 1);
	struct resp_state s;
	struct unit u;

	memset(text, 'x', LONG);
	text[LONG - 1] = '\n';
	resp_begin(&s, true);
	assert_int_equal(resp_measure(&s, RESP_MAX, slice_make(text, LONG), &u), CODEC_MESSAGE);
	text[LONG - 1] = 'x';
	assert_int_equal(resp_measure(&s, RESP_MAX, slice_make(text, LONG - 1), &u), CODEC_MORE);
	assert_int_equal(resp_measure(&s, RESP_MAX, slice_make(text, LONG), &u), CODEC_BAD);
	assert_string_equal(u.fault, "too_long");
	free(text);
}

static void
reads_a_thousand(void **state)
{
	enum { COUNT = 1000 };
	static const char one[] = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
	enum { SIZE = sizeof(one) - 1 };
	char *all = memory_alloc(COUNT * SIZE), *got = memory_alloc(COUNT * 8);

	for (size_t i = 0; i < COUNT; i++)
		memcpy(all + i * SIZE, one, SIZE);
	for (size_t step = 1; step <= COUNT * SIZE; step = step * 7 + 1) {
		struct builder b = builder_on(got, COUNT * 8);

		transcript(MAX, true, slice_make(all, COUNT * SIZE), 0, step, &b);
		for (size_t i = 0; i < COUNT; i++)
			assert_memory_equal(got + i * 7, "[GET|k]", 7);
		assert_int_equal(b.n, COUNT * 7 + 1);
	}
	free(all);
	free(got);
}

/* ------------------------------------------------------------------ commands */

static void
knows_commands(void **state)
{
	assert_true(resp_command_find(SLICE("get"))->flags & RESP_READS);
	assert_true(resp_command_find(SLICE("Zscore"))->flags & RESP_READS);
	assert_true(resp_command_find(SLICE("ACL"))->key == RESP_KEY_NONE);
	assert_false(resp_command_find(SLICE("GETDEL"))->flags & RESP_READS);
	assert_false(resp_command_find(SLICE("SET"))->flags & RESP_READS);
	/* neither a beginning of one nor one with more behind it */
	assert_int_equal(resp_command_find(SLICE("GE"))->flags, 0);
	assert_int_equal(resp_command_find(SLICE(""))->flags, 0);
	assert_int_equal(resp_command_find(SLICE("GET\0"))->flags, 0);
	assert_int_equal(resp_command_find(SLICE("GET\0\0\0\0\0\0\0\0\0\0\0"))->flags, 0);

	const char *last = "";
	size_t count = 0;

	/* the table is in order: all of it is found */
	for (const char *c = "ACL\0AUTH\0BITCOUNT\0EVAL\0EXEC\0LCS\0MGET\0MULTI\0OBJECT\0PSUBSCRIBE\0SELECT\0SUNSUBSCRIBE\0WATCH\0XREADGROUP\0ZUNION\0"; *c != '\0'; c += strlen(c) + 1) {
		assert_true(strcmp(last, c) < 0);
		assert_string_equal(resp_command_find(slice_of(c))->name, c);
		last = c;
		count++;
	}
	assert_int_equal(count, 15);
}

static void
assert_key(const char *line, const char *want)
{
	struct slice wire, key = SLICE_EMPTY;

	assert_null(resp_write_question(slice_of(line), &scratch, &wire));
	if (want == NULL) {
		assert_false(resp_key(wire, &scratch, &key));
	} else {
		assert_true(resp_key(wire, &scratch, &key));
		assert_true(slice_is(key, want));
	}
	/* the same of the line as it is */
	char text[128];

	snprintf(text, sizeof(text), "%s\r\n", line);
	assert_int_equal(resp_key(slice_of(text), &scratch, &key), want != NULL);
	assert_true(want == NULL || slice_is(key, want));
	assert_int_equal(resp_word_count(slice_of(text)), resp_word_count(wire));
	scratch_reset(&scratch);
}

static void
finds_keys(void **state)
{
	assert_key("get k", "k");
	assert_key("SET \"a b\" v", "a b");
	assert_key("JSON.SET k $ 1", "k");
	assert_key("GET", NULL);
	assert_key("PING k", NULL);
	assert_key("AUTH user secret", NULL);
	assert_key("EVAL script 2 a b c", "a");
	assert_key("EVAL script 0 a", NULL);
	assert_key("EVAL script", NULL);
	assert_key("ZUNION 2 a b", "a");
	assert_key("BLMPOP 0 1 l LEFT", "l");
	assert_key("OBJECT ENCODING k", "k");
	assert_key("BITOP AND d a b", "d");
	assert_key("XREAD COUNT 2 streams s1 s2 0 0", "s1");
	assert_key("XREADGROUP GROUP g c STREAMS s >", "s");
	assert_key("XREAD COUNT 2", NULL);
	assert_key("MIGRATE host 6379 k 0 100", "k");
	assert_key("SUBSCRIBE c", NULL);
}

/* For each line the mark: . plain, b bound, m in a transaction; in capitals when it has no answer. */
static void
assert_follows(const char *const *lines, const char *want)
{
	struct resp_state s;
	struct slice wire;
	struct unit u;

	resp_begin(&s, true);
	for (; *lines != NULL; lines++, want++) {
		assert_null(resp_write_question(slice_of(*lines), &scratch, &wire));
		assert_int_equal(resp_codec.next(&resp_codec, &s, wire, &scratch, &u), CODEC_MESSAGE);

		char mark = u.mark & (RESP_MULTI | RESP_WATCH) ? 'm' : u.mark & RESP_BOUND ? 'b' : '.';
		char got[2] = { u.one_way ? (char)(mark == '.' ? '_' : mark & ~0x20) : mark, 0 };
		char wanted[2] = { *want, 0 };

		assert_string_equal(got, wanted);
	}
	assert_int_equal(*want, '\0');
	scratch_reset(&scratch);
}

#define FOLLOWS(want, ...) assert_follows((const char *const[]){ __VA_ARGS__, NULL }, want)

static void
follows_a_connection(void **state)
{
	FOLLOWS("....mmmm.", "GET k", "CLIENT SETNAME x", "HELLO", "SET k v", "MULTI", "GET k", "UNWATCH", "EXEC", "GET k");
	FOLLOWS("mmm.mmm.", "WATCH k", "GET k", "UNWATCH", "GET k", "watch k", "multi", "discard", "GET k");
	FOLLOWS("bbb.", "SELECT 1", "GET k", "RESET", "GET k");
	FOLLOWS("bb", "AUTH x", "GET k");
	FOLLOWS("bBBbb", "hello 3", "SUBSCRIBE c", "UNSUBSCRIBE", "HELLO 2", "SUBSCRIBE c");
	FOLLOWS("BBBBbb", "client reply off", "GET k", "CLIENT REPLY SKIP", "GET k", "CLIENT REPLY ON", "GET k");
	FOLLOWS("BBbBbb", "CLIENT REPLY SKIP", "GET k", "GET k", "CLIENT REPLY SKIP", "CLIENT REPLY ON", "GET k");
	FOLLOWS("bb", "CLIENT TRACKING ON", "GET k");
}

/* ------------------------------------------------------------------ writing */

static void
assert_writes(bool answer, struct slice text, const char *want)
{
	struct draft d = { .body = text, .id = SLICE_EMPTY, .is_answer = answer };
	struct slice wire = SLICE_EMPTY;
	const char *fault = resp_codec.write(&resp_codec, &d, &scratch, &wire);
	char got[512];
	struct builder b = builder_on(got, sizeof(got));

	if (fault != NULL)
		builder_printf(&b, "!%s", fault);
	else
		builder_slice_put(&b, wire);
	builder_byte(&b, '\0');
	assert_string_equal(got, want);
	if (fault == NULL) {
		/* read back: one, and all of it */
		struct resp_state s;
		struct unit u;

		resp_begin(&s, !answer);
		assert_int_equal(resp_measure(&s, RESP_MAX, wire, &u), CODEC_MESSAGE);
		assert_int_equal(u.wire.n, wire.n);
	}
	scratch_reset(&scratch);
}

#define WRITES(text, want) assert_writes(true, SLICE(text), want)
#define ASKS(text, want) assert_writes(false, SLICE(text), want)

static void
writes_answers(void **state)
{
	WRITES("+PONG", "+PONG\r\n");
	WRITES("+PONG\n", "+PONG\r\n");
	WRITES("+PONG\r\n", "+PONG\r\n");
	WRITES("-NOPERM this user has no permissions", "-NOPERM this user has no permissions\r\n");
	WRITES("hello", "$5\r\nhello\r\n");
	WRITES("", "$0\r\n\r\n");
	WRITES("a\r\nb\n", "$5\r\na\r\nb\n\r\n");
	WRITES(":12", ":12\r\n");
	WRITES(":-)", "$3\r\n:-)\r\n");
	WRITES("_", "_\r\n");
	WRITES("#t", "#t\r\n");
	WRITES("#", "$1\r\n#\r\n");
	WRITES("$5\r\nhello", "$5\r\nhello\r\n");
	WRITES("$5\r\nhello\r\n", "$5\r\nhello\r\n");
	WRITES("$-1", "$-1\r\n");
	WRITES("*0", "*0\r\n");
	WRITES("*1\r\n$1\r\nx\r\n", "*1\r\n$1\r\nx\r\n");
	WRITES("*1", "$2\r\n*1\r\n");
	WRITES("$0\r\n\r\n", "$0\r\n\r\n");
	WRITES(">1\r\n+x", "$6\r\n>1\r\n+x\r\n");
	/* two lines are no simple string, and two values no value */
	WRITES("+a\r\n+b", "!line_break");
	WRITES("-a\nb", "!line_break");
	WRITES("-a\rb", "!line_break");
	WRITES("+a\r", "!line_break");
	WRITES(":1\r\n:2\r\n", "$8\r\n:1\r\n:2\r\n\r\n");
	WRITES("\0+", "$2\r\n");
}

static void
writes_questions(void **state)
{
	ASKS("GET k", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
	ASKS("SET \"a b\" ''\n", "*3\r\n$3\r\nSET\r\n$3\r\na b\r\n$0\r\n\r\n");
	ASKS("*1\r\n$4\r\nPING\r\n", "*1\r\n$4\r\nPING\r\n");
	ASKS("*1\r\n$4\r\nPING", "*1\r\n$4\r\nPING\r\n");
	ASKS("*1 k", "!bad_question");
	ASKS("*0", "!bad_question");
	ASKS("*1\r\n$1\r\nx\r\nFLUSHALL", "!bad_question");
	ASKS("GET k\r\nFLUSHALL", "!line_break");
	ASKS("GET k\rFLUSHALL", "!line_break");
	ASKS("", "!empty");
	ASKS("  \n", "!empty");
	ASKS("GET 'k", "!bad_quotes");
	ASKS("\"\\r\\n\"", "*1\r\n$2\r\n\r\n\r\n");

	struct slice ping = resp_codec.ping(&resp_codec);

	assert_writes(false, ping, ping.at);
}

static int
open_scratch(void **state)
{
	scratch_init(&scratch);
	return 0;
}

static int
close_scratch(void **state)
{
	scratch_free(&scratch);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_type),
		cmocka_unit_test(reads_streams),
		cmocka_unit_test(tells_pushes),
		cmocka_unit_test(refuses_bad_answers),
		cmocka_unit_test(believes_no_number),
		cmocka_unit_test(holds_max),
		cmocka_unit_test(reads_what_is_deep),
		cmocka_unit_test(looks_once),
		cmocka_unit_test(reads_questions),
		cmocka_unit_test(splits_lines_as_redis_does),
		cmocka_unit_test(reads_a_thousand),
		cmocka_unit_test(knows_commands),
		cmocka_unit_test(finds_keys),
		cmocka_unit_test(follows_a_connection),
		cmocka_unit_test(writes_answers),
		cmocka_unit_test(writes_questions),
	};

	return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
