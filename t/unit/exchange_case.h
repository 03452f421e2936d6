/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For the tests of core's fields, texts, conditions and routes: an exchange
 * that never had a connection, and a protocol whose fields are what the test sets.
 */
#ifndef MILLRACE_EXCHANGE_CASE_H
#define MILLRACE_EXCHANGE_CASE_H

#include "config_case.h"
#include "core/exchange.h"
#include "core/field_map.h"
#include "core/text.h"

/* What the fields of the protocol give; a NULL text is absent. */
static struct {
	const char *method, *host, *query;
	const char *tags[4];            /* tag.NAME, whatever NAME is; ended by NULL */
	int64_t size;                   /* -1: absent */
} fake;

static inline bool
fake_give(const char *text, size_t nth, struct field_value *out)
{
	if (nth > 0 || text == NULL)
		return false;
	out->text = slice_of(text);
	return true;
}

static inline bool
fake_method(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return fake_give(fake.method, nth, out);
}

static inline bool
fake_host(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return fake_give(fake.host, nth, out);
}

static inline bool
fake_query(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return fake_give(fake.query, nth, out);
}

static inline bool
fake_path(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	out->text = ex->question.path;
	return nth == 0 && out->text.n > 0;
}

static inline bool
fake_size(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	out->number = fake.size;
	return nth == 0 && fake.size >= 0;
}

static inline bool
fake_tag(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	for (size_t i = 0; i <= nth; i++)
		if (fake.tags[i] == NULL)
			return false;
	out->text = slice_of(fake.tags[nth]);
	return true;
}

static const struct field fake_fields[] = {
	{ "method", FIELD_TEXT, MOMENT_QUESTION, 0, fake_method, NULL, "The method." },
	{ "host", FIELD_TEXT, MOMENT_QUESTION, FIELD_NOCASE, fake_host, NULL, "The host." },
	{ "query", FIELD_TEXT, MOMENT_QUESTION, FIELD_URI, fake_query, NULL, "The query." },
	{ "path", FIELD_TEXT, MOMENT_QUESTION, 0, fake_path, NULL, "The path." },
	{ "size", FIELD_NUMBER, MOMENT_QUESTION, 0, fake_size, NULL, "A number." },
	{ "tag.", FIELD_TEXT, MOMENT_QUESTION, FIELD_FAMILY | FIELD_REPEATED | FIELD_JOINED, fake_tag, NULL, "Tags." },
	{ "param.", FIELD_TEXT, MOMENT_QUESTION, FIELD_FAMILY | FIELD_REPEATED, fake_tag, NULL, "The same, not joined." },
	{ "result", FIELD_NUMBER, MOMENT_ANSWER, 0, fake_size, NULL, "Known late." },
	{ 0 },
};

static const struct field plain_fields[] = {
	{ "sni", FIELD_TEXT, MOMENT_OPEN, 0, fake_host, NULL, "Of another protocol." },
	{ 0 },
};

static const struct protocol_ops fake_protocol = { .name = "fake", .fields = fake_fields };
static const struct protocol_ops plain_protocol = { .name = "plain", .fields = plain_fields };
static const struct protocol_ops *const fake_protocols[] = { &fake_protocol, &plain_protocol, NULL };

struct exchange_case {
	struct config_case config;
	struct reading reading;
	struct scope scope;
	struct block *block;            /* of the text */
	struct engine engine;
	struct exchange ex;
	struct addr src;
};

static inline void
exchange_path(struct exchange_case *c, const char *path)
{
	c->ex.question.path = slice_of(path);
}

static inline void
exchange_src(struct exchange_case *c, const char *src)
{
	assert_true(addr_parse(slice_of(src), &c->src));
}

static inline void
exchange_open_slice(struct exchange_case *c, struct slice text)
{
	memset(c, 0, sizeof(*c));
	memset(&fake, 0, sizeof(fake));
	fake.size = -1;
	case_open_slice(&c->config, text);
	c->reading = (struct reading){ .arena = &c->config.arena, .sources = &c->config.sources, .diag = &c->config.diag };
	c->scope = (struct scope){ .protocol = &fake_protocol, .moment = MOMENT_QUESTION, .where = "the condition of a route",
		.protocols = fake_protocols };
	c->block = ast_parse(&c->config.arena, c->config.main, &c->config.diag);
	scratch_init(&c->engine.loop.scratch);
	arena_init(&c->ex.arena, NULL, 0);
	c->ex.engine = &c->engine;
	c->ex.src = &c->src;
	message_init(&c->ex.question);
	message_init(&c->ex.answer);
	exchange_path(c, "/");
}

static inline void
exchange_open(struct exchange_case *c, const char *text)
{
	exchange_open_slice(c, slice_of(text));
}

static inline void
exchange_close(struct exchange_case *c)
{
	arena_reset(&c->ex.arena);
	scratch_free(&c->engine.loop.scratch);
	case_close(&c->config);
}

/* Says something of a configuration that must not compile. */
static inline void
exchange_expect(struct exchange_case *c, const char *said)
{
	case_expect_lines(&c->config, said);
	exchange_close(c);
}

#endif
