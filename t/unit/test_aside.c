/* SPDX-License-Identifier: BSD-2-Clause */
/* io/aside: work on a thread while the loop goes on, its end told on the loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include "io/aside.h"

struct task {
	struct aside aside;
	struct loop *loop;
	int go[2];                      /* the work waits for a byte, where there is one */
	pthread_t worked_on;
	bool blocked;                   /* the thread hears no signal */
	int worked, done, rounds;
};

static struct loop loop;

static void
work(struct aside *a)
{
	struct task *t = CONTAINER_OF(a, struct task, aside);
	sigset_t set;
	char byte;

	if (t->go[0] >= 0)
		assert_int_equal(read(t->go[0], &byte, 1), 1);
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	t->blocked = sigismember(&set, SIGTERM) == 1;
	t->worked_on = pthread_self();
	t->worked++;
}

static void
done(struct aside *a)
{
	struct task *t = CONTAINER_OF(a, struct task, aside);

	assert_false(a->runs);
	t->done++;
	if (t->done < t->rounds)
		assert_true(aside_begin(a, t->loop));
	else
		loop_stop(t->loop);
}

static struct task
task_of(int rounds)
{
	return (struct task){ .aside = { .work = work, .done = done }, .loop = &loop, .go = { -1, -1 },
		.rounds = rounds };
}

static size_t
descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void
works_beside(void **state)
{
	struct task t = task_of(20);
	size_t before = descriptors();

	assert_true(aside_begin(&t.aside, &loop));
	loop_run(&loop, NULL, NULL);
	assert_int_equal(t.worked, 20);
	assert_int_equal(t.done, 20);
	assert_true(t.blocked);
	assert_false(pthread_equal(t.worked_on, pthread_self()));
	assert_int_equal(descriptors(), before);
}

static void
nudge(struct loop_task *t)
{
}

static void
stop(void *what)
{
	loop_stop(&loop);
}

/* While the work waits, the loop turns. */
static void
loop_goes_on(void **state)
{
	struct task t = task_of(1);
	struct loop_task again = { .run = nudge };

	assert_int_equal(pipe(t.go), 0);
	assert_true(aside_begin(&t.aside, &loop));
	for (int i = 0; i < 5; i++) {
		loop_queue(&loop, LOOP_READY, &again);
		loop_run(&loop, stop, NULL);
		assert_int_equal(t.done, 0);
	}
	assert_int_equal(write(t.go[1], "x", 1), 1);
	loop_run(&loop, NULL, NULL);
	assert_int_equal(t.done, 1);
	close(t.go[0]);
	close(t.go[1]);
}

/* Whoever ends waits for it, and nobody is told. */
static void
is_waited_for(void **state)
{
	struct task t = task_of(1);
	size_t before = descriptors();

	aside_end(&t.aside);            /* none runs */
	assert_true(aside_begin(&t.aside, &loop));
	aside_end(&t.aside);
	assert_int_equal(t.worked, 1);
	assert_int_equal(t.done, 0);
	assert_int_equal(descriptors(), before);
}

static int
open_loop(void **state)
{
	return loop_open(&loop) ? 0 : -1;
}

static int
close_loop(void **state)
{
	loop_close(&loop);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(works_beside, open_loop, close_loop),
		cmocka_unit_test_setup_teardown(loop_goes_on, open_loop, close_loop),
		cmocka_unit_test_setup_teardown(is_waited_for, open_loop, close_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
