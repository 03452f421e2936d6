/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io/loop: the order of a pass, fairness of the ready list, edge-triggered
 * readiness with the end of a stream, signals, and the wheel of deadlines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/loop.h"

static struct loop loop;
static char order[256];

static int
set_up(void **state)
{
	order[0] = '\0';
	return loop_open(&loop) ? 0 : -1;
}

static int
tear_down(void **state)
{
	loop_close(&loop);
	return 0;
}

static void
say(char c)
{
	size_t n = strlen(order);

	assert_true(n + 1 < sizeof(order));
	order[n] = c;
	order[n + 1] = '\0';
}

/* ------------------------------------------------------------------ passes */

struct count {
	uint64_t passes;
};

static void
stop_after(void *what)
{
	struct count *left = what;

	if (--left->passes == 0)
		loop_stop(&loop);
}

static void
run_passes(uint64_t passes)
{
	struct count left = { passes };

	loop_run(&loop, stop_after, &left);
}

struct job {
	struct loop_task task;
	char name;
	struct job *queues[3];
	enum loop_stage stage, stages[3];
	unsigned times;                 /* runs that queue */
};

static void
run_job(struct loop_task *t)
{
	struct job *job = CONTAINER_OF(t, struct job, task);

	assert_false(t->queued);
	say(job->name);
	if (job->times == 0)
		return;
	job->times--;
	for (int i = 0; i < 3 && job->queues[i] != NULL; i++)
		loop_queue(&loop, job->stages[i], &job->queues[i]->task);
}

#define JOB(n) { .task = { .run = run_job }, .name = (n) }

static void
runs_the_stages_in_order(void **state)
{
	struct job ready = JOB('r'), settle = JOB('s'), flush = JOB('f'), rest = JOB('x');

	loop_queue(&loop, LOOP_REST, &rest.task);
	loop_queue(&loop, LOOP_FLUSH, &flush.task);
	loop_queue(&loop, LOOP_SETTLE, &settle.task);
	loop_queue(&loop, LOOP_READY, &ready.task);
	loop_queue(&loop, LOOP_READY, &ready.task);
	run_passes(1);
	assert_string_equal(order, "rsfx");
	assert_int_equal(loop.passes, 1);
}

static void
finishes_what_a_stage_queues_for_earlier_ones(void **state)
{
	struct job settle = JOB('s'), second = JOB('g'), flush = JOB('f'), late = JOB('l'), rest = JOB('x');

	flush.queues[0] = &second;
	flush.stages[0] = LOOP_FLUSH;
	flush.queues[1] = &settle;
	flush.stages[1] = LOOP_SETTLE;
	flush.times = 1;
	rest.queues[0] = &late;
	rest.stages[0] = LOOP_FLUSH;
	rest.times = 1;
	loop_queue(&loop, LOOP_REST, &rest.task);
	loop_queue(&loop, LOOP_FLUSH, &flush.task);
	run_passes(1);
	assert_string_equal(order, "fsgxl");
}

static void
lets_the_ready_ones_wait_for_the_next_pass(void **state)
{
	struct job again = JOB('a'), other = JOB('b'), flush = JOB('f');

	again.queues[0] = &again;
	again.queues[1] = &flush;
	again.stages[1] = LOOP_FLUSH;
	again.times = 2;
	loop_queue(&loop, LOOP_READY, &again.task);
	loop_queue(&loop, LOOP_READY, &other.task);
	run_passes(3);
	assert_string_equal(order, "abfafa");
}

/* Three are queued; the first takes one of the rest away, wherever it stands. */
static struct loop_task *to_unqueue;

static void
run_unqueue(struct loop_task *t)
{
	say('u');
	loop_unqueue(&loop, LOOP_READY, to_unqueue);
	assert_false(to_unqueue->queued);
}

static void
takes_tasks_off_again(void **state)
{
	struct job a = JOB('a'), b = JOB('b'), c = JOB('c');
	struct loop_task remover = { .run = run_unqueue };

	loop_queue(&loop, LOOP_FLUSH, &a.task);
	loop_queue(&loop, LOOP_FLUSH, &b.task);
	loop_unqueue(&loop, LOOP_FLUSH, &b.task);
	loop_unqueue(&loop, LOOP_FLUSH, &c.task);
	loop_queue(&loop, LOOP_FLUSH, &c.task);
	loop_queue(&loop, LOOP_READY, &remover);
	loop_queue(&loop, LOOP_READY, &b.task);
	to_unqueue = &b.task;
	run_passes(1);
	assert_string_equal(order, "uac");
	order[0] = '\0';
	loop_queue(&loop, LOOP_READY, &b.task);
	run_passes(1);
	assert_string_equal(order, "b");
}

static char *pointed;

static void
run_point(struct loop_task *t)
{
	pointed = scratch_alloc(&loop.scratch, 8);
	memcpy(pointed, "scratch", 8);
}

static void
run_look(struct loop_task *t)
{
	assert_string_equal(pointed, "scratch");
	say('l');
}

static void
queue_from_each(void *what)
{
	struct job *job = what;

	if (loop.passes == 1)
		loop_queue(&loop, LOOP_FLUSH, &job->task);
	else
		loop_stop(&loop);
}

static void
forgets_the_scratch_behind_the_last_stage(void **state)
{
	struct loop_task point = { .run = run_point }, look = { .run = run_look };
	char *start = scratch_window(&loop.scratch, 8);

	loop_queue(&loop, LOOP_READY, &point);
	loop_queue(&loop, LOOP_REST, &look);
	run_passes(1);
	assert_string_equal(order, "l");
	assert_ptr_equal(pointed, start);
	assert_ptr_equal(scratch_window(&loop.scratch, 8), start);
}

/* What the end of a pass queues does not sleep until something happens. */
static void
does_not_wait_while_tasks_are_queued(void **state)
{
	struct job ready = JOB('r'), flush = JOB('f');

	loop_queue(&loop, LOOP_READY, &ready.task);
	loop_run(&loop, queue_from_each, &flush);
	assert_string_equal(order, "rf");
	assert_int_equal(loop.passes, 2);
}

/* ------------------------------------------------------------------ events */

struct watcher {
	struct loop_event event;
	unsigned seen, runs;
	int fd;
	bool stops;
};

static void
run_watcher(struct loop_event *e, unsigned what)
{
	struct watcher *w = CONTAINER_OF(e, struct watcher, event);

	w->seen |= what;
	w->runs++;
	if (w->stops)
		loop_stop(&loop);
}

static void
tells_readiness_once(void **state)
{
	struct watcher w = { .stops = false };
	struct job again = JOB('a');
	int pair[2];

	again.queues[0] = &again;
	again.times = 3;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_true(loop_watch(&loop, &w.event, pair[0], LOOP_EDGE, run_watcher));
	loop_queue(&loop, LOOP_READY, &again.task);
	run_passes(3);                                  /* writable is told, and not again */
	assert_int_equal(w.runs, 1);
	assert_int_equal(w.seen, LOOP_WRITABLE);

	assert_int_equal(write(pair[1], "x", 1), 1);
	again.times = 3;
	loop_queue(&loop, LOOP_READY, &again.task);
	run_passes(3);
	assert_int_equal(w.runs, 2);
	assert_true(w.seen & LOOP_READABLE);
	assert_false(w.seen & LOOP_CLOSED);

	assert_int_equal(write(pair[1], "y", 1), 1);
	assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
	run_passes(1);
	assert_true(w.seen & LOOP_CLOSED);

	loop_unwatch(&w.event);
	loop_unwatch(&w.event);
	w.runs = 0;
	close(pair[1]);
	loop_queue(&loop, LOOP_READY, &again.task);
	run_passes(1);
	assert_int_equal(w.runs, 0);
	close(pair[0]);
}

static void
repeats_a_level(void **state)
{
	struct watcher w = { .stops = false };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_true(loop_watch(&loop, &w.event, pair[0], LOOP_LEVEL, run_watcher));
	assert_int_equal(write(pair[1], "x", 1), 1);
	run_passes(3);
	assert_int_equal(w.runs, 3);
	assert_int_equal(w.seen, LOOP_READABLE);
	loop_unwatch(&w.event);
	close(pair[0]);
	close(pair[1]);
}

static void
run_clock_watcher(struct loop_event *e, unsigned what)
{
	struct watcher *w = CONTAINER_OF(e, struct watcher, event);

	w->seen = (unsigned)(clock_us_exact() - clock_us() < 200 * 1000);
	loop_stop(&loop);
}

/* The loop slept for long: an event must not see the time at which it went to sleep. */
static void
knows_the_time_in_an_event(void **state)
{
	struct watcher w = { .seen = 2 };
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_true(loop_watch(&loop, &w.event, ends[0], LOOP_LEVEL, run_clock_watcher));

	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		usleep(400 * 1000);
		_exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
	}
	loop_run(&loop, NULL, NULL);
	assert_int_equal(w.seen, 1);
	assert_int_equal(waitpid(child, NULL, 0), child);
	loop_unwatch(&w.event);
	close(ends[0]);
	close(ends[1]);
}

static void
takes_signals(void **state)
{
	struct watcher w = { .stops = true };

	assert_true(loop_signal(&loop, &w.event, SIGUSR1, run_watcher));
	assert_int_equal(kill(getpid(), SIGUSR1), 0);
	loop_run(&loop, NULL, NULL);
	assert_int_equal(w.runs, 1);
	assert_int_equal(w.seen, 0);
	loop_unwatch(&w.event);
}

/* A child that lets go of its copy takes nothing from the parent's. */
static void
is_forgotten_by_a_child(void **state)
{
	struct watcher w = { .stops = true };
	int ends[2], status = -1;

	assert_int_equal(pipe(ends), 0);
	assert_true(loop_watch(&loop, &w.event, ends[0], LOOP_LEVEL, run_watcher));

	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		loop_forget(&loop);
		_exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	loop_run(&loop, NULL, NULL);
	assert_int_equal(w.runs, 1);
	loop_unwatch(&w.event);
	close(ends[0]);
	close(ends[1]);
}

/* ------------------------------------------------------------------ deadlines */

struct timer {
	struct deadline deadline;
	uint64_t set, ran;              /* us */
	unsigned runs;
	uint64_t again;                 /* ms; 0: stops the loop */
	struct timer *removes, *clears, *sets;
};

static void
run_timer(struct deadline *d)
{
	struct timer *t = CONTAINER_OF(d, struct timer, deadline);

	t->runs++;
	t->ran = clock_us_exact();
	if (t->removes != NULL)
		deadline_remove(&loop, &t->removes->deadline);
	if (t->clears != NULL)
		deadline_clear(&t->clears->deadline);
	if (t->sets != NULL)
		deadline_set(&loop, &t->sets->deadline, 0);
	if (t->again != 0 && t->runs < 3)
		deadline_set(&loop, &t->deadline, t->again);
	else
		loop_stop(&loop);
}

static void
start(struct timer *t, uint64_t ms)
{
	clock_update();
	t->deadline.run = run_timer;
	t->set = clock_us();
	deadline_set(&loop, &t->deadline, ms);
}

static void
fires_when_due_and_not_before(void **state)
{
	struct timer t = { .runs = 0 };

	start(&t, 250);
	assert_true(loop.ticking);
	loop_run(&loop, NULL, NULL);
	assert_int_equal(t.runs, 1);
	assert_true(t.ran - t.set >= 249 * 1000);
	assert_true(t.ran - t.set < 5000 * 1000);
	assert_int_equal(loop.deadlines, 0);
	assert_false(loop.ticking);
	assert_null(t.deadline.back);
}

static void
sets_itself_again(void **state)
{
	struct timer t = { .again = 100 };

	start(&t, 0);
	loop_run(&loop, NULL, NULL);
	assert_int_equal(t.runs, 3);
	assert_true(t.ran - t.set >= 199 * 1000);
}

/* Later is a store, and the slot it stands in only looks at it; earlier moves it. */
static void
moves_lazily(void **state)
{
	struct timer t = { .runs = 0 };
	struct deadline **slot;

	start(&t, 100);
	slot = t.deadline.back;
	deadline_set(&loop, &t.deadline, 400);
	assert_ptr_equal(t.deadline.back, slot);
	deadline_clear(&t.deadline);
	assert_ptr_equal(t.deadline.back, slot);
	deadline_set(&loop, &t.deadline, 400);
	assert_ptr_equal(t.deadline.back, slot);
	loop_run(&loop, NULL, NULL);
	assert_int_equal(t.runs, 1);
	assert_true(t.ran - t.set >= 399 * 1000);

	start(&t, 30 * 1000);
	slot = t.deadline.back;
	deadline_set(&loop, &t.deadline, 100);
	assert_ptr_not_equal(t.deadline.back, slot);
	assert_int_equal(loop.deadlines, 1);
	loop_run(&loop, NULL, NULL);
	assert_int_equal(t.runs, 2);
	assert_true(t.ran - t.set < 10 * 1000 * 1000);
}

static void
does_not_run_what_was_cleared(void **state)
{
	struct timer cleared = { .runs = 0 }, removed = { .runs = 0 }, last = { .runs = 0 };

	start(&cleared, 100);
	start(&removed, 100);
	start(&last, 300);
	deadline_clear(&cleared.deadline);
	deadline_remove(&loop, &removed.deadline);
	deadline_remove(&loop, &removed.deadline);
	assert_int_equal(loop.deadlines, 2);
	loop_run(&loop, NULL, NULL);
	assert_int_equal(last.runs, 1);
	assert_int_equal(cleared.runs + removed.runs, 0);
	assert_null(cleared.deadline.back);
}

/* All in one slot: the one that runs first takes away, clears and sets its neighbours. */
static void
lets_a_run_change_its_neighbours(void **state)
{
	struct timer removed = { .runs = 0 }, cleared = { .runs = 0 }, set = { .again = 1 }, first = { .again = 1 };

	start(&removed, 100);
	start(&cleared, 100);
	start(&set, 100);
	start(&first, 100);                             /* in front of its slot */
	first.removes = &removed;
	first.clears = &cleared;
	first.sets = &set;
	set.runs = 1;                                   /* one more, and a last one that stops */
	loop_run(&loop, NULL, NULL);
	assert_int_equal(removed.runs + cleared.runs, 0);
	assert_true(first.runs >= 1);
	assert_int_equal(MAX_OF(set.runs, first.runs), 3);
	deadline_remove(&loop, &first.deadline);
	deadline_remove(&loop, &set.deadline);
	assert_int_equal(loop.deadlines, 0);
}

/* Beyond the wheel: it stops on the way and is set further. */
static void
reaches_beyond_the_wheel(void **state)
{
	struct timer far = { .runs = 0 }, soon = { .runs = 0 };

	start(&far, UINT64_MAX);
	assert_true(far.deadline.tick < loop.ticked + LOOP_SLOTS);
	deadline_remove(&loop, &far.deadline);
	start(&far, (uint64_t)LOOP_SLOTS * LOOP_TICK * 3);

	uint64_t due = far.deadline.due;

	loop.ticked -= LOOP_SLOTS + 7;                  /* as after a long stop: every slot is swept once */
	start(&soon, 100);
	loop_run(&loop, NULL, NULL);
	assert_int_equal(soon.runs, 1);
	assert_int_equal(far.runs, 0);
	assert_int_equal(far.deadline.due, due);
	assert_true(far.deadline.tick > loop.ticked);
	assert_int_equal(loop.deadlines, 1);
	deadline_remove(&loop, &far.deadline);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(runs_the_stages_in_order),
		TEST(finishes_what_a_stage_queues_for_earlier_ones),
		TEST(lets_the_ready_ones_wait_for_the_next_pass),
		TEST(takes_tasks_off_again),
		TEST(forgets_the_scratch_behind_the_last_stage),
		TEST(does_not_wait_while_tasks_are_queued),
		TEST(tells_readiness_once),
		TEST(repeats_a_level),
		TEST(knows_the_time_in_an_event),
		TEST(takes_signals),
		TEST(is_forgotten_by_a_child),
		TEST(fires_when_due_and_not_before),
		TEST(sets_itself_again),
		TEST(moves_lazily),
		TEST(does_not_run_what_was_cleared),
		TEST(lets_a_run_change_its_neighbours),
		TEST(reaches_beyond_the_wheel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
