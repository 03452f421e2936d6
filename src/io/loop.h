/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loop of a process, over libevent's event core (loop.c is the only file
 * that includes it). A pass is: events, the ready tasks, the settling tasks, the
 * flushing tasks, the resting tasks, and the scratch memory of the pass is forgotten.
 */
#ifndef MILLRACE_IO_LOOP_H
#define MILLRACE_IO_LOOP_H

#include "base/scratch.h"

struct event_base;
struct event;
struct loop;

/* CLOSED: the other end sent FIN */
enum loop_what { LOOP_READABLE = 1, LOOP_WRITABLE = 2, LOOP_CLOSED = 4 };

/* Part of its owner; run(event, what) is called from the pass. */
struct loop_event {
	_Alignas(16) unsigned char storage[128];      /* a struct event */
	void (*run)(struct loop_event *, unsigned what);
	struct loop *loop;
	bool watched;
};

/* Work for later in this pass. Part of its owner; queued at most once. */
struct loop_task {
	struct loop_task *next;
	void (*run)(struct loop_task *);
	bool queued;
};

enum loop_stage {
	/*
	 * bytes in hand, budget left: run until none is queued for this pass; queued while
	 * running = next pass, which then does not wait
	 */
	LOOP_READY,
	LOOP_SETTLE,    /* what must outlive the scratch is copied */
	LOOP_FLUSH,     /* one write each; may queue READY (runs in the next pass) and REST */
	LOOP_REST,      /* what was closed is given back */
	LOOP_STAGES
};

/* What a pass is at: for who looks at a loop that hangs. */
enum loop_doing { LOOP_WAITING, LOOP_EVENTS, LOOP_DEADLINES, LOOP_TASKS, LOOP_WRITES, LOOP_ORDERS };

/*
 * A coarse deadline: a wheel of 100 ms slots. Setting one later than it stands is a store. Part of
 * its owner.
 */
struct deadline {
	/* in a slot of the wheel; back NULL: in none */
	struct deadline *next, **back;
	uint64_t due;                                 /* ms of clock_ms(); 0: not set */
	uint64_t tick;                                /* of the slot it is in */
	void (*run)(struct deadline *);
};

enum { LOOP_TICK = 100, LOOP_SLOTS = 512 };

struct loop {
	struct event_base *base;
	struct scratch scratch;
	struct loop_task *first[LOOP_STAGES], **last[LOOP_STAGES];
	/* ready tasks of this pass that did not run yet */
	struct loop_task *running;
	struct deadline *slots[LOOP_SLOTS];
	uint64_t ticked;                              /* the tick that ran last */
	size_t deadlines;                             /* in the wheel */
	/* of tick_fd, a timer armed while there are any */
	struct event *tick;
	int tick_fd;
	bool ticking, stop;
	bool awake;                                   /* the clock was read in this pass */
	uint64_t passes;
	_Atomic uint32_t *doing;                      /* enum loop_doing is written there, ours unless said */
	_Atomic uint32_t own_doing;
};

MUST_USE bool loop_open(struct loop *l);
void loop_close(struct loop *l);
/* The same in a child that fork made: the parent's registrations stay. */
void loop_forget(struct loop *l);
/* Turns until loop_stop. `each`, if not NULL, is called at the end of every pass. */
void loop_run(struct loop *l, void (*each)(void *what), void *what);
void loop_stop(struct loop *l);
/*
 * Runs what is queued to settle, to flush and to rest, and forgets the scratch: the end of a pass,
 * or of an owner outside of one.
 */
void loop_finish(struct loop *l);

/*
 * LOOP_EDGE: READ|WRITE|CLOSED, edge-triggered, registered once. LOOP_LEVEL: READ only, level-
 * triggered (listeners, pipes). LOOP_EDGE_READ: READ only (a socket of datagrams, where each that
 * leaves would be an event).
 */
enum loop_trigger { LOOP_EDGE, LOOP_LEVEL, LOOP_EDGE_READ };
MUST_USE bool loop_watch(struct loop *l, struct loop_event *e, int fd, enum loop_trigger trigger,
    void (*run)(struct loop_event *, unsigned what));
void loop_unwatch(struct loop_event *e);              /* before the descriptor is closed */
MUST_USE bool loop_signal(struct loop *l, struct loop_event *e, int signal,
    void (*run)(struct loop_event *, unsigned what));

static inline void
loop_queue(struct loop *l, enum loop_stage stage, struct loop_task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	t->next = NULL;
	*l->last[stage] = t;
	l->last[stage] = &t->next;
}
/* rare: walks the list */
void loop_unqueue(struct loop *l, enum loop_stage stage, struct loop_task *t);

void deadline_set_slow(struct loop *l, struct deadline *d, uint64_t due);
/* Due at that time of clock_ms(), which is not 0. */
static inline void
deadline_set_at(struct loop *l, struct deadline *d, uint64_t due)
{
	if (likely(d->back != NULL && due > (d->tick - 1) * LOOP_TICK))
		d->due = due;
	else
		deadline_set_slow(l, d, due);
}
/* Due in `ms` from the cached now. */
void deadline_set(struct loop *l, struct deadline *d, uint64_t ms);
/* a store: it stays in its slot until that is swept */
static inline void
deadline_clear(struct deadline *d)
{
	d->due = 0;
}
/* out of the wheel: before the owner's memory goes */
void deadline_remove(struct loop *l, struct deadline *d);

#endif
