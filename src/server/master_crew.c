/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The workers as the master sees them: births and deaths, the watch, and whose sockets are whose. Each
 * slot of the groups of sockets has a home, the worker that accepts from it; where that one does not
 * serve, another does meanwhile.
 */
#include "server/master_inner.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ------------------------------------------------------------------ messages of many */

struct batch
batch_of(struct channel *to, enum channel_kind kind, uint32_t slot)
{
	return (struct batch){ .to = to, .message = { .kind = kind, .slot = slot } };
}

void
batch_send(struct batch *b)
{
	if (b->message.count > 0)
		channel_send(b->to, &b->message, b->fds, b->fd_count);
	b->message.count = 0;
	b->fd_count = 0;
}

void
batch_add(struct batch *b, uint32_t index, int fd)
{
	if (b->message.count == SOCKET_PASS_MAX)
		batch_send(b);
	b->message.index[b->message.count++] = index;
	if (fd >= 0)
		b->fds[b->fd_count++] = fd;
}

/* ------------------------------------------------------------------ places */

static void on_report(
    struct channel *c, const struct channel_message *r, const int *fds, size_t fd_count);
static void on_channel_ended(struct channel *c);
static void on_again(struct deadline *d);

/* All that there may be, so that none of them has to move. */
static struct slot *
slot_new(struct master *m, uint32_t number)
{
	struct slot *s = memory_zalloc(sizeof(*s));

	*s = (struct slot){
		.master = m,
		.number = number,
		.channel = { .fd = -1, .receive = on_report, .ended = on_channel_ended },
		.again.run = on_again,
	};
	return s;
}

/* A worker that has left may have written there: its counts stay in the sum of all. */
static struct worker_shared *
take_place(struct master *m)
{
	struct shared_key key = { .kind = SHARED_WORKER, .size = sizeof(struct worker_shared) };
	uint64_t offset;

	if (m->place_count != 0)
		return m->places[--m->place_count];
	snprintf(key.name, sizeof(key.name), "%zu", m->places_made);
	if (!shared_take(&m->shared, &key, &offset))
		return NULL;
	m->places_made++;
	return shared_at(&m->shared, offset, key.size);
}

static void
give_place(struct master *m, struct worker_shared *place)
{
	if (m->place_count == m->place_room) {
		m->place_room = 2 * m->place_room + 4;
		m->places = memory_realloc(m->places, m->place_room * sizeof(*m->places));
	}
	m->places[m->place_count++] = place;
}

void
crew_take_places(struct master *m, size_t first, size_t end)
{
	struct shared_key key = { .kind = SHARED_WORKER, .size = sizeof(struct worker_shared) };
	uint64_t offset;

	for (size_t i = first; i < end; i++) {
		snprintf(key.name, sizeof(key.name), "%zu", i);
		if (shared_take(&m->shared, &key, &offset))
			give_place(m, shared_at(&m->shared, offset, key.size));
	}
}

bool
crew_open(struct master *m)
{
	m->slot_room = m->bindings.group;
	m->slot_count = m->bundle.header->workers;
	m->slots = memory_zalloc(m->slot_room * sizeof(struct slot *));
	m->lent = memory_zalloc(m->slot_room * sizeof(*m->lent));
	for (size_t i = 0; i < m->slot_room; i++) {
		m->lent[i] = NOBODY;
		m->slots[i] = slot_new(m, (uint32_t)i);
		m->slots[i]->shared = take_place(m);
		if (m->slots[i]->shared == NULL)
			return process_refuse("shared memory is full");
	}
	return true;
}

static void
slot_free(struct slot *s, bool owner)
{
	if (owner) {
		channel_close(&s->channel);
		deadline_remove(&s->master->loop, &s->again);
	} else {
		channel_forget(&s->channel);
	}
	free(s);
}

void
crew_close(struct master *m, bool owner)
{
	for (size_t i = 0; m->slots != NULL && i < m->slot_room; i++)
		if (m->slots[i] != NULL)
			slot_free(m->slots[i], owner);
	while (m->leavers != NULL) {
		struct slot *s = m->leavers;

		m->leavers = s->next;
		slot_free(s, owner);
	}
	free(m->slots);
	free(m->places);
	free(m->lent);
}

void
crew_each(struct master *m, void (*call)(struct master *m, struct slot *s))
{
	for (size_t i = 0; i < m->slot_room; i++)
		if (m->slots[i]->state != SLOT_EMPTY)
			call(m, m->slots[i]);
	for (struct slot *s = m->leavers, *next; s != NULL; s = next) {
		next = s->next;
		call(m, s);
	}
}

/* ------------------------------------------------------------------ what a worker is given */

static size_t
home_of(const struct master *m, size_t slot)
{
	return slot % m->slot_count;
}

/* Its sockets of the bindings since then. */
static void
send_slot(struct master *m, struct slot *to, enum channel_kind kind, size_t slot, uint64_t since)
{
	struct batch b = batch_of(&to->channel, kind, (uint32_t)slot);

	for (size_t i = 0; i < m->bindings.count; i++) {
		const struct bound *one = &m->bindings.all[i];

		if (!one->common && !one->gone && one->since >= since && slot < one->fd_count)
			batch_add(&b, one->number, kind == CHANNEL_LISTEN ? one->fds[slot] : -1);
	}
	batch_send(&b);
}

static void
send_common(struct master *m, struct slot *to, uint64_t since)
{
	struct batch b = batch_of(&to->channel, CHANNEL_LISTEN, CHANNEL_ALL_SLOTS);

	for (size_t i = 0; i < m->bindings.count; i++) {
		const struct bound *one = &m->bindings.all[i];

		if (one->common && one->since >= since)
			batch_add(&b, one->number, one->fds[0]);
	}
	batch_send(&b);
}

/* The bundle, and all that is served with it but sockets that it has. */
static void
give(struct master *m, struct slot *s, uint64_t since)
{
	const struct channel_message bundle = { .kind = CHANNEL_BUNDLE,
		.generation = m->generation };

	channel_send(&s->channel, &bundle, &m->bundle.fd, 1);
	logs_send(m, s);
	send_common(m, s, since);
	for (size_t i = 0; i < m->slot_room; i++)
		if (home_of(m, i) == s->number || m->lent[i] == (int)s->number)
			send_slot(m, s, CHANNEL_LISTEN, i, since);
	channel_say(&s->channel, CHANNEL_GO, m->generation);
	s->given = m->generation;
	s->given_at = clock_ms();
}

void
crew_give_bundle(struct master *m, struct slot *s)
{
	give(m, s, s->given + 1);
}

void
crew_unlisten(struct master *m, const struct bound *b)
{
	const struct channel_message gone = { .kind = CHANNEL_REMOVE,
		.slot = CHANNEL_ALL_SLOTS, .count = 1, .index = { b->number } };

	for (size_t i = 0; i < m->slot_room; i++) {
		channel_send(&m->slots[i]->channel, &gone, NULL, 0);
		m->slots[i]->closing += m->slots[i]->state != SLOT_EMPTY;
	}
	for (struct slot *s = m->leavers; s != NULL; s = s->next)
		channel_send(&s->channel, &gone, NULL, 0);
}

static void
say_stop(struct master *m, struct slot *s)
{
	channel_say(&s->channel, CHANNEL_STOP, m->generation);
}

static void
say_drain(struct master *m, struct slot *s)
{
	channel_say(&s->channel, CHANNEL_DRAIN, m->generation);
}

void
crew_say(struct master *m, enum channel_kind kind)
{
	crew_each(m, kind == CHANNEL_STOP ? say_stop : say_drain);
}

/* ------------------------------------------------------------------ births */

static void
on_report(struct channel *c, const struct channel_message *r, const int *fds, size_t fd_count)
{
	struct slot *s = CONTAINER_OF(c, struct slot, channel);
	struct master *m = s->master;

	for (size_t i = 0; i < fd_count; i++)
		close(fds[i]);
	if (control_report(s->master, s, r))
		return;
	if (r->kind == CHANNEL_READY) {
		s->serves = r->generation;
		s->closing -= s->closing != 0;
		if (s->state == SLOT_STARTING) {
			s->state = SLOT_READY;
			s->ready = clock_ms();
			log_line(LOG_INFO, "worker %u (%d) serves", s->number + 1, (int)s->pid);
		}
	} else if (r->kind == CHANNEL_LEAVING && s->state == SLOT_READY) {
		s->state = SLOT_LEAVING;
		log_line(LOG_INFO, "worker %u (%d) drains", s->number + 1, (int)s->pid);
	} else if (r->kind == CHANNEL_FAILED) {
		log_line(LOG_ERROR, "worker %u (%d) cannot serve the configuration", s->number + 1,
		    (int)s->pid);
		m->reload.failed = true;
		if (s->state == SLOT_READY && !s->parting)
			crew_replace(m, s);
	}
}

/* It is ending, or has lost its senses: a moment shows which. */
static void
on_channel_ended(struct channel *c)
{
	CONTAINER_OF(c, struct slot, channel)->deaf_since = clock_ms();
}

static void
on_again(struct deadline *d)
{
}

/* In the child: what it takes along. The rest is given back on the way out. */
static void
leave_as_worker(struct master *m, const struct slot *s, int channel)
{
	m->is_worker = true;
	shared_foretell(&m->shared);
	m->start = (struct worker_start){
		.number = s->number,
		.channel = channel,
		.error_fd = m->error_fd,
		.error_level = (enum log_level)control_level(m),
		.background = m->background,
		.shared = m->shared,
		.mine = s->shared,
		.identity = m->bundle.header->identity,
		.descriptors = m->bundle.header->descriptors,
	};
	m->error_fd = -1;
	m->shared.at = NULL;
	loop_stop(&m->loop);
}

static void
be_later(struct slot *s)
{
	s->delay = s->delay == 0 ? DELAY_FIRST : MIN_OF(2 * s->delay, (uint64_t)DELAY_MAX);
}

static void
call_again(struct master *m, struct slot *s)
{
	s->due = clock_ms() + s->delay;
	deadline_set(&m->loop, &s->again, s->delay);
}

/*
 * Later, and later each time: a machine short of memory is not helped by haste. A start that lacks
 * something is none.
 */
static void
put_off(struct master *m, struct slot *s)
{
	if (m->phase == PHASE_STARTING) {
		m->status = 1;
		master_stop(m);
		return;
	}
	be_later(s);
	call_again(m, s);
}

static void
adopt(struct master *m, struct slot *s, pid_t pid, int channel)
{
	s->pid = pid;
	s->state = SLOT_STARTING;
	s->born = clock_ms();
	s->deaf_since = 0;
	s->serves = s->closing = 0;
	s->ready = s->asked_at = 0;
	if (channel_open(&s->channel, &m->loop, channel))
		give(m, s, 0);
	else
		kill(pid, SIGKILL);
}

static uint64_t
last_number(const struct master *m)
{
	uint64_t last = 0;

	for (size_t i = 0; i < m->slot_room; i++)
		last = MAX_OF(last, m->slots[i]->shared->numbers);
	for (const struct slot *s = m->leavers; s != NULL; s = s->next)
		last = MAX_OF(last, s->shared->numbers);
	for (size_t i = 0; i < m->place_count; i++)
		last = MAX_OF(last, m->places[i]->numbers);
	return last;
}

/* What was there is no more; what was done stays in the sums. */
static void
clear_place(struct worker_shared *w)
{
	w->beat = w->generation = w->connections = w->flows = w->removed = w->held_more = 0;
	for (size_t i = 0; i < SNAPSHOTS_SHOWN; i++)
		w->held[i] = 0;
	w->doing = LOOP_WAITING;
	w->asked = w->told = 0;
	/* Pages that nobody has written stay without memory. */
	if (w->peers_used)
		memset(w->peers, 0, sizeof(w->peers));
	w->peers_used = false;
}

static void
spawn(struct master *m, struct slot *s)
{
	int pair[2];
	sigset_t before;

	if (!socket_pair(pair)) {
		log_errno(LOG_ALERT, errno, "no socket for a worker");
		put_off(m, s);
		return;
	}
	clear_place(s->shared);
	/* Who saw a connection of the one before it, and names it now, means no other. */
	s->shared->numbers = last_number(m);
	process_block_signals(&before);
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		leave_as_worker(m, s, pair[1]);
		return;
	}
	if (pid < 0)
		log_errno(LOG_ALERT, errno, "no process for a worker");
	process_unblock_signals(&before);
	close(pair[1]);
	if (pid > 0) {
		adopt(m, s, pid, pair[0]);
	} else {
		close(pair[0]);
		put_off(m, s);
	}
}

void
crew_spawn_due(struct master *m)
{
	for (size_t i = 0; i < m->slot_count && !m->is_worker && m->phase <= PHASE_SERVING; i++)
		if (m->slots[i]->state == SLOT_EMPTY && m->slots[i]->due <= clock_ms())
			spawn(m, m->slots[i]);
}

/* ------------------------------------------------------------------ others in their place */

/* It has no number any more. What it was lent goes to others. */
static void
part(struct master *m, struct slot *s)
{
	s->parting = true;
	s->next = m->leavers;
	m->leavers = s;
	for (size_t i = 0; i < m->slot_room; i++)
		if (m->lent[i] == (int)s->number)
			m->lent[i] = NOBODY;
}

static void
vacate(struct master *m, uint32_t number)
{
	struct slot *fresh = slot_new(m, number);

	part(m, m->slots[number]);
	fresh->shared = take_place(m);
	/* Who finds no room shares what is shown of them. */
	if (fresh->shared == NULL)
		fresh->shared = m->slots[number]->shared;
	m->slots[number] = fresh;
}

void
crew_replace(struct master *m, struct slot *s)
{
	log_line(LOG_NOTICE, "worker %u (%d) is replaced", s->number + 1, (int)s->pid);
	vacate(m, s->number);
}

/* Its sockets have another home now: from there on they are accepted from, and here no more. */
static void
move_slot(struct master *m, size_t slot, size_t from, size_t to)
{
	if (m->lent[slot] != NOBODY)
		send_slot(m, m->slots[m->lent[slot]], CHANNEL_UNLISTEN, slot, 0);
	m->lent[slot] = NOBODY;
	if (m->slots[to]->state != SLOT_EMPTY)
		send_slot(m, m->slots[to], CHANNEL_LISTEN, slot, 0);
	send_slot(m, m->slots[from], CHANNEL_UNLISTEN, slot, 0);
}

void
crew_resize(struct master *m, size_t count)
{
	size_t before = m->slot_count;

	if (count == before)
		return;
	log_line(LOG_NOTICE, "%zu workers rather than %zu", count, before);
	m->slot_count = count;
	for (size_t i = 0; i < m->slot_room; i++)
		if (i % before != i % count)
			move_slot(m, i, i % before, i % count);
	for (size_t i = count; i < before; i++) {
		if (m->slots[i]->state == SLOT_EMPTY)
			continue;
		vacate(m, (uint32_t)i);
		m->leavers->told = true;
		channel_say(&m->leavers->channel, CHANNEL_DRAIN, m->generation);
	}
}

void
crew_return(struct master *m)
{
	log_line(LOG_NOTICE, "serving again");
	m->phase = PHASE_SERVING;
	for (size_t i = 0; i < m->slot_count; i++) {
		if (m->slots[i]->state == SLOT_EMPTY)
			continue;
		vacate(m, (uint32_t)i);
		m->leavers->told = true;
	}
}

/* Who has another in its place that serves is no longer wanted. */
static void
dismiss(struct master *m, struct slot *s)
{
	if (!s->parting || s->told || m->slots[s->number]->state != SLOT_READY)
		return;
	s->told = true;
	channel_say(&s->channel, CHANNEL_DRAIN, m->generation);
}

/* ------------------------------------------------------------------ deaths */

static void
log_death(const struct slot *s, int status, bool wanted)
{
	if (WIFSIGNALED(status))
		log_line(LOG_ALERT, "worker %u (%d) was ended by signal %d%s", s->number + 1,
		    (int)s->pid, WTERMSIG(status), WCOREDUMP(status) ? ", core dumped" : "");
	else if (!wanted || WEXITSTATUS(status) != 0)
		log_line(LOG_ALERT, "worker %u (%d) ended with status %d", s->number + 1,
		    (int)s->pid, WEXITSTATUS(status));
}

static void
begin_loop(struct slot *s)
{
	if (s->soon >= LOOP_SOON)
		log_line(LOG_ALERT,
		    "worker %u ended %u times in a row before it had served for %d ms: the others "
		    "serve, it is tried again ever later",
		    s->number + 1, s->soon, SOON);
	else
		log_line(LOG_ALERT,
		    "worker %u ended %d times within %d seconds: the others serve, it is tried again "
		    "ever later",
		    s->number + 1, LOOP_DEATHS, LOOP_WITHIN / 1000);
	s->loops = true;
}

/*
 * Who was served by it wants the next one at once; only where one after another is of no use to
 * anybody they cost more than they give.
 */
static void
count_death(struct slot *s)
{
	uint64_t now = clock_ms(), served = s->ready == 0 ? 0 : now - s->ready;

	s->died++;
	memmove(s->deaths + 1, s->deaths, (LOOP_DEATHS - 1) * sizeof(s->deaths[0]));
	s->deaths[0] = now;
	s->soon = served < SOON ? s->soon + 1 : 0;
	if (served >= FORGIVEN_AFTER) {
		s->loops = false;
		memset(s->deaths + 1, 0, (LOOP_DEATHS - 1) * sizeof(s->deaths[0]));
	}

	uint64_t first = s->deaths[LOOP_DEATHS - 1];

	if (!s->loops && (s->soon >= LOOP_SOON || (first != 0 && now - first <= LOOP_WITHIN)))
		begin_loop(s);
}

static void
forgive(struct slot *s)
{
	s->loops = false;
	s->soon = 0;
	s->delay = s->due = 0;
	memset(s->deaths, 0, sizeof(s->deaths));
}

void
crew_forgive(struct master *m)
{
	for (size_t i = 0; i < m->slot_room; i++)
		if (m->slots[i]->loops)
			forgive(m->slots[i]);
}

static void
unlink_leaver(struct master *m, struct slot *s)
{
	struct slot **at = &m->leavers;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
}

static void
bury_leaver(struct master *m, struct slot *s)
{
	unlink_leaver(m, s);
	if (s->shared != m->slots[s->number]->shared)
		give_place(m, s->shared);
	slot_free(s, true);
}

static void
bury(struct master *m, struct slot *s, int status)
{
	log_death(s, status, m->phase >= PHASE_RETIRED || s->told);
	channel_close(&s->channel);
	if (s->parting) {
		bury_leaver(m, s);
		return;
	}
	s->state = SLOT_EMPTY;
	s->pid = 0;
	s->hung = s->untold = false;
	for (size_t i = 0; i < m->slot_room; i++)
		if (m->lent[i] == (int)s->number)
			m->lent[i] = NOBODY;
	if (m->phase == PHASE_SERVING)
		count_death(s);
	if (m->phase == PHASE_STARTING || s->loops) {
		put_off(m, s);
	} else {
		s->delay = 0;
		call_again(m, s);
	}
}

static struct slot *
find_worker(const struct master *m, pid_t pid)
{
	for (size_t i = 0; i < m->slot_room; i++)
		if (m->slots[i]->state != SLOT_EMPTY && m->slots[i]->pid == pid)
			return m->slots[i];
	for (struct slot *s = m->leavers; s != NULL; s = s->next)
		if (s->pid == pid)
			return s;
	return NULL;
}

/* As the first process of a container we inherit the orphans too: whoever ended is waited for. */
void
crew_reap(struct master *m)
{
	int status;

	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		struct slot *s = find_worker(m, pid);

		if (s != NULL)
			bury(m, s, status);
		else if (!upgrade_reaped(m, pid, status) && !control_reaped(m, pid, status))
			reload_reaped(m, pid, status);
	}
}

static uint64_t
shown(const _Atomic uint64_t *at)
{
	return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE);
}

/* What it was given it may not have built yet. */
static size_t
held_by(const struct slot *s, struct shared_span *held)
{
	size_t n = 0;

	held[n++] = (struct shared_span){ shown(&s->shared->held_more) != 0 ? 1 : s->given, s->given };
	for (size_t i = 0; i < SNAPSHOTS_SHOWN; i++) {
		uint64_t generation = shown(&s->shared->held[i]);

		if (generation != 0)
			held[n++] = (struct shared_span){ generation, generation };
	}
	return n;
}

struct shared_span *
crew_held(const struct master *m, size_t *count)
{
	struct shared_span *held;
	size_t most = m->slot_room, n = 1;

	for (const struct slot *s = m->leavers; s != NULL; s = s->next, most++)
		if (s->shared == m->slots[s->number]->shared)
			return NULL;
	held = memory_zalloc((1 + most * (1 + SNAPSHOTS_SHOWN)) * sizeof(*held));
	held[0] = (struct shared_span){ m->generation, m->generation };
	for (const struct slot *s = m->leavers; s != NULL; s = s->next)
		n += held_by(s, held + n);
	for (size_t i = 0; i < m->slot_room; i++)
		if (m->slots[i]->state != SLOT_EMPTY)
			n += held_by(m->slots[i], held + n);
	*count = n;
	return held;
}

static bool
answers_for_gone(const struct slot *s)
{
	return s->state != SLOT_EMPTY &&
	    (s->closing != 0 || __atomic_load_n((const uint64_t *)&s->shared->removed, __ATOMIC_RELAXED) != 0);
}

bool
crew_answers_for_gone(const struct master *m)
{
	for (size_t i = 0; i < m->slot_room; i++)
		if (answers_for_gone(m->slots[i]))
			return true;
	for (const struct slot *s = m->leavers; s != NULL; s = s->next)
		if (answers_for_gone(s))
			return true;
	return false;
}

bool
crew_all_ended(const struct master *m)
{
	for (size_t i = 0; i < m->slot_room; i++)
		if (m->slots[i]->state != SLOT_EMPTY)
			return false;
	return m->leavers == NULL;
}

/* ------------------------------------------------------------------ the watch */

static bool
serves(const struct slot *s)
{
	return s->state == SLOT_READY && !s->hung;
}

static uint64_t
beat_of(const struct slot *s)
{
	return __atomic_load_n((const uint64_t *)&s->shared->beat, __ATOMIC_RELAXED);
}

uint64_t
crew_silence(const struct master *m, const struct slot *s)
{
	uint64_t since = MAX_OF(MAX_OF(beat_of(s), s->born), m->awake_since), now = clock_ms();

	return now > since ? now - since : 0;
}

/* One that starts may be silent while it builds; one that beats and never serves is lost, too. */
static bool
is_lost(const struct master *m, const struct slot *s, uint64_t silent)
{
	uint64_t started = MAX_OF(s->born, m->awake_since);

	if (s->deaf_since != 0 && clock_ms() - s->deaf_since > STOP_GRACE)
		return true;
	if (s->state == SLOT_READY && !s->parting && s->given != s->serves &&
	    clock_ms() - MAX_OF(s->given_at, m->awake_since) > START_LIMIT)
		return true;
	return s->state == SLOT_STARTING ? clock_ms() - started > START_LIMIT
					 : silent > KILLED_AFTER;
}

static bool
anyone_beats(const struct master *m)
{
	for (size_t i = 0; i < m->slot_count; i++)
		if (m->slots[i]->state == SLOT_READY && crew_silence(m, m->slots[i]) <= HUNG_AFTER)
			return true;
	return false;
}

bool
crew_beats(const struct master *m)
{
	return anyone_beats(m);
}

static const char *
doing_of(const struct slot *s, char text[static CONTROL_DOING])
{
	return control_doing(s, text, CONTROL_DOING) ? text : "what it does is not known";
}

bool
crew_tells(const struct slot *s)
{
	const struct worker_shared *w = s->shared;

	return s->asked_at != 0 && s->asked_beat == beat_of(s) &&
	    __atomic_load_n((const uint32_t *)&w->told, __ATOMIC_ACQUIRE) == w->asked;
}

/*
 * A signal ends what its code waits for in the kernel, where that is nothing to be begun again: so only who
 * hangs is asked, and not all the time.
 */
static bool
ask(struct slot *s)
{
	if (s->asked_at != 0 && s->asked_beat == beat_of(s) && clock_ms() - s->asked_at < ASK_EVERY)
		return false;
	s->asked_at = clock_ms();
	s->asked_beat = beat_of(s);
	__atomic_store_n((uint32_t *)&s->shared->asked, s->shared->asked + 1, __ATOMIC_RELEASE);
	tgkill(s->pid, s->pid, GLANCE_SIGNAL);
	return true;
}

static void
tell_hung(struct slot *s)
{
	char doing[CONTROL_DOING];

	s->untold = false;
	log_line(LOG_WARN, "worker %u (%d) hangs: its sockets are lent (%s)", s->number + 1,
	    (int)s->pid, doing_of(s, doing));
}

static void
be_back(struct slot *s)
{
	if (s->untold)
		tell_hung(s);
	s->hung = false;
	log_line(LOG_NOTICE, "worker %u (%d) is back", s->number + 1, (int)s->pid);
}

static void
kill_lost(struct slot *s, uint64_t silent)
{
	char doing[CONTROL_DOING];

	log_line(LOG_ALERT,
	    "worker %u (%d) does not answer, its last sign of life is %llu ms old (%s): it is killed",
	    s->number + 1, (int)s->pid, (unsigned long long)silent, doing_of(s, doing));
	kill(s->pid, SIGKILL);
}

static void
judge(struct master *m, struct slot *s)
{
	uint64_t silent = crew_silence(m, s);
	bool is_new = false;

	channel_retry(&s->channel);
	if (is_lost(m, s, silent)) {
		kill_lost(s, silent);
		return;
	}
	if (s->state == SLOT_READY && !s->hung && silent > HUNG_AFTER && anyone_beats(m))
		is_new = s->hung = s->untold = true;
	if (s->state != SLOT_STARTING && silent > HUNG_AFTER && ask(s))
		m->asked = true;
	if (s->hung && silent <= HUNG_AFTER)
		be_back(s);
	else if (s->untold && !is_new)
		tell_hung(s);
}

void
crew_look(struct deadline *d)
{
	struct master *m = CONTAINER_OF(d, struct master, look);

	if (clock_ms() - m->looked > HUNG_AFTER)
		m->awake_since = clock_ms();
	m->looked = clock_ms();
	m->asked = false;
	crew_each(m, judge);
	deadline_set(&m->loop, d, m->asked ? TOLD_AFTER : LOOK_EVERY);
}

static int
lowest_serving(const struct master *m)
{
	for (size_t i = 0; i < m->slot_count; i++)
		if (serves(m->slots[i]))
			return (int)i;
	return NOBODY;
}

/* Who should have the sockets of that slot beside their own worker. */
static int
borrower(const struct master *m, size_t slot)
{
	if (serves(m->slots[home_of(m, slot)]))
		return NOBODY;
	if (m->lent[slot] != NOBODY && serves(m->slots[m->lent[slot]]))
		return m->lent[slot];
	return lowest_serving(m);
}

void
crew_settle(struct master *m)
{
	for (size_t i = 0; i < m->slot_room; i++) {
		int now = borrower(m, i);

		if (now == m->lent[i])
			continue;
		if (m->lent[i] != NOBODY)
			send_slot(m, m->slots[m->lent[i]], CHANNEL_UNLISTEN, i, 0);
		if (now != NOBODY)
			send_slot(m, m->slots[now], CHANNEL_LISTEN, i, 0);
		m->lent[i] = now;
	}
	crew_each(m, dismiss);
}
