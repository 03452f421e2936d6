/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/trust and protocols/http/forwarded: what is believed of a question's head, and what
 * the peer is told, as whole rounds through the road.
 */
#include "road_case.h"

struct telling {
	const char *real_ip;            /* of the server */
	const char *inside;             /* of the route, in front of proxy */
	const char *from;               /* the client's connection */
	const char *said;               /* fields of the question behind Host: a:81 */
	const char *told;               /* … and of what the peer gets, without Via */
};

#define TOLD(src) "X-Forwarded-For: " src "\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\n"
#define LB "10.0.0.1:99"
#define FROM "from 10.0.0.0/8 unix; "

static const struct telling tellings[] = {
	/* nobody is trusted, or not who asks */
	{ "", "", LB, "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nA: b\r\n", "A: b\r\n" TOLD("10.0.0.1") },
	{ FROM, "", "192.0.2.7:4", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n"
	    "x-forwarded-prefix: /x\r\nX-FORWARDED-server: y\r\nA: b\r\n", "A: b\r\n" TOLD("192.0.2.7") },
	{ FROM "header CF-Connecting-IP;", "", "192.0.2.7:4", "CF-Connecting-IP: 1.2.3.4\r\nCF-Ray: 1\r\n", "CF-Ray: 1\r\n" TOLD("192.0.2.7") },
	{ "from none;", "", LB, "X-Forwarded-For: 1.2.3.4\r\n", TOLD("10.0.0.1") },
	{ "from 10.0.0.0/8;", "", "unix:/x", "X-Forwarded-For: 1.2.3.4\r\n", TOLD("unix:/x") },
	/* names that CGI cannot tell from claims: never, whoever says them; others pass */
	{ "", "", LB, "X_Forwarded_For: 1.2.3.4\r\nx-forwarded_for: 1\r\nX_Real_IP: 1\r\nX_Forwarded_Anything: 2\r\nX_Other: 3\r\nX-Forward: 4\r\nA_B: 5\r\n",
	    "X_Other: 3\r\nX-Forward: 4\r\nA_B: 5\r\n" TOLD("10.0.0.1") },
	{ FROM, "", LB, "X_Forwarded_For: 1.2.3.4\r\nX-Forwarded-Prefix: /x\r\n", "X-Forwarded-Prefix: /x\r\n" TOLD("10.0.0.1") },
	{ FROM "header True-Client-IP;", "", LB, "True_Client_IP: 1.2.3.4\r\n", TOLD("10.0.0.1") },
	/* a trusted one */
	{ FROM, "", LB, "", TOLD("10.0.0.1") },
	{ FROM, "", LB, "X-Forwarded-For: 1.2.3.4\r\n", "X-Forwarded-For: 1.2.3.4, 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\n" },
	{ FROM, "", LB, "X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nA: b\r\nX-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\nX-Forwarded-Port: 443\r\nForwarded: for=x\r\n",
	    "A: b\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\nX-Forwarded-Port: 443\r\nForwarded: for=x\r\nX-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.9.9.9, 10.0.0.1\r\n" },
	{ FROM, "", "unix:/x", "X-Forwarded-For: 1.2.3.4\r\n", "X-Forwarded-For: 1.2.3.4, unix:/x\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\n" },
	{ FROM, "", LB, "X-Forwarded-For: , ;junk\r\n", "X-Forwarded-For: , ;junk, 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\n" },
	{ FROM, "", LB, "X-Forwarded-For:\r\n", TOLD("10.0.0.1") },
	/* believed by another field: a list of our own begins with who it names */
	{ FROM "header X-Real-IP;", "", LB, "X-Real-IP: 1.2.3.4\r\n", "X-Real-IP: 1.2.3.4\r\nX-Forwarded-For: 1.2.3.4, 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\n" },
	{ FROM "header Forwarded;", "", LB, "Forwarded: for=\"[2001:db8::1]:5\";proto=https\r\n",
	    "Forwarded: for=\"[2001:db8::1]:5\";proto=https\r\nX-Forwarded-For: 2001:db8::1, 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\n" },
	/* what a step says goes before */
	{ FROM, "request_header set X-Forwarded-For \"${src}\"; request_header remove X-Forwarded-Proto;", LB, "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n",
	    "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: a:81\r\n" },
	{ FROM, "request_header add X-Forwarded-For \"7.7.7.7\";", LB, "X-Forwarded-For: 1.2.3.4\r\n",
	    "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\n" },
	{ FROM, "request_header remove X-Forwarded-For;", LB, "X-Forwarded-For: 1.2.3.4\r\n", "X-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\n" },
	/* forwarded */
	{ "", "forwarded off;", LB, "X-Forwarded-For: 1.2.3.4\r\n", "" },
	{ FROM, "forwarded off;", LB, "X-Forwarded-For: 1.2.3.4\r\n", "X-Forwarded-For: 1.2.3.4\r\n" },
	{ "", "forwarded rfc7239;", LB, "Forwarded: for=1.2.3.4\r\n", "Forwarded: for=10.0.0.1;proto=http;host=\"a:81\"\r\n" },
	{ "", "forwarded rfc7239; request_header set Host b;", LB, "", "Host: b\r\nForwarded: for=10.0.0.1;proto=http;host=\"a:81\"\r\n" },
	{ "", "forwarded rfc7239;", "[2001:db8::7]:5", "", "Forwarded: for=\"[2001:db8::7]\";proto=http;host=\"a:81\"\r\n" },
	{ "", "forwarded rfc7239;", "unix:/x", "", "Forwarded: for=unknown;proto=http;host=\"a:81\"\r\n" },
	{ "", "forwarded both;", LB, "", "Forwarded: for=10.0.0.1;proto=http;host=\"a:81\"\r\n" TOLD("10.0.0.1") },
	{ FROM "header Forwarded;", "forwarded rfc7239;", LB, "Forwarded: for=1.2.3.4\r\nForwarded: for=10.7.7.7\r\n",
	    "Forwarded: for=1.2.3.4, for=10.7.7.7, for=10.0.0.1;proto=http;host=\"a:81\"\r\n" },
	{ FROM, "forwarded rfc7239;", LB, "X-Forwarded-For: 1.2.3.4\r\n", "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4, for=10.0.0.1;proto=http;host=\"a:81\"\r\n" },
	{ "", "forwarded both; request_header set Forwarded \"for=_me\"; request_header remove X-Forwarded-For;", LB, "",
	    "Forwarded: for=_me\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\n" },
	{ "", "forwarded both; request_header remove Forwarded;", LB, "", TOLD("10.0.0.1") },
	/* fields of the question: src and its friends */
	{ FROM, "request_header set S \"${src} ${src_port} ${src.connection}\";", LB, "X-Forwarded-For: 1.2.3.4:56\r\n",
	    "S: 1.2.3.4 56 10.0.0.1\r\nX-Forwarded-For: 1.2.3.4:56, 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\n" },
	{ FROM, "request_header set S \"${src}.${src_port}.${src.connection}\";", LB, "X-Forwarded-For: 1.2.3.4\r\n",
	    "S: 1.2.3.4..10.0.0.1\r\nX-Forwarded-For: 1.2.3.4, 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\n" },
	{ "", "request_header set S \"${src} ${src_port} ${src.connection}\";", LB, "", "S: 10.0.0.1 99 10.0.0.1\r\n" TOLD("10.0.0.1") },
	/* Expect is answered here, and so not passed on */
	{ "", "", LB, "Expect: 100-continue\r\n", TOLD("10.0.0.1") },
};

static struct road road;

static void
begin(const struct telling *t, int *listener)
{
	char config[1024];

	snprintf(config, sizeof(config),
	    "server { listen 80; listen unix:/x; %s%s%s deny when src == 1.2.3.99; route { %s proxy unix:@/a; } }",
	    t->real_ip[0] != '\0' ? "real_ip { " : "", t->real_ip, t->real_ip[0] != '\0' ? " }" : "", t->inside);
	road_open(&road, config);
	*listener = road_listener(&road, "a");
}

static void
tells(void **state)
{
	for (size_t i = 0; i < ARRAY_COUNT(tellings); i++) {
		const struct telling *t = &tellings[i];
		bool sets_host = strstr(t->inside, "set Host") != NULL;
		char question[2048], wanted[2048];
		int listener;

		begin(t, &listener);

		struct end client = road_client_of(&road, 1, t->from, SOCK_STREAM, 0);

		snprintf(question, sizeof(question), "GET / HTTP/1.1\r\nHost: a:81\r\n%s\r\n", t->said);
		snprintf(wanted, sizeof(wanted), "GET / HTTP/1.1\r\n%s%sVia: 1.1 millrace\r\n\r\n",
		    sets_host ? "" : "Host: a:81\r\n", t->told);
		end_say(&client, question);
		road_turn(&road);

		struct end peer = road_accept(listener);

		end_read(&peer);
		if (!slice_is(end_got(&peer), wanted))
			fail_msg("%s | %s | %s\n%s\ngot:\n%.*s\nwanted:\n%s", t->real_ip, t->inside, t->from, t->said,
			    (int)peer.n, peer.at, wanted);

		/* asked again of the same peer, the same is told */
		end_close(&peer);
		road_turn(&road);
		end_close(&client);
		road_turn(&road);
		road_close(&road);
	}
}

/* The first peer drops the question; what the second is told is the same. */
static void
tells_again(void **state)
{
	road_open(&road,
	    "upstream app { server unix:@/a; server unix:@/b; retry 1; }"
	    "server { listen 80; real_ip { from 10.0.0.0/8; } forwarded both; proxy app; }");

	int listeners[2] = { road_listener(&road, "a"), road_listener(&road, "b") };
	struct end client = road_client_of(&road, 1, LB, SOCK_STREAM, 0);
	static const char wanted[] = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4, 10.0.0.1\r\n"
	    "Forwarded: for=1.2.3.4, for=10.0.0.1;proto=http;host=a\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.1 millrace\r\n\r\n";

	end_say(&client, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n");
	road_turn(&road);
	for (int i = 0; i < 2; i++) {
		struct end peer = road_accept(listeners[0]);

		if (peer.fd < 0)
			peer = road_accept(listeners[1]);
		assert_true(peer.fd >= 0);
		end_expect(&peer, wanted);
		end_close(&peer);
		road_turn(&road);
	}
	end_close(&client);
	road_turn(&road);
	road_close(&road);
}

/* Routes, allow and deny see the real client. */
static void
decides(void **state)
{
	static const char *const cases[][3] = {
		{ LB, "X-Forwarded-For: 1.2.3.4\r\n", "one 1.2.3.4" },
		{ LB, "X-Forwarded-For: 1.2.3.5\r\n", "other 1.2.3.5" },
		{ LB, "", "other 10.0.0.1" },
		{ "192.0.2.7:1", "X-Forwarded-For: 1.2.3.4\r\n", "other 192.0.2.7" },
	};

	road_open(&road,
	    "server { listen 80; real_ip { from 10.0.0.0/8; } deny 6.6.6.6;"
	    "route when src == 1.2.3.4 { return 200 \"one ${src}\"; } route { return 200 \"other ${src}\"; } }");
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct end client = road_client_of(&road, 1, cases[i][0], SOCK_STREAM, 0);

		end_say(&client, "GET / HTTP/1.1\r\nHost: a\r\n");
		end_say(&client, cases[i][1]);
		end_say(&client, "\r\n");
		road_turn(&road);
		end_read(&client);
		if (!slice_ends(end_got(&client), slice_of(cases[i][2])))
			fail_msg("%.*s, wanted %s", (int)client.n, client.at, cases[i][2]);
		/* the next question of the connection may be another client's */
		end_forget(&client);
		end_say(&client, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
		road_turn(&road);
		end_expect_start(&client, i < 3 ? "HTTP/1.1 403 " : "HTTP/1.1 200 ");
		end_close(&client);
		road_turn(&road);
	}
	road_close(&road);
}

/* ------------------------------------------------------------------ ids */

static void
id_of(struct end *client, const char *fields, char id[static 256])
{
	char question[512];
	unsigned n = 0;

	snprintf(question, sizeof(question), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
	end_say(client, question);
	road_turn(&road);
	end_read(client);

	struct slice got = end_got(client);
	size_t at = slice_find_slice(got, SLICE("\r\nX-Request-Id: "));
	struct slice value = slice_after(got, MIN_OF(at + 16, got.n));

	value.n = slice_find(value, '\r', 0);
	n = (unsigned)MIN_OF(value.n, (size_t)255);
	memcpy(id, value.at, n);
	id[n] = '\0';
	/* the same in the answer's body */
	assert_true(slice_ends(got, slice_make(id, n)));
	end_forget(client);
}

static void
ids(void **state)
{
	char longest[160], id[256], first[256];
	struct { const char *fields, *wanted; } taken[] = {
		{ "X-Request-Id: abc-1\r\n", "abc-1" }, { "x-request-id: {A/b=c}\r\n", "{A/b=c}" }, { longest, longest + 14 },
		/* ours */
		{ "", NULL }, { "X-Request-Id:\r\n", NULL }, { "X-Request-Id: a b\r\n", NULL }, { "X-Request-Id: a\"b\r\n", NULL },
		{ "X-Request-Id: a\\b\r\n", NULL }, { "X-Request-Id: a\r\nX-Request-Id: b\r\n", NULL }, { "X-Request-Id: \xc3\xa9\r\n", NULL },
		{ "X_Request_Id: a\r\n", NULL },
	};

	snprintf(longest, sizeof(longest), "X-Request-Id: %0128d\r\n", 7);
	road_open(&road,
	    "server { listen 80; real_ip { from 10.0.0.0/8; request_id X-Request-Id; }"
	    "response_header set X-Request-Id \"${id}\"; return 200 \"${id}\"; }");

	struct end client = road_client_of(&road, 1, LB, SOCK_STREAM, 0), other = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 0);

	for (size_t i = 0; i < ARRAY_COUNT(taken); i++) {
		id_of(&client, taken[i].fields, id);
		if (taken[i].wanted != NULL)
			assert_int_equal(strncmp(id, taken[i].wanted, strlen(id)), 0);
		else
			assert_int_equal(strlen(id), 32);
	}
	id_of(&other, "X-Request-Id: abc-1\r\n", first);
	assert_int_equal(strlen(first), 32);
	id_of(&other, "", id);
	assert_string_not_equal(id, first);
	end_close(&client);
	end_close(&other);
	road_turn(&road);
	road_close(&road);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells),
		cmocka_unit_test(tells_again),
		cmocka_unit_test(decides),
		cmocka_unit_test(ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
