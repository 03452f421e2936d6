/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For the tests of lanes: protocols of every way of pairing, two upstreams of one and of two peers, and
 * the servers that a test writes in front of them.
 */
#ifndef MILLRACE_LANE_CASE_H
#define MILLRACE_LANE_CASE_H

#include "road_case.h"

#define LINE \
	"protocol line { boundary \"\\n\"; max 64; format words; answers in_order; " \
	"messages independent; error \"error ${code} ${reason}\"; idempotent when msg[0] == \"get\"; }\n"
#define OWN \
	"protocol own { boundary \"\\n\"; max 64; format words; answers in_order; " \
	"error \"error ${code} ${reason}\"; }\n"
#define PAIR \
	"protocol pair { boundary \"\\n\"; max 256; format json; answers by id; " \
	"messages independent; error '{\"code\":${code}}'; idempotent when msg.m == \"get\"; }\n"
#define SAY "protocol say { boundary \"\\n\"; max 64; format words; messages independent; }\n"

static struct road road;
static int back, other;

static inline const char *
lane_configuration(
    struct arena *a, const char *protocols, const char *upstream, const char *servers)
{
	return arena_printf(a, "%s"
	    "upstream one { server unix:@/back; %s }\n"
	    "upstream two { server unix:@/back max_fails=0; server unix:@/other max_fails=0; retry 1; %s }\n"
	    "%s\n", protocols, upstream, upstream, servers);
}

static inline void
open_with(const char *protocols, const char *upstream, const char *servers)
{
	struct arena a;

	arena_init(&a, NULL, 0);
	road_open_empty(&road);
	back = road_listener(&road, "back");
	other = road_listener(&road, "other");
	road.snapshot = road_build(&road, lane_configuration(&a, protocols, upstream, servers));
	engine_adopt(&road.engine, road.snapshot);
	arena_reset(&a);
}

/* With one server, of which this is the inside. */
static inline void
open_server(const char *protocols, const char *upstream, const char *server)
{
	struct arena a;

	arena_init(&a, NULL, 0);
	open_with(protocols, upstream,
	    arena_printf(&a, "server s { listen 127.0.0.1:9; %s }", server));
	arena_reset(&a);
}

static inline int
close_it(void **state)
{
	road_close(&road);
	return 0;
}

#define TEST(test) cmocka_unit_test_teardown(test, close_it)

static inline struct end
accepted(int listener)
{
	struct end e = road_accept(listener);

	assert_true(e.fd >= 0);
	return e;
}

#endif
