/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/hops: who gets a question that says how often it may be forwarded.
 */
#include "road_case.h"

#define TOLD "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\nVia: 1.1 millrace\r\n\r\n"

static void
hops(void **state)
{
	static const char *const cases[][3] = {
		/* method, fields, what the peer gets behind Host; else what the client gets */
		{ "OPTIONS", "Max-Forwards: 2\r\n", "Max-Forwards: 1\r\n" },
		{ "OPTIONS", "Max-Forwards: 1\r\n", "Max-Forwards: 0\r\n" },
		{ "OPTIONS", "max-forwards: 007\r\n", "Max-Forwards: 6\r\n" },
		{ "TRACE", "Max-Forwards: 10\r\n", "Max-Forwards: 9\r\n" },
		{ "TRACE", "", "" },
		{ "OPTIONS", "Max-Forwards: 99999999999999999999999\r\n", "Max-Forwards: 4294967294\r\n" },
		{ "GET", "Max-Forwards: 0\r\n", "Max-Forwards: 0\r\n" },
		{ "GET", "Max-Forwards: x\r\n", "Max-Forwards: x\r\n" },
		{ "OPTIONS", "Max-Forwards: 0\r\n", "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Length: 0\r\n\r\n" },
		{ "TRACE", "Max-Forwards: 0\r\nCookie: secret\r\n", "HTTP/1.1 501 " },
		{ "OPTIONS", "Max-Forwards: -1\r\n", "HTTP/1.1 400 " },
		{ "OPTIONS", "Max-Forwards: 1 1\r\n", "HTTP/1.1 400 " },
		{ "OPTIONS", "Max-Forwards:\r\n", "HTTP/1.1 400 " },
		{ "TRACE", "Max-Forwards: 0x1\r\n", "HTTP/1.1 400 " },
		{ "TRACE", "Max-Forwards: 1\r\nMax-Forwards: 1\r\n", "HTTP/1.1 400 " },
	};

	struct road road;

	road_open(&road, "server { listen 80; proxy unix:@/a; }");

	int listener = road_listener(&road, "a");

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		char question[512], wanted[512];
		bool here = strncmp(cases[i][2], "HTTP/", 5) == 0;
		struct end client = road_client(&road);

		snprintf(question, sizeof(question), "%s / HTTP/1.1\r\nHost: a:81\r\n%s\r\n", cases[i][0], cases[i][1]);
		end_say(&client, question);
		road_turn(&road);

		struct end peer = road_accept(listener);

		if (here) {
			assert_int_equal(peer.fd, -1);
			end_read(&client);
			assert_false(end_has(&client, "secret"));
			end_expect_start(&client, cases[i][2]);
		} else {
			snprintf(wanted, sizeof(wanted), "%s / HTTP/1.1\r\nHost: a:81\r\n%s" TOLD,
			    cases[i][0], cases[i][2]);
			end_expect(&peer, wanted);
		}
		end_close(&peer);
		end_close(&client);
		road_turn(&road);
	}
	road_close(&road);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
