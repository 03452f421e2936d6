/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What would become of a question. It is read by the parser and the codecs that read those of clients, its
 * server and its route are found by the functions that find them on the road; steps say what they would do
 * instead of doing it. What came of that is gathered here, and printed by explain_print.c.
 */
#include <string.h>

#include "protocols/http/h1_question.h"
#include "server/explain_inner.h"

enum { WORDS_MAX = 2048, OTHERS_MAX = 4, UNFIT_SHOWN = 20, REFS_MAX = 16 };

/* A question on its way to being explained. */
struct asking {
	const struct explain_input *in;
	struct explain_words words;
	struct explain_url url;
	struct explanation x;
	struct stage *stage;
	struct slice bytes;             /* as a client would send them */
	FILE *wrong;
};

static bool
refuse(const struct asking *q, const char *what, struct slice word)
{
	fprintf(q->wrong, "explain: " SLICE_FORMAT ": %s\n", SLICE_ARG(word), what);
	return false;
}

/* ------------------------------------------------------------------ conditions */

struct telling {
	struct builder b;
	struct exchange *ex;
	struct field_ref told[REFS_MAX];
	size_t count;
};

static bool
was_told(struct telling *t, const struct field_ref *ref)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->told[i].field == ref->field && slice_equal(t->told[i].name, ref->name))
			return true;
	if (t->count < REFS_MAX)
		t->told[t->count++] = *ref;
	return false;
}

/* `header.x-canary is absent`, `method is "POST"`, `src is 10.0.0.1`. */
static void
tell_field(void *to, const struct field_ref *ref)
{
	struct telling *t = to;
	struct field_value value = { .text = SLICE_EMPTY };
	struct slice text;

	if (was_told(t, ref))
		return;
	if (t->b.n > 0)
		BUILDER_LITERAL(&t->b, ", ");
	field_name(ref, &t->b);
	if (!field_text(t->ex, ref, true, &text) || !ref->field->get(t->ex, ref, 0, &value)) {
		BUILDER_LITERAL(&t->b, " is absent");
		return;
	}
	BUILDER_LITERAL(&t->b, " is");
	if ((ref->type == FIELD_ANY ? value.type : ref->type) == FIELD_TEXT) {
		text_show_slice(text, &t->b);
	} else {
		builder_byte(&t->b, ' ');
		builder_slice_put(&t->b, text);
	}
}

struct slice
explain_condition(struct arena *a, const struct condition *c, struct exchange *ex)
{
	struct telling t = { .b = builder_on(arena_alloc(a, WORDS_MAX), WORDS_MAX), .ex = ex };

	if (c != NULL)
		condition_explain(c, ex, tell_field, &t);
	return builder_slice(&t.b);
}

/* ------------------------------------------------------------------ the listener */

static bool
speaks(const struct asking *q, const struct listener *l)
{
	if (q->words.protocol != NULL)
		return strcmp(q->words.protocol, l->protocol->name) == 0;
	return (l->protocol->traits & PROTOCOL_HTTP) != 0;
}

static bool
is_any(const struct addr *a)
{
	if (a->any.sa_family == AF_INET)
		return a->v4.sin_addr.s_addr == htonl(INADDR_ANY);
	return a->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
}

/* As it is shown, as it is written, or a port alone. */
static bool
is_called(const struct listener *l, struct slice name)
{
	struct addr a;
	uint64_t port;

	if (slice_equal(l->text, name))
		return true;
	if (slice_to_u64(name, &port))
		return !addr_is_unix(&l->addr) && l->addr.datagram == 0 &&
		    addr_port(&l->addr) == port;
	return l->addr.datagram == 0 && addr_parse(name, &a) && addr_equal(&l->addr, &a);
}

/*
 * How well a listener suits a URL; 0: not at all. Who says a port means it; who says none may mean the only
 * listener there is.
 */
static unsigned
suits_url(const struct asking *q, const struct listener *l)
{
	enum { AT_ALL = 1, ANY_ADDRESS = 1, SAME_ADDRESS = 2, SAME_PORT = 4 };
	uint16_t own = addr_port(&l->addr);
	uint16_t port = q->url.port != 0 ? q->url.port : q->url.secure ? 443 : 80;
	unsigned suited = AT_ALL + (own == port ? SAME_PORT : 0);
	struct addr host;

	if (q->url.port != 0 && own != port)
		return 0;
	if (is_any(&l->addr))
		return suited + ANY_ADDRESS;
	if (!addr_parse_host(q->url.host, &host))
		return suited;
	addr_set_port(&host, own);
	if (addr_equal(&host, &l->addr))
		return suited + SAME_ADDRESS;
	return q->url.port != 0 ? 0 : suited;
}

static unsigned
suits(const struct asking *q, const struct listener *l)
{
	if (q->words.listener != NULL)
		return is_called(l, slice_of(q->words.listener));
	if (!speaks(q, l))
		return 0;
	return q->words.protocol != NULL ? 1 : suits_url(q, l);
}

static void
tell_others(struct asking *q, unsigned least)
{
	const struct snapshot *s = q->in->snapshot;
	struct builder b = builder_on(arena_alloc(q->x.arena, WORDS_MAX), WORDS_MAX);
	size_t count = 0;

	for (size_t i = 0; i < s->listener_count; i++) {
		const struct listener *l = &s->listeners[i];

		if (l == q->x.listener || suits(q, l) < least || count++ > OTHERS_MAX)
			continue;
		builder_text(&b, b.n > 0 ? ", " : "");
		if (count > OTHERS_MAX)
			builder_text(&b, "…");
		else
			builder_slice_put(&b, l->text);
	}
	q->x.others = builder_slice(&b);
}

static bool
refuse_listener(const struct asking *q)
{
	if (q->words.listener != NULL)
		return refuse(q, "no server listens there", slice_of(q->words.listener));
	if (q->words.protocol != NULL)
		return refuse(q, "no listener speaks it", slice_of(q->words.protocol));
	if (q->url.port != 0)
		return refuse(q, "no listener of protocol http has this port",
		    slice_of(arena_printf(q->x.arena, "%u", q->url.port)));
	return refuse(q, "no listener speaks it", SLICE("http"));
}

static bool
find_listener(struct asking *q)
{
	const struct snapshot *s = q->in->snapshot;
	unsigned best = 0;

	for (size_t i = 0; i < s->listener_count; i++) {
		unsigned suited = suits(q, &s->listeners[i]);

		if (suited > best) {
			best = suited;
			q->x.listener = &s->listeners[i];
		}
	}
	if (best == 0)
		return refuse_listener(q);
	if (!speaks(q, q->x.listener))
		return refuse(q, arena_printf(q->x.arena, "this listener speaks %s",
		    q->x.listener->protocol->name), q->x.listener->text);
	tell_others(q, best);
	return true;
}

/* ------------------------------------------------------------------ who asks */

/* What the client has connected to, where the listener is for all addresses. */
static struct addr
local_of(const struct asking *q, const struct addr *from)
{
	struct addr to = q->x.listener->addr, host;

	if (!is_any(&to))
		return to;
	if (!addr_parse_host(q->url.host, &host) &&
	    !addr_parse_host(from->any.sa_family == AF_INET6 ? SLICE("::1") : SLICE("127.0.0.1"),
		&host))
		return to;
	addr_set_port(&host, addr_port(&to));
	host.datagram = to.datagram;
	return host;
}

static bool
connect_client(struct asking *q)
{
	struct slice src = slice_of(q->words.src != NULL ? q->words.src : "127.0.0.1");
	struct addr from, to;

	if (slice_is(src, "unix:"))
		from = (struct addr){ .local.sun_family = AF_UNIX,
			.n = offsetof(struct sockaddr_un, sun_path) };
	else if (!addr_parse_host(src, &from) && !addr_parse(src, &from))
		return refuse(q, "this is no address (10.0.0.1, 10.0.0.1:80, ::1, unix:)", src);
	to = local_of(q, &from);
	stage_connect(q->stage, q->x.listener, &from, &to);
	return true;
}

static void
tell_src(struct asking *q)
{
	char text[ADDR_TEXT];

	q->x.src = arena_slice(q->x.arena, addr_print_host(q->stage->ex.src, text));
}

/* ------------------------------------------------------------------ how it ends */

static struct builder
words_on(struct asking *q)
{
	return builder_on(arena_alloc(q->x.arena, WORDS_MAX), WORDS_MAX);
}

static void
answer_with_status(struct asking *q, enum reason reason, struct builder *b)
{
	builder_printf(b, q->x.status != 0 ? "%u" : "none, the connection is closed", q->x.status);
	if (reason != REASON_NONE)
		builder_printf(b, " (%s: %s)", reason_texts[reason].word, reason_texts[reason].text);
}

/* It fails before, or in, its steps. */
static void
fail(struct asking *q, enum reason reason)
{
	struct exchange *ex = &q->stage->ex;
	const struct protocol_ops *p = q->x.listener->protocol;
	struct builder b = words_on(q);
	struct slice body;

	ex->reason = (uint8_t)reason;
	q->x.reason = reason;
	if ((p->traits & PROTOCOL_HTTP) != 0) {
		q->x.status = reason_texts[reason].status;
		answer_with_status(q, reason, &b);
	} else if (p->codec != NULL && p->codec->error != NULL &&
	    p->codec->error(p->codec, ex, reason, &body)) {
		builder_text(&b, "the protocol's error");
		text_show_slice(body, &b);
		builder_printf(&b, " (%s: %s)", reason_texts[reason].word, reason_texts[reason].text);
	} else {
		answer_with_status(q, reason, &b);
	}
	q->x.answer = builder_slice(&b);
}

/* ------------------------------------------------------------------ steps */

static struct told_step *
add_step(struct asking *q, const struct step *step, bool of_error)
{
	struct told_step *told =
	    ARENA_PUSH(q->x.arena, q->x.steps, q->x.step_count, q->x.step_room);

	*told = (struct told_step){ .step = step, .of_error = of_error };
	return told;
}

static enum verdict
run_step(struct asking *q, const struct step *step, struct told_step *told, struct outlook *out)
{
	struct exchange *ex = &q->stage->ex;
	enum verdict verdict = step->ops->takes ? STEP_TAKE : STEP_PASS;

	*out = (struct outlook){ .does = words_on(q) };
	if (step->ops->moment == MOMENT_ANSWER) {
		told->fate = TOLD_LATER;
		return STEP_PASS;
	}
	told->why = explain_condition(q->x.arena, step->when, ex);
	if (step->when != NULL && !condition_is(step->when, ex)) {
		told->fate = TOLD_PASSED;
		return STEP_PASS;
	}
	if (step->ops->explain != NULL)
		verdict = step->ops->explain(ex, step, out);
	told->does = builder_slice(&out->does);
	told->line = out->line;
	if (out->when != NULL)
		told->why = explain_condition(q->x.arena, out->when, ex);
	return verdict;
}

static void
answered(struct asking *q, const struct step *step, const struct outlook *out)
{
	struct builder b = words_on(q);

	if (out->reason != REASON_NONE) {
		fail(q, out->reason);
		return;
	}
	q->x.status = out->status;
	q->x.upstream = out->upstream;
	if (out->upstream != NULL)
		builder_printf(&b, "a peer's, of upstream " SLICE_FORMAT,
		    SLICE_ARG(out->upstream->name));
	else if (out->status != 0)
		answer_with_status(q, REASON_NONE, &b);
	else
		builder_printf(&b, "that of \"%s\"", step->ops->name);
	q->x.answer = builder_slice(&b);
}

static void
run_steps(struct asking *q, const struct steps *steps, bool of_error)
{
	struct exchange *ex = &q->stage->ex;
	struct outlook out;
	bool taken = false;

	for (uint16_t i = 0; i < steps->count; i++) {
		const struct step *step = &steps->items[i];
		struct told_step *told = add_step(q, step, of_error);

		if (taken) {
			told->fate = TOLD_UNREACHED;
		} else if (run_step(q, step, told, &out) == STEP_TAKE) {
			taken = true;
			answered(q, step, &out);
		} else if (ex->gave_up) {
			taken = true;
			fail(q, REASON_PATTERN_LIMIT);
		}
	}
	if (!taken)
		fail(q, REASON_NO_ROUTE);
}

/* An answer of ours that has a status of an error block is given by its steps. */
static void
run_error_steps(struct asking *q)
{
	struct exchange *ex = &q->stage->ex;
	const struct steps *steps =
	    q->x.status >= 400 ? exchange_error_steps(ex, q->x.status, false) : NULL;

	if (steps == NULL)
		return;
	ex->error_run = true;
	ex->gave_up = false;
	ex->status = q->x.status;
	q->x.upstream = NULL;
	/* What the route's steps would have done to the answer was for another one. */
	for (size_t i = 0; i < q->x.step_count; i++)
		if (q->x.steps[i].fate == TOLD_LATER)
			q->x.steps[i].fate = TOLD_UNREACHED;
	run_steps(q, steps, true);
}

/* ------------------------------------------------------------------ the route */

static void
tell_captures(struct asking *q, const struct route *route)
{
	struct exchange *ex = &q->stage->ex;
	struct arena *a = q->x.arena;
	struct reading r = { .arena = a };
	const char *const *names;

	if (ex->captured == NULL || route->kind != ROUTE_REGEX)
		return;
	names = regex_groups(&r, route->regex);
	for (unsigned i = 1; names[i - 1] != NULL; i++) {
		uint32_t from = ex->captures[2 * i], to = ex->captures[2 * i + 1];

		if (from > to || to > ex->question.path.n)
			continue;
		*ARENA_PUSH(a, q->x.captures, q->x.capture_count, q->x.capture_room) =
		    (struct told_capture){
			    names[i - 1][0] != '\0' ? slice_of(names[i - 1]) :
						      slice_of(arena_printf(a, "%u", i)),
			    slice_make(ex->question.path.at + from, to - from) };
	}
}

static struct slice
why_of(struct asking *q, const struct route *route, bool path_alone)
{
	struct exchange *ex = &q->stage->ex;
	struct builder b = words_on(q);

	if (route->kind != ROUTE_ANY && (path_alone || route->when == NULL)) {
		BUILDER_LITERAL(&b, "path is");
		text_show_slice(ex->question.path, &b);
	}
	if (!path_alone)
		builder_slice_put(&b, explain_condition(q->x.arena, route->when, ex));
	return builder_slice(&b);
}

/* Those before the one that is chosen; of very many whose patterns are others, a few are shown. */
static void
tell_earlier(struct asking *q, const struct server *server, const struct route *chosen)
{
	struct exchange *ex = &q->stage->ex;
	size_t count = chosen != NULL ? chosen->order : server->route_count, unfit = 0;

	for (size_t i = 0; i < count; i++) {
		const struct route *route = &server->routes[i];
		enum route_fit fit = route_try(route, ex);

		if (fit == ROUTE_HAS_OTHER_PATH && unfit++ >= UNFIT_SHOWN) {
			q->x.unshown++;
			continue;
		}
		*ARENA_PUSH(q->x.arena, q->x.earlier, q->x.earlier_count, q->x.earlier_room) =
		    (struct told_route){ route, why_of(q, route, fit == ROUTE_HAS_OTHER_PATH) };
	}
}

static bool
find_route(struct asking *q)
{
	struct exchange *ex = &q->stage->ex;
	const struct route *route = route_find(ex->server->table, ex);
	bool gave_up = ex->gave_up;

	tell_earlier(q, ex->server, route);
	ex->gave_up = false;
	if (route != NULL)              /* once more: it alone leaves its captures */
		(void)route_try(route, ex);
	ex->route = route;
	ex->settings = route != NULL ? route->settings : &ex->server->settings;
	q->x.route.route = route;
	if (gave_up || route == NULL) {
		fail(q, gave_up ? REASON_PATTERN_LIMIT : REASON_NO_ROUTE);
		return false;
	}
	q->x.route.why = why_of(q, route, false);
	tell_captures(q, route);
	return true;
}

static const char *
why_server(const struct asking *q)
{
	const struct listener *l = q->x.listener;

	if (l->alone)
		return "the only one of this listener";
	return host_find(l->hosts, q->stage->ex.question.host) != NULL ?
	    "it has the name of the host" : "the default_server: no other has the name of the host";
}

/* The question is there: what serves it. */
static void
choose(struct asking *q)
{
	struct exchange *ex = &q->stage->ex;
	uint64_t most;

	if (!exchange_find_server(ex, q->x.listener)) {
		fail(q, REASON_MISDIRECTED);
		return;
	}
	tell_src(q);
	q->x.server = ex->server;
	q->x.server_why = why_server(q);
	if (find_route(q)) {
		most = ex->settings->body_max;
		if (ex->unit == NULL && !ex->talk && most != 0 && ex->question.length > most)
			fail(q, REASON_BODY_TOO_LARGE);
		else
			run_steps(q, &ex->route->steps, false);
	}
	run_error_steps(q);
}

/* ------------------------------------------------------------------ from bytes to a question */

static void
note(struct asking *q, const char *text)
{
	if (q->x.note == NULL)
		q->x.note = text;
}

static void
await_more(struct asking *q)
{
	q->x.answer = SLICE("none yet: what came is not all of a question, more is awaited");
}

static void
ask_http(struct asking *q)
{
	struct exchange *ex = &q->stage->ex;
	struct h1_limits limits = h1_limits_of(&q->x.listener->settings);
	enum reason why;
	ssize_t n = h1_take_question(&ex->question, &ex->arena, q->bytes, &limits, &why);

	if (n < 0) {
		message_init(&ex->question);
		fail(q, why);
	} else if (n == 0) {
		await_more(q);
	} else {
		h1_strip_question(&ex->question);
		choose(q);
	}
}

/* Of what is typed, the end is what is easily left out. False: more than that is missing. */
static bool
put_end(struct asking *q, const struct codec *k, struct slice *in)
{
	const struct draft d = { .body = *in };
	struct slice wire;

	if (k->write(k, &d, &q->stage->engine.loop.scratch, &wire) != NULL || wire.n <= in->n ||
	    !slice_starts(wire, *in))
		return false;
	*in = arena_slice(q->x.arena, wire);
	return true;
}

/* A datagram ends where it ends; else more may come. */
static bool
may_go_on(const struct asking *q, enum codec_verdict verdict)
{
	const struct listener *l = q->x.listener;

	return (verdict == CODEC_BAD || verdict == CODEC_SKIP) && !l->protocol->codec->datagrams &&
	    !l->addr.datagram;
}

/* The first message from *in on, which what is passed over leaves. */
static enum codec_verdict
read_first(struct asking *q, const struct codec *k, struct slice *in, struct unit *u)
{
	struct scratch *scratch = &q->stage->engine.loop.scratch;
	char *state = arena_zalloc(q->x.arena, CODEC_STATE);

	k->begin(k, state, true);
	for (;;) {
		enum codec_verdict verdict = k->next(k, state, *in, scratch, u);

		if (verdict == CODEC_MORE) {
			verdict = k->finish(k, state, *in, scratch, u);
			if (may_go_on(q, verdict))
				return CODEC_MORE;
		}
		if (verdict == CODEC_MESSAGE && u->wire.n < in->n)
			note(q, "there is more behind the first message, which alone is explained");
		if (verdict != CODEC_SKIP || u->fault != NULL)
			return verdict;
		*in = slice_after(*in, u->wire.n);
	}
}

/* Where there is none, the verdict says why. */
static enum codec_verdict
read_message(struct asking *q, struct unit *u)
{
	const struct codec *k = q->x.listener->protocol->codec;
	struct slice in = q->bytes;
	enum codec_verdict verdict = read_first(q, k, &in, u);

	if (verdict != CODEC_MORE || in.n == 0 || !put_end(q, k, &in))
		return verdict;
	/* What was typed is its body, and nothing stands before it: it was the end that was missing. */
	if (read_first(q, k, &in, u) != CODEC_MESSAGE || unit_body(u).at != u->wire.at)
		return CODEC_MORE;
	note(q, "what marks its end was missing, and is put behind it");
	return CODEC_MESSAGE;
}

static void
ask_message(struct asking *q)
{
	struct unit u = { 0 };

	switch (read_message(q, &u)) {
	case CODEC_MESSAGE:
		exchange_set_unit(&q->stage->ex, &u);
		choose(q);
		return;
	case CODEC_MORE:
		await_more(q);
		return;
	case CODEC_SKIP:
		note(q, arena_printf(q->x.arena, "it is malformed (%s), and passed over", u.fault));
		q->x.answer = SLICE("none");
		return;
	case CODEC_STARVED:
		fail(q, REASON_MEMORY);
		return;
	case CODEC_BAD:
		note(q, arena_printf(q->x.arena, "it is malformed: %s", u.fault));
		fail(q, REASON_BAD_MESSAGE);
		return;
	}
}

static void
ask(struct asking *q)
{
	unsigned traits = q->x.listener->protocol->traits;

	tell_src(q);
	if ((traits & PROTOCOL_HTTP) != 0)
		ask_http(q);
	else if ((traits & PROTOCOL_MESSAGES) != 0)
		ask_message(q);
	else
		choose(q);
}

/* ------------------------------------------------------------------ the words */

/* What is typed has the escapes of a string in a configuration. */
static bool
decode(struct asking *q, const char *text)
{
	struct diag diag;
	struct value v = { .kind = VALUE_STRING, .raw = slice_of(text) };
	struct reading r = { .arena = q->x.arena, .sources = q->in->files, .diag = &diag };

	diag_init(&diag, q->x.arena, q->in->files);
	q->x.question = v.raw;
	if (schema_decode(&r, &v, false, &q->bytes))
		return true;
	diag_print(&diag, q->wrong);
	return false;
}

static bool
read_words(struct asking *q, const char *const *words, size_t count)
{
	if (!explain_words_read(q->x.arena, words, count, &q->words, q->wrong))
		return false;
	if (q->words.protocol != NULL)
		return decode(q, q->words.question != NULL ? q->words.question : "");
	if (!explain_url_read(q->x.arena, &q->words, &q->url, q->wrong))
		return false;
	q->bytes = q->url.bytes;
	q->x.question = slice_of(q->words.question);
	if (q->url.secure)
		note(q, "no listener speaks TLS: it is explained as a question of http");
	return true;
}

static int
run(struct asking *q, const char *const *words, size_t count, FILE *to)
{
	struct explain_plain plain;

	if (!read_words(q, words, count))
		return EXPLAIN_USAGE;
	if (!find_listener(q))
		return EXPLAIN_FAILED;
	if (!connect_client(q))
		return EXPLAIN_USAGE;
	ask(q);
	if (q->words.json) {
		explain_print_json(&q->x, to);
		return EXPLAIN_GOOD;
	}
	explain_plain_begin(&plain);
	explain_print(&q->x, plain.at);
	explain_plain_end(&plain, to);
	return EXPLAIN_GOOD;
}

int
explain_question(const struct explain_input *in, const char *const *words, size_t count, FILE *to,
    FILE *wrong)
{
	struct arena arena;
	struct asking q = { .in = in, .wrong = wrong };

	arena_init(&arena, NULL, 0);
	q.x.arena = &arena;
	q.x.files = in->files;
	q.stage = stage_open(&arena);
	q.stage->ex.snapshot = (struct snapshot *)(uintptr_t)in->snapshot;

	int status = run(&q, words, count, to);

	stage_close(q.stage);
	arena_reset(&arena);
	return status;
}
