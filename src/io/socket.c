/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sockets as descriptors. A Unix socket appears under its name only when it
 * listens and has its mode; a socket file that nobody answers on is replaced,
 * anything else under that name is left alone.
 */
#include "io/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/datagram.h"

enum { TEMPORARY_NAMES = 16 };

static bool
set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

static int
open_socket(const struct addr *a, bool datagram)
{
	return socket(a->any.sa_family,
	    (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void
close_quietly(int fd)
{
	int error = errno;

	close(fd);
	errno = error;
}

static bool
is_path(const struct addr *a)
{
	return addr_is_unix(a) && a->n > offsetof(struct sockaddr_un, sun_path) &&
	    a->local.sun_path[0] != '\0';
}

/* ------------------------------------------------------------------ listening */

/* On Linux what is accepted inherits no-delay from its listener: no call a connection. */
static bool
set_listen_options(int fd, const struct addr *a, const struct socket_options *options)
{
	if (addr_is_unix(a))
		return true;
	if (!options->datagram && (!set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) ||
	    !set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)))
		return false;
	if (options->reuse_port && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1))
		return false;
	if (options->datagram && !datagram_prepare(fd, a))
		return false;
	return a->any.sa_family != AF_INET6 ||
	    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->v6_only);
}

static bool
start_listening(int fd, const struct socket_options *options)
{
	return options->datagram ||
	    listen(fd, options->backlog > 0 ? options->backlog : SOMAXCONN) == 0;
}

/* Nobody listens at that path: free, or a socket that was left behind. False with errno. */
static bool
path_is_free(const struct addr *a, bool datagram)
{
	struct stat file;

	if (lstat(a->local.sun_path, &file) < 0)
		return errno == ENOENT;
	if (!S_ISSOCK(file.st_mode)) {
		errno = ENOTSOCK;
		return false;
	}

	int fd = open_socket(a, datagram);

	if (fd < 0)
		return false;

	bool answered = connect(fd, &a->any, a->n) == 0;
	int error = errno;

	close(fd);
	if (!answered && (error == ECONNREFUSED || error == ENOENT))
		return true;
	errno = answered || error == EAGAIN || error == EPROTOTYPE ? EADDRINUSE : error;
	return false;
}

/* Where there is no room for more, a name as long as the path's own: another last byte. */
static void
name_beside(const char *path, int i, struct sockaddr_un *name)
{
	const char *slash = strrchr(path, '/');
	int directory = slash != NULL ? (int)(slash - path) + 1 : 0;
	size_t n = strlen(path);

	*name = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (snprintf(name->sun_path, sizeof(name->sun_path), "%.*s.%d.%d", directory, path,
	    (int)getpid(), i) < (int)sizeof(name->sun_path))
		return;
	memcpy(name->sun_path, path, n + 1);
	name->sun_path[n - 1] = (char)((path[n - 1] == 'a' ? 'A' : 'a') + i);
}

/* A name beside the path that no one uses: bound, and left in `temporary`. */
static bool
bind_beside(int fd, const struct addr *a, struct addr *temporary)
{
	for (int i = 0; i < TEMPORARY_NAMES; i++) {
		*temporary = (struct addr){ .n = sizeof(temporary->local) };
		name_beside(a->local.sun_path, i, &temporary->local);
		if (bind(fd, &temporary->any, temporary->n) == 0)
			return true;
		if (errno != EADDRINUSE)
			return false;
	}
	return false;
}

static bool
listen_at_path(int fd, const struct addr *a, const struct socket_options *options)
{
	struct addr temporary;

	if ((!options->over && !path_is_free(a, options->datagram)) || !bind_beside(fd, a, &temporary))
		return false;
	if ((options->mode == 0 || chmod(temporary.local.sun_path, options->mode) == 0) &&
	    start_listening(fd, options) &&
	    rename(temporary.local.sun_path, a->local.sun_path) == 0)
		return true;

	int error = errno;

	unlink(temporary.local.sun_path);
	errno = error;
	return false;
}

int
socket_listen(const struct addr *a, const struct socket_options *options)
{
	int fd = open_socket(a, options->datagram);

	if (fd < 0)
		return -1;
	if (is_path(a) ? listen_at_path(fd, a, options) :
	    set_listen_options(fd, a, options) && bind(fd, &a->any, a->n) == 0 &&
	    start_listening(fd, options))
		return fd;
	close_quietly(fd);
	return -1;
}

bool
socket_adopt(int fd, const struct addr *a, const struct socket_options *options)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return false;
	if (options->datagram)
		return datagram_prepare(fd, a);
	return (addr_is_unix(a) || set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)) &&
	    start_listening(fd, options);
}

/* ------------------------------------------------------------------ connections */

/* accept(2): errors of a connection that died in the queue; the next one may be well. */
static bool
next_may_be_well(int error)
{
	switch (error) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENOPROTOOPT:
	case ENETDOWN:
	case ENETUNREACH:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENONET:
	case EOPNOTSUPP:
		return true;
	default:
		return false;
	}
}

int
socket_accept(int listener, struct addr *from)
{
	socklen_t n;
	int fd, tries = 64;

	do {
		n = sizeof(from->local);
		fd = accept4(listener, &from->any, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (fd < 0 && next_may_be_well(errno) && --tries > 0);
	from->n = fd < 0 ? 0 : MIN_OF(n, (socklen_t)sizeof(from->local));
	from->datagram = 0;
	return fd;
}

int
socket_connect(const struct addr *to, bool *pending)
{
	int fd = open_socket(to, false);

	*pending = false;
	if (fd < 0)
		return -1;
	if (!addr_is_unix(to) && !set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)) {
		close_quietly(fd);
		return -1;
	}
	if (connect(fd, &to->any, to->n) == 0)
		return fd;
	*pending = errno == EINPROGRESS || errno == EINTR;
	if (*pending)
		return fd;
	close_quietly(fd);
	return -1;
}

int
socket_error(int fd)
{
	int error = 0;
	socklen_t n = sizeof(error);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 ? errno : error;
}

bool
socket_local(int fd, struct addr *a)
{
	socklen_t n = sizeof(a->local);

	*a = (struct addr){ .n = 0 };
	if (getsockname(fd, &a->any, &n) < 0)
		return false;
	a->n = MIN_OF(n, (socklen_t)sizeof(a->local));
	return true;
}

/* What a Unix socket has sent is counted by the other figure than what TCP has. */
size_t
socket_room(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t n = sizeof(info);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &n) < 0)
		return SIZE_MAX;

	uint32_t most = info[SK_MEMINFO_SNDBUF], queued = info[SK_MEMINFO_WMEM_QUEUED];
	uint32_t used = queued != 0 ? queued : info[SK_MEMINFO_WMEM_ALLOC];

	return most > used ? most - used : 0;
}

void
socket_reset_on_close(int fd)
{
	const struct linger now = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

size_t
socket_unsent(int fd)
{
	int n = 0;

	return ioctl(fd, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0;
}

/* ------------------------------------------------------------------ descriptors alongside */

union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(SOCKET_PASS_MAX * sizeof(int))];
};

bool
socket_pair(int pair[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0;
}

bool
socket_pass(int fd, const void *message, size_t n, const int *fds, size_t fd_count)
{
	union control control = { .bytes = "" };
	struct iovec bytes = { (void *)(uintptr_t)message, n };
	struct msghdr packet = { .msg_iov = &bytes, .msg_iovlen = 1 };
	ssize_t sent;

	/* An empty packet would read as the end. */
	if (n == 0 || fd_count > SOCKET_PASS_MAX) {
		errno = EINVAL;
		return false;
	}
	if (fd_count > 0) {
		control.head = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(fd_count * sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.head), fds, fd_count * sizeof(int));
		packet.msg_control = &control;
		packet.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
	}
	do
		sent = sendmsg(fd, &packet, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)n;
}

/* All descriptors that came, whatever the caller has room for: each is open from now on. */
static size_t
collect(struct msghdr *packet, int all[static SOCKET_PASS_MAX])
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(packet); c != NULL; c = CMSG_NXTHDR(packet, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;

		size_t n =
		    MIN_OF((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), SOCKET_PASS_MAX - count);

		memcpy(all + count, CMSG_DATA(c), n * sizeof(int));
		count += n;
	}
	return count;
}

ssize_t
socket_receive(int fd, void *message, size_t n, int *fds, size_t *fd_count)
{
	union control control;
	struct iovec bytes = { message, n };
	struct msghdr packet = {
		.msg_iov = &bytes, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	size_t room = *fd_count;
	int all[SOCKET_PASS_MAX];
	ssize_t got;

	*fd_count = 0;
	do
		got = recvmsg(fd, &packet, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -1;

	size_t count = collect(&packet, all);

	if (count > room || (packet.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		for (size_t i = 0; i < count; i++)
			close(all[i]);
		/* The message is whole, and this process could not take its descriptors. */
		bool no_room = count <= room && (packet.msg_flags & MSG_TRUNC) == 0;

		errno = no_room ? EMFILE : EMSGSIZE;
		return -1;
	}
	if (count > 0)
		memcpy(fds, all, count * sizeof(int));
	*fd_count = count;
	return got;
}
