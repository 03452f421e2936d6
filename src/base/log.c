/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one error log of a process. A line is put together on the stack and
 * leaves in a single write, so that lines of several processes do not mix;
 * it is short enough for a pipe to take it whole or not at all.
 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

enum {
	TEXT_MOST = 2048,                /* bytes of the escaped text */
	LINE_MOST = TEXT_MOST + 512,     /* date, level, name, pid, tail: below PIPE_BUF */
	NAME_MOST = 64,
	LIMIT_MS = 10 * 1000,
};

const char *const log_level_names[LOG_LEVELS + 1] = { "debug", "info", "notice", "warn", "error",
	"crit", "alert", "emerg", NULL };

static struct {
	int fd;
	bool may_block;                  /* not a file: asked before it is written to */
	enum log_level level;
	uint64_t lost;
	char name[NAME_MOST];
} state = { .fd = STDERR_FILENO, .may_block = true, .level = LOG_NOTICE, .name = "server" };

void
log_to(int fd, enum log_level level)
{
	struct stat info;

	state.fd = fd;
	state.level = level;
	state.may_block = fstat(fd, &info) != 0 || !S_ISREG(info.st_mode);
}

void
log_name(const char *name)
{
	snprintf(state.name, sizeof(state.name), "%s", name);
}

bool
log_enabled(enum log_level level)
{
	return level >= state.level;
}

uint64_t
log_lost(void)
{
	return state.lost;
}

/* Control bytes become \xNN: no text of a client can forge a line or move a terminal's cursor. */
static void
put_text(struct builder *b, struct slice text)
{
	size_t most = b->n + TEXT_MOST;

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.at[i];
		bool plain = c >= 0x20 && c != 0x7f;

		if (b->n + (plain ? 1 : 4) > most) {
			BUILDER_LITERAL(b, "...");
			return;
		}
		if (plain)
			builder_byte(b, (char)c);
		else
			builder_printf(b, "\\x%02x", c);
	}
}

/* A pipe that nobody reads any more (POLLERR) would raise SIGPIPE. */
static bool
takes_a_line(void)
{
	struct pollfd ready = { .fd = state.fd, .events = POLLOUT };

	return !state.may_block || (poll(&ready, 1, 0) == 1 && ready.revents == POLLOUT);
}

static void
write_line(enum log_level level, struct slice text, const char *tail)
{
	char memory[LINE_MOST];
	struct builder line = builder_on(memory, sizeof(memory) - 1);

	builder_slice_put(&line, clock_error_date());
	builder_printf(&line, " [%s] %s[%d]: ", log_level_names[level], state.name, (int)getpid());
	put_text(&line, text);
	builder_text(&line, tail);
	memory[line.n++] = '\n';

	if (!takes_a_line() || write(state.fd, line.at, line.n) != (ssize_t)line.n)
		state.lost++;
}

PRINTF(4, 0)
static void
format_line(enum log_level level, int error, const char *tail, const char *format, va_list list)
{
	char text[TEXT_MOST + 2];        /* one byte more than fits, for put_text to see */

	errno = error;                   /* for %m */
	int n = vsnprintf(text, sizeof(text), format, list);

	if (n >= 0)
		write_line(level, slice_make(text, MIN_OF((size_t)n, sizeof(text) - 1)), tail);
	errno = error;
}

void
log_line(enum log_level level, const char *format, ...)
{
	va_list list;

	if (!log_enabled(level))
		return;
	va_start(list, format);
	format_line(level, errno, "", format, list);
	va_end(list);
}

void
log_errno(enum log_level level, int error, const char *format, ...)
{
	int kept = errno;
	char tail[128];
	va_list list;

	if (!log_enabled(level))
		return;
	snprintf(tail, sizeof(tail), ": %s", strerror(error));
	va_start(list, format);
	format_line(level, kept, tail, format, list);
	va_end(list);
}

void
log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
{
	int kept = errno;
	int64_t now = (int64_t)clock_ms();
	char tail[64] = "";
	va_list list;

	if (!log_enabled(level))
		return;
	if (now < limit->until) {
		limit->passed++;
		return;
	}
	if (limit->passed > 0)
		snprintf(tail, sizeof(tail), " (%llu like it passed over)",
		    (unsigned long long)limit->passed);
	*limit = (struct log_limit){ .until = now + LIMIT_MS };
	va_start(list, format);
	format_line(level, kept, tail, format, list);
	va_end(list);
}
