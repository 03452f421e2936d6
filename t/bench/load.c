/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The clients of the bench. An answer is as long as the first one was, or as long as said; each is
 * checked for its length and its beginning, so what is counted was served. Questions have no body.
 *
 *     load turns PORT N SECONDS QUESTION SIZE RATE
 *         N clients ask and wait. SIZE of an answer (0: HTTP says it); RATE questions a second of
 *         each (0: one after the other). Prints answers, seconds, and the median, p99 and longest
 *         time in microseconds, from when a question was due.
 *     load bulk  PORT N SECONDS
 *         N clients take what comes. Prints bytes.
 *     load flood PORT N SECONDS QUESTION
 *         N clients write questions for as long as there is room. Prints bytes of answers.
 *     load hold  PORT N QUESTION ANSWERED
 *         N clients ask once, take the answer if ANSWERED is 1, and stay until our input ends.
 */
#include "peer.h"

#include <sys/timerfd.h>
#include <time.h>

enum { CHUNK = 256 * 1024, EVENTS = 256, SMALL_BUFFER = 4096, PATIENCE = 20000, LONG = 100 };

struct client {
	int fd;
	size_t got;	 /* of the answer */
	bool waits;	 /* for an answer */
	uint64_t since;	 /* when its question was due */
	uint64_t asked;	 /* questions */
};

static struct {
	const char *port, *question;
	size_t question_size, answer_size;
	unsigned count;
	uint64_t start, end, period;	/* nanoseconds; a client asks once a period */
	int poll;
	struct client *clients;
	uint64_t done;			/* answers, or bytes */
	uint32_t *took;			/* microseconds, of each answer */
	size_t took_room;
	char scratch[CHUNK], text[CHUNK];
} it;

static uint64_t
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int
open_one(bool slow)
{
	union place place = place_of(it.port);
	int fd = socket(place.any.sa_family, SOCK_STREAM, 0);
	if (fd < 0)
		err(1, "socket");
	if (slow) {
		option(fd, SOL_SOCKET, SO_RCVBUF, SMALL_BUFFER);
		option(fd, IPPROTO_TCP, TCP_MAXSEG, SEGMENT);
	}
	if (connect(fd, &place.any, place_size(&place)) < 0)
		err(1, "connect");
	option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	return fd;
}

static void
clients_open(uint32_t events)
{
	it.poll = epoll_create1(0);
	it.clients = calloc(it.count, sizeof *it.clients);
	if (!it.clients || it.poll < 0)
		err(1, "clients");
	for (unsigned i = 0; i < it.count; i++) {
		struct client *client = &it.clients[i];
		client->fd = open_one(false);
		no_waiting(client->fd);
		watch(it.poll, EPOLL_CTL_ADD, client->fd, events, client);
	}
}

/* The length of an HTTP answer whose head is whole; 0: not yet. */
static size_t
length_of(const char *answer, size_t size)
{
	const char *end = memmem(answer, size, "\r\n\r\n", 4);
	if (!end)
		return 0;
	for (const char *at = answer; at < end; at++)
		if (strncasecmp(at, "\r\nContent-Length:", 17) == 0)
			return (size_t)(end + 4 - answer) + strtoul(at + 17, NULL, 10);
	errx(1, "an answer without Content-Length: %.*s", (int)(end - answer), answer);
}

static void
check(const char *answer, size_t size)
{
	bool http = strncmp(it.question, "GET ", 4) == 0;
	if (http && size >= 12 && memcmp(answer, "HTTP/1.1 200", 12) != 0)
		errx(1, "answered: %.*s", (int)(size < 200 ? size : 200), answer);
}

static void
ask(struct client *client, uint64_t due)
{
	client->waits = true;
	client->since = due;
	client->asked++;
	if (send(client->fd, it.question, it.question_size, 0) != (ssize_t)it.question_size)
		err(1, "send");
}

/* The next question of a client is due a period after its last one was, late or not. */
static uint64_t
due(const struct client *client)
{
	uint64_t offset = it.period * (uint64_t)(client - it.clients) / it.count;
	return it.start + offset + client->asked * it.period;
}

static void
note(const struct client *client, uint64_t time)
{
	if (it.done == it.took_room) {
		it.took_room = it.took_room ? it.took_room * 2 : 65536;
		it.took = realloc(it.took, it.took_room * sizeof *it.took);
		if (!it.took)
			err(1, "realloc");
	}
	it.took[it.done++] = (uint32_t)((time - client->since) / 1000);
}

static void
answered(struct client *client)
{
	ssize_t n = read(client->fd, it.scratch, sizeof it.scratch);
	if (would_wait(n))
		return;
	if (n <= 0)
		errx(1, "closed in the middle");
	if (client->got == 0)
		check(it.scratch, (size_t)n);
	if (it.answer_size == 0)
		it.answer_size = length_of(it.scratch, (size_t)n);
	client->got += (size_t)n;
	if (client->got < it.answer_size)
		return;
	if (client->got > it.answer_size || !client->waits)
		errx(1, "more than was asked for");
	client->got = 0;
	client->waits = false;
	uint64_t time = now();
	note(client, time);
	if (it.period == 0)
		ask(client, time);
	else if (due(client) <= time)
		ask(client, due(client));
}

/* One tick for all: the clients whose time has come. */
static void
tick(int timer)
{
	uint64_t ticks, time = now();
	if (read(timer, &ticks, sizeof ticks) < 0)
		return;
	for (unsigned i = 0; i < it.count; i++) {
		struct client *client = &it.clients[i];
		if (!client->waits && due(client) <= time)
			ask(client, due(client));
	}
}

static int
timer_open(uint64_t rate)
{
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	it.period = 1000000000 / rate;
	struct timespec every = {.tv_nsec = (long)(it.period / it.count)};
	if (timer < 0 || timerfd_settime(timer, 0, &(struct itimerspec){every, every}, NULL) < 0)
		err(1, "timerfd");
	watch(it.poll, EPOLL_CTL_ADD, timer, EPOLLIN, NULL);
	return timer;
}

static int
by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void
turns(uint64_t rate)
{
	clients_open(EPOLLIN);
	int timer = rate ? timer_open(rate) : -1;
	it.start = now();
	for (unsigned i = 0; !rate && i < it.count; i++)
		ask(&it.clients[i], it.start);
	for (uint64_t silent = 0; now() < it.end;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(it.poll, events, EVENTS, 100);
		silent = n ? 0 : silent + 100;
		if (silent > PATIENCE)
			errx(1, "no answer for %d seconds", PATIENCE / 1000);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				answered(events[i].data.ptr);
			else
				tick(timer);
		}
	}
	if (it.done == 0)
		errx(1, "nothing was answered");
	qsort(it.took, it.done, sizeof *it.took, by_size);
	printf("%ju %.3f %u %u %u\n", (uintmax_t)it.done, (double)(now() - it.start) / 1e9,
	    it.took[it.done / 2], it.took[it.done * 99 / 100], it.took[it.done - 1]);
}

static void
bulk(void)
{
	clients_open(EPOLLIN);
	while (now() < it.end) {
		struct epoll_event events[EVENTS];
		int ready = epoll_wait(it.poll, events, EVENTS, 100);
		for (int i = 0; i < ready; i++) {
			struct client *client = events[i].data.ptr;
			ssize_t n = recv(client->fd, it.scratch, CHUNK, MSG_TRUNC); /* not copied */
			if (n <= 0 && !would_wait(n))
				errx(1, "closed in the middle");
			it.done += n > 0 ? (uint64_t)n : 0;
		}
	}
	printf("%ju\n", (uintmax_t)it.done);
}

/* Questions one behind the other, begun again where the last write ended. */
static void
pour(struct client *client, size_t size)
{
	ssize_t n;
	while ((n = send(client->fd, it.text + client->got, size - client->got, 0)) > 0)
		client->got = (client->got + (size_t)n) % size;
	if (!would_wait(n))
		err(1, "send");
}

static void
flood(void)
{
	size_t size = sizeof it.text / it.question_size * it.question_size;
	for (size_t i = 0; i < size; i += it.question_size)
		memcpy(it.text + i, it.question, it.question_size);
	clients_open(EPOLLIN | EPOLLOUT | EPOLLET);
	while (now() < it.end) {
		struct epoll_event events[EVENTS];
		int ready = epoll_wait(it.poll, events, EVENTS, 100);
		for (int i = 0; i < ready; i++) {
			struct client *client = events[i].data.ptr;
			ssize_t n;
			while ((n = recv(client->fd, it.scratch, CHUNK, MSG_TRUNC)) > 0) {
				it.done += (uint64_t)n;
				pour(client, size);
			}
			if (n == 0)
				errx(1, "closed in the middle");
			pour(client, size);
		}
	}
	printf("%ju\n", (uintmax_t)it.done);
}

static void
take_answer(int fd)
{
	size_t got = 0, whole = 0;
	while (whole == 0 || got < whole) {
		ssize_t n = read(fd, it.scratch + got, sizeof it.scratch - got);
		if (n <= 0)
			errx(1, "closed before it was answered");
		got += (size_t)n;
		check(it.scratch, got);
		whole = whole ? whole : length_of(it.scratch, got);
	}
}

static void
hold(bool answer)
{
	for (unsigned i = 0; i < it.count; i++) {
		int fd = open_one(!answer);	/* and stays open */
		if (send(fd, it.question, it.question_size, 0) != (ssize_t)it.question_size)
			err(1, "send");
		if (answer)
			take_answer(fd);
	}
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, it.scratch, sizeof it.scratch) > 0)
		;
}

int
main(int argc, char **argv)
{
	end_with_parent();
	if (argc < 5)
		errx(2, "usage: see the top of load.c");
	const char *what = argv[1];
	it.port = argv[2];
	it.count = (unsigned)atoi(argv[3]);
	bool holds = strcmp(what, "hold") == 0;
	it.question = holds ? argv[4] : argc > 5 ? argv[5] : "";
	it.question_size = strlen(it.question);
	double seconds = holds ? LONG : atof(argv[4]);
	it.end = now() + (uint64_t)(seconds * 1e9);
	alarm((unsigned)seconds + PATIENCE / 1000);
	if (strcmp(what, "turns") == 0 && argc == 8) {
		it.answer_size = strtoul(argv[6], NULL, 10);
		turns(strtoul(argv[7], NULL, 10));
	} else if (strcmp(what, "bulk") == 0) {
		bulk();
	} else if (strcmp(what, "flood") == 0 && it.question_size) {
		flood();
	} else if (holds && argc == 6) {
		hold(argv[5][0] == '1');
	} else {
		errx(2, "%s: not so; see the top of load.c", what);
	}
	return 0;
}
