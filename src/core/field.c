/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Core's own fields, and the search for a field by its name. What is missing,
 * foreign or too early is said with the name that was probably meant.
 */
#include "core/field.h"

#include "base/clock.h"
#include "core/exchange.h"
#include "core/field_map.h"

/* ------------------------------------------------------------------ values */

static bool
give_text(struct slice text, size_t nth, struct field_value *out)
{
	out->text = text;
	return nth == 0 && text.n != 0;
}

static bool
give_number(uint64_t number, size_t nth, struct field_value *out)
{
	out->number = (int64_t)MIN_OF(number, (uint64_t)INT64_MAX);
	return nth == 0;
}

static bool
give_address(const struct addr *a, size_t nth, struct field_value *out)
{
	out->addr = a;
	return nth == 0 && a != NULL && a->n != 0;
}

static const struct addr *
local_address(struct exchange *ex)
{
	return ex->client == NULL ? NULL : conn_local(ex->client);
}

static bool
give_port(const struct addr *a, size_t nth, struct field_value *out)
{
	return a != NULL && a->n != 0 && !addr_is_unix(a) && give_number(addr_port(a), nth, out);
}

static bool
get_src(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_address(ex->src, nth, out);
}

static bool
get_src_port(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return addr_port(ex->src) != 0 && give_port(ex->src, nth, out);
}

static bool
get_src_connection(
    struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_address(
	    ex->connection_src != NULL ? ex->connection_src : ex->src, nth, out);
}

static bool
get_dst(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_address(local_address(ex), nth, out);
}

static bool
get_dst_port(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_port(local_address(ex), nth, out);
}

static bool
get_listener(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return ex->listener != NULL && give_text(ex->listener->text, nth, out);
}

static bool
get_server(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_text(ex->server != NULL ? ex->server->name : ex->server_name, nth, out);
}

static bool
get_id(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_text(request_id(ex), nth, out);
}

static bool
get_time_iso(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_text(clock_iso_date(), nth, out);
}

static bool
get_time_unix(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_number((uint64_t)clock_unix(), nth, out);
}

static bool
get_time_ms(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_number(clock_unix_ms(), nth, out);
}

static bool
get_upstream(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_text(ex->upstream_name, nth, out);
}

static bool
get_peer(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_text(ex->peer_text, nth, out);
}

static bool
get_attempts(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_number(ex->attempts, nth, out);
}

static bool
get_reason(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return ex->reason != REASON_NONE &&
	       give_text(slice_of(reason_texts[ex->reason].word), nth, out);
}

static bool
get_bytes_received(
    struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_number(ex->received, nth, out);
}

static bool
get_bytes_sent(
    struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return give_number(ex->sent, nth, out);
}

static bool
get_duration(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	uint64_t now = clock_us();

	return give_number(now > ex->started_us ? (now - ex->started_us) / 1000 : 0, nth, out);
}

/* ------------------------------------------------------------------ captures and maps */

static bool
get_capture(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	if (nth != 0 || ex->captured == NULL)
		return false;

	uint32_t from = ex->captures[2 * ref->known], to = ex->captures[2 * ref->known + 1];

	if (from > to || to > ex->question.path.n)
		return false;
	out->text = slice_make(ex->question.path.at + from, to - from);
	return true;
}

static const struct field capture_field = {
	.name = "capture", .type = FIELD_TEXT, .moment = MOMENT_QUESTION, .get = get_capture,
	.help = "What a group of the route's regular expression matched.",
};

static bool
get_map(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	const struct map_result *result = nth == 0 ? field_map_find(ref->more, ex) : NULL;

	if (result != NULL)
		out->text = result->text;
	return result != NULL;
}

/* Free places of the table have no name: an empty one is close to nothing. */
static const char *
next_map(void *what, size_t i)
{
	const struct map *maps = what;
	const struct field_map *map = maps->entries[i].value;

	return map == NULL ? "" : map->name.at;
}

static bool
prepare_map(struct reading *r, const struct scope *scope, struct field_ref *ref, struct span at)
{
	const struct field_map *map = scope->maps == NULL ? NULL : map_find(scope->maps, ref->name);

	if (map != NULL) {
		struct field_map_use *use = arena_zalloc(r->arena, sizeof(*use));

		ref->more = use;
		return field_map_use(r, scope, map, at, use);
	}

	size_t count = scope->maps == NULL ? 0 : scope->maps->room;
	const char *closest = diag_closest(ref->name, next_map, (void *)scope->maps, count);

	diag_error(r->diag, at, "unknown map \"" SLICE_FORMAT "\"" DIAG_MEANT,
	    SLICE_ARG(diag_word(ref->name)), DIAG_MEANT_ARG(closest));
	return false;
}

/* ------------------------------------------------------------------ the table */

const struct field core_fields[] = {
	{ "src", FIELD_ADDRESS, MOMENT_OPEN, 0, get_src, NULL,
	    "The client's address; of a trusted connection (real_ip), the one that it tells." },
	{ "src_port", FIELD_NUMBER, MOMENT_OPEN, 0, get_src_port, NULL, "The client's port." },
	{ "src.connection", FIELD_ADDRESS, MOMENT_OPEN, 0, get_src_connection, NULL,
	    "The address that the client's connection comes from, whatever real_ip makes of it." },
	{ "dst", FIELD_ADDRESS, MOMENT_OPEN, 0, get_dst, NULL,
	    "The address that the client connected to." },
	{ "dst_port", FIELD_NUMBER, MOMENT_OPEN, 0, get_dst_port, NULL,
	    "The port that the client connected to." },
	{ "listener", FIELD_TEXT, MOMENT_OPEN, 0, get_listener, NULL,
	    "The listener, as it is configured." },
	{ "server", FIELD_TEXT, MOMENT_OPEN, 0, get_server, NULL, "The name of the server." },
	{ "id", FIELD_TEXT, MOMENT_OPEN, 0, get_id, NULL,
	    "What names this exchange and no other: 32 hex digits, or what a trusted connection "
	    "says (real_ip)." },
	{ "time.iso", FIELD_TEXT, MOMENT_OPEN, 0, get_time_iso, NULL,
	    "The local time: 2026-11-22T10:00:00+00:00." },
	{ "time.unix", FIELD_NUMBER, MOMENT_OPEN, 0, get_time_unix, NULL, "Seconds since 1970." },
	{ "time.ms", FIELD_NUMBER, MOMENT_OPEN, 0, get_time_ms, NULL, "Milliseconds since 1970." },
	{ "map.", FIELD_TEXT, MOMENT_OPEN, FIELD_FAMILY | FIELD_URI, get_map, prepare_map,
	    "What a map makes of its field." },
	{ "upstream", FIELD_TEXT, MOMENT_ANSWER, 0, get_upstream, NULL,
	    "The upstream that was asked." },
	{ "peer", FIELD_TEXT, MOMENT_ANSWER, 0, get_peer, NULL, "The peer that was asked." },
	{ "attempts", FIELD_NUMBER, MOMENT_ANSWER, 0, get_attempts, NULL,
	    "How many peers were tried." },
	{ "reason", FIELD_TEXT, MOMENT_ANSWER, 0, get_reason, NULL, "Why the exchange failed." },
	{ "bytes_received", FIELD_NUMBER, MOMENT_END, 0, get_bytes_received, NULL,
	    "Body bytes of the question." },
	{ "bytes_sent", FIELD_NUMBER, MOMENT_END, 0, get_bytes_sent, NULL,
	    "Bytes of the answer, its head included." },
	{ "duration", FIELD_NUMBER, MOMENT_END, 0, get_duration, NULL,
	    "Milliseconds from the start of the exchange." },
	{ 0 },
};

/* ------------------------------------------------------------------ search */

static const struct field no_fields[] = { { 0 } };

static const struct field *
fields_of(const struct protocol_ops *protocol)
{
	return protocol == NULL || protocol->fields == NULL ? no_fields : protocol->fields;
}

/* The field of that name, or the family that it is of, with what stands behind the dot. */
static const struct field *
find_in(const struct field *fields, struct slice word, struct slice *name)
{
	const struct field *family = NULL;

	for (const struct field *f = fields; f->name != NULL; f++) {
		struct slice own = slice_of(f->name);

		if (!(f->flags & FIELD_FAMILY)) {
			if (slice_equal(word, own))
				return f;
		} else if (word.n > own.n && slice_starts(word, own)) {
			family = f;
			*name = slice_after(word, own.n);
		}
	}
	return family;
}

/* Index of the group that is called so; 0: none is. */
static unsigned
find_capture(const struct scope *scope, struct slice word)
{
	uint64_t number = 0;
	bool numbered = slice_to_u64(word, &number);

	for (unsigned i = 0; scope->captures != NULL && scope->captures[i] != NULL; i++)
		if (numbered ? number == i + 1
			     : scope->captures[i][0] != '\0' && slice_is(word, scope->captures[i]))
			return i + 1;
	return 0;
}

/*
 * Every name that the scope knows, for did-you-mean. A family is spelled with
 * what the word has behind its dot.
 */
struct names {
	const char **items;
	size_t n, room;
};

static const char *
next_name(void *what, size_t i)
{
	return ((struct names *)what)->items[i];
}

static void
add_names(struct arena *a, struct names *names, const struct field *fields, struct slice word)
{
	size_t dot = slice_find(word, '.', 0);
	struct slice rest = dot == word.n ? SLICE_EMPTY : slice_after(word, dot + 1);

	for (const struct field *f = fields; f->name != NULL; f++) {
		const char *name = f->name;

		if (f->flags & FIELD_FAMILY) {
			if (rest.n == 0 || !slice_ends(slice_of(name), SLICE(".")))
				continue;
			name = arena_printf(a, "%s" SLICE_FORMAT, f->name, SLICE_ARG(rest));
		}
		*ARENA_PUSH(a, names->items, names->n, names->room) = name;
	}
}

/* nginx's `http_user_agent` and the like, as it is written here. */
static bool
report_prefixed(struct reading *r, struct slice word, struct span at)
{
	static const struct {
		const char *prefix, *family;
		bool dashes;
	} known[] = {
		{ "http_", "header.", true }, { "sent_http_", "response_header.", true },
		{ "upstream_http_", "response_header.", true }, { "arg_", "query.", false },
		{ "cookie_", "cookie.", false },
	};

	for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
		size_t n = strlen(known[i].prefix);

		if (word.n <= n || !slice_starts(word, slice_of(known[i].prefix)))
			continue;
		char *name = arena_text(r->arena, diag_word(slice_after(word, n)));
		for (char *c = name; *c != '\0' && known[i].dashes; c++)
			*c = *c == '_' ? '-' : *c;
		diag_error(r->diag, at, "nginx's \"$" SLICE_FORMAT "\" is \"%s%s\" here",
		    SLICE_ARG(diag_word(word)), known[i].family, name);
		return true;
	}
	return false;
}

static void
report_unknown(struct reading *r, const struct scope *scope, struct slice word, struct span at)
{
	struct slice shown = diag_word(word);
	const struct elsewhere *elsewhere = schema_elsewhere(r, "$", word);

	if (elsewhere != NULL)
		schema_report_elsewhere(r, slice_of(elsewhere->word), at, elsewhere);
	if (elsewhere != NULL || report_prefixed(r, word, at))
		return;
	struct names names = { 0 };

	add_names(r->arena, &names, core_fields, shown);
	add_names(r->arena, &names, fields_of(scope->protocol), shown);
	for (size_t i = 0; scope->captures != NULL && scope->captures[i] != NULL; i++)
		if (scope->captures[i][0] != '\0')
			*ARENA_PUSH(r->arena, names.items, names.n, names.room) =
			    scope->captures[i];

	const char *closest = diag_closest(word, next_name, &names, names.n);

	if (closest != NULL)
		diag_error(r->diag, at, "unknown field \"" SLICE_FORMAT "\"; did you mean \"%s\"?",
		    SLICE_ARG(shown), closest);
	else
		diag_error(r->diag, at, "unknown field \"" SLICE_FORMAT "\"", SLICE_ARG(shown));
}

/* `header` or `header.`: the family without a name. */
static bool
report_bare_family(struct reading *r, const struct field *fields, struct slice word, struct span at)
{
	struct slice bare =
	    word.n > 0 && word.at[word.n - 1] == '.' ? slice_first(word, word.n - 1) : word;

	for (const struct field *f = fields; f->name != NULL; f++) {
		struct slice own = slice_of(f->name);

		if ((f->flags & FIELD_FAMILY) && slice_equal(bare, slice_first(own, own.n - 1))) {
			diag_error(r->diag, at, "field \"" SLICE_FORMAT "\" wants a name: %sNAME%s",
			    SLICE_ARG(bare), f->name, slice_ends(own, SLICE("[")) ? "]" : "");
			return true;
		}
	}
	return false;
}

static bool
report_foreign(struct reading *r, const struct scope *scope, struct slice word, struct span at)
{
	struct slice name;

	for (size_t i = 0; scope->protocols != NULL && scope->protocols[i] != NULL; i++) {
		const struct protocol_ops *other = scope->protocols[i];

		if (other == scope->protocol || find_in(fields_of(other), word, &name) == NULL)
			continue;
		/* one that has fields of its own by these names: the word is wrong, not the protocol */
		if (other->codec != NULL && scope->protocol != NULL && scope->protocol->codec != NULL)
			continue;

		const char *needs = other->codec != NULL ? "a protocol of messages" : "protocol ";
		const char *which = other->codec != NULL ? "" : other->name;

		if (scope->protocol != NULL)
			diag_error(r->diag, at,
			    "field \"" SLICE_FORMAT "\" needs %s%s; this server speaks %s",
			    SLICE_ARG(diag_word(word)), needs, which, scope->protocol->name);
		else
			diag_error(r->diag, at, "field \"" SLICE_FORMAT "\" needs %s%s",
			    SLICE_ARG(diag_word(word)), needs, which);
		return true;
	}
	return false;
}

static const char *const moments[] = {
	[MOMENT_OPEN] = "once the connection is open",
	[MOMENT_QUESTION] = "once the question is there",
	[MOMENT_ANSWER] = "once the answer is there",
	[MOMENT_END] = "at the end of the exchange",
};

bool
field_find(struct reading *r, const struct scope *scope, struct slice word, struct span at,
    struct field_ref *out)
{
	unsigned capture = find_capture(scope, word);

	*out = (struct field_ref){ .name = SLICE_EMPTY };
	if (capture != 0) {
		*out =
		    (struct field_ref){ .field = &capture_field, .name = word, .known = capture };
		return true;
	}
	out->field = find_in(core_fields, word, &out->name);
	if (out->field == NULL)
		out->field = find_in(fields_of(scope->protocol), word, &out->name);
	if (out->field == NULL) {
		if (!report_bare_family(r, core_fields, word, at) &&
		    !report_bare_family(r, fields_of(scope->protocol), word, at) &&
		    !report_foreign(r, scope, word, at))
			report_unknown(r, scope, word, at);
		return false;
	}
	if (out->field->moment > scope->moment) {
		diag_error(r->diag, at,
		    "field \"" SLICE_FORMAT "\" is known only %s; %s is asked before",
		    SLICE_ARG(diag_word(word)), moments[out->field->moment],
		    scope->where != NULL ? scope->where : "this");
		return false;
	}
	out->type = out->field->type;
	return out->field->prepare == NULL || out->field->prepare(r, scope, out, at);
}

void
field_name(const struct field_ref *ref, struct builder *b)
{
	if (ref->field != &capture_field)
		builder_text(b, ref->field->name);
	builder_slice_put(b, ref->name);
}

enum moment
field_moment(const struct field_ref *ref)
{
	while (ref->field->prepare == prepare_map)
		ref = &((const struct field_map_use *)ref->more)->ref;
	return ref->field->moment;
}

/* ------------------------------------------------------------------ as text */

static struct slice
print_number(struct exchange *ex, int64_t number)
{
	enum { LONGEST = 20 };          /* -9223372036854775808 */
	struct builder b = builder_on(scratch_alloc(&ex->engine->loop.scratch, LONGEST), LONGEST);

	builder_signed(&b, number);
	return builder_slice(&b);
}

bool
field_text_nth(struct exchange *ex, const struct field_ref *ref, size_t nth, struct slice *out)
{
	struct field_value value = { .text = SLICE_EMPTY };

	if (nth > 0 && !(ref->field->flags & FIELD_REPEATED))
		return false;
	if (!ref->field->get(ex, ref, nth, &value))
		return false;
	switch (ref->type == FIELD_ANY ? value.type : ref->type) {
	case FIELD_TEXT:
	case FIELD_BARE:
	case FIELD_ANY:
		*out = value.text;
		break;
	case FIELD_NUMBER:
		*out = value.text.n > 0 ? value.text : print_number(ex, value.number);
		break;
	case FIELD_ADDRESS:
		*out = addr_print_host(
		    value.addr, scratch_alloc(&ex->engine->loop.scratch, ADDR_TEXT));
		break;
	}
	return true;
}

/* All values from the second on, behind the first, ", " between (RFC 9110 5.3). */
static struct slice
join(struct exchange *ex, const struct field_ref *ref, struct slice first)
{
	struct slice more;
	size_t n = first.n;

	for (size_t nth = 1; field_text_nth(ex, ref, nth, &more); nth++)
		n += 2 + more.n;
	if (n == first.n)
		return first;

	struct builder all = builder_on(scratch_alloc(&ex->engine->loop.scratch, n), n);

	builder_slice_put(&all, first);
	for (size_t nth = 1; field_text_nth(ex, ref, nth, &more); nth++) {
		BUILDER_LITERAL(&all, ", ");
		builder_slice_put(&all, more);
	}
	return builder_slice(&all);
}

bool
field_text(struct exchange *ex, const struct field_ref *ref, bool joined, struct slice *out)
{
	if (!field_text_nth(ex, ref, 0, out))
		return false;
	if (joined && (ref->field->flags & FIELD_REPEATED))
		*out = join(ex, ref, *out);
	return true;
}

/* ------------------------------------------------------------------ as an argument */

static bool
field_read(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	struct field_argument *field = out;

	field->raw = *v;
	if (v->kind == VALUE_STRING)
		diag_error(r->diag, v->span, "a field is written without quotes: " SLICE_FORMAT,
		    SLICE_ARG(diag_word(v->raw)));
	return v->kind != VALUE_STRING;
}

static bool
field_compile(struct reading *r, const struct scope *scope, const struct argument *a, void *out)
{
	struct field_argument *field = out;

	return field_find(r, scope, field->raw.raw, field->raw.span, &field->ref);
}

const struct type type_field = {
	.name = "FIELD",
	.wanted = "a field (src, path, header.host)",
	.size = sizeof(struct field_argument),
	.read = field_read,
	.compile = field_compile,
};
