/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server/binding: numbers that stay, groups of one size, no second server on
 * an address, and no file left (or taken) that is not ours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/socket.h"
#include "server/binding.h"

enum { GROUP = 3 };

static struct binding_table table;
static char directory[] = "/tmp/binding.XXXXXX";
static char path[64];

static int
open_table(void **state)
{
	binding_init(&table, GROUP);
	strcpy(directory + sizeof(directory) - 7, "XXXXXX");
	if (mkdtemp(directory) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/s", directory);
	return 0;
}

static int
close_table(void **state)
{
	binding_close(&table, true);
	unlink(path);
	return rmdir(directory);
}

static struct bundle_listener
listener(const char *text, uint16_t number)
{
	struct bundle_listener l = { .binding = number, .transport = ENDPOINT_TCP };

	assert_true(addr_parse(slice_of(text), &l.addr));
	if (addr_is_unix(&l.addr))
		l.transport = ENDPOINT_UNIX;
	return l;
}

static struct bundle_listener
unix_listener(uint16_t number)
{
	char text[80];

	snprintf(text, sizeof(text), "unix:%s", path);
	return listener(text, number);
}

/* A port that nobody has; what it returns is released, so another might take it: tests retry nothing and accept that. */
static struct bundle_listener
tcp_listener(uint16_t number)
{
	struct bundle_listener l = listener("127.0.0.1:0", number);
	int fd = socket_listen(&l.addr, &(struct socket_options){ .backlog = 1 });

	assert_true(fd >= 0);
	assert_true(socket_local(fd, &l.addr));
	close(fd);
	return l;
}

static void
opens_a_group(void **state)
{
	struct bundle_listener l = tcp_listener(5);

	assert_true(binding_open(&table, &l, SLICE("the text")));
	const struct bound *b = binding_find(&table, ENDPOINT_TCP, &l.addr);
	assert_non_null(b);
	assert_int_equal(b->number, 5);
	assert_string_equal(b->text, "the text");
	assert_int_equal(b->fd_count, GROUP);
	for (size_t i = 0; i < GROUP; i++) {
		struct addr a;

		assert_true(socket_local(b->fds[i], &a));
		assert_true(addr_equal(&a, &l.addr));
	}
	assert_null(binding_find(&table, ENDPOINT_UDP, &l.addr));
}

static void
numbers_stay(void **state)
{
	struct bundle_listener first = tcp_listener(1), other = listener("127.0.0.2:1", 0);
	uint32_t next = table.next;

	assert_int_equal(binding_number(&table, &next, ENDPOINT_TCP, &first.addr), 1);
	assert_true(binding_open(&table, &first, SLICE("first")));
	assert_int_equal(table.next, 2);
	next = table.next;
	assert_int_equal(binding_number(&table, &next, ENDPOINT_TCP, &first.addr), 1);
	assert_int_equal(binding_number(&table, &next, ENDPOINT_TCP, &other.addr), 2);
	assert_int_equal(binding_number(&table, &next, ENDPOINT_UDP, &other.addr), 3);
}

/* Behind the last comes the first that nobody has, and only when all are taken there is none. */
static void
numbers_go_round(void **state)
{
	struct bundle_listener first = tcp_listener(1), last = listener("127.0.0.2:1", BINDINGS_MAX),
	    other = listener("127.0.0.3:1", 0);
	uint32_t next = BINDINGS_MAX;

	assert_true(binding_open(&table, &first, SLICE("first")));
	assert_true(binding_agrees(&table, &first));
	assert_true(binding_agrees(&table, &last));
	other.binding = 1;
	assert_false(binding_agrees(&table, &other));
	first.binding = 2;
	assert_false(binding_agrees(&table, &first));
	assert_int_equal(binding_number(&table, &next, ENDPOINT_TCP, &last.addr), BINDINGS_MAX);
	assert_int_equal(binding_number(&table, &next, ENDPOINT_TCP, &other.addr), 2);
	assert_int_equal(binding_number(&table, &next, ENDPOINT_TCP, &other.addr), 3);
	assert_int_equal(binding_number(&table, &next, ENDPOINT_TCP, &first.addr), 1);
	while (table.count < BINDINGS_MAX) {
		struct bound b = { .number = (uint16_t)(table.count + 1), .transport = ENDPOINT_UDP };

		binding_inherit(&table, &b);
	}
	assert_int_equal(binding_number(&table, &next, ENDPOINT_TCP, &other.addr), BINDING_NONE);
}

/* With SO_REUSEPORT on both sides the kernel alone would say nothing. */
static void
second_server_is_refused(void **state)
{
	struct bundle_listener l = tcp_listener(1);
	int fd = socket_listen(&l.addr, &(struct socket_options){ .backlog = 1, .reuse_port = true });

	assert_true(fd >= 0);
	assert_false(binding_open(&table, &l, SLICE("taken")));
	assert_int_equal(errno, EADDRINUSE);
	assert_int_equal(table.count, 0);
	close(fd);
	assert_true(binding_open(&table, &l, SLICE("free")));
}

/* Somebody else may have the port on another address: then another one is tried. */
static void
families_share_a_port(void **state)
{
	size_t group = table.group;

	for (int left = 20; left > 0; left--) {
		struct bundle_listener v4 = tcp_listener(1), any = listener("0.0.0.0:1", 2);

		addr_set_port(&any.addr, addr_port(&v4.addr));
		assert_true(binding_open(&table, &v4, SLICE("one")));
		if (binding_open(&table, &any, SLICE("all")))
			return;
		assert_int_equal(errno, EADDRINUSE);
		binding_close(&table, true);
		binding_init(&table, group);
	}
	fail();
}

static void
unix_socket_is_one_and_goes(void **state)
{
	struct bundle_listener l = unix_listener(1);
	struct stat file;

	l.mode = 0600;
	assert_true(binding_open(&table, &l, SLICE("unix")));
	assert_int_equal(table.all[0].fd_count, 1);
	assert_int_equal(stat(path, &file), 0);
	assert_int_equal(file.st_mode & 0777, 0600);
	binding_close(&table, true);
	assert_int_equal(stat(path, &file), -1);
}

static void
children_leave_the_file(void **state)
{
	struct bundle_listener l = unix_listener(1);

	assert_true(binding_open(&table, &l, SLICE("unix")));
	binding_close(&table, false);
	assert_int_equal(access(path, F_OK), 0);
}

static void
foreign_files_stay(void **state)
{
	struct bundle_listener l = unix_listener(1);

	/* Not a socket: neither replaced nor removed. */
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_false(binding_open(&table, &l, SLICE("unix")));
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);

	/* Somebody put another in its place meanwhile. */
	assert_true(binding_open(&table, &l, SLICE("unix")));
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	binding_close(&table, true);
	assert_int_equal(access(path, F_OK), 0);
}

static void
stale_socket_is_replaced_a_living_one_is_not(void **state)
{
	struct bundle_listener l = unix_listener(1);
	int fd = socket_listen(&l.addr, &(struct socket_options){ .backlog = 8 });

	assert_true(fd >= 0);
	assert_false(binding_open(&table, &l, SLICE("unix")));
	assert_int_equal(errno, EADDRINUSE);
	close(fd);
	assert_true(binding_open(&table, &l, SLICE("unix")));
}

/* What goes closes alone; what stays keeps its descriptors, and takes what is said of it now. */
static void
follows_and_removes(void **state)
{
	struct bundle_listener a = tcp_listener(1), b = unix_listener(2), c = tcp_listener(3);
	struct stat file;

	assert_true(binding_open(&table, &a, SLICE("a")));
	assert_true(binding_open(&table, &b, SLICE("b")));
	assert_true(binding_open(&table, &c, SLICE("c")));

	int kept = table.all[2].fds[0], gone = table.all[0].fds[GROUP - 1];

	b.mode = 0604;
	b.backlog = 7;
	binding_follow(&table, &b);
	assert_int_equal(stat(path, &file), 0);
	assert_int_equal(file.st_mode & 07777, 0604);
	assert_int_equal(table.all[1].backlog, 7);
	binding_remove(&table, 0);
	assert_int_equal(table.count, 2);
	assert_int_equal(fcntl(gone, F_GETFD), -1);
	assert_int_equal(table.all[1].fds[0], kept);
	assert_true(fcntl(kept, F_GETFD) >= 0);
	binding_remove(&table, 0);
	assert_int_equal(access(path, F_OK), -1);
	/* its number is not given again soon */
	uint32_t next = table.next;
	assert_int_equal(binding_number(&table, &next, ENDPOINT_TCP, &a.addr), 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(opens_a_group, open_table, close_table),
		cmocka_unit_test_setup_teardown(numbers_stay, open_table, close_table),
		cmocka_unit_test_setup_teardown(numbers_go_round, open_table, close_table),
		cmocka_unit_test_setup_teardown(second_server_is_refused, open_table, close_table),
		cmocka_unit_test_setup_teardown(families_share_a_port, open_table, close_table),
		cmocka_unit_test_setup_teardown(unix_socket_is_one_and_goes, open_table, close_table),
		cmocka_unit_test_setup_teardown(children_leave_the_file, open_table, close_table),
		cmocka_unit_test_setup_teardown(follows_and_removes, open_table, close_table),
		cmocka_unit_test_setup_teardown(foreign_files_stay, open_table, close_table),
		cmocka_unit_test_setup_teardown(stale_socket_is_replaced_a_living_one_is_not, open_table, close_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
