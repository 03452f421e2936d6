/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io/socket: listening and connecting on TCP and Unix, what a name in the
 * way means, and descriptors passed alongside messages, none of them lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/socket.h"

static char directory[] = "/tmp/socket-test-XXXXXX";

static int
make_directory(void **state)
{
	return mkdtemp(directory) != NULL ? 0 : -1;
}

static int
remove_directory(void **state)
{
	return rmdir(directory);
}

static struct addr
address(const char *text)
{
	struct addr a;

	assert_true(addr_parse(slice_of(text), &a));
	return a;
}

static struct addr
path_address(const char *name)
{
	char text[ADDR_TEXT];

	snprintf(text, sizeof(text), "unix:%s/%s", directory, name);
	return address(text);
}

static size_t
count_files(void)
{
	DIR *d = opendir(directory);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n - 2;
}

static size_t
count_descriptors(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static bool
is_ready(int fd, short what)
{
	struct pollfd p = { .fd = fd, .events = what };

	return poll(&p, 1, 5000) == 1;
}

static int
option(int fd, int level, int name)
{
	int value = -1;
	socklen_t n = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &n), 0);
	return value;
}

static void
assert_quiet(int fd)
{
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

/* Connects, accepts, and sends a byte each way. */
static void
meet(int listener, const struct addr *to, struct addr *from)
{
	bool pending;
	int client = socket_connect(to, &pending), server;
	struct addr none;
	char byte = 0;

	assert_true(client >= 0);
	assert_quiet(client);
	assert_true(is_ready(listener, POLLIN));
	memset(from, 0xff, sizeof(*from));
	server = socket_accept(listener, from);
	assert_int_equal(from->datagram, 0);
	assert_true(server >= 0);
	assert_quiet(server);
	assert_true(is_ready(client, POLLOUT));
	assert_int_equal(socket_error(client), 0);
	if (!addr_is_unix(to)) {
		assert_int_equal(option(server, IPPROTO_TCP, TCP_NODELAY), 1);
		assert_int_equal(option(client, IPPROTO_TCP, TCP_NODELAY), 1);
	}
	assert_int_equal(write(client, "c", 1), 1);
	assert_true(is_ready(server, POLLIN));
	assert_int_equal(read(server, &byte, 1), 1);
	assert_int_equal(byte, 'c');
	assert_int_equal(socket_accept(listener, &none), -1);
	assert_int_equal(errno, EAGAIN);
	close(client);
	close(server);
}

static void
meets_over_tcp(void **state)
{
	struct addr any = address("127.0.0.1:0"), bound, from;
	int listener = socket_listen(&any, &(struct socket_options){ .backlog = 16 });

	assert_true(listener >= 0);
	assert_quiet(listener);
	assert_true(socket_local(listener, &bound));
	assert_int_not_equal(addr_port(&bound), 0);
	meet(listener, &bound, &from);

	int other = socket_listen(&bound, &(struct socket_options){ .backlog = 16 });

	assert_int_equal(other, -1);
	assert_int_equal(errno, EADDRINUSE);
	close(listener);
}

static void
shares_a_port_in_a_group(void **state)
{
	struct addr any = address("127.0.0.1:0"), bound;
	const struct socket_options group = { .reuse_port = true };
	int first = socket_listen(&any, &group), second;

	assert_true(first >= 0);
	assert_true(socket_local(first, &bound));
	second = socket_listen(&bound, &group);
	assert_true(second >= 0);
	close(first);
	close(second);
}

static void
says_whether_six_is_only_six(void **state)
{
	struct addr any = address("[::]:0");
	int both = socket_listen(&any, &(struct socket_options){ .backlog = 1 });

	if (both < 0 && errno == EAFNOSUPPORT)
		skip();
	assert_true(both >= 0);
	assert_int_equal(option(both, IPPROTO_IPV6, IPV6_V6ONLY), 0);
	close(both);

	int only = socket_listen(&any, &(struct socket_options){ .v6_only = true });

	assert_int_equal(option(only, IPPROTO_IPV6, IPV6_V6ONLY), 1);
	close(only);
}

static void
binds_datagrams(void **state)
{
	struct addr any = address("127.0.0.1:0");
	int fd = socket_listen(&any, &(struct socket_options){ .datagram = true, .reuse_port = true });

	assert_true(fd >= 0);
	assert_int_equal(option(fd, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
	close(fd);
}

static void
learns_that_it_was_refused(void **state)
{
	struct addr any = address("127.0.0.1:0"), bound;
	int listener = socket_listen(&any, &(struct socket_options){ .backlog = 1 });
	bool pending;

	assert_true(socket_local(listener, &bound));
	close(listener);

	int fd = socket_connect(&bound, &pending);

	if (fd < 0) {
		assert_int_equal(errno, ECONNREFUSED);
		return;
	}
	assert_true(pending);
	assert_true(is_ready(fd, POLLOUT));
	assert_int_equal(socket_error(fd), ECONNREFUSED);
	close(fd);
}

static void
resets_on_close(void **state)
{
	struct addr any = address("127.0.0.1:0"), bound, from;
	int listener = socket_listen(&any, &(struct socket_options){ .backlog = 1 });
	bool pending;
	char byte;

	assert_true(socket_local(listener, &bound));

	int client = socket_connect(&bound, &pending);

	assert_true(is_ready(listener, POLLIN));

	int server = socket_accept(listener, &from);

	socket_reset_on_close(server);
	close(server);
	assert_true(is_ready(client, POLLIN));
	assert_int_equal(read(client, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	close(client);
	close(listener);
}

static void
meets_at_a_path(void **state)
{
	struct addr at = path_address("a.sock"), from;
	struct stat file;
	int listener = socket_listen(&at, &(struct socket_options){ .mode = 0640 });

	assert_true(listener >= 0);
	assert_int_equal(stat(at.local.sun_path, &file), 0);
	assert_true(S_ISSOCK(file.st_mode));
	assert_int_equal(file.st_mode & 0777, 0640);
	assert_int_equal(count_files(), 1);
	meet(listener, &at, &from);
	assert_true(addr_is_unix(&from));

	/* Somebody answers there: not taken away. */
	assert_int_equal(socket_listen(&at, &(struct socket_options){ .mode = 0 }), -1);
	assert_int_equal(errno, EADDRINUSE);
	assert_int_equal(count_files(), 1);

	/* Left behind: replaced. */
	close(listener);
	listener = socket_listen(&at, &(struct socket_options){ .mode = 0600 });
	assert_true(listener >= 0);
	assert_int_equal(stat(at.local.sun_path, &file), 0);
	assert_int_equal(file.st_mode & 0777, 0600);
	meet(listener, &at, &from);
	close(listener);
	unlink(at.local.sun_path);
}

/* As long as a path may be: beside it there is no room for a longer name. */
static void
meets_at_a_long_path(void **state)
{
	struct addr at = path_address("d"), from;
	size_t n = strlen(at.local.sun_path);

	while (n < sizeof(at.local.sun_path) - 3)
		at.local.sun_path[n++] = 'd';
	assert_int_equal(mkdir(at.local.sun_path, 0700), 0);
	memcpy(at.local.sun_path + n, "/s", 3);
	at.n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 3);
	assert_int_equal(at.n, sizeof(at.local));
	for (int i = 0; i < 2; i++) {
		int listener = socket_listen(&at, &(struct socket_options){ .mode = 0600 });

		assert_true(listener >= 0);
		meet(listener, &at, &from);
		assert_int_equal(socket_listen(&at, &(struct socket_options){ .mode = 0 }), -1);
		assert_int_equal(errno, EADDRINUSE);
		close(listener);
	}
	assert_int_equal(unlink(at.local.sun_path), 0);
	at.local.sun_path[n] = '\0';
	/* Nothing was left beside it. */
	assert_int_equal(rmdir(at.local.sun_path), 0);
}

static void
leaves_other_files_alone(void **state)
{
	struct addr at = path_address("file"), nowhere = path_address("none/a.sock");
	int file = open(at.local.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	bool pending;

	assert_true(file >= 0);
	assert_int_equal(socket_listen(&at, &(struct socket_options){ .mode = 0 }), -1);
	assert_int_equal(errno, ENOTSOCK);
	assert_int_equal(count_files(), 1);
	close(file);
	unlink(at.local.sun_path);

	assert_int_equal(socket_listen(&nowhere, &(struct socket_options){ .mode = 0 }), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(socket_connect(&nowhere, &pending), -1);
	assert_int_equal(errno, ENOENT);
}

/* ------------------------------------------------------------------ descriptors alongside */

static int pair[2];

static int
make_pair(void **state)
{
	return socket_pair(pair) ? 0 : -1;
}

static int
close_pair(void **state)
{
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static void
passes_descriptors(void **state)
{
	int ends[2], fds[SOCKET_PASS_MAX];
	size_t count = SOCKET_PASS_MAX;
	char text[16];

	assert_int_equal(pipe(ends), 0);
	assert_true(socket_pass(pair[0], "two", 3, ends, 2));
	assert_true(socket_pass(pair[0], "none", 4, NULL, 0));
	assert_int_equal(socket_receive(pair[1], text, sizeof(text), fds, &count), 3);
	assert_memory_equal(text, "two", 3);
	assert_int_equal(count, 2);
	assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(read(ends[0], text, 1), 1);
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		close(ends[i]);
	}

	count = SOCKET_PASS_MAX;
	assert_int_equal(socket_receive(pair[1], text, sizeof(text), fds, &count), 4);
	assert_int_equal(count, 0);
	count = SOCKET_PASS_MAX;
	assert_int_equal(socket_receive(pair[1], text, sizeof(text), fds, &count), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(count, 0);

	assert_false(socket_pass(pair[0], "", 0, NULL, 0));
	close(pair[0]);
	assert_int_equal(socket_receive(pair[1], text, sizeof(text), fds, &count), 0);
	assert_false(socket_pass(pair[1], "x", 1, NULL, 0));
	assert_int_equal(errno, EPIPE);
}

static void
passes_as_many_as_it_says(void **state)
{
	int same[SOCKET_PASS_MAX + 1], fds[SOCKET_PASS_MAX];
	size_t count = SOCKET_PASS_MAX, before = count_descriptors();
	char text[4];

	for (size_t i = 0; i < ARRAY_COUNT(same); i++)
		same[i] = pair[0];
	assert_false(socket_pass(pair[0], "x", 1, same, ARRAY_COUNT(same)));
	assert_int_equal(errno, EINVAL);
	assert_true(socket_pass(pair[0], "x", 1, same, SOCKET_PASS_MAX));
	assert_int_equal(socket_receive(pair[1], text, sizeof(text), fds, &count), 1);
	assert_int_equal(count, SOCKET_PASS_MAX);
	assert_int_equal(count_descriptors(), before + SOCKET_PASS_MAX);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

/* What the caller has no room for is closed, not kept open unseen. */
static void
leaks_none(void **state)
{
	int same[3] = { pair[0], pair[0], pair[0] }, fds[SOCKET_PASS_MAX];
	size_t before = count_descriptors();
	char text[8];

	for (size_t room = 0; room < 3; room++) {
		size_t count = room;

		assert_true(socket_pass(pair[0], "x", 1, same, 3));
		assert_int_equal(socket_receive(pair[1], text, sizeof(text), fds, &count), -1);
		assert_int_equal(errno, EMSGSIZE);
		assert_int_equal(count, 0);
		assert_int_equal(count_descriptors(), before);
	}

	size_t count = SOCKET_PASS_MAX;

	assert_true(socket_pass(pair[0], "longer than its room", 20, same, 3));
	assert_int_equal(socket_receive(pair[1], text, sizeof(text), fds, &count), -1);
	assert_int_equal(errno, EMSGSIZE);
	assert_int_equal(count_descriptors(), before);
}

/* What was written and not taken; nothing, where there is nothing to ask. */
static void
knows_what_was_not_taken(void **state)
{
	struct addr local = address("127.0.0.1:0"), bound;
	struct pollfd p = { .events = POLLOUT };
	char text[64 * 1024] = "";
	int small = 4096;
	int fd = socket_listen(&local, &(struct socket_options){ 0 });
	bool pending;

	assert_true(fd >= 0 && socket_local(fd, &bound));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	p.fd = socket_connect(&bound, &pending);
	assert_int_equal(poll(&p, 1, 5000), 1);

	int peer = -1;

	for (int i = 0; i < 500 && peer < 0; i++, usleep(1000))
		peer = socket_accept(fd, &local);
	assert_int_equal(socket_unsent(p.fd), 0);

	ssize_t n = write(p.fd, text, sizeof(text));

	assert_true(n > 16384);
	assert_in_range(socket_unsent(p.fd), 1, (size_t)n);
	for (ssize_t got = 0; got < n;)
		if (poll(&(struct pollfd){ .fd = peer, .events = POLLIN }, 1, 5000) == 1)
			got += read(peer, text, sizeof(text));
	for (int i = 0; i < 500 && socket_unsent(p.fd) != 0; i++)
		usleep(1000);
	assert_int_equal(socket_unsent(p.fd), 0);
	assert_int_equal(socket_unsent(-1), 0);
	close(peer);
	close(p.fd);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(meets_over_tcp),
		cmocka_unit_test(shares_a_port_in_a_group),
		cmocka_unit_test(says_whether_six_is_only_six),
		cmocka_unit_test(binds_datagrams),
		cmocka_unit_test(learns_that_it_was_refused),
		cmocka_unit_test(resets_on_close),
		cmocka_unit_test(knows_what_was_not_taken),
		cmocka_unit_test(meets_at_a_path),
		cmocka_unit_test(meets_at_a_long_path),
		cmocka_unit_test(leaves_other_files_alone),
		cmocka_unit_test_setup_teardown(passes_descriptors, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(passes_as_many_as_it_says, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(leaks_none, make_pair, close_pair),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
