/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Orders come over the channel and are followed at once, but for sockets: one whose
 * binding no snapshot has yet waits in the table of given sockets until the swap that brings it.
 */
#include "server/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/glance.h"
#include "core/match.h"
#include "core/shortage.h"
#include "io/aside.h"
#include "server/build.h"
#include "server/channel.h"
#include "server/control_order.h"
#include "server/process.h"

struct given {
	int fd;                         /* the engine's once it accepts */
	uint32_t slot;
	uint16_t binding;
	bool accepting;
};

struct worker_signal {
	struct loop_event event;
	struct worker *worker;
};

/* A bundle on its way to a snapshot. */
struct job {
	struct aside aside;
	const struct shared *region;
	struct bundle bundle;           /* its records: wanted after it was built */
	uint64_t generation;
	int *logs;
	struct snapshot *previous, *made;
};

struct worker {
	const struct worker_start *start;
	struct engine engine;
	struct channel channel;
	struct worker_signal terminate, quit;
	struct deadline beat;
	struct shared shared;
	int error_fd;
	enum log_level error_level;
	struct given *given;
	size_t given_count, given_room;
	struct job job;                 /* what is built */
	bool go_on;                     /* there was another GO meanwhile */
	/* For the next GO. */
	struct bundle bundle;
	uint64_t generation;
	int *logs;                      /* by index of the bundle; -1: none came */
	int status;
};

/* ------------------------------------------------------------------ from a bundle to a snapshot */

/* What a snapshot was built from: its texts point here, so it lives as long. */
struct origin {
	struct bundle bundle;
	struct arena arena;
	struct sources files;
};

static void
origin_free(void *what)
{
	struct origin *o = what;

	arena_reset(&o->arena);
	bundle_close(&o->bundle);
	free(o);
}

/* The master's child built the same without an error: this is for whoever looks for the fault. */
static void
log_diagnostics(const struct diag *d)
{
	for (const struct diagnostic *one = d->first; one != NULL; one = one->next)
		if (one->severity == SEVERITY_ERROR)
			log_line(LOG_ALERT, "the bundle does not build here: %s", one->text);
}

/* Takes the bundle. NULL: the log says why. */
static struct snapshot *
build(struct bundle *b, const struct snapshot *previous)
{
	struct origin *o = memory_zalloc(sizeof(*o));
	struct diag diag;

	o->bundle = *b;
	*b = BUNDLE_NONE;
	arena_init(&o->arena, NULL, 0);
	bundle_sources(&o->bundle, &o->files, &o->arena);
	diag_init(&diag, &o->arena, &o->files);
	diag.errors_only = true;         /* who checked the bundle has said the others */

	const struct build_input in = {
		.files = &o->files,
		.path = bundle_text(&o->bundle, o->bundle.header->path),
		.prefix = bundle_text(&o->bundle, o->bundle.header->prefix),
		.previous = previous,
	};
	struct snapshot *s = build_snapshot(&in, &diag);

	if (s == NULL) {
		log_diagnostics(&diag);
		origin_free(o);
		return NULL;
	}
	arena_on_reset(&s->arena, origin_free, o);
	return s;
}

/* ------------------------------------------------------------- what stands beside a snapshot */

static bool
set_bindings(struct snapshot *s, const struct bundle *b)
{
	const struct bundle_listener *listeners = bundle_listeners(b);

	if (b->header->listeners.count != s->listener_count)
		return false;
	s->bindings = memory_zalloc((s->listener_count + 1) * sizeof(*s->bindings));
	for (size_t i = 0; i < s->listener_count; i++) {
		if (!addr_equal(&listeners[i].addr, &s->listeners[i].addr))
			return false;
		s->bindings[i] = listeners[i].binding;
	}
	return true;
}

static bool
set_shared(struct snapshot *s, const struct bundle *b, const struct shared *region)
{
	const struct bundle_shared *all = bundle_shared(b);

	if (b->header->shared.count != s->shared_count)
		return false;
	s->shared_at = memory_zalloc((s->shared_count + 1) * sizeof(*s->shared_at));
	for (size_t i = 0; i < s->shared_count; i++) {
		s->shared_at[i] = shared_at(region, all[i].offset, s->shared[i].size);
		if (s->shared_at[i] == NULL ||
		    memcmp(&all[i].key, &s->shared[i], sizeof(all[i].key)) != 0)
			return false;
	}
	return true;
}

static void
set_sinks(struct worker *w, struct snapshot *s, int *logs)
{
	s->log_sinks = memory_zalloc((s->log_count + 1) * sizeof(*s->log_sinks));
	for (size_t i = 0; i < s->log_count; i++) {
		s->log_sinks[i] = engine_sink(&w->engine, s->logs[i].path, logs[i]);
		logs[i] = -1;
	}
}

/* ------------------------------------------------------------------ sockets */

static bool
is_bound(const struct worker *w, uint16_t binding)
{
	if (binding >= w->engine.binding_count)
		return false;

	const struct binding *b = &w->engine.bindings[binding];

	return b->listener != NULL && !b->removed;
}

static void
accept_given(struct worker *w)
{
	for (size_t i = 0; i < w->given_count && !w->engine.draining; i++) {
		struct given *g = &w->given[i];

		if (g->accepting || !is_bound(w, g->binding))
			continue;
		g->accepting = engine_accept(&w->engine, g->binding, g->fd);
		if (!g->accepting)
			log_line(LOG_ALERT, "a listening socket cannot be watched");
	}
}

static void
give(struct worker *w, uint16_t binding, uint32_t slot, int fd)
{
	if (w->engine.draining) {
		close(fd);
		return;
	}
	for (size_t i = 0; i < w->given_count; i++)
		if (w->given[i].binding == binding && w->given[i].slot == slot) {
			close(fd);              /* it was lent before, and is ours now */
			return;
		}
	if (w->given_count == w->given_room) {
		w->given_room = 2 * w->given_room + 16;
		w->given = memory_realloc(w->given, w->given_room * sizeof(*w->given));
	}
	w->given[w->given_count++] = (struct given){ .fd = fd, .slot = slot, .binding = binding };
}

static void
take_back(struct worker *w, uint16_t binding, uint32_t slot)
{
	for (size_t i = 0; i < w->given_count; i++) {
		struct given *g = &w->given[i];

		if (g->binding != binding || g->slot != slot)
			continue;
		if (g->accepting)
			engine_unaccept(&w->engine, binding, g->fd);
		else
			close(g->fd);
		*g = w->given[--w->given_count];
		return;
	}
}

/* It is no listener any more. */
static void
remove_binding(struct worker *w, uint16_t binding)
{
	for (size_t i = w->given_count; i-- > 0;) {
		struct given *g = &w->given[i];

		if (g->binding != binding)
			continue;
		if (!g->accepting)
			close(g->fd);
		*g = w->given[--w->given_count];
	}
	engine_remove(&w->engine, binding);
}

/* ------------------------------------------------------------------ orders */

static void
forget_parts(struct bundle *b, int **logs)
{
	for (size_t i = 0; *logs != NULL && i < b->header->logs.count; i++)
		if ((*logs)[i] >= 0)
			close((*logs)[i]);
	free(*logs);
	*logs = NULL;
	bundle_close(b);
}

static void
forget_bundle(struct worker *w)
{
	forget_parts(&w->bundle, &w->logs);
}

static void
fail(struct worker *w, uint64_t generation)
{
	channel_say(&w->channel, CHANNEL_FAILED, generation);
	if (w->engine.snapshot == NULL) {
		w->status = 1;
		loop_stop(&w->engine.loop);
	}
}

static void
take_bundle(struct worker *w, const struct channel_message *m, const int *fds, size_t fd_count)
{
	forget_bundle(w);
	w->generation = m->generation;
	if (fd_count != 1 || !bundle_open(&w->bundle, fds[0])) {
		log_line(LOG_ALERT, "the bundle cannot be opened");
		fail(w, w->generation);
		return;
	}
	size_t count = w->bundle.header->logs.count;
	w->logs = memory_zalloc((count + 1) * sizeof(*w->logs));
	for (size_t i = 0; i < count; i++)
		w->logs[i] = -1;
}

static void
follow_error_log(struct worker *w, int fd)
{
	log_to(fd, w->error_level);
	if (w->error_fd > STDERR_FILENO)
		close(w->error_fd);
	w->error_fd = fd;
}

static bool
put_log(const struct bundle *b, int *logs, uint32_t index, int fd)
{
	if (logs == NULL || index >= b->header->logs.count)
		return false;
	if (logs[index] >= 0)
		close(logs[index]);
	logs[index] = fd;
	return true;
}

/*
 * Of the bundle that came before, or is being built; without one it is the current snapshot's, opened
 * anew.
 */
static void
take_log(struct worker *w, uint32_t index, int fd)
{
	const struct snapshot *s = w->engine.snapshot;

	if (index == CHANNEL_ERROR_LOG) {
		follow_error_log(w, fd);
	} else if (put_log(&w->bundle, w->logs, index, fd) ||
	    (w->logs == NULL && put_log(&w->job.bundle, w->job.logs, index, fd))) {
		return;
	} else if (w->logs == NULL && w->job.logs == NULL && s != NULL && index < s->log_count) {
		engine_sink(&w->engine, s->logs[index].path, fd);
	} else {
		close(fd);
	}
}

static bool
is_what_was_said(const struct job *j, struct snapshot *s)
{
	if (set_bindings(s, &j->bundle) && set_shared(s, &j->bundle, j->region) &&
	    j->bundle.header->logs.count == s->log_count)
		return true;
	log_line(LOG_ALERT, "the bundle builds to something else here");
	return false;
}

/* Beside the loop: nothing here may touch what is the loop's. */
static void
work(struct aside *a)
{
	struct job *j = CONTAINER_OF(a, struct job, aside);
	/* The snapshot keeps a mapping of its own. */
	struct bundle kept = BUNDLE_NONE;

	j->made = NULL;
	if (bundle_open(&kept, fcntl(j->bundle.fd, F_DUPFD_CLOEXEC, 0)))
		j->made = build(&kept, j->previous);
	if (j->made != NULL && !is_what_was_said(j, j->made)) {
		snapshot_release(NULL, j->made);
		j->made = NULL;
	}
	regex_end_thread();
	/* The tree of the configuration was large, and is gone. (Else the old snapshot goes soon.) */
	if (j->previous == NULL)
		memory_trim();
}

static void go(struct worker *w);

static void
swap(struct worker *w, struct job *j)
{
	struct snapshot *s = j->made;

	set_sinks(w, s, j->logs);
	log_to(w->error_fd, (enum log_level)j->bundle.header->error_level);
	w->error_level = (enum log_level)j->bundle.header->error_level;
	s->generation = j->generation;
	engine_adopt(&w->engine, s);
	accept_given(w);
	w->start->mine->generation = j->generation;
	channel_say(&w->channel, CHANNEL_READY, j->generation);
	if (w->start->background)
		process_stdio_to_null();
}

static void
done(struct aside *a)
{
	struct job *j = CONTAINER_OF(a, struct job, aside);
	struct worker *w = CONTAINER_OF(j, struct worker, job);

	if (j->previous != NULL)
		snapshot_release(&w->engine, j->previous);
	j->previous = NULL;
	if (j->made != NULL)
		swap(w, j);
	else
		fail(w, j->generation);
	j->made = NULL;
	forget_parts(&j->bundle, &j->logs);
	if (w->go_on) {
		w->go_on = false;
		go(w);
	}
}

/* The first one at once: there is nobody to keep waiting yet. */
static void
go(struct worker *w)
{
	struct job *j = &w->job;

	if (j->aside.runs) {
		w->go_on = true;
		return;
	}
	if (w->logs == NULL) {
		fail(w, w->generation);
		return;
	}
	*j = (struct job){ .aside = { .work = work, .done = done }, .region = &w->shared,
		.bundle = w->bundle, .generation = w->generation, .logs = w->logs };
	w->bundle = BUNDLE_NONE;
	w->logs = NULL;
	if (w->engine.snapshot != NULL) {
		j->previous = snapshot_hold(w->engine.snapshot);
		if (aside_begin(&j->aside, &w->engine.loop))
			return;
		log_errno(LOG_WARN, errno, "no thread to build on");
	}
	work(&j->aside);
	done(&j->aside);
}

/* At the end of the process. */
static void
drop_job(struct worker *w)
{
	struct job *j = &w->job;

	aside_end(&j->aside);
	if (j->made != NULL)
		snapshot_release(NULL, j->made);
	if (j->previous != NULL)
		snapshot_release(&w->engine, j->previous);
	forget_parts(&j->bundle, &j->logs);
}

static void
drain(struct worker *w)
{
	if (w->engine.draining)
		return;
	for (size_t i = 0; i < w->given_count; i++)
		if (!w->given[i].accepting)
			close(w->given[i].fd);
	w->given_count = 0;
	engine_drain(&w->engine);
	channel_say(&w->channel, CHANNEL_LEAVING, w->generation);
}

static void
take_descriptors(struct worker *w, const struct channel_message *m, const int *fds, size_t fd_count)
{
	for (size_t i = 0; i < fd_count; i++) {
		if (i >= m->count || (m->kind == CHANNEL_LISTEN && m->index[i] > BINDINGS_MAX))
			close(fds[i]);
		else if (m->kind == CHANNEL_LISTEN)
			give(w, (uint16_t)m->index[i], m->slot, fds[i]);
		else
			take_log(w, m->index[i], fds[i]);
	}
	if (m->kind == CHANNEL_LISTEN)
		accept_given(w);
}

static void
answer(struct worker *w, const struct channel_message *m, const int *fds, size_t fd_count)
{
	for (size_t i = 0; i < fd_count; i++)
		control_follow(&w->engine, fds[i]);
	channel_say(&w->channel, CHANNEL_ANSWERED, m->generation);
}

static void
follow(struct channel *c, const struct channel_message *m, const int *fds, size_t fd_count)
{
	struct worker *w = CONTAINER_OF(c, struct worker, channel);

	switch (m->kind) {
	case CHANNEL_BUNDLE:
		take_bundle(w, m, fds, fd_count);
		break;
	case CHANNEL_LISTEN:
	case CHANNEL_LOG:
		take_descriptors(w, m, fds, fd_count);
		break;
	case CHANNEL_UNLISTEN:
		for (uint32_t i = 0; i < m->count; i++)
			take_back(w, (uint16_t)m->index[i], m->slot);
		break;
	case CHANNEL_REMOVE:
		for (uint32_t i = 0; i < m->count; i++)
			remove_binding(w, (uint16_t)m->index[i]);
		channel_say(&w->channel, CHANNEL_READY, w->start->mine->generation);
		break;
	case CHANNEL_GO:
		go(w);
		break;
	case CHANNEL_DRAIN:
		drain(w);
		break;
	case CHANNEL_LEVEL:
		w->error_level = (enum log_level)MIN_OF(m->slot, (uint32_t)LOG_EMERG);
		log_to(w->error_fd, w->error_level);
		break;
	case CHANNEL_ASK:
		answer(w, m, fds, fd_count);
		break;
	case CHANNEL_STOP:
		loop_stop(&w->engine.loop);
		break;
	default:
		log_line(LOG_ALERT, "the master said something unknown: %u", m->kind);
	}
}

/* The clients are not to blame: they are served to the end. */
static void
master_gone(struct channel *c)
{
	struct worker *w = CONTAINER_OF(c, struct worker, channel);

	log_line(LOG_ALERT, "the master is gone: draining");
	drain(w);
}

/* ------------------------------------------------------------------ life */

static void
on_terminate(struct loop_event *e, unsigned what)
{
	loop_stop(e->loop);
}

static void
on_quit(struct loop_event *e, unsigned what)
{
	drain(CONTAINER_OF(e, struct worker_signal, event)->worker);
}

/* Only to wake: `each` shows that it did. */
static void
on_beat(struct deadline *d)
{
	struct worker *w = CONTAINER_OF(d, struct worker, beat);

	upstream_publish(&w->engine);
	deadline_set(&w->engine.loop, d, WORKER_BEAT);
}

static void
each(void *what)
{
	struct worker *w = what;
	struct worker_shared *mine = w->start->mine;

	__atomic_store_n((uint64_t *)&mine->beat, clock_ms(), __ATOMIC_RELAXED);
	engine_count(&mine->passes, 1);
	if (unlikely(memory_is_short))
		shortage_relieve(&w->engine);
	if (w->engine.draining && engine_is_idle(&w->engine))
		loop_stop(&w->engine.loop);
}

/* The terminal speaks to all processes: what is the master's to answer is not ours. */
static void
ignore_signals(void)
{
	static const int ignored[] = { SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGPIPE,
		SIGXFSZ };

	for (size_t i = 0; i < ARRAY_COUNT(ignored); i++)
		signal(ignored[i], SIG_IGN);
}

static bool
open_worker(struct worker *w)
{
	const struct worker_start *start = w->start;
	sigset_t none;

	if (!engine_open(&w->engine))
		return false;
	memory_reserve();
	w->engine.shared = start->mine;
	w->engine.region = w->shared.at;
	w->engine.loop.doing = &start->mine->doing;
	w->engine.pipes_max = process_spare_descriptors(start->descriptors) / 2;
	w->channel.receive = follow;
	w->channel.ended = master_gone;
	w->terminate.worker = w->quit.worker = w;
	w->beat.run = on_beat;
	sigemptyset(&none);
	ignore_signals();
	bool opened = loop_signal(&w->engine.loop, &w->terminate.event, SIGTERM, on_terminate) &&
	    loop_signal(&w->engine.loop, &w->quit.event, SIGQUIT, on_quit) &&
	    glance_open(&w->engine) &&
	    channel_open(&w->channel, &w->engine.loop, start->channel);
	process_unblock_signals(&none);
	if (opened)
		deadline_set(&w->engine.loop, &w->beat, WORKER_BEAT);
	return opened;
}

static void
close_worker(struct worker *w)
{
	for (size_t i = 0; i < w->given_count; i++)
		if (!w->given[i].accepting)
			close(w->given[i].fd);
	free(w->given);
	forget_bundle(w);
	drop_job(w);
	if (w->engine.loop.base == NULL)
		return;
	glance_close();
	memory_unreserve();
	loop_unwatch(&w->terminate.event);
	loop_unwatch(&w->quit.event);
	channel_close(&w->channel);
	deadline_remove(&w->engine.loop, &w->beat);
	engine_close(&w->engine);
}

static bool
serve(struct worker *w)
{
	bool opened = open_worker(w);

	if (opened)
		loop_run(&w->engine.loop, each, w);
	else
		log_errno(LOG_EMERG, errno, "a worker cannot start");
	close_worker(w);
	return opened && w->status == 0;
}

static bool
settle_rights(const struct worker_start *start)
{
	uint64_t allowed;
	const char *what;

	if (!process_raise_descriptors(start->descriptors, &allowed)) {
		log_line(LOG_EMERG, "%llu descriptors are wanted, %llu are allowed",
		    (unsigned long long)start->descriptors, (unsigned long long)allowed);
		return false;
	}
	if (!process_drop_rights(&start->identity, &what)) {
		log_errno(LOG_EMERG, errno, "rights cannot be dropped: %s", what);
		if (start->identity.changes)
			log_line(LOG_EMERG, "where there is no other user, as in some containers, "
			    "write: user root;");
		return false;
	}
	return true;
}

int
worker_run(const struct worker_start *start)
{
	struct worker w = {
		.start = start,
		.channel = { .fd = -1 },
		.bundle = BUNDLE_NONE,
		.shared = start->shared,
		.error_fd = start->error_fd,
		.error_level = start->error_level,
		.job.bundle = BUNDLE_NONE,
	};
	int keep[] = { MIN_OF(start->channel, start->error_fd),
		MAX_OF(start->channel, start->error_fd) };
	char name[32];

	process_close_others(keep, ARRAY_COUNT(keep));
	snprintf(name, sizeof(name), "server worker %u", start->number + 1);
	process_name(name);
	log_name(name + sizeof("server ") - 1);
	log_to(start->error_fd, start->error_level);

	bool good = settle_rights(start) && serve(&w);

#ifdef MEMORY_HIDES
	/* The leak checker looks at the process as a debugger does. */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
#endif
	shared_close(&w.shared);
	if (w.error_fd > STDERR_FILENO)
		close(w.error_fd);
	return good ? 0 : 1;
}
