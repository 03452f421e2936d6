/* SPDX-License-Identifier: BSD-2-Clause */
#include "exchange_case.h"

/* Compiles the second value of the first statement as a text of that place. */
static bool
compile(struct exchange_case *c, enum text_place place, struct text *t)
{
	struct argument argument = { .name = "TEXT", .type = &type_text, .more = place };

	return type_text.read(&c->reading, &c->block->first->values[1], &argument, t) &&
	    type_text.compile(&c->reading, &c->scope, &argument, t);
}

static void
expect_slice(struct slice text, const char *wanted, size_t n)
{
	assert_int_equal(text.n, n);
	assert_memory_equal(text.at, wanted, n);
}

static void
expect_constant(const char *source, const char *wanted, size_t n)
{
	struct exchange_case c;
	struct text t;

	exchange_open(&c, source);
	assert_true(compile(&c, TEXT_PLAIN, &t));
	assert_true(t.constant);
	expect_slice(t.literal, wanted, n);
	exchange_close(&c);
}

#define EXPECT_CONSTANT(source, wanted) expect_constant((source), (wanted), sizeof(wanted) - 1)

static void
test_constant(void **state)
{
	EXPECT_CONSTANT("x \"\";", "");
	EXPECT_CONSTANT("x word;", "word");
	EXPECT_CONSTANT("x \"a\\n\\t\\\\\\\"\\x41\\0b\";", "a\n\t\\\"A\0b");
	EXPECT_CONSTANT("x 'say \"no\"';", "say \"no\"");
	EXPECT_CONSTANT("x \"\\${path}\";", "${path}");
	EXPECT_CONSTANT("x \"a $ b $\";", "a $ b $");
	EXPECT_CONSTANT("x \"\\x24{path}\";", "${path}");
	EXPECT_CONSTANT("x \"{}}\";", "{}}");
}

static void
expect_built(const char *source, enum text_place place, const char *path, const char *wanted)
{
	struct exchange_case c;
	struct text t;
	struct slice out;

	exchange_open(&c, source);
	exchange_path(&c, path);
	fake.tags[0] = "one";
	fake.tags[1] = "two";
	fake.query = "a=%20&b=c d";
	assert_true(compile(&c, place, &t));
	assert_false(t.constant);
	assert_true(text_get(&t, &c.ex, &out));
	expect_slice(out, wanted, strlen(wanted));
	exchange_close(&c);
}

static void
test_built(void **state)
{
	expect_built("x \"${path}\";", TEXT_PLAIN, "/p", "/p");
	expect_built("x \"<${path}>${path}\\n\";", TEXT_PLAIN, "/p", "</p>/p\n");
	expect_built("x \"[${method}]\";", TEXT_PLAIN, "/p", "[]");
	expect_built("x \"${tag.a}|${param.a}\";", TEXT_PLAIN, "/p", "one, two|one");
	expect_built("x \"\\$${path}\\$\";", TEXT_PLAIN, "/p", "$/p$");
	/* what is substituted is not read again */
	expect_built("x \"${path}\";", TEXT_PLAIN, "/${path}\\n", "/${path}\\n");
}

static void
test_places(void **state)
{
	/* what the configuration says stays; only values are escaped */
	expect_built("x \"a\\r\\n${path}\";", TEXT_HEADER, "/\r\nX: 1\t\x7f\x80", "a\r\n/  X: 1\t \x80");
	expect_built("x '{\"p\":\"${path}\"}';", TEXT_JSON, "/\"\\\n", "{\"p\":\"/\\\"\\\\\\n\"}");
	expect_built("x '<b a=\"${path}\">&';", TEXT_HTML, "/<i>&\"'\n", "<b a=\"/&lt;i&gt;&amp;&quot;&#39;\n\">&");
	expect_built("x '\"${path}\"';", TEXT_LOG, "/\"\n", "\"/\\x22\\x0a\"");
	expect_built("x '${path}';", TEXT_PLAIN, "/\"\n", "/\"\n");
}

static void
test_urls(void **state)
{
	/* decoded bytes go back as they came: no second decoding, no query of a path's making */
	expect_built("x \"/a${path}\";", TEXT_URL, "/%2e%2e/ ?#\r\n\xff", "/a/%252e%252e/%20%3F%23%0D%0A%FF");
	expect_built("x \"${path}\";", TEXT_URL, "/~u:@!$&'()*+,;=-._", "/~u:@!$&'()*+,;=-._");
	expect_built("x \"/a?p=${path}\";", TEXT_URL, "/x&y=1+2;3", "/a?p=/x%26y%3D1%2B2%3B3");
	/* a raw piece stays raw */
	expect_built("x \"/a?${query}\";", TEXT_URL, "/", "/a?a=%20&b=c%20d");
}

static void
expect_error(const char *source, const char *said)
{
	struct exchange_case c;
	struct text t;

	exchange_open(&c, source);
	assert_false(compile(&c, TEXT_PLAIN, &t));
	exchange_expect(&c, said);
}

static void
test_errors(void **state)
{
	expect_error("x \"ab${pth}\";", "a.conf:1:8: error: unknown field \"pth\"; did you mean \"path\"?\n");
	expect_error("x \"${pth}${hots}\";", "a.conf:1:6: error: unknown field \"pth\"; did you mean \"path\"?\n"
					     "a.conf:1:12: error: unknown field \"hots\"; did you mean \"host\"?\n");
	expect_error("x \"at $path.\";",
	    "a.conf:1:7: error: a field in a string is written \"${path}\"; a plain dollar sign is \"\\$\"\n");
	expect_error("x \"$1\";", "a.conf:1:4: error: a field in a string is written \"${1}\"; a plain dollar sign is \"\\$\"\n");
	expect_error("x \"a${path\";", "a.conf:1:5: error: \"${\" without its \"}\"; a plain dollar sign is \"\\$\"\n");
	expect_error("x \"a${}\";", "a.conf:1:5: error: \"${}\" names no field\n");
	expect_error("x \"\xc3\xa9${result}\";", "a.conf:1:7: error: field \"result\" is known only once the answer is there; "
						"the condition of a route is asked before\n");
}

/* An escape that nobody knows: the message is schema.c's, the place ours. */
static void
test_bad_escape(void **state)
{
	struct exchange_case c;
	struct text t;
	unsigned line, column;

	exchange_open(&c, "x \"abc\\q\";");
	assert_false(compile(&c, TEXT_PLAIN, &t));
	assert_int_equal(c.config.diag.errors, 1);
	source_place(c.config.main, c.config.diag.first->span.at, &line, &column);
	assert_int_equal(column, 7);
	exchange_close(&c);
}

static void
test_limit(void **state)
{
	struct exchange_case c;
	struct text t;
	struct slice out;
	static char path[TEXT_MAX + 1];

	exchange_open(&c, "x \"${path}\";");
	assert_true(compile(&c, TEXT_PLAIN, &t));
	memset(path, 'a', sizeof(path));
	c.ex.question.path = slice_make(path, TEXT_MAX);
	assert_true(text_get(&t, &c.ex, &out));
	assert_int_equal(out.n, TEXT_MAX);
	c.ex.question.path.n++;
	assert_false(text_get(&t, &c.ex, &out));
	exchange_close(&c);
}

/* Every beginning of a text is a text, or an error; never anything else. */
static void
test_cut_everywhere(void **state)
{
	static const char whole[] = "a\\x41${path}\\$$b${tag.x}\\";

	for (size_t n = 0; n < sizeof(whole); n++) {
		struct exchange_case c;
		struct text t;
		struct argument argument = { .name = "TEXT", .type = &type_text };

		exchange_open(&c, "");

		/* a copy of its own size: reading past it is seen */
		char *copy = memory_alloc(n + 1);
		struct value v = { .kind = VALUE_STRING, .raw = slice_make(copy, n) };

		memcpy(copy, whole, n);
		assert_true(type_text.read(&c.reading, &v, &argument, &t));
		if (!type_text.compile(&c.reading, &c.scope, &argument, &t))
			assert_true(c.config.diag.errors > 0);
		else
			assert_int_equal(c.config.diag.errors, 0);
		free(copy);
		exchange_close(&c);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_constant),
		cmocka_unit_test(test_built),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_bad_escape),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_cut_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
