/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A handler, to be copied: `echo_back` answers a message with itself between two strings of the
 * configuration, and drops what is longer than it may be. Over HTTP, where a handler sees no body,
 * it is the strings alone.
 *
 *   module "echo_handler.so";
 *   server { listen 1235; protocol jsonnl; echo_back before="[" after="]" max=4k; }
 */
#include <string.h>

#include <millrace/module.h>

static const struct millrace_host *host;

/* What one line `echo_back …;` says. */
struct echo {
	const struct millrace_text *before, *after;
	uint64_t max;
	int too_long;
};

enum { DROP, CLOSE };

static const char *const too_long_words[] = { [DROP] = "drop", [CLOSE] = "close", NULL };

static const struct millrace_argument arguments[] = {
	{ "before", MILLRACE_TEXT, MILLRACE_OPTION, offsetof(struct echo, before), .otherwise = "\"\"" },
	{ "after", MILLRACE_TEXT, MILLRACE_OPTION, offsetof(struct echo, after), .otherwise = "\"\"" },
	{ "max", MILLRACE_SIZE, MILLRACE_OPTION, offsetof(struct echo, max),
	    .min = 1, .max = 1024 * 1024, .otherwise = "64k" },
	{ "too_long", MILLRACE_WORD, MILLRACE_OPTION, offsetof(struct echo, too_long),
	    .words = too_long_words, .otherwise = "drop" },
	{ 0 },
};

/* Three pieces as one, in room that the caller has. */
static size_t
join(char *to, struct millrace_span a, struct millrace_span b, struct millrace_span c)
{
	memcpy(to, a.at, a.n);
	memcpy(to + a.n, b.at, b.n);
	memcpy(to + a.n + b.n, c.at, c.n);
	return a.n + b.n + c.n;
}

static enum millrace_verdict
echo_question(const void *settings, const void *own, struct millrace_exchange *ex)
{
	const struct echo *echo = own;
	struct millrace_span body = host->body(ex), before, after;
	char room[64 * 1024];

	(void)settings;
	if (body.n > echo->max)
		return echo->too_long == DROP ? MILLRACE_DROP : MILLRACE_CLOSE;
	if (!host->text(ex, echo->before, &before) || !host->text(ex, echo->after, &after) ||
	    before.n + body.n + after.n > sizeof(room))
		return MILLRACE_FAIL;

	struct millrace_span answer = { room, join(room, before, body, after) };

	return host->reply(ex, 200, "text/plain", answer) ? MILLRACE_REPLY : MILLRACE_FAIL;
}

static const struct millrace_handler echo_back = {
	.size = sizeof(echo_back),
	.name = "echo_back",
	.help = "Answers a message with itself, between two texts.",
	.traits = MILLRACE_ANSWERS,
	.arguments = arguments,
	.settings_size = sizeof(struct echo),
	.question = echo_question,
};

static const struct millrace_handler *const handlers[] = { &echo_back, NULL };

static const struct millrace_module module = {
	.abi = MILLRACE_ABI,
	.size = sizeof(module),
	.name = "echo_handler",
	.handlers = handlers,
};

MILLRACE_EXPORT const struct millrace_module *
millrace_module(const struct millrace_host *given)
{
	host = given;
	return MILLRACE_HAS(host, struct millrace_host, reply) ? &module : NULL;
}
