/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A module that lies: each of its protocols reports what cannot be. Lines all of them, but for the one
 * thing. MILLRACE_HOSTILE in the environment makes the whole module another: an old ABI, a small struct, …
 */
#include <stdlib.h>
#include <string.h>

#include <millrace/module.h>

static const struct millrace_host *host;

static int64_t
lines(const void *settings, void *context, struct millrace_span in, size_t *resume)
{
	const char *end = memchr(in.at + *resume, '\n', in.n - *resume);

	(void)settings, (void)context;
	if (end != NULL)
		return end + 1 - in.at;
	*resume = in.n;
	return MILLRACE_MORE;
}

/* ------------------------------------------------------------------ input */

#define INPUT(name, expression) \
	static int64_t name( \
	    const void *settings, void *context, struct millrace_span in, size_t *resume) \
	{ \
		(void)settings, (void)context, (void)in, (void)resume; \
		return (expression); \
	}

INPUT(input_forever, MILLRACE_MORE)
INPUT(input_negative, -4711)
INPUT(input_least, INT64_MIN)
INPUT(input_most, INT64_MAX)
INPUT(input_wrap, INT64_C(1) << 32)
INPUT(input_bad, MILLRACE_BAD)
INPUT(input_too_large, MILLRACE_TOO_LARGE)
INPUT(input_unsupported, MILLRACE_UNSUPPORTED)
INPUT(input_short, 1)
INPUT(input_past_resume, (*resume = in.n + 1, MILLRACE_MORE))
INPUT(input_wild_resume, (*resume = SIZE_MAX, MILLRACE_MORE))
/* first all of it was read, and then a part of that is a message */
INPUT(input_back, *resume > 4 ? 2 : (*resume = in.n, MILLRACE_MORE))
/* a length that is known is not asked for again: what is said later does not count */
INPUT(input_once, *resume != 0 ? MILLRACE_BAD : (*resume = 1, 8))

/* ------------------------------------------------------------------ decode */

static const struct millrace_span nowhere = { NULL, 5 };

static int
decode_result(const void *settings, struct millrace_span in, struct millrace_message *m)
{
	(void)settings, (void)in, (void)m;
	return 42;
}

static int
decode_null(const void *settings, struct millrace_span in, struct millrace_message *m)
{
	(void)settings, (void)in;
	host->set_body(m, nowhere);
	return MILLRACE_OK;
}

static int
decode_huge(const void *settings, struct millrace_span in, struct millrace_message *m)
{
	(void)settings;
	host->set_field(m, 0, (struct millrace_span){ in.at, (size_t)1 << 40 });
	return MILLRACE_OK;
}

static int
decode_unknown_field(const void *settings, struct millrace_span in, struct millrace_message *m)
{
	(void)settings;
	host->set_field(m, 1, in);
	return MILLRACE_OK;
}

static int
decode_greedy(const void *settings, struct millrace_span in, struct millrace_message *m)
{
	(void)settings, (void)in;
	while (host->alloc(m, 4096) != NULL)
		;
	return host->alloc(m, SIZE_MAX) == NULL ? MILLRACE_SKIP : MILLRACE_BAD;
}

static int
decode_long_id(const void *settings, struct millrace_span in, struct millrace_message *m)
{
	static const char id[100];

	(void)settings, (void)in;
	host->set_id(m, (struct millrace_span){ id, sizeof(id) });
	return MILLRACE_OK;
}

/* What a span points to need not outlive the call, and a body may be nothing of the message. */
static int
decode_copies(const void *settings, struct millrace_span in, struct millrace_message *m)
{
	/* what is written last stays there, whatever the compiler thinks of it */
	volatile char room[64];
	char *at = (char *)(uintptr_t)room;
	size_t n = in.n - 1 < sizeof(room) ? in.n - 1 : sizeof(room);

	(void)settings;
	for (size_t i = 0; i < n; i++)
		room[i] = in.at[n - 1 - i];
	host->set_body(m, (struct millrace_span){ at, n });
	host->set_field(m, 0, (struct millrace_span){ at, n / 2 });
	for (size_t i = 0; i < sizeof(room); i++)
		room[i] = '?';
	return MILLRACE_OK;
}

/* ------------------------------------------------------------------ encode */

static int
encode_nothing(const void *settings, const struct millrace_draft *draft, struct millrace_out *out)
{
	(void)settings, (void)draft, (void)out;
	return MILLRACE_OK;
}

static int
encode_two(const void *settings, const struct millrace_draft *draft, struct millrace_out *out)
{
	(void)settings, (void)draft;
	host->write(out, "a\nb\n", 4);
	return MILLRACE_OK;
}

static int
encode_endless(const void *settings, const struct millrace_draft *draft, struct millrace_out *out)
{
	(void)settings, (void)draft;
	while (host->write(out, "xxxxxxxxxxxxxxx\n", 16))
		;
	return MILLRACE_OK;
}

static int
encode_null(const void *settings, const struct millrace_draft *draft, struct millrace_out *out)
{
	(void)settings, (void)draft;
	host->write(out, NULL, 10);
	return MILLRACE_OK;
}

static int
encode_refuses(const void *settings, const struct millrace_draft *draft, struct millrace_out *out)
{
	(void)settings, (void)draft, (void)out;
	return MILLRACE_UNSUPPORTED;
}

/* ------------------------------------------------------------------ ids: `7 text`, or `text` */

static struct millrace_span
id_of(struct millrace_span in)
{
	size_t n = 0;

	while (n < in.n && in.at[n] >= '0' && in.at[n] <= '9')
		n++;
	return (struct millrace_span){ in.at, n < in.n && in.at[n] == ' ' ? n : 0 };
}

static int
decode_id(const void *settings, struct millrace_span in, struct millrace_message *m)
{
	struct millrace_span id = id_of(in);
	size_t at = id.n == 0 ? 0 : id.n + 1;

	(void)settings;
	host->set_id(m, id);
	host->set_body(m, (struct millrace_span){ in.at + at, in.n - at - 1 });
	return MILLRACE_OK;
}

static int
put(struct millrace_out *out, struct millrace_span id, struct millrace_span body)
{
	host->write(out, id.at, id.n);
	host->write(out, " ", id.n != 0);
	host->write(out, body.at, body.n);
	host->write(out, "\n", 1);
	return MILLRACE_OK;
}

static int
encode_id(const void *settings, const struct millrace_draft *draft, struct millrace_out *out)
{
	(void)settings;
	return put(out, draft->id, draft->body);
}

static int
replace_id(const void *settings, struct millrace_span in, struct millrace_span id,
    struct millrace_out *out)
{
	size_t at = id_of(in).n;

	(void)settings;
	at += at != 0;
	return put(out, id, (struct millrace_span){ in.at + at, in.n - at - 1 });
}

/* Leaves the id as it was. */
static int
replace_nothing(const void *settings, struct millrace_span in, struct millrace_span id,
    struct millrace_out *out)
{
	(void)settings, (void)id;
	host->write(out, in.at, in.n);
	return MILLRACE_OK;
}

/* ------------------------------------------------------------------ the tables */

static const struct millrace_field fields[] = {
	{ "text", MILLRACE_FIELD_TEXT, "Some text." },
	{ 0 },
};

#define COMMON(word) \
	.size = sizeof(struct millrace_protocol), .name = word, .answers = MILLRACE_IN_ORDER, \
	.max = 1024, .fields = fields

#define INPUTS(word) \
	static const struct millrace_protocol word = { COMMON(#word), .input = input_##word }
#define DECODES(word) \
	static const struct millrace_protocol decodes_##word = { COMMON("decodes_" #word), \
		.input = lines, .decode = decode_##word }
#define ENCODES(word) \
	static const struct millrace_protocol encodes_##word = { COMMON("encodes_" #word), \
		.input = lines, .encode = encode_##word }

INPUTS(forever);
INPUTS(negative);
INPUTS(least);
INPUTS(most);
INPUTS(wrap);
INPUTS(bad);
INPUTS(too_large);
INPUTS(unsupported);
INPUTS(past_resume);
INPUTS(wild_resume);
INPUTS(back);
INPUTS(once);
static const struct millrace_protocol below_header = { COMMON("below_header"),
	.input = input_short, .header = 4 };
DECODES(result);
DECODES(null);
DECODES(huge);
DECODES(unknown_field);
DECODES(greedy);
DECODES(long_id);
DECODES(copies);
ENCODES(nothing);
ENCODES(two);
ENCODES(endless);
ENCODES(null);
ENCODES(refuses);
static const struct millrace_protocol by_id = { .size = sizeof(by_id), .name = "by_id",
	.answers = MILLRACE_BY_ID, .traits = MILLRACE_INDEPENDENT, .max = 1024, .input = lines,
	.decode = decode_id, .encode = encode_id, .replace_id = replace_id };
static const struct millrace_protocol by_lost_id = { .size = sizeof(by_lost_id),
	.name = "by_lost_id", .answers = MILLRACE_BY_ID, .max = 1024, .input = lines,
	.decode = decode_id, .encode = encode_id, .replace_id = replace_nothing };

/* An id that is longer whenever it is asked for again. */
static size_t
make_other_id(const void *settings, uint64_t number, char room[MILLRACE_ID_LONGEST])
{
	static size_t n;

	(void)settings, (void)number;
	memset(room, '7', MILLRACE_ID_LONGEST);
	return n += 63;
}

static bool
read_other_id(const void *settings, struct millrace_span id, uint64_t *number)
{
	(void)settings;
	*number = id.n;
	return true;
}

static const struct millrace_protocol by_other_id = { .size = sizeof(by_other_id),
	.name = "by_other_id", .answers = MILLRACE_BY_ID, .max = 1024, .input = lines,
	.decode = decode_id, .encode = encode_id, .replace_id = replace_id, .make_id = make_other_id,
	.read_id = read_other_id };

static const struct millrace_protocol *const protocols[] = {
	&forever, &negative, &least, &most, &wrap, &bad, &too_large, &unsupported, &past_resume,
	&wild_resume, &back, &once, &below_header, &decodes_result, &decodes_null, &decodes_huge,
	&decodes_unknown_field, &decodes_greedy, &decodes_long_id, &decodes_copies,
	&encodes_nothing, &encodes_two, &encodes_endless, &encodes_null, &encodes_refuses, &by_id,
	&by_lost_id, &by_other_id, NULL,
};

/* ------------------------------------------------------------------ steps that lie, too */

#define STEP(word, expression) \
	static enum millrace_verdict word##_question( \
	    const void *settings, const void *own, struct millrace_exchange *ex) \
	{ \
		(void)settings, (void)own, (void)ex; \
		return (enum millrace_verdict)(expression); \
	} \
	static const struct millrace_handler word = { .size = sizeof(word), .name = #word, \
		.traits = MILLRACE_ANSWERS, .question = word##_question }

STEP(says_nothing, MILLRACE_REPLY);
STEP(says_garbage, 4711);
STEP(passes_by, MILLRACE_PASS);
STEP(says_null, host->reply(ex, 200, NULL, nowhere) ? MILLRACE_CLOSE : MILLRACE_FAIL);
STEP(splits_header, host->reply(ex, 200, "a\r\nb: c", (struct millrace_span){ "x", 1 })
	? MILLRACE_REPLY : MILLRACE_DROP);
STEP(closes, MILLRACE_CLOSE);

static const struct millrace_handler *const handlers[] = { &says_nothing, &says_garbage, &passes_by,
	&says_null, &splits_header, &closes, NULL };

/* ------------------------------------------------------------------ settings */

struct entry {
	struct millrace_span name;
	int64_t number;
};

struct settings {
	bool flag;
	int64_t number;
	uint64_t size, duration;
	int word;
	struct millrace_span text;
	struct millrace_list many, entries;
	struct millrace_span refuse;
	bool configured;
};

#define AT(member) offsetof(struct settings, member)

static const char *const words[] = { "red", "green", NULL };
static const struct millrace_argument flag[] = { { "on|off", MILLRACE_FLAG, 0, 0 }, { 0 } };
static const struct millrace_argument number[] = { { "N", MILLRACE_INTEGER, 0, 0, .min = 1, .max = 9 }, { 0 } };
static const struct millrace_argument size[] = { { "SIZE", MILLRACE_SIZE, 0, 0 }, { 0 } };
static const struct millrace_argument duration[] = { { "DURATION", MILLRACE_DURATION, 0, 0 }, { 0 } };
static const struct millrace_argument word[] = { { "COLOUR", MILLRACE_WORD, 0, 0, .words = words }, { 0 } };
static const struct millrace_argument text[] = { { "TEXT", MILLRACE_STRING, 0, 0 }, { 0 } };
static const struct millrace_argument many[] = { { "N", MILLRACE_INTEGER, MILLRACE_MANY, 0 }, { 0 } };
static const struct millrace_argument entry[] = {
	{ "NAME", MILLRACE_STRING, 0, offsetof(struct entry, name) },
	{ "number", MILLRACE_INTEGER, MILLRACE_OPTION, offsetof(struct entry, number), .otherwise = "3" },
	{ 0 },
};

static const struct millrace_directive directives[] = {
	{ "flag", 0, flag, AT(flag), 0, "on", "A flag." },
	{ "number", 0, number, AT(number), 0, "5", "A number." },
	{ "size", 0, size, AT(size), 0, "4k", "A size." },
	{ "duration", 0, duration, AT(duration), 0, "2s", "A duration." },
	{ "colour", 0, word, AT(word), 0, "green", "A word." },
	{ "text", 0, text, AT(text), 0, NULL, "A text." },
	{ "many", 0, many, AT(many), 0, "1 2", "Some numbers." },
	{ "entry", MILLRACE_REPEATS, entry, AT(entries), sizeof(struct entry), NULL, "An entry." },
	{ "refuse", 0, text, AT(refuse), 0, NULL, "What is refused." },
	{ 0 },
};

static bool
configure(const struct millrace_setup *setup, void *what)
{
	struct settings *s = what;

	s->configured = true;
	if (s->refuse.n != 0 && strcmp(s->refuse.at, "silently") != 0)
		host->refuse(setup, s->refuse.at);
	return s->refuse.n == 0;
}

static void
release(void *what)
{
	struct settings *s = what;

	/* strings live as long as settings do */
	if (!s->configured || (s->text.n != 0 && s->text.at[s->text.n] != '\0'))
		abort();
}

static struct millrace_module module = {
	.abi = MILLRACE_ABI,
	.size = sizeof(module),
	.name = "hostile",
	.protocols = protocols,
	.handlers = handlers,
	.directives = directives,
	.settings_size = sizeof(struct settings),
	.configure = configure,
	.release = release,
};

/* ------------------------------------------------------------------ other modules */

static const struct millrace_protocol nameless = { .size = sizeof(nameless), .input = lines };
static const struct millrace_protocol small = { .size = 16, .name = "small" };
static const struct millrace_protocol builtin = { COMMON("http"), .input = lines };
static const struct millrace_protocol mute = { COMMON("mute") };
static const struct millrace_protocol endless = { .size = sizeof(endless), .name = "endless",
	.answers = MILLRACE_NONE, .input = lines };
static const struct millrace_handler proxy = { .size = sizeof(proxy), .name = "proxy" };
static const struct millrace_handler idle = { .size = sizeof(idle), .name = "idle_step" };
static const struct millrace_argument outside_arguments[] = {
	{ "N", MILLRACE_INTEGER, 0, 8 }, { 0 } };
static const struct millrace_directive outside[] = {
	{ "outside", 0, outside_arguments, sizeof(struct settings) - 8, 0, NULL, NULL }, { 0 } };
static const struct millrace_directive typeless[] = {
	{ "typeless", 0, (const struct millrace_argument[]){ { "N", (enum millrace_type)99, 0, 0 }, { 0 } },
	    0, 0, NULL, NULL }, { 0 } };
static const struct millrace_directive bad_default[] = {
	{ "number", 0, number, AT(number), 0, "none", NULL }, { 0 } };

#define ONE(type, p) (const struct type *const[]){ p, NULL }

static const struct {
	const char *name;
	struct millrace_module module;
} others[] = {
	{ "abi", { .abi = 7, .size = sizeof(module), .name = "hostile" } },
	{ "size", { .abi = MILLRACE_ABI, .size = 12, .name = "hostile" } },
	{ "name", { .abi = MILLRACE_ABI, .size = sizeof(module) } },
	{ "nameless", { .protocols = ONE(millrace_protocol, &nameless) } },
	{ "small", { .protocols = ONE(millrace_protocol, &small) } },
	{ "builtin", { .protocols = ONE(millrace_protocol, &builtin) } },
	{ "mute", { .protocols = ONE(millrace_protocol, &mute) } },
	{ "endless", { .protocols = ONE(millrace_protocol, &endless) } },
	{ "proxy", { .handlers = ONE(millrace_handler, &proxy) } },
	{ "idle", { .handlers = ONE(millrace_handler, &idle) } },
	{ "outside", { .directives = outside, .settings_size = sizeof(struct settings) } },
	{ "typeless", { .directives = typeless, .settings_size = sizeof(struct settings) } },
	{ "bad_default", { .directives = bad_default, .settings_size = sizeof(struct settings) } },
};

MILLRACE_EXPORT const struct millrace_module *
millrace_module(const struct millrace_host *given)
{
	const char *other = getenv("MILLRACE_HOSTILE");

	host = given;
	if (other == NULL)
		return &module;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcmp(other, others[i].name) == 0) {
			bool whole = others[i].module.abi != 0;

			module = others[i].module;
			if (whole)
				return &module;
			module.abi = MILLRACE_ABI;
			module.size = sizeof(module);
			module.name = "hostile";
			return &module;
		}
	return NULL;
}
