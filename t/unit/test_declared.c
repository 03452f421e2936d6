/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/frame behind the table of a protocol of messages: every form, cut at every byte, says what the frame says;
 * what is written is read back; an answer repeats its question's header; ids are put into header and body, and
 * replaced.
 */
#include "frame_case.h"

#include "protocols/frame/declared.h"

static struct scratch scratch;

static struct declared
declared(const struct frame *f)
{
	struct declared x = { .frame = *f };

	if (f->answers_by != NULL) {
		x.id = *f->answers_by;
		x.id.frame = NULL;
	}
	return x;
}

/* In its place for good: what it is paired by points into it. */
static const struct codec *
init(struct declared *x, const char *by)
{
	struct frame_mistakes m = { case_wrong, NULL, 0 };

	if (by != NULL) {
		assert_null(frame_name_parse(&x->frame, slice_of(by), &x->id));
		x->frame.answers = FRAME_ANSWERS_BY_FIELD;
		x->frame.answers_by = &x->id;
	}
	assert_true(frame_check(&x->frame, &m));
	declared_init(x, "test");
	assert_ptr_equal(x->ops.codec, &x->codec);
	return &x->codec;
}

/* As frame_transcript, through the codec. */
static void
codec_transcript(const struct codec *k, struct slice in, size_t first, size_t step, bool question, struct builder *out)
{
	_Alignas(8) char state[CODEC_STATE] = "";
	size_t at = 0, have = 0, grow = first > 0 ? first : step;
	bool junk = false;

	k->begin(k, state, question);
	for (;;) {
		struct unit u = { .fault = NULL };
		char *copy = memory_alloc(have - at);

		if (have > at)
			memcpy(copy, in.at + at, have - at);

		struct slice left = slice_make(copy, have - at);
		enum codec_verdict verdict = k->next(k, state, left, &scratch, &u);

		if (verdict == CODEC_MORE && have == in.n)
			verdict = k->finish(k, state, left, &scratch, &u);
		else if (verdict == CODEC_MORE) {
			free(copy);
			have += MIN_OF(grow, in.n - have);
			grow = step;
			continue;
		}
		if (verdict == CODEC_MESSAGE || verdict == CODEC_SKIP)
			assert_true(u.wire.at == copy && u.wire.n > 0 && u.wire.n <= have - at);
		if (verdict == CODEC_MESSAGE) {
			builder_byte(out, '[');
			builder_log(out, unit_body(&u));
			builder_byte(out, ']');
		} else if (verdict == CODEC_SKIP && u.fault == NULL) {
			if (!junk)
				builder_byte(out, '~');
		} else if (verdict != CODEC_MORE) {
			builder_printf(out, "%c%s", verdict == CODEC_SKIP ? '~' : '!', u.fault);
		}
		junk = verdict == CODEC_SKIP;
		at += u.wire.n;
		free(copy);
		if (verdict == CODEC_MORE || verdict == CODEC_BAD)
			break;
	}
	builder_byte(out, '\0');
	assert_false(out->full);
	scratch_reset(&scratch);
}

static void
assert_same(const struct declared *x, struct slice in, bool question)
{
	static char want[65536], got[65536];
	struct builder w = builder_on(want, sizeof(want));

	frame_transcript(&x->frame, in, 0, in.n + 1, question, &w);
	for (size_t cut = 0; cut <= in.n; cut++) {
		struct builder g = builder_on(got, sizeof(got));

		codec_transcript(&x->codec, in, cut, in.n + 1, question, &g);
		assert_string_equal(got, want);
		if (cut == 0)
			continue;
		g = builder_on(got, sizeof(got));
		codec_transcript(&x->codec, in, 0, cut, question, &g);
		assert_string_equal(got, want);
	}
}

/* Bodies that some form can write. */
static const struct slice bodies[] = {
	SLICE(""), SLICE("data"), SLICE("{\"a\":1}"), SLICE("\x11\3"), SLICE("a=1&b=2"), SLICE("+OK"), SLICE("\xc0\x7d()"),
};

static void
says_what_the_frame_says(void **state)
{
	size_t written = 0;

	for (size_t i = 0; i < ARRAY_COUNT(frame_cases); i++) {
		struct declared x = declared(frame_cases[i]);
		const struct codec *k = init(&x, NULL);
		char stream[1024];
		struct builder s = builder_on(stream, sizeof(stream));

		for (size_t j = 0; j < ARRAY_COUNT(bodies); j++) {
			struct slice wire;

			if (k->write(k, &(struct draft){ .body = bodies[j] }, &scratch, &wire) != NULL)
				continue;
			builder_slice_put(&s, wire);
			/* a copy: the scratch is forgotten after every stream */
			assert_same(&x, slice_after(builder_slice(&s), s.n - wire.n), false);
			written++;
		}
		scratch_reset(&scratch);
		assert_same(&x, builder_slice(&s), false);
		assert_same(&x, builder_slice(&s), true);
		builder_text(&s, "\1\2\3 junk\n");
		assert_same(&x, builder_slice(&s), false);
	}
	assert_true(written > 2 * ARRAY_COUNT(frame_cases));
}

/* One message, read alone. */
static struct unit
read_one(const struct codec *k, struct slice wire, bool question)
{
	_Alignas(8) char state[CODEC_STATE] = "";
	struct unit u;

	k->begin(k, state, question);
	enum codec_verdict verdict = k->next(k, state, wire, &scratch, &u);

	/* a byte that begins and ends ends an empty one first */
	if (verdict == CODEC_SKIP)
		verdict = k->next(k, state, slice_after(wire, u.wire.n), &scratch, &u);
	assert_int_equal(verdict, CODEC_MESSAGE);
	return u;
}

static void
assert_written(const struct codec *k, struct draft d, struct slice want)
{
	struct slice wire = SLICE_EMPTY;

	assert_null(k->write(k, &d, &scratch, &wire));
	assert_int_equal(wire.n, want.n);
	assert_memory_equal(wire.at, want.at, want.n);
}

#define WRITES(k, want, ...) assert_written((k), (struct draft){ __VA_ARGS__ }, SLICE(want))
#define REFUSES(k, word, ...) do { \
		struct slice wire_; \
		const char *wrong_ = (k)->write((k), &(struct draft){ __VA_ARGS__ }, &scratch, &wire_); \
		assert_non_null(wrong_); \
		assert_string_equal(wrong_, (word)); \
	} while (0)

static void
sets_header_fields(void **state)
{
	struct declared x = declared(&modbus_case);
	const struct codec *k = init(&x, "txid");
	struct unit q = read_one(k, SLICE("\x12\x34\0\0\0\3\x11\3k"), true);
	struct unit_set unit = { &modbus_fields[1], SLICE("1") }, large = { &modbus_fields[1], SLICE("256") };
	struct unit_set word = { &modbus_fields[1], SLICE("x") }, minus = { &modbus_fields[1], SLICE("-1") };

	assert_int_equal(k->pairing, CODEC_BY_ID);
	assert_true(!q.one_way && slice_is(unit_id(&q), "\x12\x34"));
	WRITES(k, "\x12\x34\0\0\0\2\1\4", .body = SLICE("\x11\4"), .id = unit_id(&q), .question = &q, .is_answer = true,
	    .sets = &unit, .set_count = 1);
	WRITES(k, "\0\0\0\0\0\2\1\4", .body = SLICE("\x11\4"), .sets = &unit, .set_count = 1);
	REFUSES(k, "unfit", .body = SLICE("\x11\4"), .sets = &large, .set_count = 1);
	REFUSES(k, "unfit", .body = SLICE("\x11\4"), .sets = &word, .set_count = 1);
	REFUSES(k, "unfit", .body = SLICE("\x11\4"), .sets = &minus, .set_count = 1);
}

static void
answers_repeat_the_header(void **state)
{
	struct declared x = declared(&mysql_case), mqtt = declared(&mqtt_case), lsp = declared(&lsp_case), s = declared(&switch_case);
	const struct codec *k = init(&x, NULL);
	struct unit q = read_one(k, SLICE("\3\0\0\7abc"), true);

	WRITES(k, "\2\0\0\7hi", .body = SLICE("hi"), .question = &q, .is_answer = true);
	WRITES(k, "\2\0\0\0hi", .body = SLICE("hi"), .question = &q);
	k = init(&mqtt, NULL);
	q = read_one(k, SLICE("\x30\1a"), true);
	WRITES(k, "\x30\2hi", .body = SLICE("hi"), .question = &q, .is_answer = true);
	k = init(&lsp, NULL);
	q = read_one(k, SLICE("Content-Length: 2\r\nX: y\r\n\r\n{}"), true);
	WRITES(k, "X: y\r\nContent-Length: 1\r\n\r\n1", .body = SLICE("1"), .question = &q, .is_answer = true);
	k = init(&s, NULL);
	q = read_one(k, SLICE("$\0\1a"), true);
	WRITES(k, "$\0\2hi", .body = SLICE("hi"), .question = &q, .is_answer = true);
	WRITES(k, "+hi\r\n", .body = SLICE("hi"));
}

static void
puts_ids_into_bodies(void **state)
{
	struct declared json = declared(&jsonnl_case), nested = declared(&jsonnl_case), words = declared(&lines_case), kv = declared(&text_case);
	const struct codec *k = init(&json, "id");

	WRITES(k, "{\"id\":7,\"a\":1}\n", .body = SLICE("{\"a\":1}"), .id = SLICE("7"));
	WRITES(k, "{\"id\":\"x\"}\n", .body = SLICE("{}"), .id = SLICE("\"x\""));
	WRITES(k, "{\"a\":1,\"id\":12}\n", .body = SLICE("{\"a\":1,\"id\":\"old\"}"), .id = SLICE("12"));
	REFUSES(k, "no_place_for_id", .body = SLICE("[]"), .id = SLICE("7"));
	REFUSES(k, "bad_json", .body = SLICE("{"), .id = SLICE("7"));
	k = init(&nested, "meta.id");
	WRITES(k, "{\"meta\":{\"id\":7}}\n", .body = SLICE("{\"meta\":{\"id\":1}}"), .id = SLICE("7"));
	REFUSES(k, "no_place_for_id", .body = SLICE("{}"), .id = SLICE("7"));
	k = init(&words, "[1]");
	WRITES(k, "OK 7\r\n", .body = SLICE("OK"), .id = SLICE("7"));
	WRITES(k, "OK 7 more\r\n", .body = SLICE("OK old more"), .id = SLICE("7"));
	REFUSES(k, "no_place_for_id", .body = SLICE(""), .id = SLICE("7"));
	kv.frame.format = FORMAT_KV;
	kv.frame.equals = '=';
	kv.frame.between = ';';
	k = init(&kv, "id");
	WRITES(k, "a=1;id=7\n", .body = SLICE("a=1"), .id = SLICE("7"));
	WRITES(k, "id=7\n", .body = SLICE(""), .id = SLICE("7"));
	WRITES(k, "id=7;a=1\n", .body = SLICE("id=;a=1"), .id = SLICE("7"));
	REFUSES(k, "no_place_for_id", .body = SLICE("a=1;id"), .id = SLICE("7"));
	REFUSES(k, "no_place_for_id", .body = SLICE("id= ;a"), .id = SLICE("7"));
	WRITES(k, "id=7;a=1\n", .body = SLICE("id=300;a=1"), .id = SLICE("7"));
}

static void
replaces_ids(void **state)
{
	static const char *const messages[] = { "{\"id\":1}\n", "{\"a\":[1],\"id\":\"much longer\",\"b\":2}\n" };
	struct declared x = declared(&jsonnl_case);
	const struct codec *k = init(&x, "id");
	char room[CODEC_ID_LONGEST];
	uint64_t number;

	for (size_t i = 0; i < ARRAY_COUNT(messages); i++) {
		struct unit q = read_one(k, slice_of(messages[i]), true), ours, back;
		struct slice wire, again;

		assert_null(k->id_set(k, &q, k->id_make(k, 9, room), &scratch, &wire));
		ours = read_one(k, wire, false);
		assert_true(k->id_number(k, unit_id(&ours), &number) && number == 9);
		assert_null(k->id_set(k, &ours, unit_id(&q), &scratch, &again));
		assert_true(slice_is(again, messages[i]));
		back = read_one(k, again, true);
		assert_true(slice_equal(unit_id(&back), unit_id(&q)));
	}

	struct unit none = read_one(k, SLICE("{\"a\":1}\n"), true);

	assert_true(none.one_way && none.id_n == 0);
	assert_int_equal(k->id_most(k), (UINT64_C(1) << 53) - 1);
}

static void
replaces_ids_that_are_escaped(void **state)
{
	struct declared x = declared(&hdlc_case);
	static const struct frame_field fields[] = { { SLICE("id"), U(2), 0 } };
	const struct codec *k;
	struct slice wire, again;

	x.frame.fields = fields;
	x.frame.field_count = 1;
	k = init(&x, "id");
	assert_null(k->write(k, &(struct draft){ .body = SLICE("\x7e\x7d" "body") }, &scratch, &wire));

	struct unit q = read_one(k, wire, true);

	assert_true(slice_is(unit_id(&q), "\x7e\x7d"));
	assert_null(k->id_set(k, &q, SLICE("\1\2"), &scratch, &again));

	struct unit ours = read_one(k, again, true);

	assert_true(slice_is(unit_body(&ours), "\1\2body"));
	assert_null(k->id_set(k, &ours, unit_id(&q), &scratch, &again));
	assert_true(slice_equal(again, wire));
}

static void
keeps_to_max(void **state)
{
	static char body[200];
	struct declared x = declared(&slip_case);
	const struct codec *k = init(&x, NULL);
	struct slice wire;

	/* all of it is escaped */
	memset(body, 0xc0, sizeof(body));
	assert_null(k->write(k, &(struct draft){ .body = slice_make(body, 31) }, &scratch, &wire));
	assert_int_equal(wire.n, 63);
	REFUSES(k, "too_long", .body = slice_make(body, 32));
	REFUSES(k, "too_long", .body = slice_make(body, 200));
}

static void
has_a_type(void **state)
{
	struct declared json = declared(&jsonnl_case), text = declared(&text_case), kv = declared(&whole_case), bin = declared(&modbus_case);

	assert_string_equal(init(&json, NULL)->type, "application/json");
	assert_string_equal(init(&text, NULL)->type, "text/plain");
	assert_string_equal(init(&kv, NULL)->type, "application/x-www-form-urlencoded");
	assert_string_equal(init(&bin, NULL)->type, "application/octet-stream");
	assert_null(json.codec.error);
	assert_null(json.codec.idempotent);
}

static int
setup(void **state)
{
	scratch_init(&scratch);
	return frame_cases_check(state);
}

static int
teardown(void **state)
{
	scratch_free(&scratch);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_the_frame_says),
		cmocka_unit_test(sets_header_fields),
		cmocka_unit_test(answers_repeat_the_header),
		cmocka_unit_test(puts_ids_into_bodies),
		cmocka_unit_test(replaces_ids),
		cmocka_unit_test(replaces_ids_that_are_escaped),
		cmocka_unit_test(keeps_to_max),
		cmocka_unit_test(has_a_type),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
