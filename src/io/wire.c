/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The plain wire: one system call a function. And the pipes that carry bytes
 * between two of them without a copy into our memory.
 */
#include "io/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIPE_SIZE = 256 * 1024 };

static ssize_t
result(ssize_t n)
{
	if (likely(n >= 0))
		return n;
	return errno == EAGAIN ? WIRE_AGAIN : WIRE_BROKEN;
}

static ssize_t
plain_read(struct wire *w, char *at, size_t n)
{
	ssize_t got;

	do
		got = recv(w->fd, at, n, 0);
	while (got < 0 && errno == EINTR);
	return result(got);
}

APART static ssize_t
send_pieces(int fd, const struct iovec *pieces, int count)
{
	const struct msghdr message = {
		.msg_iov = (struct iovec *)(uintptr_t)pieces,
		.msg_iovlen = (size_t)count,
	};

	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

static ssize_t
plain_write(struct wire *w, const struct iovec *pieces, int count)
{
	ssize_t sent;

	do
		sent = count == 1 ? send(w->fd, pieces->iov_base, pieces->iov_len, MSG_NOSIGNAL) :
				    send_pieces(w->fd, pieces, count);
	while (sent < 0 && errno == EINTR);
	return result(sent);
}

static void
plain_shut(struct wire *w)
{
	shutdown(w->fd, SHUT_WR);
}

static void
plain_close(struct wire *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

const struct wire_ops wire_plain = {
	.name = "plain",
	.read = plain_read,
	.write = plain_write,
	.shut = plain_shut,
	.close = plain_close,
	.splices = true,
};

/* A user's share of pipe memory may be used up: a small pipe is slower, not wrong. */
bool
wire_pipe_open(struct wire_pipe *p)
{
	int ends[2];
	int size;

	*p = (struct wire_pipe){ .in = -1, .out = -1 };
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0)
		return false;
	size = fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE);
	if (size <= 0)
		size = fcntl(ends[1], F_GETPIPE_SZ);
	*p = (struct wire_pipe){
		.in = ends[1], .out = ends[0], .size = size > 0 ? (size_t)size : SIZE_MAX,
	};
	return true;
}

void
wire_pipe_close(struct wire_pipe *p)
{
	if (p->in >= 0) {
		close(p->in);
		close(p->out);
	}
	*p = (struct wire_pipe){ .in = -1, .out = -1 };
}

static ssize_t
move(int from, int to, size_t n)
{
	ssize_t moved;

	do
		moved = splice(from, NULL, to, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	while (moved < 0 && errno == EINTR);
	return result(moved);
}

ssize_t
wire_pipe_fill(struct wire_pipe *p, int from, size_t n)
{
	ssize_t moved = move(from, p->in, MIN_OF(n, p->size - p->held));

	if (moved > 0)
		p->held += (size_t)moved;
	return moved;
}

ssize_t
wire_pipe_drain(struct wire_pipe *p, int to)
{
	if (p->held == 0)
		return 0;

	ssize_t moved = move(p->out, to, p->held);

	if (moved > 0)
		p->held -= (size_t)moved;
	return moved;
}
