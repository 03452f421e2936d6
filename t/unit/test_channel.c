/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server/channel: messages keep their order and their descriptors, also when
 * the other side does not read for long; what is no message is the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "server/channel.h"

enum { MANY = 2000 };

static struct loop loop;
static struct channel here, there;
static int pair[2];
static uint64_t received, ends;
static bool in_order;

static void
receive(struct channel *c, const struct channel_message *m, const int *fds, size_t fd_count)
{
	in_order &= m->generation == received && fd_count == m->count;
	for (size_t i = 0; i < fd_count; i++) {
		in_order &= fcntl(fds[i], F_GETFD) == FD_CLOEXEC;
		close(fds[i]);
	}
	received++;
}

static void
ended(struct channel *c)
{
	ends++;
}

static int
open_pair(void **state)
{
	received = ends = 0;
	in_order = true;
	here = there = (struct channel){ .fd = -1, .receive = receive, .ended = ended };
	return loop_open(&loop) && socket_pair(pair) && channel_open(&here, &loop, pair[0]) ? 0 : -1;
}

static int
close_pair(void **state)
{
	channel_close(&here);
	channel_close(&there);
	loop_close(&loop);
	return 0;
}

static void
stop_when_quiet(void *what)
{
	uint64_t wanted = *(uint64_t *)what;

	if (received == wanted || ends > 0)
		loop_stop(&loop);
}

static void
turn_until(uint64_t wanted)
{
	loop_run(&loop, stop_when_quiet, &wanted);
}

/* Nobody reads at first: most of them wait in our own queue, with descriptors that we may have closed since. */
static void
queued_ones_arrive_in_order(void **state)
{
	for (uint64_t i = 0; i < MANY; i++) {
		struct channel_message m = { .kind = CHANNEL_LISTEN, .generation = i, .count = i % 7 == 0 };
		int fd = m.count > 0 && i < MANY / 10 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;

		m.count = fd >= 0;
		channel_send(&here, &m, &fd, m.count);
		if (fd >= 0)
			close(fd);
	}
	assert_non_null(here.first);
	assert_true(channel_open(&there, &loop, pair[1]));
	turn_until(MANY);
	assert_int_equal(received, MANY);
	assert_true(in_order);
	assert_null(here.first);
}

static void
close_ends_the_other(void **state)
{
	channel_say(&here, CHANNEL_GO, 0);
	close(pair[1]);
	turn_until(UINT64_MAX);
	assert_int_equal(ends, 1);
	channel_say(&here, CHANNEL_GO, 1);
	assert_null(here.first);
}

/* Each cut of a message, a longer one, and numbers that are none. */
static void
other_bytes_end_it(void **state)
{
	struct {
		struct channel_message m;
		char more;
	} sent = { .m = { .kind = CHANNEL_GO } };

	for (size_t n = 1; n <= sizeof(sent.m) + 1; n++) {
		if (n == sizeof(sent.m))
			continue;
		assert_true(socket_pass(pair[1], &sent, n, NULL, 0));
		turn_until(UINT64_MAX);
		assert_int_equal(ends, 1);
		channel_close(&here);
		close(pair[1]);
		loop_close(&loop);
		assert_int_equal(open_pair(state), 0);
	}
	close(pair[1]);
}

static void
ended_by(const struct channel_message *m)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(socket_pass(pair[1], m, sizeof(*m), &fd, 1));
	close(fd);
	turn_until(UINT64_MAX);
	assert_int_equal(ends, 1);
	assert_int_equal(received, 0);
	close(pair[1]);
}

static void
unknown_kind_ends_it(void **state)
{
	ended_by(&(struct channel_message){ .kind = CHANNEL_KINDS });
}

static void
count_past_the_array_ends_it(void **state)
{
	ended_by(&(struct channel_message){ .kind = CHANNEL_LISTEN, .count = SOCKET_PASS_MAX + 1 });
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(queued_ones_arrive_in_order, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(close_ends_the_other, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(other_bytes_end_it, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(unknown_kind_ends_it, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(count_past_the_array_ends_it, open_pair, close_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
