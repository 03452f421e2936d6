/* SPDX-License-Identifier: BSD-2-Clause */
#include "config_case.h"
#include "core/reason.h"
#include "core/settings.h"

static const struct table server_tables[] = { { server_settings_rows, 0 }, { NULL, 0 } };
static const struct table route_tables[] = { { route_settings_rows, 0 }, { NULL, 0 } };

struct settings_case {
	struct config_case config;
	struct reading reading;
	struct server_settings server;
	struct settings route;
};

static bool
fill(struct settings_case *c, const char *text, bool route)
{
	memset(c, 0, sizeof(*c));
	case_open(&c->config, text);
	c->reading = (struct reading){ .arena = &c->config.arena, .sources = &c->config.sources, .diag = &c->config.diag };

	const struct block *block = ast_parse(&c->config.arena, c->config.main, &c->config.diag);

	return route ? schema_fill(&c->reading, route_tables, block, "route", &c->route)
		     : schema_fill(&c->reading, server_tables, block, "server", &c->server);
}

static void
test_defaults(void **state)
{
	struct settings_case c;

	assert_true(fill(&c, "", false));
	assert_int_equal(c.server.common.access.format, ACCESS_OFF);
	assert_int_equal(c.server.common.body_timeout, 30000);
	assert_int_equal(c.server.common.write_timeout, 60000);
	assert_int_equal(c.server.common.keepalive_timeout, 60000);
	assert_int_equal(c.server.common.idle_timeout, 600000);
	assert_int_equal(c.server.common.body_max, 1024 * 1024);
	assert_int_equal(c.server.common.body_least, 240);
	assert_int_equal(c.server.common.write_least, 240);
	assert_int_equal(c.server.common.least_grace, 5000);
	assert_int_equal(c.server.common.question_buffer, 0);
	assert_int_equal(c.server.common.answer_buffer, 0);
	assert_int_equal(c.server.listener.head_timeout, 10000);
	assert_int_equal(c.server.listener.uri_max, 8192);
	assert_int_equal(c.server.listener.field_max, 8192);
	assert_int_equal(c.server.listener.head_max, 32768);
	assert_int_equal(c.server.listener.field_count_max, 100);
	assert_int_equal(c.server.listener.first_message_timeout, 0);
	assert_int_equal(c.server.listener.message_timeout, 60000);
	assert_int_equal(c.server.listener.messages_max, 64);
	assert_int_equal(c.server.listener.message_rate.limit.each, 0);
	assert_int_equal(c.server.listener.heartbeat.interval, 0);
	assert_int_equal(c.server.listener.heartbeat.miss, 2);
	assert_int_equal(c.server.common.answer_over, ANSWER_WAIT);
	case_close(&c.config);

	assert_true(fill(&c, "", true));
	assert_int_equal(c.route.idle_timeout, 600000);
	assert_int_equal(c.route.body_max, 1024 * 1024);
	case_close(&c.config);
}

static void
test_said(void **state)
{
	struct settings_case c;

	assert_true(fill(&c, "timeout { header 5s; body 1m30s; keepalive 0s; idle 7d; }\n"
			     "max { uri 4k; headers 64k; header_count 7; body 0; }\naccess_log \"a.log\" json;", false));
	assert_int_equal(c.server.listener.head_timeout, 5000);
	assert_int_equal(c.server.common.body_timeout, 90000);
	assert_int_equal(c.server.common.keepalive_timeout, 0);
	assert_int_equal(c.server.common.idle_timeout, UINT64_C(7) * 24 * 3600 * 1000);
	assert_int_equal(c.server.common.write_timeout, 60000);
	assert_int_equal(c.server.listener.uri_max, 4096);
	assert_int_equal(c.server.listener.head_max, 65536);
	assert_int_equal(c.server.listener.field_count_max, 7);
	assert_int_equal(c.server.common.body_max, 0);
	assert_int_equal(c.server.common.access.format, ACCESS_JSON);
	assert_true(slice_is(c.server.common.access.path, "a.log"));
	case_close(&c.config);

	assert_true(fill(&c, "min { body 0; write 8k/s; after 0s; } buffer { question 64m; answer 1k; }", true));
	assert_int_equal(c.route.body_least, 0);
	assert_int_equal(c.route.write_least, 8192);
	assert_int_equal(c.route.least_grace, 0);
	assert_int_equal(c.route.question_buffer, 64 * 1024 * 1024);
	assert_int_equal(c.route.answer_buffer, 1024);
	case_close(&c.config);
	/* one a second is a rate; so is the largest */
	assert_true(fill(&c, "min { body 1/s; write 1g/s; }", true));
	assert_int_equal(c.route.body_least, 1);
	assert_int_equal(c.route.write_least, 1 << 30);
	case_close(&c.config);
	assert_true(fill(&c, "access_log x.log;", true));
	assert_int_equal(c.route.access.format, ACCESS_COMBINED);
	case_close(&c.config);
	assert_true(fill(&c, "access_log off;", true));
	assert_int_equal(c.route.access.format, ACCESS_OFF);
	assert_int_equal(c.route.access.path.n, 0);
	case_close(&c.config);
}

static void
test_messages(void **state)
{
	struct settings_case c;

	assert_true(fill(&c, "timeout { first_message 3s; message 1m; } max { messages 5; }\n"
			     "heartbeat { interval 20s; send \"ping\\n\"; miss 3; } buffer { answer 64k over=drop_oldest; }\n"
			     "message_rate 50/s burst=100 over=close;", false));
	assert_int_equal(c.server.listener.first_message_timeout, 3000);
	assert_int_equal(c.server.listener.message_timeout, 60000);
	assert_int_equal(c.server.listener.messages_max, 5);
	assert_int_equal(c.server.listener.heartbeat.interval, 20000);
	assert_true(slice_is(c.server.listener.heartbeat.send, "ping\n"));
	assert_int_equal(c.server.listener.heartbeat.miss, 3);
	assert_int_equal(c.server.common.answer_buffer, 65536);
	assert_int_equal(c.server.common.answer_over, ANSWER_DROP_OLDEST);
	assert_int_equal(c.server.listener.message_rate.over, RATE_CLOSE);
	assert_int_equal(c.server.listener.message_rate.limit.each, 20 * 1000 * 1000);
	assert_int_equal(c.server.listener.message_rate.limit.all, UINT64_C(2000) * 1000 * 1000);
	case_close(&c.config);
	assert_true(fill(&c, "message_rate 5/m;", false));
	assert_int_equal(c.server.listener.message_rate.over, RATE_WAIT);
	assert_int_equal(c.server.listener.message_rate.limit.each, UINT64_C(12) * 1000 * 1000 * 1000);
	assert_int_equal(c.server.listener.message_rate.limit.all, UINT64_C(60) * 1000 * 1000 * 1000);
	case_close(&c.config);
	assert_true(fill(&c, "message_rate 0; buffer { answer 1k; }", false));
	assert_int_equal(c.server.listener.message_rate.limit.each, 0);
	assert_int_equal(c.server.common.answer_over, ANSWER_WAIT);
	case_close(&c.config);
}

static void
expect(const char *text, bool route, const char *said)
{
	struct settings_case c;

	assert_false(fill(&c, text, route));
	case_expect_lines(&c.config, said);
	case_close(&c.config);
}

static void
test_misplaced(void **state)
{
	expect("timeout { header 20s; }", true,
	    "a.conf:1:11: error: \"header\" acts before a route is known; set it in server or defaults\n");
	expect("max { uri 1k; header_count 5; body 1k; }", true,
	    "a.conf:1:7: error: \"uri\" acts before a route is known; set it in server or defaults\n"
	    "a.conf:1:15: error: \"header_count\" acts before a route is known; set it in server or defaults\n");
}

static void
test_wrong(void **state)
{
	expect("access_log off json;", false, "a.conf:1:16: error: \"access_log off\" takes no format\n");
	expect("access_log \"\";", false, "a.conf:1:12: error: \"access_log\" wants a path, or off\n");
}

/* Bounds hold; what schema.c says of them is tested there. */
static void
test_bounds(void **state)
{
	static const char *const texts[] = { "timeout { header 0s; }", "timeout { idle 30; }", "max { uri 1m; }",
		"max { header_count 101; }", "max { header_count 0; }", "access_log x jsn;", "min { body 240; }",
		"min { write 1025m/s; }", "min { body /s; }", "min { body k/s; }", "min { body 99999999999999999999/s; }",
		"min { body 17179869184g/s; }", "min { after 2h; }", "buffer { answer 65m; }",
		"message_rate 50;", "message_rate 5/d;", "message_rate 0/s;", "message_rate 1/s burst=-1;",
		"buffer { answer 0 over=drop; }", "timeout { message 0s; }", "max { messages 0; }",
		"heartbeat { miss 0; }" };

	for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
		struct settings_case c;

		assert_false(fill(&c, texts[i], false));
		assert_int_equal(c.config.diag.errors, 1);
		case_close(&c.config);
	}
}

static void
test_reasons(void **state)
{
	for (size_t i = 0; i < REASON_COUNT; i++) {
		const struct reason_text *r = &reason_texts[i];

		assert_non_null(r->word);
		assert_non_null(r->text);
		assert_true(r->status == 0 || (r->status >= 400 && r->status <= 505));
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(r->word, reason_texts[k].word);
	}
	assert_int_equal(reason_texts[REASON_HEAD_TOO_LARGE].status, 431);
	assert_int_equal(reason_texts[REASON_PEER_CONNECT_TIMEOUT].status, 504);
	assert_int_equal(reason_texts[REASON_CLIENT_GONE].status, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_said),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_misplaced),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_reasons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
