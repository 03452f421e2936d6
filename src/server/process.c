/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls of a process about itself, each with its reason.
 */
#include "server/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"

enum { WORSE_THAN_MASTER = 100 };        /* of the kernel's 0..1000 */

bool
process_refuse(const char *format, ...)
{
	va_list args;

	fputs("server: error: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return false;
}

bool
process_raise_descriptors(uint64_t need, uint64_t *allowed)
{
	struct rlimit limit;

	*allowed = 0;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return false;
	*allowed = limit.rlim_max;
	if (limit.rlim_max < need)
		limit.rlim_max = need;
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

uint64_t
process_spare_descriptors(uint64_t need)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	return limit.rlim_cur - MIN_OF(limit.rlim_cur, need);
}

/* The kernel should not take the master, which would take all the others with it. */
static void
raise_oom_score(void)
{
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	char text[16];
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	int score = 0;

	if (n > 0) {
		text[n] = '\0';
		sscanf(text, "%d", &score);
	}
	n = snprintf(text, sizeof(text), "%d", MIN_OF(score + WORSE_THAN_MASTER, 1000));
	if (fd < 0 || pwrite(fd, text, (size_t)n, 0) != n)
		log_line(LOG_DEBUG, "the OOM score stays as it is");
	if (fd >= 0)
		close(fd);
}

static bool
become(const struct bundle_identity *who, const char **what)
{
	gid_t groups[BUNDLE_GROUPS_MAX];

	for (uint32_t i = 0; i < who->group_count; i++)
		groups[i] = who->groups[i];
	*what = "setgroups";
	if (setgroups(who->group_count, groups) < 0)
		return false;
	*what = "setgid";
	if (setresgid(who->gid, who->gid, who->gid) < 0)
		return false;
	*what = "setuid";
	return setresuid(who->uid, who->uid, who->uid) == 0;
}

bool
process_drop_rights(const struct bundle_identity *who, const char **what)
{
	const struct rlimit none = { 0, 0 };

	raise_oom_score();
	*what = "setrlimit";
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return false;
	if (who->changes && !become(who, what))
		return false;
	*what = "prctl";
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

void
process_name(const char *name)
{
	prctl(PR_SET_NAME, name, 0, 0, 0);
}

void
process_stdio_to_null(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = STDIN_FILENO; i <= STDERR_FILENO && fd >= 0; i++)
		dup2(fd, i);
	if (fd > STDERR_FILENO)
		close(fd);
}

void
process_stdio_open(void)
{
	for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
		if (fcntl(i, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != i)
			_exit(1);
}

void
process_block_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, before);
}

void
process_unblock_signals(const sigset_t *before)
{
	sigprocmask(SIG_SETMASK, before, NULL);
}

void
process_close_others(const int *keep, size_t count)
{
	unsigned from = STDERR_FILENO + 1;

	for (size_t i = 0; i < count; i++) {
		unsigned fd = (unsigned)keep[i];

		if (fd > from)
			close_range(from, fd - 1, 0);
		from = MAX_OF(from, fd + 1);
	}
	close_range(from, ~0u, 0);
}
