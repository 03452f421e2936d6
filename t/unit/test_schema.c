/* SPDX-License-Identifier: BSD-2-Clause */
/* Directive tables: what they fill, and each message to the letter. The tables here are the test's own. */
#include "config_case.h"

#include "base/addr.h"
#include "config/schema.h"

/* A type that is compiled later: the scope is what it becomes. */
struct late {
	struct value raw;
	const char *scope;
	int compiled;
};

static bool
read_late(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	*(struct late *)out = (struct late){ .raw = *v };
	return true;
}

static bool
compile_late(struct reading *r, const struct scope *scope, const struct argument *a, void *out)
{
	struct late *l = out;

	l->scope = (const char *)scope;
	l->compiled++;
	return true;
}

static const struct type type_late = { "LATE", "something for later", sizeof(struct late), read_late, compile_late };

struct limits {
	uint64_t idle, head;
	uint64_t size;
};

struct settings {
	struct limits limits;
	bool on;
	struct late text;
	struct list extras;             /* struct extra */
};

struct extra {
	struct slice name;
	struct late value;
};

struct step {
	int64_t status;
	struct late body;
	int how;
	uint32_t mode;
	bool last;
	struct list words;              /* struct slice */
	struct list pairs;              /* struct pair */
};

struct pair {
	struct value from;
	struct late to;
};

struct route {
	struct settings settings;
	struct slice path;
	struct list steps;
};

struct server {
	struct settings settings;
	struct name name;
	struct list listens, steps, routes;
};

struct listen {
	struct endpoint at;
	uint32_t mode;
	bool tls;
};

struct everything {
	struct settings defaults;
	struct slice user;
	struct late top;
	struct list servers;
};

static const struct argument idle_arguments[] = {
	{ "TIME", &type_duration, offsetof(struct limits, idle), .min = 1000, .max = 3600000 }, { 0 },
};
static const struct argument head_arguments[] = { { "TIME", &type_duration, offsetof(struct limits, head) }, { 0 } };
static const struct argument size_arguments[] = {
	{ "SIZE", &type_size, offsetof(struct limits, size), .min = 1024, .max = 1048576 }, { 0 },
};
static const struct directive limit_rows[] = {
	{ "idle_timeout", DIRECTIVE_SETTING, .arguments = idle_arguments, .otherwise = "60s", .help = "Silence." },
	{ "head_timeout", DIRECTIVE_SETTING, .arguments = head_arguments, .otherwise = "5s", .help = "The head." },
	{ "size", DIRECTIVE_SETTING, .arguments = size_arguments, .otherwise = "8k", .help = "Bytes." },
	{ 0 },
};
static const struct table limit_tables[] = { { limit_rows, 0 }, { 0 } };

static const struct argument on_arguments[] = { { "on|off", &type_flag, offsetof(struct settings, on) }, { 0 } };
static const struct argument text_arguments[] = { { "TEXT", &type_late, offsetof(struct settings, text) }, { 0 } };
static const struct argument extra_arguments[] = {
	{ "NAME", &type_method, offsetof(struct extra, name) },
	{ "VALUE", &type_late, offsetof(struct extra, value) },
	{ 0 },
};
static const struct directive settings_rows[] = {
	{ "limits", DIRECTIVE_BLOCK, .offset = offsetof(struct settings, limits), .inside = limit_tables, .help = "Limits." },
	{ "flag", DIRECTIVE_SETTING, .arguments = on_arguments, .otherwise = "on", .help = "A flag." },
	{ "text", DIRECTIVE_SETTING, .arguments = text_arguments, .otherwise = "\"none at all\"", .help = "A text." },
	{ "extra", DIRECTIVE_SETTING, DIRECTIVE_REPEATS, extra_arguments, offsetof(struct settings, extras),
	    sizeof(struct extra), .help = "One more." },
	{ 0 },
};

static const char *const how_words[] = { "fast", "slow", "careful", NULL };
static const struct argument reply_arguments[] = {
	{ "STATUS", &type_integer, offsetof(struct step, status), .min = 200, .max = 599 },
	{ "BODY", &type_late, offsetof(struct step, body), ARGUMENT_OPTIONAL, .otherwise = "\"\"" },
	{ "how", &type_word, offsetof(struct step, how), ARGUMENT_OPTION, .words = how_words, .otherwise = "slow" },
	{ "mode", &type_octal, offsetof(struct step, mode), ARGUMENT_OPTION, .otherwise = "0600" },
	{ "last", &type_flag, offsetof(struct step, last), ARGUMENT_OPTION },
	{ 0 },
};
static const struct argument pair_arguments[] = {
	{ "FROM", &type_raw, offsetof(struct pair, from) },
	{ "TO", &type_late, offsetof(struct pair, to) },
	{ 0 },
};
static const struct directive pair_rows[] = {
	{ "FROM", DIRECTIVE_SETTING, DIRECTIVE_REPEATS | DIRECTIVE_FREE, pair_arguments, offsetof(struct step, pairs),
	    sizeof(struct pair), .help = "A pair." },
	{ 0 },
};
static const struct table pair_tables[] = { { pair_rows, 0 }, { 0 } };
static const struct argument words_arguments[] = {
	{ "WORD", &type_string, offsetof(struct step, words), ARGUMENT_MANY },
	{ "last", &type_flag, offsetof(struct step, last), ARGUMENT_OPTION },
	{ 0 },
};

static bool
check_reply(struct reading *r, const struct statement *s, void *filled)
{
	struct step *step = filled;

	if (step->status != 204 || step->body.raw.raw.n == 0)
		return true;
	diag_error(r->diag, s->span, "204 has no body");
	return false;
}

static const struct directive step_rows[] = {
	{ "reply", DIRECTIVE_STEP, 0, reply_arguments, 0, sizeof(struct step), .check = check_reply, .help = "Answers." },
	{ "words", DIRECTIVE_STEP, 0, words_arguments, 0, sizeof(struct step), .help = "Words." },
	{ "pairs", DIRECTIVE_STEP, DIRECTIVE_BLOCK_OPTIONAL, NULL, 0, sizeof(struct step), .inside = pair_tables, .help = "Pairs." },
	{ 0 },
};
static const struct table route_tables[] = {
	{ settings_rows, offsetof(struct route, settings) }, { step_rows, offsetof(struct route, steps) }, { 0 },
};
static const struct argument route_arguments[] = {
	{ "PATH", &type_string, offsetof(struct route, path), ARGUMENT_OPTIONAL }, { 0 },
};
static const struct argument listen_arguments[] = {
	{ "ADDRESS", &type_address, offsetof(struct listen, at) },
	{ "mode", &type_octal, offsetof(struct listen, mode), ARGUMENT_OPTION },
	{ "tls", &type_flag, offsetof(struct listen, tls), ARGUMENT_OPTION },
	{ 0 },
};
static const struct directive server_rows[] = {
	{ "listen", DIRECTIVE_SETTING, DIRECTIVE_REPEATS | DIRECTIVE_REQUIRED | DIRECTIVE_LISTENER, listen_arguments,
	    offsetof(struct server, listens), sizeof(struct listen), .help = "Where." },
	{ "route", DIRECTIVE_BLOCK, DIRECTIVE_REPEATS | DIRECTIVE_WHEN, route_arguments, offsetof(struct server, routes),
	    sizeof(struct route), route_tables, NULL, offsetof(struct server, settings), offsetof(struct route, settings),
	    sizeof(struct settings), .help = "A route." },
	{ 0 },
};
static const struct table server_tables[] = {
	{ settings_rows, offsetof(struct server, settings) }, { step_rows, offsetof(struct server, steps) },
	{ server_rows, 0 }, { 0 },
};
static const struct argument server_arguments[] = { { "NAME", &type_name, offsetof(struct server, name) }, { 0 } };
static const struct argument user_arguments[] = { { "NAME", &type_string, offsetof(struct everything, user) }, { 0 } };
static const struct argument top_arguments[] = { { "TEXT", &type_late, offsetof(struct everything, top) }, { 0 } };
static const struct table defaults_tables[] = { { settings_rows, 0 }, { 0 } };
static const struct directive main_rows[] = {
	{ "server", DIRECTIVE_BLOCK, DIRECTIVE_REPEATS, server_arguments, offsetof(struct everything, servers),
	    sizeof(struct server), server_tables, NULL, offsetof(struct everything, defaults),
	    offsetof(struct server, settings), sizeof(struct settings), .help = "A server." },
	{ "defaults", DIRECTIVE_BLOCK, .offset = offsetof(struct everything, defaults), .inside = defaults_tables,
	    .help = "Defaults." },
	{ "user", DIRECTIVE_SETTING, .arguments = user_arguments, .otherwise = "nobody", .help = "Who." },
	{ "top", DIRECTIVE_SETTING, .arguments = top_arguments, .help = "For later." },
	{ 0 },
};
static const struct table main_tables[] = { { main_rows, 0 }, { 0 } };
static const struct elsewhere elsewhere[] = { { "location", "route" }, { "ssl_certificate", "tls { certificate ... }" }, { 0 } };

struct schema_case {
	struct config_case c;
	struct reading r;
	struct everything all;
	bool fine;
};

static void
fill(struct schema_case *s, const char *text)
{
	case_open(&s->c, text);
	s->c.sources.directory = SLICE("/etc/x");
	s->all = (struct everything){ .user = { NULL, 0 } };
	s->r = (struct reading){ .arena = &s->c.arena, .sources = &s->c.sources, .diag = &s->c.diag,
		.elsewhere = elsewhere, .trace = true };
	struct block *block = ast_parse(&s->c.arena, s->c.main, &s->c.diag);
	assert_int_equal(s->c.diag.errors, 0);
	s->fine = schema_fill(&s->r, main_tables, block, "the top level", &s->all);
}

static void
fill_well(struct schema_case *s, const char *text)
{
	fill(s, text);
	case_expect(&s->c, "");
	assert_true(s->fine);
}

static void
expect_errors(const char *text, const char *messages)
{
	struct schema_case s;

	fill(&s, text);
	case_expect_lines(&s.c, messages);
	assert_int_equal(s.fine, messages[0] == '\0');
	case_close(&s.c);
}

/* The same for what stands in a server. */
static void
expect_inside(const char *text, const char *messages)
{
	char whole[1024];

	snprintf(whole, sizeof(whole), "server a { listen 80;\n%s\n}", text);
	expect_errors(whole, messages);
}

static struct filled *
filled_at(const struct list *list, size_t i)
{
	assert_true(i < list->n);
	return (struct filled *)list->items + i;
}

static struct server *
server_at(struct schema_case *s, size_t i)
{
	return filled_at(&s->all.servers, i)->data;
}

static struct route *
route_at(struct server *server, size_t i)
{
	return filled_at(&server->routes, i)->data;
}

static void
test_defaults(void **state)
{
	struct schema_case s;

	fill_well(&s, "server a { listen 80; route { } }");
	assert_true(slice_is(s.all.user, "nobody"));
	assert_int_equal(s.all.defaults.limits.idle, 60000);
	struct server *server = server_at(&s, 0);
	assert_int_equal(server->settings.limits.head, 5000);
	assert_int_equal(server->settings.limits.size, 8192);
	assert_true(server->settings.on);
	assert_true(slice_is(server->settings.text.raw.raw, "none at all"));
	assert_true(slice_is(server->name.text, "a"));
	assert_int_equal(route_at(server, 0)->settings.limits.idle, 60000);
	case_close(&s.c);
}

static void
test_inheritance(void **state)
{
	struct schema_case s;

	fill_well(&s,
	    "server a { route /1 { limits { head_timeout 7s; } flag on; extra Y 1; } route /2 { } limits { size 2k; } listen 80; }\n"
	    "defaults { limits { idle_timeout 30s; size 1k; } flag off; extra A 1; extra B 2; }\n"
	    "server b { listen 80; }");
	struct server *a = server_at(&s, 0), *b = server_at(&s, 1);
	struct route *one = route_at(a, 0), *two = route_at(a, 1);
	assert_int_equal(a->settings.limits.idle, 30000);
	assert_int_equal(a->settings.limits.size, 2048);
	assert_int_equal(b->settings.limits.size, 1024);
	assert_int_equal(one->settings.limits.head, 7000);
	assert_int_equal(one->settings.limits.idle, 30000);
	assert_int_equal(one->settings.limits.size, 2048);
	assert_int_equal(two->settings.limits.head, 5000);
	assert_true(one->settings.on);
	assert_false(two->settings.on);
	assert_int_equal(one->settings.extras.n, 1);
	assert_int_equal(two->settings.extras.n, 2);
	assert_int_equal(b->settings.extras.n, 2);
	assert_true(slice_is(one->path, "/1"));
	assert_false(schema_is_set(&s.r, &two->settings.limits, "size"));
	assert_true(schema_is_set(&s.r, &a->settings.limits, "size"));
	assert_true(schema_is_set(&s.r, one, "flag"));
	assert_false(schema_is_set(&s.r, two, "flag"));
	case_close(&s.c);
}

static void
test_steps_in_order(void **state)
{
	struct schema_case s;

	fill_well(&s, "server a { reply 200; words a \"b\\n\" c last; listen 80; reply 204 when x == y; "
	    "pairs { 1 one; \"2\" 'two'; } reply 201 \"b\" mode=0644 how=fast last; reply 202 mode=\"0640\"; pairs; }");
	struct list *steps = &server_at(&s, 0)->steps;
	assert_int_equal(steps->n, 7);
	struct step *first = filled_at(steps, 0)->data, *words = filled_at(steps, 1)->data;
	struct step *pairs = filled_at(steps, 3)->data, *last = filled_at(steps, 4)->data;
	assert_int_equal(first->status, 200);
	assert_int_equal(first->how, 1);
	assert_int_equal(first->mode, 0600);
	assert_false(first->last);
	assert_int_equal(words->words.n, 3);
	assert_true(slice_is(((struct slice *)words->words.items)[1], "b\n"));
	assert_true(words->last);
	assert_non_null(filled_at(steps, 2)->statement->when);
	assert_int_equal(pairs->pairs.n, 2);
	struct pair *pair = filled_at(&pairs->pairs, 1)->data;
	assert_true(slice_is(pair->from.raw, "2"));
	assert_int_equal(pair->from.kind, VALUE_STRING);
	assert_int_equal(last->mode, 0644);
	assert_int_equal(last->how, 0);
	assert_true(last->last);
	case_close(&s.c);
}

static const struct scope *
scope_named(const char *name)
{
	return (const struct scope *)(const void *)name;
}

static void
test_compile(void **state)
{
	struct schema_case s;

	fill_well(&s, "defaults { text d; extra A 1; } top t; "
	    "server a { listen 80; text s; route { } route { text r; reply 200 b; pairs { 1 one; } } }");
	struct server *server = server_at(&s, 0);
	struct route *one = route_at(server, 0), *two = route_at(server, 1);
	struct filled *reply = filled_at(&two->steps, 0), *pairs = filled_at(&two->steps, 1);

	assert_true(schema_compile(&s.r, scope_named("server"), filled_at(&s.all.servers, 0)));
	assert_string_equal(server->settings.text.scope, "server");
	assert_null(one->settings.text.scope);
	schema_compile(&s.r, scope_named("one"), filled_at(&server->routes, 0));
	schema_compile(&s.r, scope_named("two"), filled_at(&server->routes, 1));
	assert_string_equal(one->settings.text.scope, "one");
	assert_true(slice_is(one->settings.text.raw.raw, "s"));
	assert_true(slice_is(two->settings.text.raw.raw, "r"));
	assert_null(((struct step *)reply->data)->body.scope);
	schema_compile(&s.r, scope_named("reply"), reply);
	schema_compile(&s.r, scope_named("pairs"), pairs);
	schema_compile(&s.r, scope_named("again"), pairs);
	assert_string_equal(((struct step *)reply->data)->body.scope, "reply");
	struct pair *pair = filled_at(&((struct step *)pairs->data)->pairs, 0)->data;
	assert_string_equal(pair->to.scope, "pairs");
	assert_int_equal(pair->to.compiled, 1);
	assert_int_equal(two->settings.text.compiled, 1);
	struct filled rest = { .compile = s.r.compile };
	schema_compile(&s.r, scope_named("top"), &rest);
	assert_string_equal(s.all.top.scope, "top");
	assert_int_equal(s.all.defaults.text.compiled, 1);
	struct extra *extra = filled_at(&one->settings.extras, 0)->data;
	assert_int_equal(extra->value.compiled, 1);
	case_close(&s.c);
}

static void
test_unknown(void **state)
{
	expect_inside("route { repli 200; }", "a.conf:2:9: error: unknown directive \"repli\" in route; did you mean \"reply\"?\n");
	expect_inside("banana;", "a.conf:2:1: error: unknown directive \"banana\" in server\n");
	expect_inside("location / { }", "a.conf:2:1: error: nginx's \"location\" is \"route\" here\n");
	expect_errors("ssl_certificate x;", "a.conf:1:1: error: nginx's \"ssl_certificate\" is \"tls { certificate ... }\" here\n");
	expect_errors("reply 200;", "a.conf:1:1: error: \"reply\" is not allowed in the top level; it may stand in server, route\n");
	expect_errors("\"user\" a;", "a.conf:1:1: error: a directive's name stands without quotes\n");
}

static void
test_form(void **state)
{
	expect_errors("user a when b == c;", "a.conf:1:13: error: \"user\" cannot carry \"when\"\n");
	expect_errors("user a { }", "a.conf:1:8: error: \"user\" takes no block\n");
	expect_errors("server a;", "a.conf:1:1: error: \"server\" needs a block\n");
	expect_errors("server a { }", "a.conf:1:1: error: \"listen\" is missing in server\n");
	expect_errors("user a;\nuser b;", "a.conf:2:1: error: \"user\" is already set\na.conf:1:1: note: first set here\n");
	expect_inside("limits { size 2k; size 3k; }",
	    "a.conf:2:19: error: \"size\" is already set\na.conf:2:10: note: first set here\n");
}

static void
test_arguments(void **state)
{
	expect_errors("user;", "a.conf:1:1: error: missing argument NAME of \"user\"\n");
	expect_errors("user a b;", "a.conf:1:8: error: too many arguments to \"user\"\n");
	expect_errors("user a\ntop b;",
	    "a.conf:2:1: error: \"top\" stands among the arguments of \"user\"\n"
	    "a.conf:1:7: note: is a \";\" missing here?\n");
}

static void
test_options(void **state)
{
	expect_inside("reply 200 b moda=0600;", "a.conf:2:13: error: unknown option \"moda\" of \"reply\"; did you mean \"mode\"?\n");
	expect_inside("reply 200 mode=0600 b;", "a.conf:2:21: error: options stand behind the other arguments\n");
	expect_inside("reply 200 mode=0600 mode=0644;", "a.conf:2:21: error: \"mode\" is said twice\n");
	expect_inside("reply 200 mode=;", "a.conf:2:11: error: \"mode=\" has no value\n");
	expect_inside("reply 200 mode=9;", "a.conf:2:16: error: \"9\" is not an octal mode (0660)\n");
	expect_inside("reply 200 how=fats;", "a.conf:2:15: error: \"fats\" is not fast, slow or careful; did you mean \"fast\"?\n");
	expect_inside("reply 200 last=yes;", "a.conf:2:16: error: \"yes\" is not on or off; write \"on\"\n");
	expect_inside("words last;", "a.conf:2:1: error: missing argument WORD of \"words\"\n");
	expect_inside("reply 204 b;", "a.conf:2:1: error: 204 has no body\n");
}

static void
test_numbers(void **state)
{
	expect_inside("limits { idle_timeout 5; }", "a.conf:2:23: error: \"5\" is not a duration; write \"5s\"\n");
	expect_inside("limits { idle_timeout 5x; }", "a.conf:2:23: error: \"5x\" is not a duration (500ms, 30s, 1m30s, 7d)\n");
	expect_inside("limits { idle_timeout 30s1m; }",
	    "a.conf:2:23: error: \"30s1m\" is not a duration (500ms, 30s, 1m30s, 7d)\n");
	expect_inside("limits { idle_timeout 2h; }", "a.conf:2:23: error: \"2h\" is out of bounds; from 1s to 1h\n");
	expect_inside("limits { idle_timeout 999999999999999999d; }",
	    "a.conf:2:23: error: \"999999999999999999d\" is not a duration (500ms, 30s, 1m30s, 7d)\n");
	expect_inside("limits { idle_timeout 59m59s999ms; }", "");
	expect_inside("limits { size 4K; }", "a.conf:2:15: error: \"4K\" is not a size (512, 8k, 1m, 2g); write \"4k\"\n");
	expect_inside("limits { size 4mb; }", "a.conf:2:15: error: \"4mb\" is not a size (512, 8k, 1m, 2g); write \"4m\"\n");
	expect_inside("limits { size 2m; }", "a.conf:2:15: error: \"2m\" is out of bounds; from 1k to 1m\n");
	expect_inside("limits { size x; }", "a.conf:2:15: error: \"x\" is not a size (512, 8k, 1m, 2g)\n");
	expect_inside("reply 1000;", "a.conf:2:7: error: \"1000\" is out of bounds; from 200 to 599\n");
	expect_inside("reply two;", "a.conf:2:7: error: \"two\" is not a number\n");
	expect_inside("flag 1;", "a.conf:2:6: error: \"1\" is not on or off; write \"on\"\n");
}

static void
test_strings(void **state)
{
	expect_inside("words \"a\\q\";", "a.conf:2:9: error: unknown escape \"\\q\"; a backslash itself is \"\\\\\"\n");
	expect_inside("words \"\\x4\";", "a.conf:2:8: error: \"\\x\" wants two hexadecimal digits\n");
	expect_inside("words \"a${b}c\";", "a.conf:2:9: error: no fields may stand in this string; a plain \"${\" is \"\\${\"\n");
	expect_inside("words \"\\${b} $c \\\\ \\x41\";", "");
}

/* -- types by themselves -- */

static bool
read_one(struct schema_case *s, const struct type *type, const char *text, void *out)
{
	static const struct argument a = { "X", NULL, 0 };
	struct value v = { VALUE_WORD, { 1, 0, (uint32_t)strlen(text) }, slice_of(text) };

	case_close(&s->c);
	fill_well(s, text[0] == '\0' ? "" : "user x;");
	return type->read(&s->r, &v, &a, out);
}

static void
expect_refused(struct schema_case *s, const struct type *type, const char *text, const char *message)
{
	char out[256];

	assert_false(read_one(s, type, text, out));
	assert_string_equal(s->c.diag.last->text, message);
}

#define WANTED "an address (80, 10.0.0.1:80, [::1]:80, host:80, unix:PATH)"

static void
test_addresses(void **state)
{
	struct schema_case s;
	struct endpoint e;
	char text[ADDR_TEXT];

	fill_well(&s, "");
	assert_true(read_one(&s, &type_address, "80", &e));
	assert_true(e.any && e.port == 80 && e.addr == NULL && e.transport == ENDPOINT_TCP);
	assert_true(read_one(&s, &type_address, "*:443", &e) && e.any && e.port == 443);
	assert_true(read_one(&s, &type_address, "udp:53", &e) && e.any && e.transport == ENDPOINT_UDP);
	assert_true(read_one(&s, &type_address, "udp:10.0.0.1:53", &e) && e.transport == ENDPOINT_UDP && !e.any);
	assert_true(slice_is(addr_print(e.addr, text), "10.0.0.1:53"));
	assert_true(read_one(&s, &type_address, "[::1]:80", &e));
	assert_true(slice_is(addr_print(e.addr, text), "[::1]:80"));
	assert_true(read_one(&s, &type_address, "app.internal:9001", &e) && e.addr == NULL && e.port == 9001);
	assert_true(slice_is(e.host, "app.internal"));
	assert_true(read_one(&s, &type_address, "unix:run/a.sock", &e) && e.transport == ENDPOINT_UNIX);
	assert_true(slice_is(addr_print(e.addr, text), "unix:/etc/x/run/a.sock"));
	assert_true(slice_is(e.text, "unix:run/a.sock"));

	expect_refused(&s, &type_address, "0", "port 0 is out of bounds; from 1 to 65535");
	expect_refused(&s, &type_address, "10.0.0.1:65536", "port 65536 is out of bounds; from 1 to 65535");
	expect_refused(&s, &type_address, "::1", "\"::1\" is not " WANTED "; an IPv6 address stands in brackets: \"[::1]:80\"");
	expect_refused(&s, &type_address, "10.0.0.1", "\"10.0.0.1\" is not " WANTED "; a port is missing: \"10.0.0.1:80\"");
	expect_refused(&s, &type_address, "[::1]", "\"[::1]\" is not " WANTED "; a port is missing: \"[::1]:80\"");
	expect_refused(&s, &type_address, "app", "\"app\" is not " WANTED "; a port is missing: \"app:80\"");
	expect_refused(&s, &type_address, "a:b", "\"a:b\" is not " WANTED "; \"b\" is no port");
	expect_refused(&s, &type_address, "10.0.0.256:80", "\"10.0.0.256:80\" is not " WANTED "; \"10.0.0.256\" is no host");
	expect_refused(&s, &type_address, "a..b:80", "\"a..b:80\" is not " WANTED "; \"a..b\" is no host");
	expect_refused(&s, &type_address, "unix:", "\"unix:\" is not " WANTED "; a path is missing behind \"unix:\"");
	expect_refused(&s, &type_address, "", "\"\" is not " WANTED);
	char path[200] = "unix:/";
	memset(path + 6, 'x', 107);
	expect_refused(&s, &type_address, path, "the path of a Unix socket has at most 107 bytes; this one has 108");
	path[112] = '\0';
	assert_true(read_one(&s, &type_address, path, &e));
	case_close(&s.c);
}

static void
test_other_types(void **state)
{
	struct schema_case s;
	uint32_t n;
	int64_t number;
	struct status_range status;
	struct network net;
	struct slice path;

	fill_well(&s, "");
	assert_true(read_one(&s, &type_percent, "0.5%", &n) && n == 50);
	assert_true(read_one(&s, &type_percent, "99.95%", &n) && n == 9995);
	assert_true(read_one(&s, &type_percent, "100%", &n) && n == 10000);
	expect_refused(&s, &type_percent, "5", "\"5\" is not a percentage (95%, 0.5%); write \"5%\"");
	expect_refused(&s, &type_percent, "101%", "\"101%\" is out of bounds; from 0% to 100%");
	expect_refused(&s, &type_percent, "1.234%", "\"1.234%\" is not a percentage (95%, 0.5%); at most two digits behind the point");
	assert_true(read_one(&s, &type_status, "502", &status) && status.first == 502 && status.last == 502);
	assert_true(read_one(&s, &type_status, "500..599", &status) && status.first == 500 && status.last == 599);
	expect_refused(&s, &type_status, "500-599",
	    "\"500-599\" is not a status (502, 500..599); write two dots between the first and the last");
	expect_refused(&s, &type_status, "600", "\"600\" is not a status (502, 500..599); from 100 to 599");
	expect_refused(&s, &type_status, "502..500",
	    "\"502..500\" is not a status (502, 500..599); from 100 to 599, the smaller one first");
	assert_true(read_one(&s, &type_integer, "-5", &number) && number == -5);
	expect_refused(&s, &type_integer, "99999999999999999999", "\"99999999999999999999\" is not a number");
	assert_true(read_one(&s, &type_network, "10.0.0.0/8", &net) && net.bits == 8);
	expect_refused(&s, &type_network, "10.0.0.1/8", "\"10.0.0.1/8\" has bits set behind its prefix; write \"10.0.0.0/8\"");
	expect_refused(&s, &type_network, "ten", "\"ten\" is not a network (10.0.0.0/8, fe80::/10, unix:)");
	expect_refused(&s, &type_method, "GE T", "\"GE T\" is not a method (GET)");
	expect_refused(&s, &type_octal, "0888", "\"0888\" is not an octal mode (0660)");
	assert_true(read_one(&s, &type_path, "tls/a.pem", &path) && slice_is(path, "/etc/x/tls/a.pem"));
	assert_true(path.at[path.n] == '\0');
	expect_refused(&s, &type_path, "", "a path is not empty");
	expect_refused(&s, &type_name, "", "a name is not empty");
	case_close(&s.c);
}

static void
test_decode(void **state)
{
	struct schema_case s;
	struct value v = { VALUE_STRING, { 1, 0, 1 }, SLICE("\\n\\r\\t\\0\\\\\\\"\\'\\x7f\\$") };
	struct slice out;

	fill_well(&s, "");
	assert_true(schema_decode(&s.r, &v, false, &out));
	assert_true(slice_equal(out, SLICE("\n\r\t\0\\\"'\x7f$")));
	assert_true(schema_decode(&s.r, &v, true, &out));
	assert_true(slice_equal(out, SLICE("\n\r\t\0\\\"'\x7f\\$")));
	v.kind = VALUE_WORD;
	assert_true(schema_decode(&s.r, &v, false, &out));
	assert_ptr_equal(out.at, v.raw.at);
	v = (struct value){ VALUE_STRING, { 1, 0, 1 }, SLICE("a\\") };
	assert_false(schema_decode(&s.r, &v, false, &out));
	case_close(&s.c);
}

/* -- printing -- */

static void
test_effective(void **state)
{
	struct schema_case s;
	char *text = NULL;
	size_t n = 0;

	fill_well(&s, "defaults { limits { idle_timeout 30s; } extra A 1; }\nserver a {\n listen 80;\n route = {\n flag off;\n"
	    " reply 200 \"b\"  mode=\"0600\" when x == y;\n } }");
	FILE *to = open_memstream(&text, &n);
	schema_print_effective(&s.r, to);
	fclose(to);
	assert_string_equal(text,
	    "defaults {\t# a.conf:1\n"
	    "\tlimits {\t# a.conf:1\n"
	    "\t\tidle_timeout 30s;\t# a.conf:1\n"
	    "\t\thead_timeout 5s;\t# default\n"
	    "\t\tsize 8k;\t# default\n"
	    "\t}\n"
	    "\tflag on;\t# default\n"
	    "\ttext \"none at all\";\t# default\n"
	    "\textra A 1;\t# a.conf:1\n"
	    "}\n"
	    "user nobody;\t# default\n"
	    "server a {\t# a.conf:2\n"
	    "\tlimits {\t# a.conf:1\n"
	    "\t\tidle_timeout 30s;\t# a.conf:1\n"
	    "\t\thead_timeout 5s;\t# default\n"
	    "\t\tsize 8k;\t# default\n"
	    "\t}\n"
	    "\tflag on;\t# default\n"
	    "\ttext \"none at all\";\t# default\n"
	    "\textra A 1;\t# a.conf:1\n"
	    "\tlisten 80;\t# a.conf:3\n"
	    "\troute = {\t# a.conf:4\n"
	    "\t\tlimits {\t# a.conf:1\n"
	    "\t\t\tidle_timeout 30s;\t# a.conf:1\n"
	    "\t\t\thead_timeout 5s;\t# default\n"
	    "\t\t\tsize 8k;\t# default\n"
	    "\t\t}\n"
	    "\t\tflag off;\t# a.conf:5\n"
	    "\t\ttext \"none at all\";\t# default\n"
	    "\t\textra A 1;\t# a.conf:1\n"
	    "\t\treply 200 \"b\" mode=\"0600\" when x == y;\t# a.conf:6\n"
	    "\t}\n"
	    "}\n");
	free(text);
	case_close(&s.c);
}

static char *
reference(bool roff)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);

	schema_print_reference(main_tables, to, roff);
	fclose(to);
	return text;
}

static void
test_reference(void **state)
{
	char *text = reference(false);

	assert_non_null(strstr(text,
	    "idle_timeout TIME;\n"
	    "    Silence.\n"
	    "    TIME is a duration (500ms, 30s, 1m30s, 7d), at least 1s, at most 1h.\n"
	    "    In: limits of server, limits of route, limits of defaults. Default: 60s.\n\n"));
	assert_non_null(strstr(text,
	    "reply STATUS [BODY] [how=fast|slow|careful] [mode=OCTAL] [last] [when CONDITION];\n"));
	assert_non_null(strstr(text, "    In: server, route. A step.\n"));
	assert_non_null(strstr(text, " Must be there. Belongs to the listener."));
	assert_non_null(strstr(text, "pairs [when CONDITION] [{ ... }];\n"));
	free(text);
	text = reference(true);
	assert_non_null(strstr(text, ".TP\n.B idle_timeout TIME;\nSilence.\n"));
	for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
		assert_false(line[0] == '\'' || (line[0] == '.' && strncmp(line, ".TP", 3) != 0 &&
		    strncmp(line, ".B ", 3) != 0 && strncmp(line, ".TH", 3) != 0 && strncmp(line, ".SH", 3) != 0));
	free(text);
}

static void
test_words(void **state)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);

	schema_print_words(main_tables, to);
	fclose(to);
	assert_string_equal(text,
	    "careful\ndefaults\nextra\nfast\nflag\nhead_timeout\nhow\nidle_timeout\nlast\nlimits\nlisten\nmode\n"
	    "pairs\nreply\nroute\nserver\nsize\nslow\ntext\ntls\ntop\nuser\nwords\n");
	free(text);
}

static void
test_many_servers(void **state)
{
	enum { SERVERS = 10000 };
	struct schema_case s;
	size_t room = SERVERS * 256;
	char *text = memory_alloc(room);
	struct builder b = builder_on(text, room - 1);

	for (int i = 0; i < SERVERS; i++)
		builder_printf(&b, "server s%d { listen 127.0.0.1:%d tls; limits { idle_timeout 30s; size 2k; }\n"
		    "\troute /a { reply 200 \"ok\"; } route /b { words a b; flag off; } }\n", i, 1 + i % 65535);
	assert_false(b.full);
	text[b.n] = '\0';
	fill_well(&s, text);
	assert_int_equal(s.all.servers.n, SERVERS);
	case_close(&s.c);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_inheritance),
		cmocka_unit_test(test_steps_in_order),
		cmocka_unit_test(test_compile),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_other_types),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_effective),
		cmocka_unit_test(test_reference),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_many_servers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
