/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One socket a process, kept open: what is said at the end must not need what may be gone by then.
 */
#include "server/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "server/process.h"

enum { FIRST_SOCKET = 3, SOCKETS_MOST = 4096, PATIENCE = 200 * 1000 };

static int to = -1;
static struct addr manager;
static uint64_t watchdog;
static bool hushed;

/* ------------------------------------------------------------------ what it is told */

static bool
read_address(const char *text)
{
	size_t n = strlen(text);

	manager = (struct addr){ .local.sun_family = AF_UNIX };
	if ((text[0] != '/' && text[0] != '@') || n < 2 || n >= sizeof(manager.local.sun_path))
		return false;
	memcpy(manager.local.sun_path, text, n);
	if (text[0] == '@')
		manager.local.sun_path[0] = '\0';
	/* An abstract name has no NUL behind it. */
	manager.n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (text[0] == '/'));
	return true;
}

static bool
number_of(const char *name, uint64_t *number)
{
	const char *text = getenv(name);

	return text != NULL && slice_to_u64(slice_of(text), number);
}

static bool
is_ours(const char *name)
{
	uint64_t pid;

	return number_of(name, &pid) && pid == (uint64_t)getpid();
}

void
notify_open(void)
{
	const struct timeval patience = { .tv_usec = PATIENCE };
	const char *text = getenv("NOTIFY_SOCKET");
	uint64_t microseconds;

	if (text == NULL || !read_address(text))
		return;
	to = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (to >= 0)
		(void)setsockopt(to, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (number_of("WATCHDOG_USEC", &microseconds) &&
	    (getenv("WATCHDOG_PID") == NULL || is_ours("WATCHDOG_PID")))
		watchdog = MAX_OF(microseconds / 2000, UINT64_C(1));
}

void
notify_close(void)
{
	if (to >= 0)
		close(to);
	to = -1;
}

void
notify_say(const char *format, ...)
{
	char text[512];
	va_list args;

	if (to < 0 || hushed)
		return;
	va_start(args, format);
	int n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (sendto(to, text, MIN_OF((size_t)n, sizeof(text) - 1), MSG_NOSIGNAL, &manager.any,
	    manager.n) < 0)
		log_errno(LOG_WARN, errno, "the manager of services cannot be told");
}

void
notify_hush(bool hush)
{
	hushed = hush;
}

void
notify_reloading(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	notify_say("RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reloading",
	    (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
}

uint64_t
notify_watchdog(void)
{
	return to < 0 ? 0 : watchdog;
}

void
notify_renumber(void)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", (int)getpid());
	if (getenv("WATCHDOG_PID") != NULL)
		(void)setenv("WATCHDOG_PID", number, 1);
}

/* ------------------------------------------------------------------ what it opened */

/* `name:name:…`: the next one; without names, `socket`. */
static struct slice
next_name(struct slice *names)
{
	struct slice name;

	return slice_split(names, ':', &name) && name.n != 0 ? name : SLICE("socket");
}

static void
forget_sockets(void)
{
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

bool
notify_take_sockets(struct binding_table *t)
{
	const char *text = getenv("LISTEN_FDNAMES");
	struct slice names = text == NULL ? SLICE_EMPTY : slice_of(text);
	uint64_t count;
	bool good = true;

	if (!is_ours("LISTEN_PID") || !number_of("LISTEN_FDS", &count))
		count = 0;
	for (int i = 0; i < (int)MIN_OF(count, (uint64_t)SOCKETS_MOST); i++) {
		struct slice name = next_name(&names);
		int fd = FIRST_SOCKET + i;

		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || !binding_give(t, fd))
			good = process_refuse("%.*s (descriptor %d), which was opened for us, is "
			    "nothing to listen on: %s", (int)name.n, name.at, fd, strerror(errno));
	}
	forget_sockets();
	return good;
}
