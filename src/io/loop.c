/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pass is ours, libevent only waits: one turn of its event core, then the
 * wheel of deadlines, then the lists of tasks. It owns the event base, one
 * timer that ticks while a deadline is in the wheel, and the scratch memory. The
 * timer is a descriptor: a timeout of libevent's costs two looks at the clock a pass.
 */
#include "io/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"

_Static_assert(sizeof(struct event) <= sizeof(((struct loop_event *)0)->storage), "an event fits");
_Static_assert(_Alignof(struct event) <= 16, "and is aligned");
_Static_assert((LOOP_SLOTS & (LOOP_SLOTS - 1)) == 0, "a slot is the low bits of a tick");

static struct event *
storage_of(struct loop_event *e)
{
	return (struct event *)(void *)e->storage;
}

/* ------------------------------------------------------------------ events */

static void
does(const struct loop *l, enum loop_doing what)
{
	__atomic_store_n((uint32_t *)l->doing, what, __ATOMIC_RELAXED);
}

/* libevent says nothing between waiting and the first callback: the first one asks for the time. */
static void
wake(struct loop *l)
{
	if (l->awake)
		return;
	l->awake = true;
	clock_update();
	does(l, LOOP_EVENTS);
}

static void
run_event(evutil_socket_t fd, short what, void *arg)
{
	struct loop_event *e = arg;

	wake(e->loop);
	e->run(e, (what & EV_READ ? LOOP_READABLE : 0u) | (what & EV_WRITE ? LOOP_WRITABLE : 0u) |
	    (what & EV_CLOSED ? LOOP_CLOSED : 0u));
}

static bool
watch(struct loop *l, struct loop_event *e, int fd, short what,
    void (*run)(struct loop_event *, unsigned what))
{
	e->run = run;
	e->loop = l;
	e->watched = event_assign(storage_of(e), l->base, fd, what, run_event, e) == 0 &&
	    event_add(storage_of(e), NULL) == 0;
	return e->watched;
}

bool
loop_watch(struct loop *l, struct loop_event *e, int fd, enum loop_trigger trigger,
    void (*run)(struct loop_event *, unsigned what))
{
	static const short what[] = {
		[LOOP_EDGE] = EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST,
		[LOOP_LEVEL] = EV_READ | EV_PERSIST,
		[LOOP_EDGE_READ] = EV_READ | EV_ET | EV_PERSIST,
	};

	return watch(l, e, fd, what[trigger], run);
}

bool
loop_signal(struct loop *l, struct loop_event *e, int signal,
    void (*run)(struct loop_event *, unsigned what))
{
	return watch(l, e, signal, EV_SIGNAL | EV_PERSIST, run);
}

void
loop_unwatch(struct loop_event *e)
{
	if (!e->watched)
		return;
	e->watched = false;
	event_del(storage_of(e));
}

/* ------------------------------------------------------------------ deadlines */

static void
unlink_deadline(struct loop *l, struct deadline *d)
{
	if (d->next != NULL)
		d->next->back = d->back;
	*d->back = d->next;
	d->next = NULL;
	d->back = NULL;
	l->deadlines--;
}

/*
 * The first tick at which it is over, never the one that runs; far ones stop half-way and are
 * looked at then.
 */
static uint64_t
tick_for(const struct loop *l, uint64_t due)
{
	uint64_t tick = due / LOOP_TICK + (due % LOOP_TICK != 0);

	if (tick <= l->ticked)
		return l->ticked + 1;
	return MIN_OF(tick, l->ticked + LOOP_SLOTS - 1);
}

static void
link_deadline(struct loop *l, struct deadline *d)
{
	d->tick = tick_for(l, d->due);

	struct deadline **slot = &l->slots[d->tick & (LOOP_SLOTS - 1)];

	d->next = *slot;
	d->back = slot;
	if (d->next != NULL)
		d->next->back = &d->next;
	*slot = d;
	l->deadlines++;
}

static void
set_ticking(struct loop *l, bool on)
{
	const struct timespec period = { .tv_nsec = on ? LOOP_TICK * 1000 * 1000 : 0 };

	timerfd_settime(l->tick_fd, 0, &(struct itimerspec){ period, period }, NULL);
	l->ticking = on;
}

void
deadline_set_slow(struct loop *l, struct deadline *d, uint64_t due)
{
	if (d->back != NULL)
		unlink_deadline(l, d);
	if (!l->ticking) {
		l->ticked = clock_ms() / LOOP_TICK;
		set_ticking(l, true);
	}
	d->due = due;
	link_deadline(l, d);
}

void
deadline_set(struct loop *l, struct deadline *d, uint64_t ms)
{
	uint64_t due;

	/* For ever is late enough; and 0 means that none is set. */
	if (__builtin_add_overflow(clock_ms(), ms, &due))
		due = UINT64_MAX;
	deadline_set_at(l, d, MAX_OF(due, UINT64_C(1)));
}

void
deadline_remove(struct loop *l, struct deadline *d)
{
	d->due = 0;
	if (d->back != NULL)
		unlink_deadline(l, d);
}

/*
 * What runs may set, clear and remove any deadline: the slot is taken off first, and only its head
 * is trusted.
 */
static void
sweep_slot(struct loop *l, struct deadline **slot, uint64_t now)
{
	struct deadline *list = *slot;

	*slot = NULL;
	if (list != NULL)
		list->back = &list;
	while (list != NULL) {
		struct deadline *d = list;

		unlink_deadline(l, d);
		if (d->due > now) {
			link_deadline(l, d);
		} else if (d->due != 0) {
			d->due = 0;
			d->run(d);
		}
	}
}

/* After the events: what came while nobody looked renews its deadline before that is asked. */
static void
sweep(struct loop *l)
{
	uint64_t now = clock_ms(), tick = now / LOOP_TICK;

	if (!l->ticking || tick <= l->ticked)
		return;
	if (tick - l->ticked > LOOP_SLOTS)
		l->ticked = tick - LOOP_SLOTS;
	while (l->ticked < tick) {
		l->ticked++;
		sweep_slot(l, &l->slots[l->ticked & (LOOP_SLOTS - 1)], now);
	}
	if (l->deadlines == 0)
		set_ticking(l, false);
}

/* Read, or the kernel does not start the next period. */
static void
run_tick(evutil_socket_t fd, short what, void *arg)
{
	uint64_t expired;

	wake(arg);
	while (read(fd, &expired, sizeof(expired)) < 0 && errno == EINTR)
		continue;
}

/* ------------------------------------------------------------------ tasks */

static struct loop_task *
take_task(struct loop *l, enum loop_stage stage)
{
	struct loop_task *t = l->first[stage];

	if (t == NULL)
		return NULL;
	l->first[stage] = t->next;
	if (t->next == NULL)
		l->last[stage] = &l->first[stage];
	t->queued = false;
	return t;
}

static bool
unlink_task(struct loop_task **at, struct loop_task *t)
{
	while (*at != NULL && *at != t)
		at = &(*at)->next;
	if (*at == NULL)
		return false;
	*at = t->next;
	return true;
}

void
loop_unqueue(struct loop *l, enum loop_stage stage, struct loop_task *t)
{
	if (!t->queued)
		return;
	t->queued = false;
	if (stage == LOOP_READY && unlink_task(&l->running, t))
		return;
	if (!unlink_task(&l->first[stage], t))
		return;
	l->last[stage] = &l->first[stage];
	while (*l->last[stage] != NULL)
		l->last[stage] = &(*l->last[stage])->next;
}

/*
 * Those queued from here on run in the next pass: who always has more to do waits for the events of
 * the others.
 */
static void
run_ready(struct loop *l)
{
	l->running = l->first[LOOP_READY];
	l->first[LOOP_READY] = NULL;
	l->last[LOOP_READY] = &l->first[LOOP_READY];
	for (struct loop_task *t; (t = l->running) != NULL;) {
		l->running = t->next;
		t->queued = false;
		t->run(t);
	}
}

/*
 * A stage may queue for an earlier one: that goes first, so that nothing is left that points into
 * the scratch.
 */
void
loop_finish(struct loop *l)
{
	for (struct loop_task *t; (t = take_task(l, LOOP_SETTLE)) != NULL ||
	    (t = take_task(l, LOOP_FLUSH)) != NULL || (t = take_task(l, LOOP_REST)) != NULL;)
		t->run(t);
	scratch_reset(&l->scratch);
}

_Static_assert(LOOP_STAGES == 4, "all of them are looked at");

static bool
has_tasks(const struct loop *l)
{
	return l->first[LOOP_READY] != NULL || l->first[LOOP_SETTLE] != NULL ||
	       l->first[LOOP_FLUSH] != NULL || l->first[LOOP_REST] != NULL;
}

/* ------------------------------------------------------------------ the loop */

static void
run_pass(struct loop *l)
{
	l->awake = false;
	does(l, LOOP_WAITING);
	event_base_loop(l->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY |
	    (has_tasks(l) ? EVLOOP_NONBLOCK : 0));
	wake(l);
	does(l, LOOP_DEADLINES);
	sweep(l);
	does(l, LOOP_TASKS);
	run_ready(l);
	does(l, LOOP_WRITES);
	loop_finish(l);
	does(l, LOOP_ORDERS);
	l->passes++;
}

void
loop_run(struct loop *l, void (*each)(void *what), void *what)
{
	clock_update();
	while (!l->stop) {
		run_pass(l);
		if (each != NULL)
			each(what);
	}
	l->stop = false;
}

void
loop_stop(struct loop *l)
{
	l->stop = true;
}

/*
 * Without EV_CLOSED a FIN behind the last bytes would be missed; only epoll has it together with
 * ET.
 */
static struct event_base *
new_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config == NULL)
		return NULL;
	if (event_config_require_features(
		config, EV_FEATURE_ET | EV_FEATURE_O1 | EV_FEATURE_EARLY_CLOSE) == 0 &&
	    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV |
					      EVENT_BASE_FLAG_NO_CACHE_TIME) == 0)
		base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static bool
open_tick(struct loop *l)
{
	l->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (l->tick_fd < 0)
		return false;
	l->tick = event_new(l->base, l->tick_fd, EV_READ | EV_PERSIST, run_tick, l);
	return l->tick != NULL && event_add(l->tick, NULL) == 0;
}

static void
close_base(struct loop *l)
{
	if (l->tick != NULL)
		event_free(l->tick);
	if (l->tick_fd >= 0)
		close(l->tick_fd);
	if (l->base != NULL)
		event_base_free(l->base);
}

bool
loop_open(struct loop *l)
{
	*l = (struct loop){ .base = new_base(), .tick_fd = -1 };
	if (l->base == NULL || !open_tick(l)) {
		close_base(l);
		return false;
	}
	for (int stage = 0; stage < LOOP_STAGES; stage++)
		l->last[stage] = &l->first[stage];
	scratch_init(&l->scratch);
	l->doing = &l->own_doing;
	clock_update();
	return true;
}

void
loop_close(struct loop *l)
{
	close_base(l);
	scratch_free(&l->scratch);
	*l = (struct loop){ .tick_fd = -1 };
}

void
loop_forget(struct loop *l)
{
	/*
	 * The epoll set is shared with the parent until then: closing would delete from its
	 * registrations.
	 */
	if (event_reinit(l->base) != 0) {
		l->base = NULL;
		l->tick = NULL;
	}
	loop_close(l);
}
