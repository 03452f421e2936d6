/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Edge-triggered, as connections are: reads until nothing is left, writes
 * first and waits for the edge only when the other side's queue was full.
 */
#include "server/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"

struct channel_waiting {
	struct channel_waiting *next;
	struct channel_message message;
	int fds[SOCKET_PASS_MAX];
	size_t fd_count;
};

static void
close_all(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void
drop_first(struct channel *c)
{
	struct channel_waiting *w = c->first;

	c->first = w->next;
	if (c->first == NULL)
		c->last = &c->first;
	close_all(w->fds, w->fd_count);
	free(w);
}

static void
end(struct channel *c)
{
	loop_unwatch(&c->event);
	while (c->first != NULL)
		drop_first(c);
	c->ended(c);
}

static bool
is_message(const struct channel_message *m, ssize_t n)
{
	return n == (ssize_t)sizeof(*m) && m->kind > 0 && m->kind < CHANNEL_KINDS &&
	    m->count <= SOCKET_PASS_MAX;
}

/* False: nothing more for now, or ever. */
static bool
receive_one(struct channel *c)
{
	struct channel_message m;
	int fds[SOCKET_PASS_MAX];
	size_t fd_count = SOCKET_PASS_MAX;
	ssize_t n = socket_receive(c->fd, &m, sizeof(m), fds, &fd_count);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n > 0 && is_message(&m, n)) {
		c->receive(c, &m, fds, fd_count);
		return c->fd >= 0 && c->event.watched;
	}
	/* Its descriptors found no room here: they are lost, and what they were for is not done. */
	if (n < 0 && errno == EMFILE) {
		log_line(LOG_ALERT, "no descriptors left for those that came with a message");
		return true;
	}
	close_all(fds, n < 0 ? 0 : fd_count);
	end(c);
	return false;
}

/* The socket, or what a user may have under way in sockets. */
static bool
is_full(int error)
{
	return error == EAGAIN || error == ETOOMANYREFS;
}

/*
 * False: not now. Whoever was told a part of what he needs is no use: any other error ends both
 * sides.
 */
static bool
pass(struct channel *c, const struct channel_message *m, const int *fds, size_t fd_count)
{
	if (socket_pass(c->fd, m, sizeof(*m), fds, fd_count))
		return true;
	if (is_full(errno))
		return false;
	if (errno != EPIPE && errno != ECONNRESET)
		log_errno(LOG_ALERT, errno, "a message between master and worker cannot be sent");
	shutdown(c->fd, SHUT_RDWR);
	return true;
}

static void
flush(struct channel *c)
{
	while (c->first != NULL && pass(c, &c->first->message, c->first->fds, c->first->fd_count))
		drop_first(c);
}

static void
ready(struct loop_event *e, unsigned what)
{
	struct channel *c = CONTAINER_OF(e, struct channel, event);

	flush(c);
	while (receive_one(c))
		;
}

bool
channel_open(struct channel *c, struct loop *l, int fd)
{
	c->fd = fd;
	c->first = NULL;
	c->last = &c->first;
	if (loop_watch(l, &c->event, fd, LOOP_EDGE, ready))
		return true;
	channel_close(c);
	return false;
}

void
channel_close(struct channel *c)
{
	if (c->fd < 0)
		return;
	loop_unwatch(&c->event);
	while (c->first != NULL)
		drop_first(c);
	close(c->fd);
	c->fd = -1;
}

void
channel_forget(struct channel *c)
{
	c->event.watched = false;
	channel_close(c);
}

static void
queue(struct channel *c, const struct channel_message *m, const int *fds, size_t fd_count)
{
	struct channel_waiting *w = memory_zalloc(sizeof(*w));

	w->message = *m;
	w->fd_count = fd_count;
	for (size_t i = 0; i < fd_count; i++) {
		w->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (w->fds[i] < 0)
			log_errno(LOG_ALERT, errno, "no descriptor to keep one for a worker with");
	}
	*c->last = w;
	c->last = &w->next;
}

void
channel_send(struct channel *c, const struct channel_message *m, const int *fds, size_t fd_count)
{
	if (c->fd < 0 || !c->event.watched)
		return;
	if (c->first == NULL && pass(c, m, fds, fd_count))
		return;
	queue(c, m, fds, fd_count);
}

void
channel_retry(struct channel *c)
{
	if (c->fd >= 0 && c->event.watched)
		flush(c);
}

void
channel_say(struct channel *c, enum channel_kind kind, uint64_t generation)
{
	const struct channel_message m = { .kind = kind, .generation = generation };

	channel_send(c, &m, NULL, 0);
}
