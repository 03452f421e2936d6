/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The programs of the rows for UDP: the backend, the clients, and what a proxy costs at least.
 *
 *     datagrams PORT echo                   the backend: what came
 *     datagrams PORT keep PEER              a proxy: each source has a socket of its own to the port PEER
 *     datagrams PORT once PEER              likewise, for one answer; then the next source has it
 *     datagrams PORT load N SECONDS TEXT [anew]
 *         N clients ask and wait; anew: each question from a port of its own. What is not answered within
 *         a second is asked again, and counted. Prints answers, seconds, lost ones.
 */
#include "peer.h"

#include <sys/uio.h>
#include <time.h>

enum { EVENTS = 256, BATCH = 32, LONGEST = 2048, FLOWS = 4096, PATIENCE = 1000, MANY = 20 };

struct flow {
	int fd;
	struct sockaddr_in source;
	struct flow *next;	 /* in its bucket, or among the free ones */
};

struct client {
	int fd;
	uint64_t asked;		 /* milliseconds */
};

static struct {
	int poll, door;
	union place peer;
	bool once;
	struct flow *flows[FLOWS], *free;

	/* a batch that was read, and one to be written */
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec in_bytes[BATCH], out_bytes[BATCH];
	struct sockaddr_in from[BATCH], to[BATCH];
	char in_room[BATCH][LONGEST], out_room[BATCH][LONGEST];
	unsigned gathered;

	const char *port, *text;
	size_t size;
	bool anew;
	uint64_t answered, lost;
} it;

static void
batches_new(void)
{
	for (int i = 0; i < BATCH; i++) {
		it.in_bytes[i] = (struct iovec){it.in_room[i], LONGEST};
		it.out_bytes[i] = (struct iovec){it.out_room[i], 0};
		it.in[i].msg_hdr = (struct msghdr){.msg_name = &it.from[i],
		    .msg_namelen = sizeof it.from[i], .msg_iov = &it.in_bytes[i], .msg_iovlen = 1};
		it.out[i].msg_hdr = (struct msghdr){.msg_name = &it.to[i],
		    .msg_namelen = sizeof it.to[i], .msg_iov = &it.out_bytes[i], .msg_iovlen = 1};
	}
}

static void
door_open(const char *port)
{
	union place place = place_of(port);
	it.door = socket(AF_INET, SOCK_DGRAM, 0);
	if (it.door < 0 || bind(it.door, &place.any, place_size(&place)) < 0)
		err(1, "%s", port);
	batches_new();
}

static void
echo(void)
{
	for (;;) {
		int n = recvmmsg(it.door, it.in, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < n; i++)
			it.in_bytes[i].iov_len = it.in[i].msg_len;
		if (n > 0 && sendmmsg(it.door, it.in, (unsigned)n, 0) < 0)
			warn("sendmmsg");
		for (int i = 0; i < n; i++)
			it.in_bytes[i].iov_len = LONGEST;
	}
}

/* ---------------------------------------------------------------- the proxy */

static struct flow *
flow_new(void)
{
	struct flow *flow = calloc(1, sizeof *flow);
	if (!flow)
		err(1, "calloc");
	flow->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (flow->fd < 0 || connect(flow->fd, &it.peer.any, sizeof it.peer.in) < 0)
		err(1, "a flow");
	watch(it.poll, EPOLL_CTL_ADD, flow->fd, EPOLLIN, flow);
	return flow;
}

static struct flow *
flow_of(const struct sockaddr_in *source)
{
	struct flow **head = it.once ? &it.free : &it.flows[source->sin_port % FLOWS];
	for (struct flow *flow = *head; flow; flow = flow->next)
		if (it.once || (flow->source.sin_port == source->sin_port &&
		    flow->source.sin_addr.s_addr == source->sin_addr.s_addr)) {
			if (it.once)
				*head = flow->next;
			flow->source = *source;
			return flow;
		}
	struct flow *flow = flow_new();
	flow->source = *source;
	if (!it.once) {
		flow->next = *head;
		*head = flow;
	}
	return flow;
}

/* Of 32 together: a number that is short says that there are no more, without another call. */
static void
questions(void)
{
	int n;
	do {
		n = recvmmsg(it.door, it.in, BATCH, MSG_DONTWAIT, NULL);
		for (int i = 0; i < n; i++)
			send(flow_of(&it.from[i])->fd, it.in_room[i], it.in[i].msg_len, 0);
	} while (n == BATCH);
}

static void
flush(void)
{
	if (it.gathered && sendmmsg(it.door, it.out, it.gathered, 0) < 0)
		warn("sendmmsg");
	it.gathered = 0;
}

static void
answer(struct flow *flow)
{
	ssize_t n = recv(flow->fd, it.out_room[it.gathered], LONGEST, 0);
	if (n < 0)
		return;
	it.to[it.gathered] = flow->source;
	it.out_bytes[it.gathered].iov_len = (size_t)n;
	if (++it.gathered == BATCH)
		flush();
	if (it.once) {
		flow->next = it.free;
		it.free = flow;
	}
}

static void
proxy(const char *peer)
{
	it.peer = place_of(peer);
	watch(it.poll, EPOLL_CTL_ADD, it.door, EPOLLIN, NULL);
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(it.poll, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				answer(events[i].data.ptr);
			else
				questions();
		}
		flush();
	}
}

/* ---------------------------------------------------------------- the clients */

static uint64_t
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void
client_open(struct client *client)
{
	union place place = place_of(it.port);
	client->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (client->fd < 0 || connect(client->fd, &place.any, place_size(&place)) < 0)
		err(1, "a client");
	watch(it.poll, EPOLL_CTL_ADD, client->fd, EPOLLIN, client);
}

static void
ask(struct client *client, uint64_t time)
{
	if (it.anew && client->fd >= 0) {
		close(client->fd);
		client->fd = -1;
	}
	if (client->fd < 0)
		client_open(client);
	client->asked = time;
	if (send(client->fd, it.text, it.size, 0) < 0 && errno != ECONNREFUSED)
		err(1, "send");
}

static void
answered(struct client *client, uint64_t time)
{
	char room[LONGEST];
	ssize_t n = recv(client->fd, room, sizeof room, 0);
	if (n < 0)
		return;
	if ((size_t)n != it.size || memcmp(room, it.text, it.size) != 0)
		errx(1, "another answer than was asked for");
	it.answered++;
	ask(client, time);
}

static void
load(unsigned count, double seconds)
{
	struct client *clients = calloc(count, sizeof *clients);
	if (!clients)
		err(1, "calloc");
	uint64_t start = now(), time = start, seen = start;
	for (unsigned i = 0; i < count; i++) {
		clients[i].fd = -1;
		ask(&clients[i], start);
	}
	while ((double)(time - start) < seconds * 1000) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(it.poll, events, EVENTS, 100);
		time = now();
		for (int i = 0; i < n; i++)
			answered(events[i].data.ptr, time);
		for (unsigned i = 0; time > seen + 100 && i < count; i++)
			if (time > clients[i].asked + PATIENCE) {
				it.lost++;
				ask(&clients[i], time);
			}
		seen = time > seen + 100 ? time : seen;
	}
	if (it.lost > it.answered / 100 + MANY)
		errx(1, "%ju answered, %ju lost", (uintmax_t)it.answered, (uintmax_t)it.lost);
	printf("%ju %.3f %ju\n", (uintmax_t)it.answered, (double)(time - start) / 1000, (uintmax_t)it.lost);
}

int
main(int argc, char **argv)
{
	end_with_parent();
	it.poll = epoll_create1(0);
	const char *what = argc >= 3 ? argv[2] : "";
	it.once = strcmp(what, "once") == 0;
	if (strcmp(what, "load") == 0 && (argc == 6 || argc == 7)) {
		it.port = argv[1];
		it.text = argv[5];
		it.size = strlen(argv[5]);
		it.anew = argc == 7;
		alarm((unsigned)atof(argv[4]) + MANY);
		load((unsigned)atoi(argv[3]), atof(argv[4]));
		return 0;
	}
	door_open(argc >= 3 ? argv[1] : "0");
	if (strcmp(what, "echo") == 0 && argc == 3)
		echo();
	else if ((it.once || strcmp(what, "keep") == 0) && argc == 4)
		proxy(argv[3]);
	errx(2, "usage: see the top of datagrams.c");
}
