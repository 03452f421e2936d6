/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io/wire: the results of reads and writes, the end of a stream, a broken
 * one, and pipes between two descriptors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/wire.h"

static void
make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
}

static void
reads_and_writes(void **state)
{
	struct wire w;
	int pair[2];
	char got[16] = "";
	struct iovec pieces[] = { { (char[]){ 'a', 'b' }, 2 }, { (char[]){ 'c', 'd', 'e' }, 3 } };

	make_pair(pair);
	w = (struct wire){ .fd = pair[0] };
	assert_int_equal(wire_plain.read(&w, got, sizeof(got)), WIRE_AGAIN);
	assert_int_equal(wire_plain.write(&w, pieces, 2), 5);
	assert_int_equal(wire_plain.write(&w, pieces, 1), 2);
	assert_int_equal(read(pair[1], got, sizeof(got)), 7);
	assert_memory_equal(got, "abcdeab", 7);

	wire_plain.shut(&w);
	assert_int_equal(read(pair[1], got, sizeof(got)), 0);
	assert_int_equal(write(pair[1], "xyz", 3), 3);
	assert_int_equal(wire_plain.read(&w, got, 2), 2);
	assert_int_equal(wire_plain.read(&w, got, 2), 1);
	close(pair[1]);
	assert_int_equal(wire_plain.read(&w, got, sizeof(got)), 0);
	wire_plain.close(&w);
	assert_int_equal(w.fd, -1);
	assert_int_equal(fcntl(pair[0], F_GETFD), -1);
	wire_plain.close(&w);
}

/* Written to one who is gone: a result, not a signal. */
static void
says_that_it_is_broken(void **state)
{
	struct wire w;
	int pair[2];
	struct iovec piece = { (char[]){ 'x' }, 1 };

	make_pair(pair);
	w = (struct wire){ .fd = pair[0] };
	close(pair[1]);
	assert_int_equal(wire_plain.write(&w, &piece, 1), WIRE_BROKEN);
	assert_int_equal(errno, EPIPE);
	wire_plain.close(&w);
}

static void
says_again_when_it_is_full(void **state)
{
	static char much[256 * 1024];
	struct iovec piece = { much, sizeof(much) };
	struct wire w;
	int pair[2];
	ssize_t n;

	make_pair(pair);
	w = (struct wire){ .fd = pair[0] };
	for (int i = 0; i < 64 && (n = wire_plain.write(&w, &piece, 1)) > 0; i++)
		continue;
	assert_int_equal(n, WIRE_AGAIN);
	wire_plain.close(&w);
	close(pair[1]);
}

static void
carries_bytes_through_a_pipe(void **state)
{
	struct wire_pipe p;
	int from[2], to[2];
	char got[16];

	make_pair(from);
	make_pair(to);
	assert_true(wire_pipe_open(&p));
	assert_true(p.size > 0);
	assert_int_equal(fcntl(p.in, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(wire_pipe_fill(&p, from[0], p.size), WIRE_AGAIN);
	assert_int_equal(wire_pipe_drain(&p, to[0]), 0);

	assert_int_equal(write(from[1], "hello", 5), 5);
	assert_int_equal(wire_pipe_fill(&p, from[0], 3), 3);
	assert_int_equal(wire_pipe_fill(&p, from[0], p.size), 2);
	assert_int_equal(p.held, 5);
	assert_int_equal(wire_pipe_drain(&p, to[0]), 5);
	assert_int_equal(p.held, 0);
	assert_int_equal(read(to[1], got, sizeof(got)), 5);
	assert_memory_equal(got, "hello", 5);

	assert_int_equal(write(from[1], "!", 1), 1);
	close(from[1]);
	assert_int_equal(wire_pipe_fill(&p, from[0], p.size), 1);
	assert_int_equal(wire_pipe_fill(&p, from[0], p.size), 0);
	close(to[1]);
	signal(SIGPIPE, SIG_IGN);                       /* splice knows no MSG_NOSIGNAL */
	assert_int_equal(wire_pipe_drain(&p, to[0]), WIRE_BROKEN);
	wire_pipe_close(&p);
	assert_int_equal(p.in, -1);
	wire_pipe_close(&p);
	close(from[0]);
	close(to[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(says_that_it_is_broken),
		cmocka_unit_test(says_again_when_it_is_full),
		cmocka_unit_test(carries_bytes_through_a_pipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
