/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What messages cost at least: a server of lines that does nothing but serve lines. One thread, one
 * epoll, a read and a write for each time that a connection is ready, whatever number of lines it has.
 *
 *     bare PORT reply TEXT     TEXT for every line
 *     bare PORT echo           every line back
 *     bare PORT relay PEER     every line over one connection to the port PEER, which all share; what
 *                              it answers goes, in order, to who asked
 */
#include "peer.h"

enum { CHUNK = 64 * 1024, EVENTS = 256, OWED = 1 << 16 };

enum kind { REPLY, ECHO, RELAY };

struct conn {
	int fd;
	unsigned owed;	 /* relay: answers to come */
	bool gone;
	size_t kept;	 /* of a line whose end is to come */
	char *rest;
};

static struct {
	enum kind kind;
	int poll, door;
	const char *answer;
	size_t answer_size;
	struct conn peer;			/* relay: the one connection */
	struct conn *owed[OWED], *to;		/* who asked, in order; whose the gathered is */
	unsigned first, last;
	size_t gathered;
	char in[CHUNK], out[CHUNK];
} it;

/* A client that asks and waits always has room for it. */
static void
flush(struct conn *to)
{
	for (size_t done = 0; done < it.gathered && !to->gone;) {
		ssize_t n = send(to->fd, it.out + done, it.gathered - done, 0);
		if (n < 0 && !would_wait(n))
			break;
		done += n > 0 ? (size_t)n : 0;
	}
	it.gathered = 0;
}

static void
gather(struct conn *to, const char *text, size_t size)
{
	if (it.gathered + size > sizeof it.out)
		flush(to);
	memcpy(it.out + it.gathered, text, size);
	it.gathered += size;
}

/* From a client of the relay to the peer; or from the peer to who asked first. */
static void
relay(struct conn *from, const char *line, size_t size)
{
	if (from != &it.peer) {
		if (it.last - it.first == OWED)
			errx(1, "more in flight than %d", OWED);
		it.owed[it.last++ % OWED] = from;
		from->owed++;
		gather(&it.peer, line, size);
		return;
	}
	if (it.first == it.last)
		errx(1, "the peer says more than it was asked");
	struct conn *to = it.owed[it.first++ % OWED];
	if (to != it.to && it.to)
		flush(it.to);
	it.to = to;
	gather(to, line, size);
	if (--to->owed == 0 && to->gone) {
		free(to);
		it.to = NULL;
		it.gathered = 0;
	}
}

static void
lines(struct conn *conn, const char *at, const char *end)
{
	for (const char *stop; (stop = memchr(at, '\n', (size_t)(end - at))); at = stop + 1) {
		size_t size = (size_t)(stop + 1 - at);
		if (it.kind == REPLY)
			gather(conn, it.answer, it.answer_size);
		else if (it.kind == ECHO)
			gather(conn, at, size);
		else
			relay(conn, at, size);
	}
	conn->kept = (size_t)(end - at);
	if (conn->kept) {
		conn->rest = realloc(conn->rest, CHUNK);
		if (!conn->rest)
			err(1, "realloc");
		memcpy(conn->rest, at, conn->kept);
	}
}

static bool
take(struct conn *conn)
{
	memcpy(it.in, conn->rest ? conn->rest : it.in, conn->kept);
	ssize_t n = read(conn->fd, it.in + conn->kept, sizeof it.in - conn->kept);
	if (n <= 0)
		return would_wait(n);
	lines(conn, it.in, it.in + conn->kept + n);
	if (it.kind != RELAY)
		flush(conn);
	else if (conn == &it.peer && it.to)
		flush(it.to);
	return true;
}

/*
 * What clients ask for in one pass goes to the peer in one write, so what the peer says has to wait for
 * the end of the pass: there is one buffer.
 */
static void
pass(const struct epoll_event *events, int n)
{
	bool answers = false;
	for (int i = 0; i < n; i++) {
		struct conn *conn = events[i].data.ptr;
		if (conn == &it.peer) {
			answers = true;
		} else if (!conn) {
			int fd = accept(it.door, NULL, NULL);
			if (fd < 0)
				continue;
			no_waiting(fd);
			option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
			conn = calloc(1, sizeof *conn);
			if (!conn)
				err(1, "calloc");
			conn->fd = fd;
			watch(it.poll, EPOLL_CTL_ADD, fd, EPOLLIN, conn);
		} else if (!take(conn)) {
			close(conn->fd);
			free(conn->rest);
			conn->gone = true;
			if (!conn->owed)
				free(conn);
		}
	}
	if (it.kind == RELAY) {
		if (it.gathered)
			flush(&it.peer);
		it.to = NULL;
		if (answers && !take(&it.peer))
			errx(1, "the peer is gone");
	}
}

static void
peer_open(const char *address)
{
	union place place = place_of(address);
	it.peer.fd = socket(AF_INET, SOCK_STREAM, 0);
	if (it.peer.fd < 0 || connect(it.peer.fd, &place.any, place_size(&place)) < 0)
		err(1, "%s", address);
	no_waiting(it.peer.fd);
	option(it.peer.fd, IPPROTO_TCP, TCP_NODELAY, 1);
	watch(it.poll, EPOLL_CTL_ADD, it.peer.fd, EPOLLIN, &it.peer);
}

static void
door_open(const char *address)
{
	union place place = place_of(address);
	it.door = socket(AF_INET, SOCK_STREAM, 0);
	if (it.door < 0)
		err(1, "socket");
	option(it.door, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(it.door, &place.any, place_size(&place)) < 0 || listen(it.door, 1024) < 0)
		err(1, "%s", address);
	no_waiting(it.door);
	watch(it.poll, EPOLL_CTL_ADD, it.door, EPOLLIN, NULL);
}

int
main(int argc, char **argv)
{
	static const char *const kinds[] = {"reply", "echo", "relay"};
	end_with_parent();
	int kind = 0;
	while (argc >= 3 && kind < 3 && strcmp(argv[2], kinds[kind]) != 0)
		kind++;
	if (argc < 3 || kind == 3 || (kind == ECHO ? argc != 3 : argc != 4))
		errx(2, "usage: bare PORT reply TEXT | echo | relay PEER");
	it.kind = (enum kind)kind;
	it.poll = epoll_create1(0);
	if (it.kind == REPLY) {
		it.answer = argv[3];
		it.answer_size = strlen(argv[3]);
	} else if (it.kind == RELAY) {
		peer_open(argv[3]);
	}
	door_open(argv[1]);
	for (;;) {
		struct epoll_event events[EVENTS];
		pass(events, epoll_wait(it.poll, events, EVENTS, -1));
	}
}
