/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The smallest protocol there is, to be copied: a message is a line. It says where a message ends
 * and nothing else, so the body of a message is all of it, its \n too, and what is answered must
 * end with one.
 *
 *   module "line_protocol.so";
 *   server { listen 1235; protocol line; echo; }
 */
#include <string.h>

#include <millrace/module.h>

/*
 * `in` begins where a message does. The answer is how long that message is, or MILLRACE_MORE while
 * its end is not there; then *resume is how much of it need not be looked at again.
 */
static int64_t
line_input(const void *settings, void *context, struct millrace_span in, size_t *resume)
{
	const char *end = memchr(in.at + *resume, '\n', in.n - *resume);

	(void)settings, (void)context;
	if (end != NULL)
		return end + 1 - in.at;
	*resume = in.n;
	return MILLRACE_MORE;
}

static const struct millrace_protocol line = {
	.size = sizeof(line),
	.name = "line",
	.help = "A message is a line.",
	.answers = MILLRACE_IN_ORDER,
	.max = 64 * 1024,
	.media_type = "text/plain",
	.input = line_input,
};

static const struct millrace_protocol *const protocols[] = { &line, NULL };

static const struct millrace_module module = {
	.abi = MILLRACE_ABI,
	.size = sizeof(module),
	.name = "line_protocol",
	.protocols = protocols,
};

MILLRACE_EXPORT const struct millrace_module *
millrace_module(const struct millrace_host *host)
{
	(void)host;
	return &module;
}
