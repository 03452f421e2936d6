/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is answered without asking anybody: the workers write it down where the master sees it, so one that
 * hangs is shown as well, and what it hangs in.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "server/control_inner.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

/* ------------------------------------------------------------------ rates */

static uint64_t
seen(const _Atomic uint64_t *counter)
{
	return __atomic_load_n((const uint64_t *)counter, __ATOMIC_RELAXED);
}

static uint64_t
rate(uint64_t now, uint64_t before, uint64_t ms)
{
	return now < before ? 0 : (now - before) * 1000 * 1000 / ms;
}

void
control_take_sample(struct master *m, struct slot *s)
{
	struct control_sample *before = &s->sample, now = { .at = clock_ms(),
		.messages = seen(&s->shared->messages) };

	now.exchanges = seen(&s->shared->exchanges) - now.messages;
	if (before->at != 0 && now.at > before->at) {
		now.exchange_rate = rate(now.exchanges, before->exchanges, now.at - before->at);
		now.message_rate = rate(now.messages, before->messages, now.at - before->at);
	}
	*before = now;
}

/* ------------------------------------------------------------------ what the kernel knows */

static size_t
read_proc(pid_t pid, const char *name, char *room, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);

	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	n = read(fd, room, size - 1);
	close(fd);
	room[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

static uint64_t
resident(pid_t pid)
{
	char text[128];
	unsigned long long all, resident;

	if (read_proc(pid, "statm", text, sizeof(text)) == 0 ||
	    sscanf(text, "%llu %llu", &all, &resident) != 2)
		return 0;
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* R, S, D, T …; 0: not known. What stands in front of it, in brackets, may have brackets. */
static char
process_state(pid_t pid)
{
	char text[512];
	const char *end;

	if (read_proc(pid, "stat", text, sizeof(text)) == 0)
		return 0;
	end = strrchr(text, ')');
	return end != NULL && end[1] == ' ' ? end[2] : 0;
}

/* ------------------------------------------------------------------ workers */

static bool
is_stopped(const struct slot *s)
{
	char state = process_state(s->pid);

	return state == 'T' || state == 't';
}

static const char *
state_of(const struct master *m, const struct slot *s)
{
	if (s->state == SLOT_EMPTY)
		return "dead";
	if (is_stopped(s))
		return "stopped";
	if (s->hung || (s->state != SLOT_STARTING && crew_silence(m, s) > HUNG_AFTER))
		return "hangs";
	if (s->state == SLOT_STARTING)
		return "starting";
	if (s->parting || s->state == SLOT_LEAVING || m->phase >= PHASE_RETIRED)
		return "draining";
	return "serving";
}

/* As it wrote it: whatever that is, it is a line. */
static void
add_tale(const char *tale, char *text, size_t size)
{
	size_t n = strnlen(tale, TALE_MOST), at = strlen(text);

	if (n != 0)
		at += (size_t)snprintf(text + at, size - at, ": ");
	for (size_t i = 0; i < n && at + 1 < size; i++)
		text[at++] = tale[i] >= ' ' && tale[i] <= '~' ? tale[i] : '?';
	text[at] = '\0';
}

bool
control_doing(const struct slot *s, char *text, size_t size)
{
	static const char *const words[] = {
		[LOOP_WAITING] = "waits", [LOOP_EVENTS] = "events", [LOOP_DEADLINES] = "deadlines",
		[LOOP_TASKS] = "tasks", [LOOP_WRITES] = "writes", [LOOP_ORDERS] = "orders",
	};
	uint32_t doing = __atomic_load_n((const uint32_t *)&s->shared->doing, __ATOMIC_RELAXED);
	char kernel = process_state(s->pid);

	if (s->state == SLOT_EMPTY || doing >= ARRAY_COUNT(words))
		return false;
	snprintf(text, size, "%s%s", words[doing], kernel == 'R' ? ", computes" :
	    kernel == 'D' ? ", in the kernel" : kernel == 'S' ? ", sleeps" :
	    kernel == 'T' || kernel == 't' ? ", stopped" : "");
	if (crew_tells(s))
		add_tale(s->shared->tale, text, size);
	return true;
}

/* Of one that hangs; of one that does not it would be of the past. */
static void
put_doing(struct report *r, const struct master *m, const struct slot *s)
{
	char text[CONTROL_DOING];

	if (crew_silence(m, s) > HUNG_AFTER && control_doing(s, text, sizeof(text)))
		report_text(r, slice_of(text));
	else
		report_nothing(r);
}

static void
put_name(struct report *r, const struct slot *s)
{
	char name[CONTROL_WORKER_NAME];

	control_worker_name(s, name);
	report_text(r, slice_of(name));
}

/* Of one that is dead it is not known, or was another's. */
static void
put_of_living(struct report *r, const struct slot *s, uint64_t number)
{
	if (s->state != SLOT_EMPTY)
		report_number(r, number);
	else
		report_nothing(r);
}

static void
put_worker(struct control_client *k, const struct slot *s)
{
	struct report *r = &k->report;
	const struct worker_shared *w = s->shared;
	uint64_t messages = seen(&w->messages);

	report_row(r);
	put_name(r, s);
	put_of_living(r, s, (uint64_t)s->pid);
	report_text(r, slice_of(state_of(k->master, s)));
	put_of_living(r, s, clock_ms() - s->born);
	put_of_living(r, s, crew_silence(k->master, s));
	report_number(r, seen(&w->generation));
	put_of_living(r, s, seen(&w->connections));
	put_of_living(r, s, seen(&w->flows));
	report_number(r, s->sample.exchange_rate);
	report_number(r, s->sample.message_rate);
	report_number(r, seen(&w->exchanges) - messages);
	report_number(r, messages);
	report_number(r, seen(&w->bytes_in));
	report_number(r, seen(&w->bytes_out));
	report_number(r, seen(&w->passes));
	put_of_living(r, s, resident(s->pid));
	report_number(r, s->died);
	put_doing(r, k->master, s);
	report_end_row(r);
}

static void
put_workers(struct control_client *k)
{
	const struct master *m = k->master;

	report_table(&k->report, '+', "workers",
	    "worker:s pid:n state:s age:d silent:d generation:n connections:n flows:n exchanges/s:r "
	    "messages/s:r exchanges:n messages:n in:b out:b passes:n memory:b deaths:n doing:s");
	for (size_t i = 0; i < m->slot_room; i++)
		if (i < m->slot_count || m->slots[i]->state != SLOT_EMPTY)
			put_worker(k, m->slots[i]);
	for (const struct slot *s = m->leavers; s != NULL; s = s->next)
		put_worker(k, s);
}

/* ------------------------------------------------------------------ all of it */

static const char *
phase_of(const struct master *m)
{
	static const char *const words[] = { [PHASE_STARTING] = "starting",
		[PHASE_SERVING] = "serving", [PHASE_RETIRED] = "retired", [PHASE_DRAINING] = "draining",
		[PHASE_STOPPING] = "stopping" };

	if (m->phase == PHASE_SERVING && m->reload.stage != RELOAD_NONE)
		return "reloading";
	if (m->phase == PHASE_SERVING && upgrade_is_under_way(m))
		return "upgrading";
	return words[m->phase];
}

static void
put_server(struct control_client *k)
{
	const struct master *m = k->master;
	struct report *r = &k->report;

	report_table(r, '*', "server",
	    "version:s pid:n state:s uptime:d generation:n workers:n listeners:n log:s");
	report_row(r);
	report_text(r, slice_of(PACKAGE_VERSION));
	report_number(r, (uint64_t)getpid());
	report_text(r, slice_of(phase_of(m)));
	report_number(r, clock_ms() - m->control.opened);
	report_number(r, m->generation);
	report_number(r, m->slot_count);
	report_number(r, m->bundle.header->listeners.count);
	report_text(r, slice_of(log_level_names[control_level(m)]));
	report_end_row(r);
}

/* Of all workers that there are or were. */
static uint64_t
sum_of(const struct master *m, enum reason reason)
{
	uint64_t n = 0;

	for (size_t i = 0; i < m->slot_room; i++)
		n += seen(&m->slots[i]->shared->reasons[reason]);
	for (const struct slot *s = m->leavers; s != NULL; s = s->next)
		if (s->shared != m->slots[s->number]->shared)
			n += seen(&s->shared->reasons[reason]);
	for (size_t i = 0; i < m->place_count; i++)
		n += seen(&m->places[i]->reasons[reason]);
	return n;
}

static void
put_reasons(struct control_client *k)
{
	struct report *r = &k->report;
	bool any = false;

	for (int reason = 1; reason < REASON_COUNT; reason++) {
		uint64_t n = sum_of(k->master, (enum reason)reason);

		if (n == 0)
			continue;
		if (!any)
			report_table(r, '+', "reasons", "reason:s count:n meaning:s");
		any = true;
		report_row(r);
		report_text(r, slice_of(reason_texts[reason].word));
		report_number(r, n);
		report_text(r, slice_of(reason_texts[reason].text));
		report_end_row(r);
	}
}

void
control_status(struct control_client *k)
{
	put_server(k);
	put_workers(k);
	put_reasons(k);
	control_finish(k);
}

/* ------------------------------------------------------------------ upstreams */

struct peer_sum {
	uint64_t in_flight, idle, open, latency, timed;
};

static void
add_count(struct peer_sum *sum, const struct slot *s, struct peer_name whose)
{
	const struct peer_count *c = s->state == SLOT_EMPTY ? NULL :
	    upstream_count(s->shared->peers, whose, false);

	if (c == NULL)
		return;
	sum->in_flight += c->in_flight;
	sum->idle += c->idle;
	sum->open += c->open;
	sum->latency += c->latency;
	sum->timed += c->latency != 0;
}

static const char *
peer_state_of(const struct bundle_shared *b, const struct peer_shared *p, uint64_t *rests)
{
	uint64_t until = seen(&p->down_until), now = clock_ms();

	/* What was found when it might still rest says nothing any more. */
	if ((b->peer & BUNDLE_PEER_RESTS) == 0)
		until = 0;
	*rests = until > now ? until - now : 0;
	if ((b->peer & BUNDLE_PEER_DOWN) != 0)
		return "down";
	if (p->drained != 0)
		return "drained";
	return until == 0 ? "up" : *rests != 0 ? "resting" : "trial";
}

static void
put_peer(struct control_client *k, const struct bundle_shared *b)
{
	const struct master *m = k->master;
	const struct peer_shared *p = shared_at(&m->shared, b->offset, sizeof(*p));
	struct report *r = &k->report;
	struct peer_sum sum = { .idle = 0 };
	uint64_t rests;

	if (p == NULL)
		return;

	struct peer_name whose = upstream_peer_name(b->key.name, m->shared.at, p);

	for (size_t i = 0; i < m->slot_room; i++)
		add_count(&sum, m->slots[i], whose);
	for (const struct slot *s = m->leavers; s != NULL; s = s->next)
		if (s->shared != m->slots[s->number]->shared)
			add_count(&sum, s, whose);
	report_row(r);
	report_text(r, slice_of(b->key.name));
	report_text(r, slice_of(peer_state_of(b, p, &rests)));
	report_number(r, rests);
	report_number(r, seen(&p->taken));
	report_number(r, seen(&p->failed));
	report_number(r, p->fails);
	report_number(r, sum.in_flight);
	report_number(r, sum.idle);
	report_number(r, sum.open);
	if (sum.timed != 0)
		report_number(r, sum.latency / sum.timed);
	else
		report_nothing(r);
	report_end_row(r);
}

void
control_upstreams(struct control_client *k)
{
	const struct bundle *b = &k->master->bundle;
	struct slice only = k->request.count > 1 ? k->request.words[1] : SLICE_EMPTY;

	report_table(&k->report, '+', "peers",
	    "peer:s state:s rests:d taken:n failed:n fails:n in_flight:n idle:n open:n latency_ms:r");
	for (size_t i = 0; i < b->header->shared.count; i++) {
		const struct bundle_shared *one = &bundle_shared(b)[i];
		struct slice name = slice_of(one->key.name);

		if (one->key.kind == SHARED_PEER && (only.n == 0 || slice_equal(name, only) ||
		    (slice_starts(name, only) && name.at[only.n] == '/')))
			put_peer(k, one);
	}
	control_finish(k);
}
