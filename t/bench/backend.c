/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend of the bench: as little as answers at all, so that what is measured is the
 * server between. One thread, one connection as good as another.
 *
 *     backend PORT|PATH http BYTES    a body of so many for every head that ends (no bodies asked)
 *     backend PORT|PATH echo          what came
 *     backend PORT|PATH source        bytes without end
 *     backend PORT|PATH silent        nothing, ever
 */
#include "peer.h"

#include <sys/stat.h>

enum { CHUNK = 256 * 1024, EVENTS = 256, SLOW_BUFFER = 16384 };

enum kind { HTTP, ECHO, SOURCE, SILENT };

struct peer {
	int fd;
	int seen;	 /* of the four bytes that end a head */
	unsigned owed;	 /* answers */
	size_t sent;	 /* of the first of them */
	bool full;	 /* waits until it can write */
};

static struct {
	enum kind kind;
	int poll, door;
	char *answer;
	size_t size;
	char scratch[CHUNK];
} it;

static void
answer_new(size_t body)
{
	it.answer = malloc(512 + body);
	if (!it.answer)
		err(1, "malloc");
	int head = snprintf(it.answer, 512,
	    "HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Sun, 22 Nov 2026 00:00:00 GMT\r\n"
	    "Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", body);
	memset(it.answer + head, 'x', body);
	it.size = (size_t)head + body;
	if (body)
		it.answer[it.size - 1] = '\n';
}

static void
peer_open(void)
{
	int fd = accept(it.door, NULL, NULL);
	if (fd < 0)
		return;
	no_waiting(fd);
	option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	struct peer *peer = calloc(1, sizeof *peer);
	if (!peer)
		err(1, "calloc");
	peer->fd = fd;
	watch(it.poll, EPOLL_CTL_ADD, fd, it.kind == SOURCE ? EPOLLIN | EPOLLOUT : EPOLLIN, peer);
}

static void
peer_close(struct peer *peer)
{
	close(peer->fd);
	free(peer);
}

/* How many heads end in what was read; their ends may be cut anywhere. */
static unsigned
heads_in(struct peer *peer, const char *at, const char *end)
{
	unsigned heads = 0;
	for (; at < end; at++) {
		if (*at == "\r\n\r\n"[peer->seen])
			peer->seen++;
		else
			peer->seen = *at == '\r';
		if (peer->seen == 4) {
			peer->seen = 0;
			heads++;
		}
	}
	return heads;
}

static bool
pay(struct peer *peer)
{
	while (peer->owed) {
		ssize_t n = send(peer->fd, it.answer + peer->sent, it.size - peer->sent, 0);
		if (n < 0 && !would_wait(n))
			return false;
		if (n < 0 || (peer->sent += (size_t)n) < it.size)
			break;
		peer->sent = 0;
		peer->owed--;
	}
	bool full = peer->owed > 0;
	if (full != peer->full) {
		peer->full = full;
		watch(it.poll, EPOLL_CTL_MOD, peer->fd, full ? EPOLLIN | EPOLLOUT : EPOLLIN, peer);
	}
	return true;
}

/* Back as it came. A client that asks and waits always has room for it. */
static bool
give_back(struct peer *peer, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t sent = send(peer->fd, it.scratch + done, n - done, 0);
		if (sent < 0 && !would_wait(sent))
			return false;
		done += sent > 0 ? (size_t)sent : 0;
	}
	return true;
}

static bool
take(struct peer *peer)
{
	ssize_t n = read(peer->fd, it.scratch, sizeof it.scratch);
	if (n <= 0)
		return would_wait(n);
	if (it.kind == ECHO)
		return give_back(peer, (size_t)n);
	if (it.kind != HTTP)
		return true;
	peer->owed += heads_in(peer, it.scratch, it.scratch + n);
	return pay(peer);
}

static bool
serve(struct peer *peer, uint32_t events)
{
	if (events & EPOLLOUT) {
		if (it.kind == HTTP)
			return pay(peer);
		ssize_t n = send(peer->fd, it.scratch, sizeof it.scratch, 0);
		if (n < 0 && !would_wait(n))
			return false;
	}
	return !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || take(peer);
}

static void
door_open(const char *address, bool large)
{
	union place place = place_of(address);
	it.door = socket(place.any.sa_family, SOCK_STREAM, 0);
	if (it.door < 0)
		err(1, "socket");
	option(it.door, SOL_SOCKET, SO_REUSEADDR, 1);
	if (large)	/* many at once, none of which is read: little of each in the kernel */
		option(it.door, SOL_SOCKET, SO_SNDBUF, SLOW_BUFFER);
	if (bind(it.door, &place.any, place_size(&place)) < 0 || listen(it.door, 16384) < 0)
		err(1, "%s", address);
	if (*address == '/')
		chmod(address, 0777);
	no_waiting(it.door);
	it.poll = epoll_create1(0);
	watch(it.poll, EPOLL_CTL_ADD, it.door, EPOLLIN, NULL);
}

int
main(int argc, char **argv)
{
	static const char *const kinds[] = {"http", "echo", "source", "silent"};
	end_with_parent();
	int kind = 0;
	while (argc >= 3 && kind < 4 && strcmp(argv[2], kinds[kind]) != 0)
		kind++;
	if (argc < 3 || kind == 4 || (kind == HTTP) != (argc == 4))
		errx(2, "usage: backend PORT|PATH http BYTES | echo | source | silent");
	it.kind = (enum kind)kind;
	size_t body = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	answer_new(body);
	door_open(argv[1], body >= 1 << 20);
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(it.poll, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct peer *peer = events[i].data.ptr;
			if (!peer)
				peer_open();
			else if (!serve(peer, events[i].events))
				peer_close(peer);
		}
	}
}
