/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * real_ip: its rows, and what they do to a question. Nothing of a client's head is believed
 * before its connection is known to be a trusted one.
 */
#include "core/trust.h"

#include "core/client_walk.h"
#include "core/exchange.h"
#include "core/request_id.h"

/* ------------------------------------------------------------------ claims */

/* X-Forwarded-Prefix, -Server and the like: backends believe more of them than we know. */
static bool
is_claim(struct slice name, const struct trust *t)
{
	static const struct slice prefix = SLICE("x-forwarded-");

	return (name.n > prefix.n && message_sounds_like(slice_first(name, prefix.n), prefix)) ||
	       message_sounds_like(name, SLICE("x-real-ip")) || message_sounds_like(name, t->header);
}

static bool
is_dropped(const struct exchange *ex, const struct message_field *f)
{
	struct slice name = message_field_name(&ex->question, f);

	if (f->known != KNOWN_NONE)
		return !ex->trusted && (TRUST_CLAIMS >> f->known & 1) != 0;
	return is_claim(name, &ex->server->trust) &&
	       (!ex->trusted || slice_find(name, '_', 0) < name.n);
}

/* Not message_remove: the protocol may say them in its own words. */
static void
drop_claims(struct exchange *ex)
{
	struct message *m = &ex->question;

	for (unsigned i = 0; i < m->field_count; i++)
		if (!m->fields[i].removed && is_dropped(ex, &m->fields[i]))
			m->fields[i].removed = true;
	if (!ex->trusted)
		m->known &= ~TRUST_CLAIMS;
}

/* ------------------------------------------------------------------ who asks */

static void
find_client(struct exchange *ex)
{
	const struct trust *t = &ex->server->trust;
	struct client_walk walk = { .trusted = t->from.items, .trusted_count = t->from.n };
	enum known known = known_find(t->header);
	struct slice value;

	for (size_t i = 0; message_find(&ex->question, known, t->header, i, &value); i++) {
		if (known == KNOWN_FORWARDED)
			client_walk_forwarded(&walk, value);
		else
			client_walk_list(&walk, value);
	}
	if (walk.client.n == 0)
		return;

	struct addr *client = arena_alloc(&ex->arena, sizeof(*client));

	*client = walk.client;
	ex->connection_src = ex->src;
	ex->src = client;
}

/* An id that would need quoting somewhere, or that is said twice, is none. */
static void
take_id(struct exchange *ex)
{
	struct slice name = ex->server->trust.request_id, id, second;
	enum known known = known_find(name);

	if (name.n != 0 && message_find(&ex->question, known, name, 0, &id) &&
	    !message_find(&ex->question, known, name, 1, &second) && request_id_is_sound(id))
		ex->id = arena_slice(&ex->arena, id);
}

void
trust_question(struct exchange *ex)
{
	const struct trust *t = &ex->server->trust;

	ex->trusted = client_is_trusted(t->from.items, t->from.n, ex->src);
	drop_claims(ex);
	if (!ex->trusted)
		return;
	find_client(ex);
	take_id(ex);
}

/* ------------------------------------------------------------------ rows */

/* `none`: so that a server can take back what the defaults trust. */
static bool
read_trusted(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	struct network *net = out;

	if (!slice_is(v->raw, "none") && !slice_is(v->raw, "unix"))
		return type_network.read(r, v, a, out);
	*net = (struct network){ .family = slice_is(v->raw, "unix") ? AF_UNIX : AF_UNSPEC };
	return true;
}

static const struct type type_trusted = {
	.name = "NETWORK",
	.wanted = "a network (10.0.0.0/8, fd00::/8), unix or none",
	.size = sizeof(struct network),
	.read = read_trusted,
};

static bool
read_name(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	bool token = v->raw.n != 0 && v->raw.n <= UINT16_MAX;

	for (size_t i = 0; i < v->raw.n && token; i++)
		token = ascii_is_token(v->raw.at[i]) && v->raw.at[i] != '_';
	if (!token)
		diag_error(r->diag, v->span,
		    "\"" SLICE_FORMAT "\" is no field name: letters, digits and - only",
		    SLICE_ARG(diag_word(v->raw)));
	else
		*(struct slice *)out = arena_slice(r->arena, v->raw);
	return token;
}

/* Of the names that we know, few say who a client is. */
static bool
read_client_name(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	enum known known = known_find(v->raw);

	if (known == KNOWN_NONE || known == KNOWN_FORWARDED || known == KNOWN_X_FORWARDED_FOR ||
	    known == KNOWN_X_REAL_IP)
		return read_name(r, v, a, out);
	diag_error(r->diag, v->span, "\"" SLICE_FORMAT "\" does not say who the client is",
	    SLICE_ARG(v->raw));
	return false;
}

static const struct type type_client_name = {
	.name = "FIELD",
	.wanted = "a field name (X-Forwarded-For, Forwarded, X-Real-IP)",
	.size = sizeof(struct slice),
	.read = read_client_name,
};

static const struct type type_id_name = {
	.name = "FIELD",
	.wanted = "a field name (X-Request-Id)",
	.size = sizeof(struct slice),
	.read = read_name,
};

static bool
trusts_nobody(const struct trust *t)
{
	return t->from.n == 1 && ((const struct network *)t->from.items)->family == AF_UNSPEC;
}

static bool
says_from(const struct block *block)
{
	for (const struct statement *s = block->first; s != NULL; s = s->next)
		if (slice_is(s->values[0].raw, "from"))
			return true;
	return false;
}

bool
trust_check(struct reading *r, const struct statement *s, void *filled)
{
	const struct trust *t = filled;
	const struct network *networks = t->from.items;

	if (trusts_nobody(t) && !says_from(s->block)) {
		diag_error(r->diag, s->values[0].span,
		    "\"real_ip\" trusts nobody yet; say who: from 10.0.0.0/8;");
		return false;
	}
	for (size_t i = 0; i < t->from.n && t->from.n > 1; i++)
		if (networks[i].family == AF_UNSPEC) {
			diag_error(r->diag, s->values[0].span, "\"from none\" stands alone");
			return false;
		}
	return true;
}

struct trust
trust_keep(const struct trust *filled)
{
	struct trust t = *filled;

	if (trusts_nobody(&t))
		t.from = (struct list){ 0 };
	return t;
}

static const struct argument from_arguments[] = {
	{ "NETWORK", &type_trusted, offsetof(struct trust, from), .flags = ARGUMENT_MANY },
	{ 0 },
};

static const struct argument header_arguments[] = {
	{ .name = "NAME", .type = &type_client_name },
	{ 0 },
};

static const struct argument request_id_arguments[] = {
	{ .name = "NAME", .type = &type_id_name },
	{ 0 },
};

static const struct directive trust_rows[] = {
	{ "from", DIRECTIVE_SETTING, .arguments = from_arguments, .otherwise = "none",
	    .help = "Connections that are believed about who asks: networks, unix for those of "
	    "Unix sockets, or none." },
	{ "header", DIRECTIVE_SETTING, .arguments = header_arguments,
	    .offset = offsetof(struct trust, header), .otherwise = "X-Forwarded-For",
	    .help = "The field that says who the client is: X-Forwarded-For, Forwarded (RFC 7239), "
	    "or one with an address. Of a list, the last address that is not trusted itself." },
	{ "request_id", DIRECTIVE_SETTING, .arguments = request_id_arguments,
	    .offset = offsetof(struct trust, request_id),
	    .help = "The field whose value, said by a trusted connection, becomes the field id; else "
	    "ids are made here. What others say in it goes to peers as any field does, unless a "
	    "request_header sets it." },
	{ 0 },
};

const struct table trust_tables[] = { { trust_rows, 0 }, { NULL, 0 } };
