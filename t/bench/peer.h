/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the programs of t/bench share: addresses (a port of 127.0.0.1, or the path of a
 * Unix socket), sockets that do not block, an end when the bench ends.
 */
#pragma once

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* On loopback a segment is 64 KiB and the kernel's buffers grow with it; this is Ethernet's. */
enum { SEGMENT = 1460 };

union place {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_un un;
};

static inline union place
place_of(const char *text)
{
	union place place = {0};
	if (*text == '/') {
		place.un.sun_family = AF_UNIX;
		if (strlen(text) >= sizeof place.un.sun_path)
			errx(2, "%s: too long for a Unix socket", text);
		strcpy(place.un.sun_path, text);
	} else {
		place.in.sin_family = AF_INET;
		place.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		place.in.sin_port = htons((uint16_t)atoi(text));
	}
	return place;
}

static inline socklen_t
place_size(const union place *place)
{
	return place->any.sa_family == AF_UNIX ? sizeof place->un : sizeof place->in;
}

static inline void
option(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof value) < 0 && errno != EOPNOTSUPP)
		err(1, "setsockopt");
}

static inline void
no_waiting(int fd)
{
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		err(1, "fcntl");
}

static inline bool
would_wait(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static inline void
watch(int poll, int what, int fd, uint32_t events, void *for_whom)
{
	struct epoll_event event = {.events = events, .data.ptr = for_whom};
	if (epoll_ctl(poll, what, fd, &event) < 0)
		err(1, "epoll_ctl");
}

/* The bench may be killed: whoever it started goes with it. */
static inline void
end_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == 1)
		exit(1);
	signal(SIGPIPE, SIG_IGN);
}
