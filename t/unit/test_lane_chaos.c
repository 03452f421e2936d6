/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/lane.c and lane_peer.c under a driver that throws dice: clients of every way of pairing, of
 * messages and of HTTP, peers that are late, silent, wrong and gone, connections that break anywhere, the clock,
 * reloads, drains. Whatever happens, an answer is the answer to its question or an error, none is lost or
 * comes twice, and when the dust has settled everybody is served, and nothing is left.
 *
 *   test_lane_chaos [SEED [ROUNDS]]        one run of that seed, to look at what it found
 */
#include "road_case.h"

enum kind {
	KIND_LINE,              /* in order, shared */
	KIND_OWN,               /* in order, connections of its own */
	KIND_PAIR,              /* by id, JSON */
	KIND_TINY,              /* by id, of eight bits */
	KIND_SAY,               /* no answers */
	KIND_HTTP_LINE,         /* HTTP in front of KIND_LINE */
	KIND_HTTP_PAIR,
	KIND_HTTP_OWN,
	KIND_PAIR_HTTP,         /* KIND_PAIR in front of HTTP */
	KIND_SAY_LINE,
	KIND_BARE,              /* in order, and without words for a failure */
	KIND_LOSSY,             /* answers are dropped when it does not read */
	KIND_COUNT
};

enum { WIDEST = 1200, ROOM = 2048 };            /* bytes of padding, of a message with it */
enum { CLIENTS = 14, PEERS = 96, QUESTIONS = 400, ROUNDS = 220, SEEDS = 24 };

/* With another `max` of protocol own: its connections end, in place of going on. */
static const char *const variants[] = { "2k", "3k" };

#define TIMES "timeout { idle 1h; first_message 1h; message 1h; } "
#define SERVER(name, port, rest) "server " name " { listen 127.0.0.1:" port "; " rest " }\n"

static const char configuration[] =
	"protocol line { boundary \"\\n\"; max 2k; format words; answers in_order; messages independent; "
	"error \"error ${code}\"; idempotent when msg[0] == \"get\"; }\n"
	"protocol own { boundary \"\\n\"; max %s; format words; answers in_order; error \"error ${code}\"; "
	"idempotent when msg[0] == \"get\"; }\n"
	"protocol pair { boundary \"\\n\"; max 2k; format json; answers by id; messages independent; "
	"error '{\"code\":${code}}'; idempotent when msg.m == \"get\"; }\n"
	"protocol tiny { length u8 at 0 counts whole; header 2; max 64; fields { id u8 at 1; } answers by id; "
	"messages independent; error \"E${code}\"; }\n"
	"protocol bare { boundary \"\\n\"; max 2k; format words; answers in_order; messages independent; }\n"
	"protocol say { boundary \"\\n\"; max 64; messages independent; }\n"
	"upstream lines { server unix:@/l1 max_fails=0; server unix:@/l2 max_fails=0; protocol line; retry 1; "
	"timeout { header 4s; connect 2s; } pool { connections 2; idle_timeout 20s; } "
	"heartbeat { interval 3s; send \"beat\"; miss 3; } }\n"
	"upstream owns { server unix:@/o1 max_fails=0; server unix:@/o2 max_fails=0; protocol own; retry 1; "
	"timeout { header 4s; } }\n"
	"upstream pairs { server unix:@/p1 max_fails=0; server unix:@/p2 max_fails=0; protocol pair; retry 1; "
	"timeout { header 4s; } pool { connections 2; idle_timeout 20s; } max_inflight 40; }\n"
	"upstream tinies { server unix:@/t1 max_fails=0; protocol tiny; "
	"timeout { header 4s; } pool { connections 2; idle_timeout 20s; } }\n"
	"upstream says { server unix:@/s1 max_fails=0; protocol say; pool { connections 2; idle_timeout 20s; } }\n"
	"upstream webs { server unix:@/h1 max_fails=0; protocol http; timeout { header 4s; } }\n"
	SERVER("line", "11", "protocol line; " TIMES "max { messages 9; } "
	    "route when msg[0] == bye { close \"a${msg[1]}\"; } route when msg[0] == end { close \"a${msg[1]}\" drain; } "
	    "route when msg[0] == here { reply \"a${msg[1]}\"; } "
	    "route { proxy lines; }")
	SERVER("own", "12", "protocol own; " TIMES "max { messages 40; } "
	    "route when msg[0] == pin { proxy owns per connection; } route when msg[0] == here { reply \"a${msg[1]}\"; } "
	    "route { proxy owns; }")
	SERVER("pair", "13", "protocol pair; " TIMES "route { proxy pairs; }")
	SERVER("tiny", "14", "protocol tiny; " TIMES "max { messages 200; } route { proxy tinies; }")
	SERVER("say", "15", "protocol say; " TIMES "route { proxy says; }")
	SERVER("weblines", "16", "route { proxy lines; }")
	SERVER("webpairs", "17", "route { proxy pairs; }")
	SERVER("webowns", "18", "route { proxy owns; }")
	SERVER("pairwebs", "19", "protocol pair; " TIMES "message_rate 20/s burst=30; route { proxy webs; }")
	SERVER("saylines", "20", "protocol say; " TIMES "route { proxy lines; }")
	SERVER("bare", "21", "protocol bare; " TIMES "route { proxy lines; }")
	SERVER("lossy", "22", "protocol line; " TIMES "buffer { answer 8k over=drop_oldest; } route { proxy lines; }");

/* By listener. */
static const struct {
	const char *name;
	enum kind speaks;
} listeners[] = {
	{ "l1", KIND_LINE }, { "l2", KIND_LINE }, { "o1", KIND_OWN }, { "o2", KIND_OWN }, { "p1", KIND_PAIR },
	{ "p2", KIND_PAIR }, { "t1", KIND_TINY }, { "s1", KIND_SAY }, { "h1", KIND_HTTP_LINE },
};

struct asking {
	unsigned token, id;
	bool answered;
	bool one_way;
};

struct client {
	struct end end;
	uint64_t number;                /* of its connection */
	enum kind kind;
	bool open, shut, partial, reads;
	bool may_end;                   /* it did what ends it */
	bool stuck;                     /* not all that it asked was said, or will be answered */
	unsigned count, next;           /* questions; the first that order has not answered */
	unsigned errors[4];             /* by id */
	struct asking asked[QUESTIONS];
	char rest[ROOM];                /* of a question that was said in part */
	size_t rest_n;
};

struct backend {
	struct end end;
	size_t listener;
	bool open, reads, answers;
	size_t done;                    /* bytes of end.at that are understood */
	unsigned pending;
	struct due {
		unsigned token, id;
		bool beat, has_id;
		char word;
	} due[4096];
};

static struct road road;
static struct client clients[CLIENTS];
static struct backend peers[PEERS];
static uint64_t dice;
static unsigned tokens, seed_now, round_now, answered_all, errors_all;
static bool verbose, draining;

#define CHECK(is) \
	do { \
		if (!(is)) { \
			print_error("seed %u, round %u: %s\n", seed_now, round_now, #is); \
			fail(); \
		} \
	} while (0)

static unsigned
roll(unsigned of)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (unsigned)(dice >> 11) % of;
}

static bool
chance(unsigned percent)
{
	return roll(100) < percent;
}

/* Most often none: then as much as fills sockets. */
static const char *
padding(void)
{
	static char pad[WIDEST + 1];
	unsigned n = chance(seed_now % 2 ? 90 : 40) ? 0 : 1 + roll(WIDEST - 1);

	memset(pad, 'x', n);
	pad[n] = '\0';
	return pad;
}

static bool
is_http(enum kind kind)
{
	return kind == KIND_HTTP_LINE || kind == KIND_HTTP_PAIR || kind == KIND_HTTP_OWN;
}

static bool
is_by_id(enum kind kind)
{
	return kind == KIND_PAIR || kind == KIND_TINY || kind == KIND_PAIR_HTTP;
}

/* ------------------------------------------------------------------ what clients say */

static const char *
word_of(enum kind kind, unsigned token)
{
	if (kind == KIND_LINE && token % 41 == 0)
		return token % 2 ? "bye" : "end";
	if (kind == KIND_OWN && token % 41 == 0)
		return "pin";
	if ((kind == KIND_LINE || kind == KIND_OWN) && token % 5 == 0)
		return "here";
	return token % 2 ? "get" : "set";
}

static size_t
make_question(enum kind kind, const struct asking *q, char *to, size_t room)
{
	const char *pad = padding();
	char body[ROOM];
	int n;

	switch (kind) {
	case KIND_LINE:
	case KIND_OWN:
	case KIND_BARE:
	case KIND_LOSSY:
		n = snprintf(to, room, "%s %u %s\n", word_of(kind, q->token), q->token, pad);
		break;
	case KIND_SAY:
	case KIND_SAY_LINE:
		n = snprintf(to, room, "set %u\n", q->token);
		break;
	case KIND_PAIR:
	case KIND_PAIR_HTTP:
		if (q->one_way)
			n = snprintf(to, room, "{\"q\":%u}\n", q->token);
		else
			n = snprintf(to, room, "{\"m\":\"%s\",\"id\":%u,\"q\":%u,\"x\":\"%s\"}\n",
			    q->token % 2 ? "get" : "set", q->id, q->token, pad);
		break;
	case KIND_TINY:
		n = snprintf(to + 2, room - 2, "q%u", q->token) + 2;
		to[0] = (char)n;
		to[1] = (char)(q->id + 200);
		break;
	default:
		n = kind == KIND_HTTP_PAIR ? snprintf(body, sizeof(body), "{\"q\":%u,\"x\":\"%s\"}", q->token, pad) :
					     snprintf(body, sizeof(body), "%s %u %s", q->token % 2 ? "get" : "set", q->token, pad);
		n = snprintf(to, room, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", n, body);
		break;
	}
	return (size_t)n;
}

static void
client_put(struct client *c, const char *at, size_t n)
{
	if (send(c->end.fd, at, n, MSG_NOSIGNAL) != (ssize_t)n)
		c->may_end = c->shut = c->stuck = true; /* it is gone, or does not take it */
}

static void
client_ask(struct client *c)
{
	char text[ROOM];
	struct asking *q = &c->asked[c->count];

	if (c->count == QUESTIONS || c->shut || c->end.fd < 0)
		return;
	if (c->rest_n != 0) {
		client_put(c, c->rest, c->rest_n);
		c->rest_n = 0;
		return;
	}
	c->count++;
	*q = (struct asking){ .token = ++tokens, .id = roll(4) };
	q->one_way = c->kind == KIND_SAY || c->kind == KIND_SAY_LINE ||
	    ((c->kind == KIND_PAIR || c->kind == KIND_PAIR_HTTP) && chance(10));
	q->answered = q->one_way;
	if ((c->kind == KIND_LINE || c->kind == KIND_OWN) && q->token % 41 == 0)
		c->may_end = c->stuck = true;

	size_t n = make_question(c->kind, q, text, sizeof(text)), now = chance(10) ? roll((unsigned)n) : n;

	if (now != 0)
		client_put(c, text, now);
	c->rest_n = n - now;
	memcpy(c->rest, text + now, c->rest_n);
}

/* ------------------------------------------------------------------ what clients hear */

static void
take_answer(struct client *c, bool error, unsigned id, unsigned token)
{
	errors_all += error;
	answered_all += !error;
	if (!is_by_id(c->kind)) {
		while (c->next < c->count &&
		    (c->asked[c->next].one_way || (c->kind == KIND_LOSSY && c->asked[c->next].token != token)))
			c->next++;
		CHECK(c->next < c->count);
		if (!error && c->asked[c->next].token != token)
			print_error("kind %d: %u in place of %u\n", c->kind, token, c->asked[c->next].token);
		CHECK(error || c->asked[c->next].token == token);
		CHECK(c->next == 0 || c->kind != KIND_LINE || c->asked[c->next - 1].token % 82 != 41);
		c->asked[c->next++].answered = true;
		return;
	}
	CHECK(id < 4);
	if (error) {
		c->errors[id]++;
		return;
	}
	for (unsigned i = 0; i < c->count; i++)
		if (c->asked[i].token == token) {
			CHECK(!c->asked[i].answered && c->asked[i].id == id);
			c->asked[i].answered = true;
			return;
		}
	CHECK(!"an answer that is nobody's");
}

/* How many bytes one answer has; 0: it is not whole. */
static size_t
hear_one(struct client *c, struct slice in)
{
	char text[512];
	size_t n = slice_find(in, '\n', 0) + 1;
	unsigned token = 0, id = 0, code = 0;

	if (in.n == 0)
		return 0;
	if (c->kind == KIND_TINY) {
		n = (unsigned char)in.at[0];
		CHECK(n > 2);
		if (n > in.n)
			return 0;
		snprintf(text, sizeof(text), "%.*s", (int)n - 2, in.at + 2);
		CHECK(sscanf(text, "a%u", &token) == 1 || sscanf(text, "E%u", &code) == 1);
		take_answer(c, code != 0, (unsigned char)in.at[1] - 200u, token);
		return n;
	}
	if (is_http(c->kind)) {
		size_t head = slice_find_slice(in, SLICE("\r\n\r\n")) + 4, length = 0;
		size_t at = slice_find_slice(in, SLICE("Content-Length: "));
		unsigned status;

		if (head > in.n)
			return 0;
		snprintf(text, sizeof(text), "%.*s", (int)MIN_OF(in.n, sizeof(text) - 1), in.at);
		CHECK(sscanf(text, "HTTP/1.1 %u", &status) == 1);
		if (at < head)
			length = (size_t)atoi(in.at + at + 16);
		if (head + length > in.n)
			return 0;
		if (status == 200) {
			const char *a = strstr(text, c->kind == KIND_HTTP_PAIR ? "\"a\":" : "\r\n\r\na");

			CHECK(a != NULL);
			token = (unsigned)atoi(strpbrk(a, "0123456789"));
		} else if (c->kind == KIND_HTTP_PAIR || status != 202) {
			CHECK(status >= 400);
		}
		take_answer(c, status != 200, 0, token);
		if (slice_find_slice(slice_first(in, head), SLICE("Connection: close")) < head)
			c->may_end = c->shut = true;
		return head + length;
	}
	if (n > in.n)
		return 0;
	snprintf(text, sizeof(text), "%.*s", (int)n, in.at);
	if (is_by_id(c->kind)) {
		const char *a = strstr(text, "\"a\":"), *i = strstr(text, "\"id\":");

		CHECK(i != NULL && (a != NULL || strstr(text, "\"code\":") != NULL));
		id = (unsigned)atoi(i + 5);
		take_answer(c, a == NULL, id, a != NULL ? (unsigned)atoi(a + 4) : 0);
		return n;
	}
	CHECK(c->kind == KIND_LINE || c->kind == KIND_OWN || c->kind == KIND_BARE || c->kind == KIND_LOSSY);
	if (c->kind == KIND_LOSSY && sscanf(text, "error %u", &code) == 1)
		return n;
	CHECK(sscanf(text, "a%u", &token) == 1 || sscanf(text, "error %u", &code) == 1);
	take_answer(c, code != 0, 0, token);
	return n;
}

static void
client_close(struct client *c)
{
	end_close(&c->end);
	c->open = false;
}

static void
client_hear(struct client *c)
{
	size_t taken = 0, n;

	end_read(&c->end);
	while ((n = hear_one(c, slice_after(end_got(&c->end), taken))) != 0)
		taken += n;
	memmove(c->end.at, c->end.at + taken, c->end.n - taken);
	c->end.n -= taken;
	if (!c->end.ended && c->end.error == 0)
		return;
	/* Its own peer may end it, and HTTP has an end of its own. */
	if (!c->may_end && c->kind != KIND_OWN && c->kind != KIND_BARE && !draining &&
	    !(is_http(c->kind) && (c->next == c->count || c->rest_n != 0))) {
		print_error("a client of kind %d was ended, errno %d\n", c->kind, c->end.error);
		for (int i = 0; i < REASON_COUNT; i++)
			if (road.engine.shared->reasons[i] != 0)
				print_error("%s: %llu\n", reason_texts[i].word,
				    (unsigned long long)road.engine.shared->reasons[i]);
		CHECK(c->may_end);
	}
	client_close(c);
}

static struct conn *
conn_of(const struct client *c)
{
	for (struct conn *one = road.engine.conns; one != NULL; one = one->all_next)
		if (one->number == c->number)
			return one;
	return NULL;
}

static void
client_open(struct client *c)
{
	memset(c, 0, sizeof(*c));
	c->kind = (enum kind)roll(KIND_COUNT);
	c->open = c->reads = true;
	c->end = road_client_of(&road, (uint16_t)(c->kind + 1), "192.0.2.7:4711", SOCK_STREAM, chance(30) ? 4096 : 0);
	c->number = c->end.conn->number;
}

static void
client_act(struct client *c)
{
	struct conn *conn;

	if (!c->open) {
		if (chance(30))
			client_open(c);
		return;
	}
	if (c->reads)
		client_hear(c);
	if (!c->open)
		return;
	switch (roll(24)) {
	case 0:
		if (chance(20) && c->rest_n == 0) {
			shutdown(c->end.fd, SHUT_WR);
			c->shut = c->may_end = true;
		}
		break;
	case 1:
		if (chance(20))
			client_close(c);
		break;
	case 2:
		if (chance(20) && (conn = conn_of(c)) != NULL) {
			conn_break(conn, ECONNRESET);
			c->may_end = true;
		}
		break;
	case 3:
		c->reads = chance(70);
		break;
	case 4:
		for (unsigned i = roll(60); i-- > 0;)
			client_ask(c);
		break;
	default:
		for (unsigned i = roll(4); i-- > 0;)
			client_ask(c);
		break;
	}
}

/* ------------------------------------------------------------------ peers */

static size_t
understand_one(struct backend *p, struct slice in)
{
	enum kind speaks = listeners[p->listener].speaks;
	char text[512];
	size_t n = slice_find(in, '\n', 0) + 1;
	struct due *d = &p->due[p->pending];

	if (in.n == 0)
		return 0;
	*d = (struct due){ .word = 'a' };
	if (speaks == KIND_TINY) {
		n = (unsigned char)in.at[0];
		if (n > in.n)
			return 0;
		snprintf(text, sizeof(text), "%.*s", (int)n - 2, in.at + 2);
		CHECK(sscanf(text, "q%u", &d->token) == 1);
		d->id = (unsigned char)in.at[1];
		CHECK(d->id != 0);
	} else if (speaks == KIND_HTTP_LINE) {
		size_t head = slice_find_slice(in, SLICE("\r\n\r\n")) + 4;
		size_t at = slice_find_slice(in, SLICE("Content-Length: "));

		if (head > in.n)
			return 0;
		CHECK(at < head);
		n = head + (size_t)atoi(in.at + at + 16);
		if (n > in.n)
			return 0;
		snprintf(text, sizeof(text), "%.*s", (int)(n - head), in.at + head);
		CHECK(strstr(text, "\"q\":") != NULL);
		d->token = (unsigned)atoi(strstr(text, "\"q\":") + 4);
	} else {
		if (n > in.n)
			return 0;
		snprintf(text, sizeof(text), "%.*s", (int)n, in.at);
		d->beat = slice_starts(in, SLICE("beat"));
		if (speaks == KIND_PAIR) {
			d->has_id = strstr(text, "\"id\":") != NULL;
			if (d->has_id)
				d->id = (unsigned)atoi(strstr(text, "\"id\":") + 5);
			CHECK(strstr(text, "\"q\":") != NULL);
			d->token = (unsigned)atoi(strstr(text, "\"q\":") + 4);
		} else if (!d->beat) {
			CHECK(sscanf(text, "%*3[a-z] %u", &d->token) == 1 || sscanf(text, "%*4[a-z] %u", &d->token) == 1);
		}
		if (speaks == KIND_SAY || (speaks == KIND_PAIR && !d->has_id))
			return n;
	}
	p->pending++;
	CHECK(p->pending < sizeof(p->due) / sizeof(p->due[0]));
	return n;
}

static void
peer_understand(struct backend *p)
{
	size_t n;

	end_read(&p->end);
	while ((n = understand_one(p, slice_after(end_got(&p->end), p->done))) != 0)
		p->done += n;
	memmove(p->end.at, p->end.at + p->done, p->end.n - p->done);
	p->end.n -= p->done;
	p->done = 0;
}

static void
peer_close(struct backend *p)
{
	end_close(&p->end);
	p->open = false;
}

static void
peer_put(struct backend *p, const char *at, size_t n)
{
	/* Who cannot say it all says no more: it would be another's answer. */
	if (p->end.ended || send(p->end.fd, at, n, MSG_NOSIGNAL) == (ssize_t)n)
		return;
	shutdown(p->end.fd, SHUT_RDWR);
	p->end.ended = true;
	p->reads = false;
}

static void
peer_answer(struct backend *p, unsigned which)
{
	enum kind speaks = listeners[p->listener].speaks;
	struct due d = p->due[which];
	const char *pad = padding();
	char text[ROOM], body[ROOM];
	int n;

	memmove(&p->due[which], &p->due[which + 1], (p->pending - which - 1) * sizeof(p->due[0]));
	p->pending--;
	switch (speaks) {
	case KIND_TINY:
		n = snprintf(text + 2, sizeof(text) - 2, "a%u", d.token) + 2;
		text[0] = (char)n;
		text[1] = (char)d.id;
		break;
	case KIND_PAIR:
		n = snprintf(text, sizeof(text), "{\"a\":%u,\"id\":%u,\"x\":\"%s\"}\n", d.token, d.id, pad);
		break;
	case KIND_HTTP_LINE:
		n = snprintf(body, sizeof(body), "{\"a\":%u,\"x\":\"%s\"}", d.token, pad);
		n = snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s",
		    chance(90) ? "200 OK" : "404 Not Found", n, body);
		break;
	default:
		n = snprintf(text, sizeof(text), d.beat ? "abeat\n" : "a%u %s\n", d.token, pad);
		break;
	}
	peer_put(p, text, (size_t)n);
	/* Twice; and what nobody asked. */
	if (is_by_id(speaks) && chance(5))
		peer_put(p, text, (size_t)n);
	if (speaks == KIND_PAIR && chance(5))
		peer_put(p, "{\"a\":77}\n", 9);
}

static void
peer_act(struct backend *p)
{
	static char garbage[2 * ROOM];
	bool any = is_by_id(listeners[p->listener].speaks);

	if (p->reads)
		peer_understand(p);
	if (p->end.ended || p->end.error != 0) {
		if (chance(50))
			peer_close(p);
		return;
	}
	switch (roll(40)) {
	case 0:
		if (chance(40))
			peer_close(p);
		return;
	case 1:
		if (chance(40))
			shutdown(p->end.fd, SHUT_WR);
		return;
	case 2:
		if (chance(20) && listeners[p->listener].speaks != KIND_OWN)    /* who is pinned would hear it */
			peer_put(p, memset(garbage, 'g', sizeof(garbage)), sizeof(garbage));
		return;
	case 3:
		p->reads = chance(60);
		return;
	case 4:
		p->answers = chance(60);
		return;
	case 5:
		if (any && p->pending != 0 && chance(50))       /* for ever */
			p->pending--;
		return;
	default:
		for (unsigned i = roll(6); p->answers && i-- > 0 && p->pending != 0;)
			peer_answer(p, any ? roll(p->pending) : 0);
		return;
	}
}

/* The one that the engine opened last is full soon. */
static void
narrow(void)
{
	const struct conn *c = road_peer_conn(&road);
	int bytes = 4096;

	if (c != NULL && chance(30))
		setsockopt(c->wire.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static void
peers_accept(void)
{
	for (size_t l = 0; l < sizeof(listeners) / sizeof(listeners[0]); l++)
		for (size_t i = 0; i < PEERS; i++) {
			if (peers[i].open)
				continue;

			struct end e = road_accept(road.listeners[l]);

			if (e.fd < 0)
				break;
			memset(&peers[i], 0, sizeof(peers[i]));
			peers[i].end = e;
			peers[i].listener = l;
			narrow();
			peers[i].open = peers[i].reads = peers[i].answers = true;
		}
}

/* ------------------------------------------------------------------ what holds always */

static void
check_counts(void)
{
	for (size_t i = 0; i < road.engine.peers->room; i++) {
		const struct peer_run *run = road.engine.peers->entries[i].value;

		CHECK(run == NULL || (run->owed < 100000 && run->lane_count < 1000));
	}
	CHECK(road.engine.exchange_count < 100000 && road.engine.conn_count < 100000);
	for (const struct conn *c = road.engine.conns; c != NULL; c = c->all_next)
		CHECK(conn_waiting(c) < 4 * 1024 * 1024);
}

static void
turn(void)
{
	peers_accept();
	road_turn(&road);
	check_counts();
}

/* One of two peers cannot be reached, or can again. */
static void
toggle(void)
{
	size_t at = 2 * roll(3) + 1;
	char away[sizeof(road.names[0]) + 2];

	snprintf(away, sizeof(away), "%s-", road.names[at]);
	if (rename(road.names[at], away) != 0)
		rename(away, road.names[at]);
}

static void
reload(void)
{
	char text[sizeof(configuration) + 8];

	snprintf(text, sizeof(text), configuration, variants[round_now == 0 ? 0 : roll(2)]);
	road.snapshot = road_build(&road, text);
	engine_adopt(&road.engine, road.snapshot);
}

/* But for those that became a talk. */
static size_t
exchanges(void)
{
	size_t n = road.engine.exchange_count;

	for (const struct conn *c = road.engine.conns; c != NULL; c = c->all_next)
		n -= c->side == SIDE_CLIENT && c->exchange != NULL && c->exchange->talk;
	return n;
}

static bool
anybody_waits(void)
{
	for (size_t k = 0; k < CLIENTS; k++)
		if (clients[k].open && !clients[k].stuck && clients[k].kind != KIND_LOSSY && !is_by_id(clients[k].kind) &&
		    clients[k].next < clients[k].count && !clients[k].asked[clients[k].count - 1].answered)
			return true;
	return exchanges() != 0;
}

/* All do what they should, until nobody waits. */
static void
settle(void)
{
	for (int i = 0; i < 60 || (i < 2000 && anybody_waits()); i++) {
		turn();
		for (size_t k = 0; k < PEERS; k++)
			if (peers[k].open) {
				peers[k].reads = true;
				peer_understand(&peers[k]);
				while (peers[k].pending != 0 && peers[k].reads)
					peer_answer(&peers[k], 0);
				if (peers[k].end.ended || peers[k].end.error != 0)
					peer_close(&peers[k]);
			}
		for (size_t k = 0; k < CLIENTS; k++)
			if (clients[k].open) {
				if (clients[k].rest_n != 0 && !clients[k].shut)
					client_ask(&clients[k]);
				client_hear(&clients[k]);
			}
		road_ms += 500;
	}
}

/* What is left, for who looks for the reason. */
static void
show(void)
{
	for (const struct conn *c = road.engine.conns; c != NULL; c = c->all_next)
		print_error("conn %u: side %d of %s, state %d, hold %d, in %u, out %zu, expects %d in %lld%s%s%s\n",
		    (unsigned)c->number, c->side, c->protocol->name, c->state, c->hold, c->in_n, conn_waiting(c),
		    c->expects, c->expect_due != 0 ? (long long)(c->expect_due - road_ms) : -1LL,
		    c->congested ? ", congested" : "", c->ended ? ", ended" : "", c->exchange != NULL ? ", exchange" : "");
	for (const struct conn *c = road.engine.conns; c != NULL; c = c->all_next)
		if (c->exchange != NULL)
			print_error("exchange of %u: peer %u, place %llu, due in %lld, state %d, step %d\n",
			    (unsigned)c->number, c->exchange->peer != NULL ? (unsigned)c->exchange->peer->number : 0,
			    (unsigned long long)c->exchange->place,
			    (long long)(c->exchange->due - road_ms), c->exchange->answer_state, c->exchange->step);
	for (struct conn *c = road.engine.conns; c != NULL; c = c->all_next)
		if (c->side == SIDE_CLIENT && lane_is(c) && c->protocol->codec != NULL)
			for (const struct exchange *ex = ((struct lane *)conn_state(c))->first; ex != NULL; ex = ex->client_next)
				print_error("exchange of %u: peer %u (%s), due in %lld, state %d, step %d, parked %d\n",
				    (unsigned)c->number, ex->peer != NULL ? (unsigned)ex->peer->number : 0,
				    ex->peer != NULL ? ex->peer->protocol->name : "", (long long)(ex->due - road_ms),
				    ex->answer_state, ex->step, ex->parked);
	for (size_t i = 0; i < PEERS; i++)
		if (peers[i].open)
			print_error("peer %zu of %s: pending %u, %zu bytes\n", i, listeners[peers[i].listener].name,
			    peers[i].pending, peers[i].end.n);
}

static void
check_settled(void)
{
	for (size_t k = 0; k < CLIENTS; k++) {
		struct client *c = &clients[k];
		unsigned open[4] = { 0 };

		if (!c->open || c->stuck || c->kind == KIND_LOSSY)
			continue;
		for (unsigned i = 0; i < c->count; i++)
			if (!c->asked[i].answered)
				open[is_by_id(c->kind) ? c->asked[i].id : 0]++;
		for (unsigned i = 0; i < 4 && c->rest_n == 0; i++) {
			if (open[i] != c->errors[i])
				print_error("client %zu of kind %d: %u open, %u errors, hold %d\n", k, c->kind, open[i],
				    c->errors[i], conn_of(c) != NULL ? conn_of(c)->hold : -1);
			if (open[i] != c->errors[i])
				show();
			CHECK(open[i] == c->errors[i]);
		}
	}
	if (exchanges() != 0)
		show();
	CHECK(exchanges() == 0);
	for (const struct conn *c = road.engine.conns; c != NULL; c = c->all_next)
		if (c->side == SIDE_CLIENT && c->exchange == NULL && c->state == CONN_OPEN && !c->close_wanted && c->hold != 0) {
			print_error("a client of %s is held: %d\n", c->protocol->name, c->hold);
			CHECK(c->hold == 0);
		}
}

static void
run(unsigned seed, unsigned rounds)
{
	seed_now = seed;
	dice = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	draining = false;
	road_open_empty(&road);
	for (size_t i = 0; i < sizeof(listeners) / sizeof(listeners[0]); i++)
		road_listener(&road, listeners[i].name);
	reload();
	for (round_now = 0; round_now < rounds; round_now++) {
		for (size_t i = 0; i < CLIENTS; i++)
			client_act(&clients[i]);
		for (int i = chance(20) ? 0 : (int)roll(4); i-- > 0;)
			road_pass(&road);
		peers_accept();
		for (size_t i = 0; i < PEERS; i++)
			if (peers[i].open)
				peer_act(&peers[i]);
		if (chance(60))
			turn();
		road_ms += chance(5) ? roll(6000) : roll(100);
		if (chance(3))
			reload();
		if (chance(4))
			toggle();
		if (chance(1) || round_now + 1 == rounds) {
			settle();
			check_settled();
		}
	}
	if (chance(50)) {
		for (int i = 0; i < 30; i++)
			client_ask(&clients[roll(CLIENTS)]);
		turn();
		draining = true;
		engine_drain(&road.engine);
		settle();
		for (size_t i = 0; i < CLIENTS; i++)
			if (clients[i].open)
				client_close(&clients[i]);
		settle();
		if (!engine_is_idle(&road.engine))
			for (const struct conn *c = road.engine.conns; c != NULL; c = c->all_next)
				print_error("left: side %d of %s, state %d\n", c->side, c->protocol->name, c->state);
		CHECK(engine_is_idle(&road.engine));
	} else {
		for (int i = 0; i < 100; i++)
			client_ask(&clients[roll(CLIENTS)]);
		for (unsigned i = roll(6); i-- > 0;)
			road_pass(&road);
	}
	for (size_t i = 0; i < CLIENTS; i++)
		client_close(&clients[i]);
	for (size_t i = 0; i < PEERS; i++)
		peer_close(&peers[i]);
	for (size_t at = 1; at < 6; at += 2) {
		char away[sizeof(road.names[0]) + 2];

		snprintf(away, sizeof(away), "%s-", road.names[at]);
		unlink(away);
	}
	road_close(&road);
	if (verbose)
		print_message("seed %u: %u answers, %u errors\n", seed, answered_all, errors_all);
}

static unsigned first = 1, last = SEEDS, rounds = ROUNDS;

static void
test_chaos(void **state)
{
	for (size_t i = 0; i < CLIENTS; i++)
		clients[i].end.fd = -1;
	for (size_t i = 0; i < PEERS; i++)
		peers[i].end.fd = -1;
	for (unsigned seed = first; seed <= last; seed++)
		run(seed, rounds);
	assert_true(answered_all > 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_chaos) };

	if (argc > 1)
		first = last = (unsigned)atoi(argv[1]);
	if (argc > 2)
		rounds = (unsigned)atoi(argv[2]);
	if (argc > 3)
		last = (unsigned)atoi(argv[3]);
	verbose = argc > 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
