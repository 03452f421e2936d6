/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The error log: one line a call, written at once with one write(2), never
 * waited for (a descriptor that would block loses the line and counts it).
 * One log a process: its descriptor and level are set at the start.
 */
#ifndef MILLRACE_BASE_LOG_H
#define MILLRACE_BASE_LOG_H

#include "base/bytes.h"

enum log_level {
	LOG_DEBUG,
	LOG_INFO,
	LOG_NOTICE,
	LOG_WARN,
	LOG_ERROR,
	LOG_CRIT,
	LOG_ALERT,
	LOG_EMERG,
	LOG_LEVELS
};

/* debug info notice warn error crit alert emerg, NULL */
extern const char *const log_level_names[LOG_LEVELS + 1];

/* fd stays the caller's. Lines below `level` are dropped. Starts as (2, LOG_NOTICE). */
void log_to(int fd, enum log_level level);
/* What stands in each line: `master`, `worker 1`. Copied. */
void log_name(const char *name);
bool log_enabled(enum log_level level);
/*
 * `2026/11/22 10:00:00 [error] worker 1[4711]: text`; control bytes in the text are escaped. errno
 * is kept.
 */
PRINTF(2, 3) void log_line(enum log_level level, const char *format, ...);
/* The same with ": " and strerror(error) behind it. */
PRINTF(3, 4) void log_errno(enum log_level level, int error, const char *format, ...);
uint64_t log_lost(void);                 /* lines that could not be written */
/*
 * At most one line per `slot` in ten seconds; the next one says how many were passed over. Zero-
 * initialised.
 */
struct log_limit {
	int64_t until;
	uint64_t passed;
};
PRINTF(3, 4) void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...);

#endif
