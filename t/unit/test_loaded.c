/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Protocols of modules behind the table of a protocol of messages: the shipped ones, cut at every byte, the JSON one
 * beside its declaration; one that lies in every way there is; what a module's directives come to; which modules
 * are not taken, and what is said then.
 */
#include "config_case.h"

#include <unistd.h>

#include "core/exchange.h"
#include "protocols/frame/declared.h"
#include "server/build.h"

static struct scratch scratch;

/* ------------------------------------------------------------------ a configuration with a module */

static struct slice
read_module(const char *name)
{
	static char text[4 << 20];
	const char *build = getenv("BUILD");
	char path[4096];
	FILE *from;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", build != NULL ? build : ".", name);
	from = fopen(path, "r");
	assert_non_null(from);
	n = fread(text, 1, sizeof(text), from);
	fclose(from);
	return slice_make(text, n);
}

static struct snapshot *
build_case(struct config_case *c, const char *file, const char *text)
{
	case_open(c, text);
	case_add(c, "/conf/m.so", read_module(file));
	c->sources.directory = SLICE("/conf");
	case_add(c, "/conf/a.conf", slice_of(text));

	const struct build_input in = { .files = &c->sources, .path = SLICE("/conf/a.conf") };

	return build_snapshot(&in, &c->diag);
}

struct loaded_case {
	struct config_case config;
	struct snapshot *snapshot;
	const struct codec *k;
};

static void
open_with(struct loaded_case *c, const char *file, const char *block, const char *protocol)
{
	char text[1024];

	snprintf(text, sizeof(text),
	    "module \"m.so\"%s server { listen 127.0.0.1:1; protocol %s; close; }", block, protocol);
	c->snapshot = build_case(&c->config, file, text);
	case_expect(&c->config, "");
	assert_non_null(c->snapshot);
	c->k = c->snapshot->servers[0].protocol->codec;
	assert_non_null(c->k);
}

static void
close_case(struct loaded_case *c)
{
	snapshot_release(NULL, c->snapshot);
	case_close(&c->config);
	scratch_reset(&scratch);
}

/* ------------------------------------------------------------------ reading */

/* What a direction says, in pieces of `step` bytes behind the first one, as text. */
static void
transcript(const struct codec *k, struct slice in, size_t first, size_t step, struct builder *out)
{
	_Alignas(8) char state[CODEC_STATE] = "";
	size_t at = 0, have = MIN_OF(first, in.n);

	k->begin(k, state, true);
	for (;;) {
		struct unit u = { .fault = NULL };
		/* of the very size: AddressSanitizer sees who reads past it */
		char *copy = memory_alloc(MAX_OF(have - at, (size_t)1));
		enum codec_verdict verdict;

		memcpy(copy, in.at + at, have - at);
		verdict = k->next(k, state, slice_make(copy, have - at), &scratch, &u);
		if (verdict == CODEC_MORE && have == in.n && have > at)
			verdict = k->finish(k, state, slice_make(copy, have - at), &scratch, &u);
		if (verdict == CODEC_MESSAGE) {
			assert_true(u.wire.at == copy && u.wire.n >= 1 && u.wire.n <= have - at);
			assert_true(u.body_at + u.body_n <= u.inner.n && u.id_at + u.id_n <= u.inner.n);
			builder_printf(out, "%zu[", u.wire.n);
			builder_log(out, unit_body(&u));
			builder_byte(out, ']');
		} else if (verdict == CODEC_SKIP)
			builder_byte(out, '~');
		else if (verdict == CODEC_BAD)
			builder_printf(out, "!%s", u.fault);
		at += verdict == CODEC_MESSAGE || verdict == CODEC_SKIP ? u.wire.n : 0;
		free(copy);
		if (verdict == CODEC_BAD || (verdict == CODEC_MORE && have == in.n))
			break;
		if (verdict == CODEC_MORE)
			have += MIN_OF(step, in.n - have);
	}
	builder_byte(out, '\0');
	assert_false(out->full);
	scratch_reset(&scratch);
}

static void
assert_reads(const struct codec *k, struct slice in, const char *want)
{
	static char got[65536];
	struct builder g;

	for (size_t cut = 0; cut <= in.n; cut++) {
		g = builder_on(got, sizeof(got));
		transcript(k, in, cut, in.n + 1, &g);
		assert_string_equal(got, want);
		if (cut == 0)
			continue;
		g = builder_on(got, sizeof(got));
		transcript(k, in, 0, cut, &g);
		assert_string_equal(got, want);
	}
}

static const char *
write_text(const struct codec *k, const char *body, const char **fault)
{
	static char text[2048];
	struct slice wire = SLICE_EMPTY;
	struct builder b = builder_on(text, sizeof(text));

	*fault = k->write(k, &(struct draft){ .body = slice_of(body), .is_answer = true }, &scratch, &wire);
	builder_log(&b, *fault == NULL ? wire : SLICE_EMPTY);
	builder_byte(&b, '\0');
	return text;
}

static void
lines_are_messages(void **state)
{
	struct loaded_case c;
	const char *fault;
	char full[70000];

	open_with(&c, "modules/line_protocol.so", ";", "line");
	assert_int_equal(c.k->max, 65536);
	assert_reads(c.k, SLICE("a\n\nbc\r\nd"), "2[a\\x0a]1[\\x0a]4[bc\\x0d\\x0a]!truncated");
	assert_string_equal(write_text(c.k, "x\n", &fault), "x\\x0a");
	write_text(c.k, "x", &fault);
	assert_string_equal(fault, "not_one_message");
	write_text(c.k, "x\ny\n", &fault);
	assert_string_equal(fault, "not_one_message");
	write_text(c.k, "", &fault);
	assert_string_equal(fault, "not_one_message");

	/* exactly max, and one byte more */
	_Alignas(8) char memory[CODEC_STATE] = "";
	struct unit u;

	memset(full, 'x', sizeof(full));
	full[65535] = '\n';
	c.k->begin(c.k, memory, true);
	assert_int_equal(c.k->next(c.k, memory, slice_make(full, 65535), &scratch, &u), CODEC_MORE);
	assert_int_equal(c.k->next(c.k, memory, slice_make(full, 65536), &scratch, &u), CODEC_MESSAGE);
	full[65535] = 'x';
	assert_int_equal(c.k->next(c.k, memory, slice_make(full, 65535), &scratch, &u), CODEC_MORE);
	assert_int_equal(c.k->next(c.k, memory, slice_make(full, 65536), &scratch, &u), CODEC_BAD);
	assert_string_equal(u.fault, "too_long");
	close_case(&c);
}

/* ------------------------------------------------------------------ the JSON one, loaded and declared */

static const char *const json_streams[] = {
	"{\"type\":\"message\",\"content\":\"hello\"}\n",
	"{\"type\":\"a\"}\n{\"type\":\"b\"}\r\n",
	"\n\n{}\n",
	"no json\n",
	"{\"type\":\"half",
	"{\"type\":\n\"b\"}\n",
	"\"\xff\xfe\"\n\x01\x02\n",
};

static void
json_is_as_declared(void **state)
{
	struct declared x = { .frame = { .kind = FRAME_BOUNDARY, .boundary = { .any = { SLICE("\n") }, .count = 1 },
		.max = 64, .format = FORMAT_JSON, .answers = FRAME_ANSWERS_IN_ORDER } };
	struct frame_mistakes none = { NULL, NULL, 0 };
	struct loaded_case c;
	static char want[65536];

	assert_true(frame_check(&x.frame, &none));
	declared_init(&x, "declared");
	open_with(&c, "modules/jsonnl.so", " { max 64; }", "jsonnl");
	assert_int_equal(c.k->max, x.codec.max);
	assert_int_equal(c.k->pairing, x.codec.pairing);
	assert_string_equal(c.k->type, x.codec.type);
	for (size_t i = 0; i < ARRAY_COUNT(json_streams); i++) {
		struct slice in = slice_of(json_streams[i]);
		struct builder w = builder_on(want, sizeof(want));

		transcript(&x.codec, in, in.n, 1, &w);
		assert_reads(c.k, in, want);
	}
	for (size_t n = 60; n < 68; n++) {
		char line[80];
		struct builder w = builder_on(want, sizeof(want));

		memset(line, 'x', n);
		line[n - 1] = '\n';
		transcript(&x.codec, slice_make(line, n), n, 1, &w);
		assert_reads(c.k, slice_make(line, n), want);
	}
	for (size_t i = 0; i < 4; i++) {
		static const char *const bodies[] = { "{}", "", "x\ny", "{\"code\":0}" };
		const char *one_fault, *other_fault;
		char one[256];

		snprintf(one, sizeof(one), "%s", write_text(c.k, bodies[i], &one_fault));
		assert_string_equal(write_text(&x.codec, bodies[i], &other_fault), one);
		assert_int_equal(one_fault == NULL, other_fault == NULL);
	}
	close_case(&c);
}

/* The field of a line as text, moved as a message is that outlives its pass; "-": there is none. */
static const char *
field_of(const struct loaded_case *c, const char *line, const char *name)
{
	static char text[256];
	_Alignas(8) char state[CODEC_STATE] = "";
	struct reading r = { .arena = (struct arena *)&c->config.arena, .diag = (struct diag *)&c->config.diag };
	const struct scope scope = { .protocol = c->snapshot->servers[0].protocol, .moment = MOMENT_QUESTION, .where = "a test" };
	struct exchange ex = { .unit = &(struct unit){ .fault = NULL } };
	struct unit *u = ex.unit;
	struct field_ref ref;
	struct field_value value;

	assert_true(field_find(&r, &scope, slice_of(name), (struct span){ 0 }, &ref));
	c->k->begin(c->k, state, true);
	assert_int_equal(c->k->next(c->k, state, slice_of(line), &scratch, u), CODEC_MESSAGE);

	struct slice inner = u->inner;
	char *moved = arena_text(r.arena, inner);

	if (inner.at != u->wire.at) {
		u->inner.at = moved;
		memset((char *)(uintptr_t)inner.at, '#', inner.n);
	}
	if (!ref.field->get(&ex, &ref, 0, &value))
		return "-";
	assert_false(ref.field->get(&ex, &ref, 1, &value));
	if (ref.field->type == FIELD_NUMBER)
		snprintf(text, sizeof(text), "%lld", (long long)value.number);
	else
		snprintf(text, sizeof(text), SLICE_FORMAT, SLICE_ARG(value.text));
	return text;
}

static void
json_fields(void **state)
{
	static const struct {
		const char *line, *field, *want;
	} cases[] = {
		{ "{\"type\":\"message\",\"content\":\"hello\"}\n", "msg.type", "message" },
		{ "{\"type\":\"message\",\"content\":\"hello\"}\n", "msg.content", "hello" },
		{ "{\"type\":\"message\",\"content\":\"hello\"}\n", "msg.class", "-" },
		{ "{\"type\":\"message\",\"content\":\"hello\"}\n", "msg.len", "37" },
		{ " { \"a\" : {\"type\":\"no\"} , \"type\" : \"yes\" } \r\n", "msg.type", "yes" },
		{ "{\"a\":[{\"type\":\"no\"},\"]}\"],\"type\":-12 }\n", "msg.type", "-12" },
		{ "{\"type\":\"a\\\"b\\\\\\n\\u00e4\\u20ac\\ud83d\\ude00\"}\n", "msg.type", "a\"b\\\nä€😀" },
		{ "{\"type\":\"\\ud83d\\u00e4 \\uzzzz\"}\n", "msg.type", "\xef\xbf\xbd\xc3\xa4 \xef\xbf\xbd" },
		{ "{\"type\":\"\"}\n", "msg.type", "" },
		{ "{\"type\":null}\n", "msg.type", "-" },
		{ "{\"type\":{\"type\":1}}\n", "msg.type", "-" },
		{ "{\"type\":\"x\n", "msg.type", "-" },
		{ "{\"type\":\n", "msg.type", "-" },
		{ "[\"type\"]\n", "msg.type", "-" },
		{ "\n", "msg.type", "-" },
		{ "{}\n", "msg.body", "{}" },
		{ "{\"type\":\"x\"}\n", "msg.body", "{\"type\":\"x\"}" },
		{ "{\"type\":\"\\u0078\"}\n", "msg.body", "{\"type\":\"\\u0078\"}" },
	};
	struct loaded_case c;

	open_with(&c, "modules/jsonnl.so", ";", "jsonnl");
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		assert_string_equal(field_of(&c, cases[i].line, cases[i].field), cases[i].want);
	close_case(&c);
}

/* ------------------------------------------------------------------ one that lies */

static void
reports_are_checked(void **state)
{
	static const struct {
		const char *protocol, *want;
	} cases[] = {
		{ "negative", "!module_unknown_result" },
		{ "least", "!module_unknown_result" },
		{ "most", "!too_long" },
		{ "wrap", "!too_long" },
		{ "bad", "!malformed" },
		{ "too_large", "!too_long" },
		{ "unsupported", "!unsupported" },
		{ "past_resume", "!module_resumes_past_end" },
		{ "wild_resume", "!module_resumes_past_end" },
		{ "below_header", "!module_length_below_header" },
		{ "decodes_result", "!module_unknown_result" },
		{ "decodes_null", "!module_null_span" },
		{ "decodes_huge", "!module_long_span" },
		{ "decodes_unknown_field", "!module_unknown_field" },
		{ "decodes_greedy", "~~" },
		{ "decodes_long_id", "!id_too_long" },
		{ "decodes_copies", "9[gfedcba ]6[54321]" },
		{ "once", "8[ abcdefg]!truncated" },
		{ "forever", "!truncated" },
	};
	struct loaded_case c;

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		open_with(&c, "t/unit/hostile.so", ";", cases[i].protocol);
		assert_reads(c.k, SLICE(" abcdefg\n12345\n"), cases[i].want);
		close_case(&c);
	}
}

/* What ends a message lies behind what was said to be a part of it. */
static void
no_way_back(void **state)
{
	struct loaded_case c;
	char got[64];
	struct builder g = builder_on(got, sizeof(got));

	open_with(&c, "t/unit/hostile.so", ";", "back");
	transcript(c.k, SLICE("12345678"), 5, 3, &g);
	assert_string_equal(got, "!module_length_below_what_was_read");
	close_case(&c);
}

/* R2: who never says how long a message is has a limit all the same. */
static void
forever_ends(void **state)
{
	struct loaded_case c;
	_Alignas(8) char memory[CODEC_STATE] = "";
	char text[1024] = "";
	struct unit u;

	open_with(&c, "t/unit/hostile.so", ";", "forever");
	c.k->begin(c.k, memory, true);
	assert_int_equal(c.k->next(c.k, memory, slice_make(text, 1023), &scratch, &u), CODEC_MORE);
	assert_int_equal(c.k->next(c.k, memory, slice_make(text, 1024), &scratch, &u), CODEC_BAD);
	assert_string_equal(u.fault, "too_long");
	close_case(&c);
}

static void
writing_is_checked(void **state)
{
	static const struct {
		const char *protocol, *want;
	} cases[] = {
		{ "encodes_nothing", "not_one_message" },
		{ "encodes_two", "not_one_message" },
		{ "encodes_endless", "too_long" },
		{ "encodes_null", "too_long" },
		{ "encodes_refuses", "unsupported" },
		{ "forever", "not_one_message" },
		{ "most", "not_one_message" },
	};
	struct loaded_case c;
	const char *fault;

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		open_with(&c, "t/unit/hostile.so", ";", cases[i].protocol);
		write_text(c.k, "body", &fault);
		assert_string_equal(fault, cases[i].want);
		close_case(&c);
	}
}

static void
ids(void **state)
{
	struct loaded_case c;
	_Alignas(8) char memory[CODEC_STATE] = "";
	char room[CODEC_ID_LONGEST];
	uint64_t number;
	struct unit u;
	struct slice wire;

	open_with(&c, "t/unit/hostile.so", ";", "by_id");
	assert_true(c.k->independent);
	assert_int_equal(c.k->pairing, CODEC_BY_ID);
	assert_true(c.k->id_most(c.k) == UINT32_MAX);
	assert_true(slice_is(c.k->id_make(c.k, 4711, room), "4711"));
	assert_true(c.k->id_number(c.k, SLICE("4711"), &number) && number == 4711);
	assert_false(c.k->id_number(c.k, SLICE("04711"), &number));
	assert_false(c.k->id_number(c.k, SLICE("0"), &number));
	assert_false(c.k->id_number(c.k, SLICE("4294967296"), &number));
	c.k->begin(c.k, memory, true);
	assert_int_equal(c.k->next(c.k, memory, SLICE("17 text\n"), &scratch, &u), CODEC_MESSAGE);
	assert_true(slice_is(unit_id(&u), "17") && slice_is(unit_body(&u), "text") && !u.one_way);
	assert_null(c.k->id_set(c.k, &u, SLICE("4711"), &scratch, &wire));
	assert_true(slice_is(wire, "4711 text\n"));
	assert_int_equal(c.k->next(c.k, memory, SLICE("text\n"), &scratch, &u), CODEC_MESSAGE);
	assert_true(u.one_way && u.id_n == 0 && !u.pushed);
	assert_null(c.k->write(c.k, &(struct draft){ .body = SLICE("b"), .id = SLICE("9") }, &scratch, &wire));
	assert_true(slice_is(wire, "9 b\n"));
	close_case(&c);

	/* one that forgets to: the message is not sent with another's id */
	open_with(&c, "t/unit/hostile.so", ";", "by_lost_id");
	memset(memory, 0, sizeof(memory));
	c.k->begin(c.k, memory, true);
	assert_int_equal(c.k->next(c.k, memory, SLICE("17 text\n"), &scratch, &u), CODEC_MESSAGE);
	assert_string_equal(c.k->id_set(c.k, &u, SLICE("4711"), &scratch, &wire), "no_place_for_id");
	close_case(&c);

	/* one that says more than there is room for, the second time */
	open_with(&c, "t/unit/hostile.so", ";", "by_other_id");
	assert_int_equal(c.k->id_make(c.k, 4711, room).n, 63);
	assert_int_equal(c.k->id_make(c.k, 4711, room).n, CODEC_ID_LONGEST);
	close_case(&c);
}

/* ------------------------------------------------------------------ what is not taken */

#define SERVER "server { listen 127.0.0.1:1; return 200; }"

static void
modules_that_are_refused(void **state)
{
	static const struct {
		const char *other, *want;
	} cases[] = {
		{ "abi", "was built for ABI 7 of modules; this server has ABI 1: build it with this server's millrace/module.h" },
		{ "size", "has a struct millrace_module of 12 bytes; ABI 1 has at least 64" },
		{ "name", "has no name" },
		{ "none of them", "says that it cannot work here: its millrace_module returned NULL" },
		{ "nameless", "offers a protocol without a name" },
		{ "small", "has a struct millrace_protocol of 16 bytes; ABI 1 has at least 152" },
		{ "builtin", "offers a protocol \"http\", which is builtin" },
		{ "mute", "offers a protocol \"mute\" that has no input" },
		{ "endless", "offers a protocol \"endless\" that says no max from 1 to 1g" },
		{ "proxy", "offers a handler \"proxy\", which is builtin" },
		{ "idle", "offers a handler \"idle_step\" that has no question" },
		{ "outside", "has an argument of \"outside\" that lies outside of its struct" },
		{ "typeless", "has an argument of \"typeless\" that is unknown here" },
	};

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct config_case c;
		char want[512];

		setenv("MILLRACE_HOSTILE", cases[i].other, 1);
		assert_null(build_case(&c, "t/unit/hostile.so", "module \"m.so\"; " SERVER));
		/* the table was looked at before or after it was known by the name that stands there */
		snprintf(want, sizeof(want), "/conf/a.conf:1:8: error: module \"%s\" %s\n",
		    i < 4 ? "/conf/m.so" : "m.so", cases[i].want);
		case_expect_lines(&c, want);
		case_close(&c);
	}
	unsetenv("MILLRACE_HOSTILE");
}

static void
directives_are_checked(void **state)
{
	static const struct {
		const char *block, *want;
	} cases[] = {
		{ "flg on;", "/conf/a.conf:1:17: error: unknown directive \"flg\" in module; did you mean \"flag\"?\n" },
		{ "flag yes;", "/conf/a.conf:1:22: error: \"yes\" is not on or off; write \"on\"\n" },
		{ "number 12;", "/conf/a.conf:1:24: error: \"12\" is out of bounds; from 1 to 9\n" },
		{ "duration 5;", "/conf/a.conf:1:26: error: \"5\" is not a duration; write \"5s\"\n" },
		{ "colour grren;", "/conf/a.conf:1:24: error: \"grren\" is not red or green; did you mean \"green\"?\n" },
		{ "flag on; flag off;", "/conf/a.conf:1:26: error: \"flag\" is already set\n/conf/a.conf:1:17: note: first set here\n" },
		{ "flag;", "/conf/a.conf:1:17: error: missing argument on|off of \"flag\"\n" },
		{ "flag on when 1 == 1;", NULL },
		{ "entry a numbr=3;", "/conf/a.conf:1:25: error: unknown option \"numbr\" of \"entry\"; did you mean \"number\"?\n" },
		{ "refuse \"I do not like it\";", "/conf/a.conf:1:1: error: I do not like it\n" },
		{ "refuse silently;", "/conf/a.conf:1:8: error: module \"m.so\" refuses its settings and does not say why\n" },
		{ "jsonnl { }", "/conf/a.conf:1:17: error: unknown directive \"jsonnl\" in module\n" },
	};

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct config_case c;
		char text[512];

		snprintf(text, sizeof(text), "module \"m.so\" { %s } " SERVER, cases[i].block);
		assert_null(build_case(&c, "t/unit/hostile.so", text));
		if (cases[i].want != NULL)
			case_expect_lines(&c, cases[i].want);
		case_close(&c);
	}
}

static void
directives_are_shown(void **state)
{
	static const char text[] = "module \"m.so\" { number 7; entry a; entry b number=4; many 3 4 5; text \"x\\ty\"; } " SERVER;
	struct config_case c;
	char *shown = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&shown, &n);

	case_open(&c, text);
	case_add(&c, "/conf/m.so", read_module("t/unit/hostile.so"));
	c.sources.directory = SLICE("/conf");
	case_add(&c, "/conf/a.conf", slice_of(text));

	const struct build_input in = { .files = &c.sources, .path = SLICE("/conf/a.conf") };

	assert_true(build_print_effective(&in, &c.diag, to));
	fclose(to);
	assert_non_null(strstr(shown,
	    "module \"m.so\" {\t# /conf/a.conf:1\n"
	    "\tflag on;\t# default\n"
	    "\tnumber 7;\t# /conf/a.conf:1\n"
	    "\tsize 4k;\t# default\n"
	    "\tduration 2s;\t# default\n"
	    "\tcolour green;\t# default\n"
	    "\ttext \"x\\ty\";\t# /conf/a.conf:1\n"
	    "\tmany 3 4 5;\t# /conf/a.conf:1\n"
	    "\tentry a;\t# /conf/a.conf:1\n"
	    "\tentry b number=4;\t# /conf/a.conf:1\n"
	    "}\n"));
	free(shown);
	case_close(&c);
}

static void
other_mistakes(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "module \"gone.so\"; " SERVER,
		    "/conf/a.conf:1:8: error: there is neither a module \"/conf/gone.so\" nor \"" MILLRACE_MODULE_DIR "/gone.so\"\n" },
		{ "module \"/gone.so\"; " SERVER,
		    "/conf/a.conf:1:8: error: cannot read module \"/gone.so\": No such file or directory\n" },
		{ "module \"a.conf\"; " SERVER,
		    "/conf/a.conf:1:8: error: module \"/conf/a.conf\" cannot be loaded: file too short\n" },
		{ "module \"m.so\"; module \"./m.so\"; " SERVER,
		    "/conf/a.conf:1:23: error: module \"./m.so\" is loaded twice\n/conf/a.conf:1:8: note: the first is here\n" },
		{ "module \"\"; " SERVER, "/conf/a.conf:1:8: error: a path is not empty\n" },
		{ "module; " SERVER, "/conf/a.conf:1:1: error: missing argument PATH of \"module\"\n" },
		{ "module \"m.so\"; server { listen 127.0.0.1:1; protocol by_ib; close; }",
		    "/conf/a.conf:1:54: error: there is no protocol \"by_ib\"; did you mean \"by_id\"?\n" },
		{ "module \"m.so\"; server { listen 127.0.0.1:1; clozes; }",
		    "/conf/a.conf:1:45: error: unknown directive \"clozes\" in server; did you mean \"closes\"?\n" },
		{ "module \"m.so\"; server { listen 127.0.0.1:1; protocol tcp; closes; }",
		    "/conf/a.conf:1:59: error: \"closes\" needs protocol http; this server speaks tcp\n" },
		{ "module \"m.so\"; server { listen 127.0.0.1:1; protocol once; route when msg.txt == \"a\" { closes; } }",
		    "/conf/a.conf:1:71: error: unknown field \"msg.txt\"; did you mean \"msg.text\"?\n" },
	};

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct config_case c;

		assert_null(build_case(&c, "t/unit/hostile.so", cases[i].text));
		case_expect_lines(&c, cases[i].want);
		case_close(&c);
	}
}

/* ------------------------------------------------------------------ equal code is one */

static void
code_is_shared_and_counted(void **state)
{
	struct loaded_case a, b;

	open_with(&a, "modules/jsonnl.so", " { max 100; }", "jsonnl");
	open_with(&b, "modules/jsonnl.so", " { max 200; }", "jsonnl");
	assert_int_equal(a.k->max, 100);
	assert_int_equal(b.k->max, 200);
	close_case(&a);
	assert_reads(b.k, SLICE("{}\n"), "3[{}]");
	close_case(&b);
	open_with(&a, "modules/jsonnl.so", ";", "jsonnl");
	assert_reads(a.k, SLICE("{}\n"), "3[{}]");
	close_case(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_messages),
		cmocka_unit_test(json_is_as_declared),
		cmocka_unit_test(json_fields),
		cmocka_unit_test(reports_are_checked),
		cmocka_unit_test(no_way_back),
		cmocka_unit_test(forever_ends),
		cmocka_unit_test(writing_is_checked),
		cmocka_unit_test(ids),
		cmocka_unit_test(modules_that_are_refused),
		cmocka_unit_test(directives_are_checked),
		cmocka_unit_test(directives_are_shown),
		cmocka_unit_test(other_mistakes),
		cmocka_unit_test(code_is_shared_and_counted),
	};

	scratch_init(&scratch);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	scratch_free(&scratch);
	return failed;
}
