/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What only the workers know: each is given a file to write into, and those that have not in a second are
 * said to be missing. Nothing that a worker writes is trusted: it is rows, of so many bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/control_inner.h"

enum { ASK_TIME = 1000 };               /* ms */

void
control_worker_name(const struct slot *s, char name[static CONTROL_WORKER_NAME])
{
	/* Its successor has the number; numbers of connections are of a process. */
	snprintf(name, CONTROL_WORKER_NAME, s->parting ? "%u:%d" : "%u", s->number + 1, (int)s->pid);
}

/* ------------------------------------------------------------------ asking */

static int
order_file(const struct control_order *o)
{
	int fd = memfd_create("control", MFD_CLOEXEC);

	if (fd >= 0 && pwrite(fd, o, sizeof(*o), 0) == (ssize_t)sizeof(*o))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void
ask(struct control_client *k, struct slot *s)
{
	struct control_asked *a;
	int fd;

	if (s->state == SLOT_EMPTY || s->state == SLOT_STARTING)
		return;
	k->asked = memory_realloc(k->asked, (k->asked_count + 1) * sizeof(*k->asked));
	a = &k->asked[k->asked_count++];
	*a = (struct control_asked){ .pid = s->pid, .fd = -1 };
	control_worker_name(s, a->name);
	memcpy(k->order.worker, a->name, sizeof(a->name));
	k->order.until = clock_ms() + ASK_TIME;
	fd = order_file(&k->order);
	if (fd < 0) {
		report_line(&k->report, '!', "worker %s cannot be asked: %s", a->name, strerror(errno));
		a->pid = 0;
		return;
	}
	a->fd = fd;
	channel_send(&s->channel,
	    &(struct channel_message){ .kind = CHANNEL_ASK, .generation = k->number }, &fd, 1);
}

static void
ask_all(struct control_client *k)
{
	struct master *m = k->master;

	for (size_t i = 0; i < m->slot_room; i++)
		ask(k, m->slots[i]);
	for (struct slot *s = m->leavers; s != NULL; s = s->next)
		ask(k, s);
}

void
control_forget_asked(struct control_client *k)
{
	for (size_t i = 0; i < k->asked_count; i++)
		if (k->asked[i].fd >= 0)
			close(k->asked[i].fd);
	free(k->asked);
	k->asked = NULL;
	k->asked_count = 0;
}

static bool
have_all_answered(struct control_client *k)
{
	for (size_t i = 0; i < k->asked_count; i++)
		if (k->asked[i].pid != 0)
			return false;
	return true;
}

/* ------------------------------------------------------------------ answers */

static size_t
read_some(int fd, void *to, size_t n, size_t at)
{
	size_t got = 0;

	for (ssize_t one; got < n &&
	    (one = pread(fd, (char *)to + got, n - got, (off_t)(at + got))) > 0;)
		got += (size_t)one;
	return got;
}

/* As many as there is room for, and as were asked for. */
static void
take_rows(struct control_client *k, struct slice rows)
{
	struct slice line;

	while (slice_split(&rows, '\n', &line) && k->shown < k->order.filter.limit)
		k->shown += report_take_rows(&k->report, line);
}

/* False: there is no answer in it. */
static bool
take_file(struct control_client *k, int fd)
{
	struct control_answer a;
	size_t at = sizeof(k->order);
	char *rows;

	if (read_some(fd, &a, sizeof(a), at) != sizeof(a))
		return false;
	k->matched += a.matched;
	a.size = MIN_OF(a.size, (uint64_t)REPORT_MAX);
	rows = a.size != 0 ? memory_try(a.size) : NULL;
	if (rows != NULL)
		take_rows(k, slice_make(rows, read_some(fd, rows, a.size, at + sizeof(a))));
	free(rows);
	return true;
}

void
control_take_answer(struct control_client *k, struct slot *s)
{
	for (size_t i = 0; i < k->asked_count; i++) {
		struct control_asked *a = &k->asked[i];

		if (a->pid == s->pid)
			a->pid = 0;
	}
}

/* In the order of the workers, whoever was the first to answer. */
static void
gather(struct control_client *k)
{
	for (size_t i = 0; i < k->asked_count; i++) {
		const struct control_asked *a = &k->asked[i];

		/* Of one that could not be asked it was said why. */
		if (a->fd >= 0 && (a->pid != 0 || !take_file(k, a->fd)))
			report_line(&k->report, '!', "worker %s does not answer", a->name);
	}
}

/* ------------------------------------------------------------------ connections */

static void
end_connections(struct control_client *k)
{
	unsigned long long more;

	gather(k);
	more = k->matched - MIN_OF(k->matched, k->shown);
	if (more != 0 && k->shown >= k->order.filter.limit)
		report_line(&k->report, '!', "%llu more are not shown: limit=%u", more,
		    k->order.filter.limit);
	else if (more != 0)
		report_line(&k->report, '!', "%llu more have no room here", more);
	k->report.dropped = 0;
}

static bool
has_connections(struct control_client *k)
{
	if (!have_all_answered(k))
		return false;
	end_connections(k);
	return true;
}

static void
late_connections(struct control_client *k)
{
	end_connections(k);
	control_finish(k);
}

void
control_connections(struct control_client *k)
{
	char room[512];
	struct builder fault = builder_on(room, sizeof(room));

	if (!control_filter_read(&k->order.filter, k->request.words + 1, k->request.count - 1, &fault)) {
		control_refuse(k, SLICE_FORMAT, SLICE_ARG(builder_slice(&fault)));
		return;
	}
	report_table(&k->report, '+', "connections",
	    "id:s side:s state:s protocol:s address:s listener:s server:s upstream:s age:d idle:d in:b "
	    "out:b queued:b questions:n");
	k->order.kind = ORDER_CONNECTIONS;
	ask_all(k);
	control_wait(k, has_connections, late_connections, ASK_TIME);
}

/* ------------------------------------------------------------------ kick */

static bool
was_kicked(struct control_client *k)
{
	if (!have_all_answered(k))
		return false;
	gather(k);
	if (k->matched == 0)
		report_line(&k->report, '-', "there is no connection " SLICE_FORMAT,
		    SLICE_ARG(k->request.words[1]));
	else
		report_line(&k->report, '=', "connection " SLICE_FORMAT " ends",
		    SLICE_ARG(k->request.words[1]));
	return true;
}

static void
late_kick(struct control_client *k)
{
	control_refuse(k, "worker %s does not answer", k->asked[0].name);
}

static struct slot *
find_named(struct master *m, struct slice name)
{
	char text[CONTROL_WORKER_NAME];

	for (size_t i = 0; i < m->slot_room; i++) {
		control_worker_name(m->slots[i], text);
		if (slice_is(name, text))
			return m->slots[i];
	}
	for (struct slot *s = m->leavers; s != NULL; s = s->next) {
		control_worker_name(s, text);
		if (slice_is(name, text))
			return s;
	}
	return NULL;
}

void
control_kick(struct control_client *k)
{
	struct slice worker;
	bool now = k->request.count == 3;

	if (!control_id_read(k->request.words[1], &worker, &k->order.number) ||
	    (now && !slice_is(k->request.words[2], "now"))) {
		control_refuse(k, "write: kick ID [now]; an id is the first column of connections, 2.117");
		return;
	}

	struct slot *s = find_named(k->master, worker);

	if (s == NULL || s->state == SLOT_EMPTY) {
		control_refuse(k, "there is no worker " SLICE_FORMAT, SLICE_ARG(worker));
		return;
	}
	k->order.kind = ORDER_KICK;
	k->order.now = now;
	ask(k, s);
	control_wait(k, was_kicked, late_kick, ASK_TIME);
}

struct slot *
control_find_worker(struct control_client *k, struct slice number)
{
	struct slot *s = find_named(k->master, number);

	if (s != NULL && !s->parting && s->number < k->master->slot_count)
		return s;
	control_refuse(k, "there is no worker " SLICE_FORMAT, SLICE_ARG(number));
	return NULL;
}

/* ------------------------------------------------------------------ snapshots */

static bool
has_snapshots(struct control_client *k)
{
	if (!have_all_answered(k))
		return false;
	gather(k);
	return true;
}

static void
late_snapshots(struct control_client *k)
{
	gather(k);
	control_finish(k);
}

void
control_snapshots(struct control_client *k)
{
	report_table(&k->report, '+', "snapshots",
	    "worker:s generation:n state:s holds:n exchanges:n connections:n");
	k->order.kind = ORDER_SNAPSHOTS;
	k->order.filter.limit = CONTROL_ROWS;
	ask_all(k);
	control_wait(k, has_snapshots, late_snapshots, ASK_TIME);
}
