/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * THE list. To add a protocol or a handler: write its file, name it here.
 */
#include "server/registry.h"

#include "base/log.h"
#include "handlers/handlers.h"
#include "protocols/frame/frame_rows.h"
#include "protocols/http/h1.h"
#include "protocols/raw.h"
#include "protocols/resp/resp.h"
#include "server/build_inner.h"

const struct protocol_ops *const registry_protocols[] = {
	&protocol_http,
	&protocol_tcp,
	&protocol_udp,
	&protocol_resp,
	NULL,
};

/* Every handler's rows, as tables whose steps go to the list at `at`. */
#define EVERY_HANDLER(at) \
	{ handler_access_rows, (at) }, \
	{ handler_limit_rows, (at) }, \
	{ handler_headers_rows, (at) }, \
	{ handler_rewrite_rows, (at) }, \
	{ handler_proxy_rows, (at) }, \
	{ handler_return_rows, (at) }, \
	{ handler_reply_rows, (at) }, \
	{ handler_drop_rows, (at) }, \
	{ handler_redirect_rows, (at) }, \
	{ handler_echo_rows, (at) }, \
	{ handler_close_rows, (at) }, \
	{ schema_loaded, (at) }

const struct protocol_ops *
registry_protocol(struct slice name)
{
	for (const struct protocol_ops *const *p = registry_protocols; *p != NULL; p++)
		if (slice_is(name, (*p)->name))
			return *p;
	return NULL;
}

/* ------------------------------------------------------------------ route, error */

static const struct table route_tables[] = {
	{ route_settings_rows, offsetof(struct route_line, settings) },
	EVERY_HANDLER(offsetof(struct route_line, steps)),
	{ NULL, 0 },
};

static const struct argument route_arguments[] = {
	{ "PATTERN", &type_raw, offsetof(struct route_line, pattern),
	    .flags = ARGUMENT_MANY | ARGUMENT_OPTIONAL },
	{ 0 },
};

static const struct table error_tables[] = {
	EVERY_HANDLER(offsetof(struct error_line, steps)),
	{ NULL, 0 },
};

static const struct argument error_arguments[] = {
	{ "STATUS", &type_status, offsetof(struct error_line, statuses), .flags = ARGUMENT_MANY },
	{ "intercept", &type_flag, offsetof(struct error_line, intercept),
	    .flags = ARGUMENT_OPTION },
	{ 0 },
};

/* What a peer answers below is no failure: nobody means to throw it away. */
static bool
error_check(struct reading *r, const struct statement *s, void *filled)
{
	const struct error_line *line = filled;
	const struct status_range *ranges = line->statuses.items;

	for (size_t i = 0; line->intercept && i < line->statuses.n; i++)
		if (ranges[i].first < 300) {
			diag_error(r->diag, s->values[i + 1].span,
			    "intercept is for answers from 300 on");
			return false;
		}
	return true;
}

/* ------------------------------------------------------------------ server */

static const struct argument listen_arguments[] = {
	{ .name = "ADDRESS", .type = &type_address, .offset = offsetof(struct listen_line, to) },
	{ "default_server", &type_flag, offsetof(struct listen_line, default_server),
	    .flags = ARGUMENT_OPTION },
	{ "proxy_protocol", &type_flag, offsetof(struct listen_line, proxy_protocol),
	    .flags = ARGUMENT_OPTION },
	{ "backlog", &type_integer, offsetof(struct listen_line, backlog),
	    .flags = ARGUMENT_OPTION, .min = 1, .max = 65535 },
	{ "mode", &type_octal, offsetof(struct listen_line, mode), .flags = ARGUMENT_OPTION },
	{ 0 },
};

static bool
listen_check(struct reading *r, const struct statement *s, void *filled)
{
	const struct listen_line *line = filled;

	if (line->mode == 0 || line->to.transport == ENDPOINT_UNIX)
		return true;
	diag_error(r->diag, s->span, "mode is of the path of a Unix socket; \"%.*s\" has none",
	    SLICE_ARG(diag_word(line->to.text)));
	return false;
}

static const struct argument server_name_arguments[] = {
	{ "NAME", &type_name, offsetof(struct server_name_line, names), .flags = ARGUMENT_MANY },
	{ 0 },
};

static const struct argument protocol_arguments[] = {
	{ .name = "PROTOCOL", .type = &type_name },
	{ 0 },
};

static const struct directive server_rows[] = {
	{ "listen", DIRECTIVE_SETTING, .flags = DIRECTIVE_REPEATS, .arguments = listen_arguments,
	    .offset = offsetof(struct server_block, listens), .size = sizeof(struct listen_line),
	    .check = listen_check,
	    .help = "Where clients come in: 80 (IPv6 and IPv4), 10.0.0.1:80, [::1]:80, "
	    "unix:PATH, udp:53." },
	{ "server_name", DIRECTIVE_SETTING, .flags = DIRECTIVE_REPEATS,
	    .arguments = server_name_arguments,
	    .offset = offsetof(struct server_block, name_lines),
	    .size = sizeof(struct server_name_line),
	    .help = "The hosts this server answers for: example.com, *.example.com." },
	{ "protocol", DIRECTIVE_SETTING, .flags = DIRECTIVE_LISTENER,
	    .arguments = protocol_arguments,
	    .offset = offsetof(struct server_block, protocol), .otherwise = "http",
	    .help = "What its clients speak." },
	{ "route", DIRECTIVE_BLOCK, .flags = DIRECTIVE_REPEATS | DIRECTIVE_WHEN,
	    .arguments = route_arguments,
	    .offset = offsetof(struct server_block, routes), .size = sizeof(struct route_line),
	    .inside = route_tables,
	    .inherit_from = offsetof(struct server_block, settings.common),
	    .inherit_to = offsetof(struct route_line, settings),
	    .inherit_size = sizeof(struct settings),
	    .help = "Steps for some of the questions: PATH (and what is below it), PATH* (what "
	    "begins so), = PATH (exactly), ~ REGEX." },
	{ "error", DIRECTIVE_BLOCK, .flags = DIRECTIVE_REPEATS, .arguments = error_arguments,
	    .offset = offsetof(struct server_block, errors), .size = sizeof(struct error_line),
	    .inside = error_tables, .check = error_check,
	    .help = "Steps that answer in place of a failure with one of these statuses; intercept: "
	    "also in place of a backend's own answer." },
	{ 0 },
};

static const struct table server_tables[] = {
	{ server_rows, 0 },
	{ server_settings_rows, offsetof(struct server_block, settings) },
	EVERY_HANDLER(offsetof(struct server_block, steps)),
	{ NULL, 0 },
};

static bool
has_word(const struct table *tables, struct slice word)
{
	for (const struct table *t = tables; t->rows != NULL; t++)
		for (const struct directive *row = t->rows; row->name != NULL; row++)
			if (slice_is(word, row->name))
				return true;
	return false;
}

bool
registry_has_word(struct slice word)
{
	return has_word(server_tables, word) || has_word(route_tables, word) ||
	       has_word(error_tables, word);
}

/* ------------------------------------------------------------------ top level */

static bool
read_workers(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	if (slice_is(v->raw, "auto")) {
		*(int64_t *)out = 0;
		return true;
	}
	if (v->raw.n != 0 && ascii_is_digit(v->raw.at[0]))
		return type_integer.read(r, v, a, out);
	diag_error(r->diag, v->span, "\"%.*s\" is not auto or a number",
	    SLICE_ARG(diag_word(v->raw)));
	return false;
}

static const struct type type_workers = {
	.name = "auto|N",
	.wanted = "auto or a number",
	.size = sizeof(int64_t),
	.read = read_workers,
};

static const struct argument user_arguments[] = {
	{ .name = "NAME", .type = &type_name, .offset = offsetof(struct main_block, user) },
	{ "GROUP", &type_name, offsetof(struct main_block, group), .flags = ARGUMENT_OPTIONAL },
	{ 0 },
};

static const struct argument workers_arguments[] = {
	{ .name = "auto|N", .type = &type_workers, .min = 1, .max = 1024 },
	{ 0 },
};

static const struct argument path_arguments[] = {
	{ .name = "PATH", .type = &type_string },
	{ 0 },
};

static const struct argument flag_arguments[] = {
	{ .name = "on|off", .type = &type_flag },
	{ 0 },
};

static const struct argument control_arguments[] = {
	{ .name = "PATH|off", .type = &type_string },
	{ 0 },
};

static const struct argument error_log_arguments[] = {
	{ .name = "PATH|stderr", .type = &type_string,
	    .offset = offsetof(struct main_block, error_path) },
	{ "LEVEL", &type_word, offsetof(struct main_block, error_level), .flags = ARGUMENT_OPTIONAL,
	    .words = log_level_names, .otherwise = "notice" },
	{ 0 },
};

static const struct argument connections_arguments[] = {
	{ .name = "N", .type = &type_integer, .min = 16, .max = 10 * 1000 * 1000 },
	{ 0 },
};

static const struct argument memory_arguments[] = {
	{ .name = "SIZE", .type = &type_size, .min = 4 * 1024 * 1024, .max = INT64_MAX },
	{ 0 },
};

static const struct argument upstream_arguments[] = {
	{ .name = "NAME", .type = &type_name, .offset = offsetof(struct named_upstream, name) },
	{ 0 },
};

static const struct argument server_arguments[] = {
	{ "NAME", &type_name, offsetof(struct server_block, name), .flags = ARGUMENT_OPTIONAL },
	{ 0 },
};

static const struct argument module_arguments[] = {
	{ .name = "PATH", .type = &type_raw, .offset = offsetof(struct module_line, path) },
	{ 0 },
};

static const struct argument deadline_arguments[] = {
	{ .name = "DURATION", .type = &type_duration, .min = 1, .max = INT64_MAX },
	{ 0 },
};

static const struct directive drain_rows[] = {
	{ "deadline", DIRECTIVE_SETTING, .arguments = deadline_arguments,
	    .offset = offsetof(struct drain_block, deadline),
	    .help = "How long they have: what is left then is cut, tunnels too. Without it they have "
	    "all the time they want." },
	{ 0 },
};

static const struct table drain_tables[] = { { drain_rows, 0 }, { NULL, 0 } };
static const struct table defaults_tables[] = { { server_settings_rows, 0 }, { NULL, 0 } };
static const struct table map_tables[] = { { map_rows, 0 }, { NULL, 0 } };
static const struct table limit_tables[] = { { limit_rows, 0 }, { NULL, 0 } };
static const struct table upstream_tables[] = {
	{ upstream_rows, offsetof(struct named_upstream, block) },
	{ NULL, 0 },
};

static const struct directive main_rows[] = {
	{ "user", DIRECTIVE_SETTING, .arguments = user_arguments, .otherwise = "nobody",
	    .help = "Who the workers are, when the start is by root: a user, and a group if it is "
	    "not the user's own." },
	{ "workers", DIRECTIVE_SETTING, .arguments = workers_arguments,
	    .offset = offsetof(struct main_block, workers),
	    .otherwise = "auto", .help = "How many processes serve; auto is one a CPU." },
	{ "connections", DIRECTIVE_SETTING, .arguments = connections_arguments,
	    .offset = offsetof(struct main_block, connections_max), .otherwise = "8192",
	    .help = "How many connections a worker has at once, to clients and peers. At 95 % "
	    "more clients wait to be accepted, the rest is for peers." },
	{ "memory", DIRECTIVE_SETTING, .arguments = memory_arguments,
	    .offset = offsetof(struct main_block, memory_max),
	    .help = "How much memory a worker may use; without it there is no bound. At 80 % "
	    "kept connections end with their answer and new questions get 503, at 95 % clients "
	    "wait to be accepted." },
	{ "drain", DIRECTIVE_BLOCK, .offset = offsetof(struct main_block, drain),
	    .inside = drain_tables,
	    .help = "What becomes of connections that cannot stay: because their listener is gone or "
	    "speaks otherwise since a reload, or because their process leaves (quit). They end with "
	    "what is running on them; HTTP is told by Connection: close." },
	{ "daemon", DIRECTIVE_SETTING, .arguments = flag_arguments,
	    .offset = offsetof(struct main_block, daemon),
	    .otherwise = "off",
	    .help = "Whether the start returns to the shell and leaves the server in the "
	    "background." },
	{ "watch", DIRECTIVE_SETTING, .arguments = flag_arguments,
	    .offset = offsetof(struct main_block, watch),
	    .otherwise = "off",
	    .help = "Whether the configuration is read again when one of its files changes, comes or goes. "
	    "What is wrong then is said in the error log, and all stays as it is." },
	{ "pid", DIRECTIVE_SETTING, .arguments = path_arguments,
	    .offset = offsetof(struct main_block, pid_path),
	    .help = "The file that names the running master. Beside it is the control socket, unless `control` says "
	    "otherwise: one of both is needed to tell a server that runs, or to ask it." },
	{ "control", DIRECTIVE_SETTING, .arguments = control_arguments,
	    .offset = offsetof(struct main_block, control_path),
	    .help = "The Unix socket at which the running master answers `server status` and the other "
	    "verbs, for its own user only. Without it: beside the pid file, .control in place of .pid; "
	    "without that there is none." },
	{ "error_log", DIRECTIVE_SETTING, .arguments = error_log_arguments, .otherwise = "stderr",
	    .help = "Where the server says what went wrong, and from which level on." },
	{ "include", DIRECTIVE_SETTING, .flags = DIRECTIVE_REPEATS, .arguments = path_arguments,
	    .help = "Stands for what is in that file, or in all files of a pattern; in any "
	    "block." },
	{ "module", DIRECTIVE_BLOCK, .flags = DIRECTIVE_REPEATS | DIRECTIVE_BLOCK_OPTIONAL,
	    .arguments = module_arguments, .offset = offsetof(struct main_block, modules),
	    .size = sizeof(struct module_line), .find_inside = build_module_inside,
	    .check = build_module_check,
	    .help = "Loads protocols and handlers, which are then used by name like builtin ones: a "
	    "file beside the configuration, or of the directory of modules. Its block holds the "
	    "module's own directives." },
	{ "defaults", DIRECTIVE_BLOCK, .offset = offsetof(struct main_block, defaults),
	    .inside = defaults_tables,
	    .help = "Settings that every server starts with." },
	{ "map", DIRECTIVE_BLOCK, .flags = DIRECTIVE_REPEATS, .arguments = map_arguments,
	    .offset = offsetof(struct main_block, maps), .size = sizeof(struct map_block),
	    .inside = map_tables,
	    .help = "A field map.NAME whose value follows from that of another field." },
	{ "protocol", DIRECTIVE_BLOCK, .flags = DIRECTIVE_REPEATS,
	    .arguments = protocol_block_arguments,
	    .offset = offsetof(struct main_block, protocols),
	    .size = sizeof(struct protocol_block), .inside = protocol_block_tables,
	    .help = "A protocol of messages: what marks where one ends, and what stands in it." },
	{ "limit", DIRECTIVE_BLOCK, .flags = DIRECTIVE_REPEATS, .arguments = limit_arguments,
	    .offset = offsetof(struct main_block, limits), .size = sizeof(struct limit_block),
	    .inside = limit_tables,
	    .help = "How often something may be asked by one client, or with one value of another "
	    "field; a step names it." },
	{ "upstream", DIRECTIVE_BLOCK, .flags = DIRECTIVE_REPEATS, .arguments = upstream_arguments,
	    .offset = offsetof(struct main_block, upstreams), .size = sizeof(struct named_upstream),
	    .inside = upstream_tables, .help = "A group of backends under one name." },
	{ "server", DIRECTIVE_BLOCK, .flags = DIRECTIVE_REPEATS, .arguments = server_arguments,
	    .offset = offsetof(struct main_block, servers), .size = sizeof(struct server_block),
	    .inside = server_tables,
	    .inherit_from = offsetof(struct main_block, defaults),
	    .inherit_to = offsetof(struct server_block, settings),
	    .inherit_size = sizeof(struct server_settings),
	    .help = "Where clients come in, and what is done for them." },
	{ 0 },
};

const struct table registry_main[] = { { main_rows, 0 }, { NULL, 0 } };
