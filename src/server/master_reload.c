/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From one bundle to the next: a child checks, the master takes what is new (all of it or nothing), the
 * workers build and swap one after another, and what is gone closes when all of them have.
 */
#include "server/master_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/notify.h"

enum { SAID_MOST = 256 * 1024 };        /* bytes that who waits is told at most */

void
reload_init(struct master *m)
{
	m->reload = (struct reload){ .said = -1, .load.fd = -1 };
}

/* ------------------------------------------------------------------ the verdict */

size_t
said_read(int fd, char *room, size_t size)
{
	size_t n = 0;

	for (ssize_t got; n < size && (got = pread(fd, room + n, size - n, (off_t)n)) > 0;)
		n += (size_t)got;
	return n;
}

void
said_log(enum log_level level, struct slice said)
{
	struct slice line;

	while (slice_split(&said, '\n', &line))
		if (line.n != 0)
			log_line(level, SLICE_FORMAT, SLICE_ARG(line));
}

/* What it came to, for whoever waits and for the log. */
static void
say_failure(const struct reload *r)
{
	dprintf(r->said, r->stage == RELOAD_ROLLING ?
	    "reloaded in part: not every worker serves the new configuration\n" :
	    "not reloaded: the configuration before stays\n");
}

static void
log_verdict(const struct reload *r, bool good, struct slice said)
{
	said_log(good ? LOG_NOTICE : LOG_ERROR, said);
	if (good)
		log_line(LOG_NOTICE, "reloaded in %llu ms",
		    (unsigned long long)(clock_ms() - r->began));
}

static void
conclude(struct master *m, bool good)
{
	struct reload *r = &m->reload;
	char *room = memory_alloc(SAID_MOST);

	if (!good)
		say_failure(r);

	struct slice said = slice_make(room, said_read(r->said, room, SAID_MOST));

	log_verdict(r, good, said);
	notify_say("READY=1\nSTATUS=%s", good ? "serving" : "serving; the last reload failed");
	close(r->said);
	r->said = -1;
	r->stage = RELOAD_NONE;
	if (!good)
		watch_follow(m, false);
	for (struct reload_waiter *w; (w = r->now) != NULL;) {
		r->now = w->next;
		w->done(w, good, said);
	}
	free(room);
}

/* ------------------------------------------------------------------ all or nothing */

/* False: said. */
static bool
take_objects(struct master *m, const struct bundle *b)
{
	const struct bundle_shared *all = bundle_shared(b);

	for (size_t i = 0; i < b->header->shared.count; i++) {
		uint64_t offset;

		if (!shared_take(&m->shared, &all[i].key, &offset) || offset != all[i].offset) {
			dprintf(m->reload.said, "shared memory is not where it should be\n");
			return false;
		}
	}
	return true;
}

void
reload_name_shared(struct master *m)
{
	const struct bundle_shared *all = bundle_shared(&m->bundle);

	for (size_t i = 0; i < m->bundle.header->shared.count; i++)
		shared_name(&m->shared, &all[i].key, m->generation);
}

/* What nobody uses any more is others' to have. */
static void
sweep_shared(struct master *m)
{
	size_t count;

	if (upgrade_shares_memory(m))
		return;

	struct shared_span *held = crew_held(m, &count);

	if (held != NULL)
		shared_sweep(&m->shared, held, count);
	free(held);
}

static bool
bind_one(struct master *m, const struct bundle *b, const struct bundle_listener *l)
{
	struct slice text = bundle_text(b, l->text);

	if (!binding_agrees(&m->bindings, l))
		dprintf(m->reload.said, "the listeners are not numbered as they should be\n");
	else if (binding_find(&m->bindings, l->transport, &l->addr) == NULL &&
	    !binding_open(&m->bindings, l, text))
		dprintf(m->reload.said, "cannot listen on %s: %s\n", text.at, strerror(errno));
	else
		return true;
	return false;
}

static void
unbind_new(struct master *m)
{
	for (size_t i = m->bindings.count; i-- > 0;)
		if (m->bindings.all[i].since > m->generation)
			binding_remove(&m->bindings, i);
}

/* All of them, so that all that is wrong is said at once. */
static bool
bind_new(struct master *m, const struct bundle *b)
{
	const struct bundle_listener *all = bundle_listeners(b);
	bool good = true;

	m->bindings.generation = m->generation + 1;
	for (size_t i = 0; i < b->header->listeners.count; i++)
		good &= bind_one(m, b, &all[i]);
	if (!good)
		unbind_new(m);
	return good;
}

static bool
take_all(struct master *m, const struct bundle *b)
{
	if (!take_objects(m, b) || !bind_new(m, b))
		return false;
	if (logs_follow(m, b, m->reload.said))
		return true;
	unbind_new(m);
	return false;
}

/* ------------------------------------------------------------------ what cannot change so */

static void
warn_of_settings(struct master *m, const struct bundle *b)
{
	const struct bundle_header *old = m->bundle.header, *new = b->header;

	if (old->daemon != new->daemon)
		dprintf(m->reload.said, "warning: \"daemon\" takes effect with the next start\n");
	if (!slice_equal(bundle_text(&m->bundle, old->pid_path), bundle_text(b, new->pid_path)))
		dprintf(m->reload.said, "warning: \"pid\" takes effect with the next start\n");
}

/* Workers have all that is allowed without asking, or what they were said to need. */
static bool
are_short_of_descriptors(const struct bundle_header *old, const struct bundle_header *new)
{
	uint64_t allowed;

	return new->descriptors > old->descriptors &&
	    (!process_raise_descriptors(0, &allowed) || new->descriptors > allowed);
}

static bool
must_turn_over(const struct master *m, const struct bundle *b)
{
	const struct bundle_header *old = m->bundle.header, *new = b->header;

	return memcmp(&old->identity, &new->identity, sizeof(old->identity)) != 0 ||
	    are_short_of_descriptors(old, new);
}

/* From here on whoever is born serves the new one. */
static void
commit(struct master *m, struct bundle *b)
{
	const struct bundle_listener *all = bundle_listeners(b);

	for (size_t i = 0; i < b->header->listeners.count; i++)
		binding_follow(&m->bindings, &all[i]);
	warn_of_settings(m, b);
	m->reload.turns_over = must_turn_over(m, b);
	bundle_close(&m->bundle);
	m->bundle = *b;
	m->generation++;
	reload_name_shared(m);
	m->reload.stage = RELOAD_ROLLING;
	crew_forgive(m);
	crew_resize(m, m->bundle.header->workers);
	watch_follow(m, true);
}

/* ------------------------------------------------------------------ worker by worker */

/* It has to be told, or replaced. */
static bool
is_behind(const struct master *m, const struct slot *s)
{
	return s->state == SLOT_READY && s->given != m->generation;
}

/* One that dies is waited for, unless it does so again and again. */
static bool
is_under_way(const struct slot *s)
{
	return s->state == SLOT_STARTING || (s->state == SLOT_EMPTY && !s->loops) ||
	    (s->state == SLOT_READY && (s->serves != s->given || s->closing != 0));
}

static bool
is_listed(const struct bundle *b, uint32_t number)
{
	const struct bundle_listener *all = bundle_listeners(b);

	for (size_t i = 0; i < b->header->listeners.count; i++)
		if (all[i].binding == number)
			return true;
	return false;
}

void
reload_remove_gone(struct master *m)
{
	/* Another master may still need them. */
	if (!upgrade_owns_files(m))
		return;
	for (size_t i = m->bindings.count; i-- > 0;) {
		struct bound *b = &m->bindings.all[i];

		if (b->gone || is_listed(&m->bundle, b->number))
			continue;
		crew_unlisten(m, b);
		if (b->transport == ENDPOINT_UDP)
			b->gone = true;
		else
			binding_remove(&m->bindings, i);
	}
}

/*
 * Of datagrams the address is taken for as long as a worker answers from it: until then the sockets are
 * kept, for the listener may come back.
 */
static void
close_gone(struct master *m)
{
	for (size_t i = m->bindings.count; i-- > 0;)
		if (m->bindings.all[i].gone && !crew_answers_for_gone(m))
			binding_remove(&m->bindings, i);
}

static void
roll(struct master *m)
{
	struct slot *next = NULL;

	for (size_t i = 0; i < m->slot_count; i++) {
		if (is_under_way(m->slots[i]))
			return;
		if (next == NULL && is_behind(m, m->slots[i]))
			next = m->slots[i];
	}
	if (next == NULL && !m->reload.removed) {
		/* When it is concluded nobody answers there any more, and the address is free. */
		m->reload.removed = true;
		reload_remove_gone(m);
		roll(m);
	} else if (next == NULL) {
		close_gone(m);
		if (m->reload.failed)
			dprintf(m->reload.said, "a worker could not build it: the error log says why\n");
		conclude(m, !m->reload.failed);
	} else if (m->reload.turns_over) {
		crew_replace(m, next);
		crew_spawn_due(m);
	} else {
		crew_give_bundle(m, next);
	}
}

/* ------------------------------------------------------------------ the check */

void
reload_reaped(struct master *m, pid_t pid, int status)
{
	if (m->reload.stage == RELOAD_CHECKING && m->reload.load.pid == pid)
		m->reload.child_status = status;
}

static void
say_how_it_ended(struct reload *r)
{
	while (r->child_status < 0 && waitpid(r->load.pid, &r->child_status, 0) < 0 && errno == EINTR)
		continue;
	if (r->child_status >= 0 && WIFSIGNALED(r->child_status))
		dprintf(r->said, "the check of the configuration was ended by signal %d\n",
		    WTERMSIG(r->child_status));
}

/* True: said. */
static bool
is_leaving(const struct master *m)
{
	if (m->phase == PHASE_SERVING)
		return false;
	dprintf(m->reload.said, "this master is leaving\n");
	return true;
}

static void
on_verdict(struct loop_event *e, unsigned what)
{
	struct reload *r = CONTAINER_OF(e, struct reload, verdict);
	struct master *m = CONTAINER_OF(r, struct master, reload);
	struct bundle b;

	loop_unwatch(e);
	if (!load_end(&r->load, &b)) {
		say_how_it_ended(r);
		conclude(m, false);
	} else if (is_leaving(m) || !take_all(m, &b)) {
		bundle_close(&b);
		conclude(m, false);
	} else {
		commit(m, &b);
	}
}

/* False: said. */
static bool
begin_check(struct master *m)
{
	struct reload *r = &m->reload;
	const struct load_input in = {
		.config = m->options->config,
		.prefix = m->options->prefix,
		.bindings = &m->bindings,
		.shared = &m->shared,
		.running = &m->bundle,
		.said = r->said,
	};

	if (!load_begin(&r->load, &in)) {
		dprintf(r->said, "no process to check the configuration with: %s\n", strerror(errno));
		return false;
	}
	if (loop_watch(&m->loop, &r->verdict, r->load.fd, LOOP_LEVEL, on_verdict))
		return true;
	dprintf(r->said, "the check cannot be watched: %s\n", strerror(errno));
	close(r->load.fd);
	return false;
}

static void
begin(struct master *m)
{
	struct reload *r = &m->reload;

	r->again = false;
	r->now = r->later;
	r->later = NULL;
	r->began = clock_ms();
	r->child_status = -1;
	r->failed = r->late = r->removed = false;
	r->said = memfd_create("reload", MFD_CLOEXEC);
	if (r->said < 0)
		log_errno(LOG_ALERT, errno, "no file for what a reload says");
	r->stage = RELOAD_CHECKING;
	log_line(LOG_NOTICE, "reloading");
	notify_reloading();
	sweep_shared(m);
	if (upgrade_is_under_way(m)) {
		dprintf(r->said, "an upgrade is under way: the new master is the one to tell\n");
		conclude(m, false);
	} else if (is_leaving(m) || !begin_check(m)) {
		conclude(m, false);
	}
}

/* A disk that does not answer: the next one is not to wait for it for ever. */
static void
end_late_check(struct reload *r)
{
	if (r->late || clock_ms() - r->began < START_LIMIT)
		return;
	r->late = true;
	dprintf(r->said, "the check of the configuration takes too long\n");
	kill(r->load.pid, SIGKILL);
}

void
reload_settle(struct master *m)
{
	struct reload *r = &m->reload;

	if (r->stage == RELOAD_CHECKING)
		end_late_check(r);
	if (r->stage == RELOAD_ROLLING) {
		if (is_leaving(m))
			conclude(m, false);
		else
			roll(m);
	}
	if (r->stage == RELOAD_NONE)
		close_gone(m);
	if (r->stage == RELOAD_NONE && r->again && m->phase != PHASE_STARTING)
		begin(m);
}

void
master_reload(struct master *m, struct reload_waiter *w)
{
	struct reload_waiter **at = &m->reload.later;

	while (*at != NULL)
		at = &(*at)->next;
	if (w != NULL)
		w->next = NULL;
	*at = w;
	m->reload.again = true;
}

static void
forget(struct reload_waiter **at, const struct reload_waiter *w)
{
	while (*at != NULL && *at != w)
		at = &(*at)->next;
	if (*at != NULL)
		*at = w->next;
}

void
master_reload_forget(struct master *m, struct reload_waiter *w)
{
	forget(&m->reload.now, w);
	forget(&m->reload.later, w);
	forget(&m->upgrade.waiters, w);
}

void
reload_close(struct master *m, bool owner)
{
	struct reload *r = &m->reload;

	if (r->stage == RELOAD_CHECKING) {
		if (owner)
			loop_unwatch(&r->verdict);
		close(r->load.fd);
	}
	if (r->said >= 0)
		close(r->said);
}
