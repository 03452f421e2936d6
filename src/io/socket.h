/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sockets as descriptors: listen, accept, connect, options, and passing
 * descriptors between our own processes. All are close-on-exec, non-blocking.
 */
#ifndef MILLRACE_IO_SOCKET_H
#define MILLRACE_IO_SOCKET_H

#include <sys/types.h>

#include "base/addr.h"

struct socket_options {
	int backlog;                     /* 0: SOMAXCONN */
	bool reuse_port;                 /* one of a group (TCP, UDP) */
	bool v6_only;
	/* Unix: permission bits of the path; 0: as umask leaves them */
	unsigned mode;
	bool datagram;
	bool over;                       /* Unix: also where somebody listens */
};

/*
 * A bound, listening socket, or -1 with errno. Unix: bound under a temporary name, then renamed
 * over `a`'s path.
 */
MUST_USE int socket_listen(const struct addr *a, const struct socket_options *options);
/* The same of one that another has bound, at `a`: what can still be set. False with errno. */
MUST_USE bool socket_adopt(int fd, const struct addr *a, const struct socket_options *options);
/* -1 with errno; EAGAIN: none waits. TCP: no-delay is set. */
MUST_USE int socket_accept(int listener, struct addr *from);
/*
 * Begins to connect: -1 with errno, or a descriptor; *pending: not connected yet (look at
 * socket_error when writable). TCP: no-delay is set.
 */
MUST_USE int socket_connect(const struct addr *to, bool *pending);
int socket_error(int fd);                /* SO_ERROR: 0 = connected */
bool socket_local(int fd, struct addr *a);
/*
 * About how many bytes the socket would take at once; SIZE_MAX: the system does not say.
 */
size_t socket_room(int fd);
void socket_reset_on_close(int fd);      /* linger 0: the close sends RST */
/*
 * Bytes written that the other end has not taken yet (TCP: not acknowledged; Unix: with what the
 * kernel needs beside them).
 */
size_t socket_unsent(int fd);

/* A pair of connected seqpacket sockets. */
MUST_USE bool socket_pair(int pair[2]);
enum { SOCKET_PASS_MAX = 16 };           /* descriptors in one message */
/* One message with descriptors alongside; false with errno (EAGAIN: full). */
MUST_USE bool socket_pass(int fd, const void *message, size_t n, const int *fds, size_t fd_count);
/*
 * Bytes received (0: the other end is gone), or -1 with errno. *fd_count: room before, received
 * after.
 */
MUST_USE ssize_t socket_receive(int fd, void *message, size_t n, int *fds, size_t *fd_count);

#endif
