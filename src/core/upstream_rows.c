/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of `upstream NAME { … }`: they fill a struct upstream_block, which
 * the build turns into a struct upstream.
 */
#include "core/upstream.h"

enum { SECOND = 1000, HOUR = 3600 * SECOND, DAY = 24 * HOUR };

#define IN_BLOCK(member)        offsetof(struct upstream_block, member)

static const char *const proxy_line_words[] = { "off", "v1", "v2", NULL };

static const struct argument server_arguments[] = {
	{ .name = "ADDRESS", .type = &type_address,
	    .offset = offsetof(struct upstream_server, to) },
	{ "weight", &type_integer, offsetof(struct upstream_server, weight),
	    .flags = ARGUMENT_OPTION,
	    .min = 1, .max = 1000, .otherwise = "1" },
	{ "max_fails", &type_integer, offsetof(struct upstream_server, max_fails),
	    .flags = ARGUMENT_OPTION,
	    .min = 0, .max = 1000, .otherwise = "1" },
	{ "fail_timeout", &type_duration, offsetof(struct upstream_server, fail_timeout),
	    .flags = ARGUMENT_OPTION,
	    .min = 100, .max = DAY, .otherwise = "10s" },
	{ "backup", &type_flag, offsetof(struct upstream_server, backup),
	    .flags = ARGUMENT_OPTION },
	{ "down", &type_flag, offsetof(struct upstream_server, down), .flags = ARGUMENT_OPTION },
	{ 0 },
};

static const struct argument protocol_arguments[] = {
	{ .name = "PROTOCOL", .type = &type_name },
	{ 0 },
};

static const struct argument retry_arguments[] = {
	{ .name = "N", .type = &type_integer, .min = 0, .max = UPSTREAM_PEERS_MAX },
	{ 0 },
};

static const struct argument proxy_line_arguments[] = {
	{ .name = "off|v1|v2", .type = &type_word, .words = proxy_line_words },
	{ 0 },
};

static const struct argument idle_arguments[] = {
	{ .name = "N", .type = &type_integer, .min = 0, .max = 65535 },
	{ 0 },
};

static const struct argument connections_arguments[] = {
	{ .name = "N", .type = &type_integer, .min = 1, .max = 4096 },
	{ 0 },
};

static const struct argument inflight_arguments[] = {
	{ .name = "N", .type = &type_integer, .min = 1, .max = 1000 * 1000 },
	{ 0 },
};

static const struct argument duration_arguments[] = {
	{ .name = "DURATION", .type = &type_duration, .min = 1, .max = DAY },
	{ 0 },
};

static const struct directive pool_rows[] = {
	{ "idle", DIRECTIVE_SETTING, .arguments = idle_arguments,
	    .offset = IN_BLOCK(upstream.pool_idle),
	    .otherwise = "64",
	    .help = "How many idle connections a worker keeps for each server." },
	{ "idle_timeout", DIRECTIVE_SETTING, .arguments = duration_arguments,
	    .offset = IN_BLOCK(upstream.pool_timeout),
	    .otherwise = "60s", .help = "How long an idle connection is kept." },
	{ "connections", DIRECTIVE_SETTING, .arguments = connections_arguments,
	    .offset = IN_BLOCK(upstream.pool_connections),
	    .otherwise = "4",
	    .help = "How many connections a worker opens to each server, where the messages of "
	    "several clients share them." },
	{ 0 },
};

static const struct directive timeout_rows[] = {
	{ "connect", DIRECTIVE_SETTING, .arguments = duration_arguments,
	    .offset = IN_BLOCK(upstream.connect_timeout),
	    .otherwise = "5s", .help = "How long a connection may take to be made." },
	{ "header", DIRECTIVE_SETTING, .arguments = duration_arguments,
	    .offset = IN_BLOCK(upstream.header_timeout),
	    .otherwise = "60s", .help = "How long the head of an answer may take." },
	{ "idle", DIRECTIVE_SETTING, .arguments = duration_arguments,
	    .offset = IN_BLOCK(upstream.idle_timeout),
	    .otherwise = "60s",
	    .help = "How long a server may be silent inside the body of an answer." },
	{ "write", DIRECTIVE_SETTING, .arguments = duration_arguments,
	    .offset = IN_BLOCK(upstream.write_timeout),
	    .otherwise = "60s", .help = "How long a server may take nothing of a question." },
	{ 0 },
};

static const struct table pool_tables[] = { { pool_rows, 0 }, { NULL, 0 } };
static const struct table timeout_tables[] = { { timeout_rows, 0 }, { NULL, 0 } };

const struct directive upstream_rows[] = {
	{ "server", DIRECTIVE_SETTING, .flags = DIRECTIVE_REPEATS, .arguments = server_arguments,
	    .offset = IN_BLOCK(servers), .size = sizeof(struct upstream_server),
	    .help = "One backend: 10.0.0.1:80, [::1]:80, unix:PATH, udp:10.0.0.1:53." },
	{ "protocol", DIRECTIVE_SETTING, .arguments = protocol_arguments,
	    .offset = IN_BLOCK(protocol),
	    .help = "What the backends speak; not said: what the server that proxies to them "
	    "speaks." },
	{ "retry", DIRECTIVE_SETTING, .arguments = retry_arguments,
	    .offset = IN_BLOCK(upstream.retries),
	    .otherwise = "2",
	    .help = "How many further servers are tried when one fails before it has answered." },
	{ "max_inflight", DIRECTIVE_SETTING, .arguments = inflight_arguments,
	    .offset = IN_BLOCK(upstream.inflight_max),
	    .otherwise = "1024",
	    .help = "How many messages each server may owe a worker an answer to; beyond it "
	    "another is asked, if there is one." },
	{ "heartbeat", DIRECTIVE_BLOCK, .inside = heartbeat_tables,
	    .offset = IN_BLOCK(upstream.heartbeat),
	    .help = "What a silent server of messages is sent, and when its connection is given "
	    "up." },
	{ "proxy_protocol", DIRECTIVE_SETTING, .arguments = proxy_line_arguments,
	    .offset = IN_BLOCK(upstream.proxy_line),
	    .otherwise = "off",
	    .help = "The PROXY header that is sent in front of each connection: who the client "
	    "is." },
	{ "timeout", DIRECTIVE_BLOCK, .inside = timeout_tables,
	    .help = "How long things may take." },
	{ "pool", DIRECTIVE_BLOCK, .inside = pool_tables,
	    .help = "Idle connections kept for the next question. Upstreams that say the same of a server "
	    "share them." },
	{ 0 },
};
