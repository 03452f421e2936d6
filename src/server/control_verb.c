/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The list of all that can be asked, and the verbs that change something.
 */
#include "server/control_inner.h"

/* ------------------------------------------------------------------ peers */

static const char *
peer_name(void *what, size_t i)
{
	const struct bundle_shared *one = (const struct bundle_shared *)what + i;

	return one->key.kind == SHARED_PEER ? one->key.name : NULL;
}

static void
refuse_peer(struct control_client *k, struct slice name)
{
	const struct bundle *b = &k->master->bundle;
	const char *closest = diag_closest(name, peer_name,
	    (void *)(uintptr_t)bundle_shared(b), b->header->shared.count);

	control_refuse(k, "there is no peer " SLICE_FORMAT DIAG_MEANT, SLICE_ARG(name),
	    DIAG_MEANT_ARG(closest));
}

/* The only peer of that name, `app/10.0.0.1:80`, or of that address; NULL: refused. */
static const struct bundle_shared *
find_peer(struct control_client *k, struct slice name)
{
	const struct bundle *b = &k->master->bundle;
	const struct bundle_shared *found = NULL;
	size_t count = 0;

	for (size_t i = 0; i < b->header->shared.count; i++) {
		const struct bundle_shared *one = &bundle_shared(b)[i];
		struct slice of = slice_of(one->key.name);

		if (one->key.kind != SHARED_PEER)
			continue;
		if (slice_equal(of, name))
			return one;
		if (of.n > name.n && slice_ends(of, name) && of.at[of.n - name.n - 1] == '/') {
			found = one;
			count++;
		}
	}
	if (count == 1)
		return found;
	if (count == 0)
		refuse_peer(k, name);
	else
		control_refuse(k, "several upstreams have a peer " SLICE_FORMAT ": write UPSTREAM/PEER",
		    SLICE_ARG(name));
	return NULL;
}

static void
set_drained(struct control_client *k, uint32_t drained)
{
	const struct bundle_shared *found = find_peer(k, k->request.words[1]);
	struct peer_shared *p;

	if (found == NULL)
		return;
	p = shared_at(&k->master->shared, found->offset, sizeof(*p));
	if (p == NULL || found->key.size != sizeof(*p)) {
		control_refuse(k, "%s is not where it should be", found->key.name);
		return;
	}
	__atomic_store_n((uint32_t *)&p->drained, drained, __ATOMIC_RELAXED);
	log_line(LOG_NOTICE, "%s is %s", found->key.name, drained ? "drained" : "enabled");
	report_line(&k->report, '=', "%s is %s%s", found->key.name,
	    drained ? "drained: nothing new is asked of it" : "enabled",
	    drained == 0 && (found->peer & BUNDLE_PEER_DOWN) != 0 ? ", and down by configuration" : "");
	control_finish(k);
}

static void
drain(struct control_client *k)
{
	set_drained(k, 1);
}

static void
enable(struct control_client *k)
{
	set_drained(k, 0);
}

/* ------------------------------------------------------------------ workers */

static bool
is_replaced(struct control_client *k)
{
	const struct slot *s = k->master->slots[k->matched];

	if (s->state != SLOT_READY || s->pid == k->replaced)
		return false;
	report_line(&k->report, '=', "worker %u is %d now: %d leaves when what runs on it is over",
	    s->number + 1, (int)s->pid, (int)k->replaced);
	return true;
}

static void
is_late(struct control_client *k)
{
	control_refuse(k, "no other worker serves in its place yet: the log says why");
}

static void
worker(struct control_client *k)
{
	struct master *m = k->master;

	if (!slice_is(k->request.words[2], "restart")) {
		control_refuse(k, "write: worker N restart");
		return;
	}

	struct slot *s = control_find_worker(k, k->request.words[1]);

	if (s == NULL)
		return;
	if (m->phase != PHASE_SERVING || s->state != SLOT_READY) {
		control_refuse(k, "worker %u does not serve: there is nothing to replace", s->number + 1);
		return;
	}
	/* The check foretells where the master's next objects in shared memory will be. */
	if (m->reload.stage == RELOAD_CHECKING) {
		control_refuse(k, "a configuration is being checked: try again when it is");
		return;
	}
	k->matched = s->number;
	k->replaced = s->pid;
	crew_replace(m, s);
	control_wait(k, is_replaced, is_late, START_LIMIT);
}

/* ------------------------------------------------------------------ the log */

static void
send_level(struct master *m, struct slot *s)
{
	const struct channel_message level = { .kind = CHANNEL_LEVEL,
		.slot = (uint32_t)control_level(m) };

	channel_send(&s->channel, &level, NULL, 0);
}

static void
set_level(struct control_client *k)
{
	struct master *m = k->master;
	struct slice word = k->request.words[1];
	int level = 0;

	while (level < LOG_LEVELS && !slice_is(word, log_level_names[level]))
		level++;
	if (level == LOG_LEVELS && !slice_is(word, "configured")) {
		control_refuse(k, "a level is debug, info, notice, warn, error, crit, alert, emerg or "
		    "configured");
		return;
	}
	m->control.level = level < LOG_LEVELS ? level : -1;
	log_to(m->error_fd, (enum log_level)control_level(m));
	crew_each(m, send_level);
	report_line(&k->report, '=', "the error log says %s and what is worse%s",
	    log_level_names[control_level(m)],
	    m->control.level < 0 ? "" : ", until the configuration is read again");
	control_finish(k);
}

/* ------------------------------------------------------------------ reload */

static void
on_reloaded(struct reload_waiter *w, bool good, struct slice said)
{
	struct control_client *k = CONTAINER_OF(w, struct control_client, waiter);
	struct slice line;

	k->waits = false;
	/* What is wrong, as -t says it; the last line is the verdict, and the server's. */
	while (slice_split(&said, '\n', &line))
		if (line.n != 0)
			report_line(&k->report, good ? '=' : said.n == 0 ? '-' : '~', SLICE_FORMAT,
			    SLICE_ARG(line));
	if (good)
		report_line(&k->report, '=', "generation %llu is served by every worker",
		    (unsigned long long)k->master->generation);
	control_finish(k);
}

static bool
is_reloaded(struct control_client *k)
{
	return false;                   /* on_reloaded says so */
}

static void
reload(struct control_client *k)
{
	k->waits = true;
	k->waiter.done = on_reloaded;
	control_wait(k, is_reloaded, control_finish, 0);
	master_reload(k->master, &k->waiter);
}

/* ------------------------------------------------------------------ upgrade */

static void
on_upgraded(struct reload_waiter *w, bool good, struct slice said)
{
	struct control_client *k = CONTAINER_OF(w, struct control_client, waiter);
	struct slice line;

	k->waits = false;
	while (slice_split(&said, '\n', &line))
		if (line.n != 0)
			report_line(&k->report, good ? '=' : '-', SLICE_FORMAT, SLICE_ARG(line));
	control_finish(k);
}

static void
upgrade(struct control_client *k)
{
	k->waits = true;
	k->waiter.done = on_upgraded;
	control_wait(k, is_reloaded, control_finish, 0);
	master_upgrade(k->master, &k->waiter);
}

/* ------------------------------------------------------------------ the list */

const struct control_verb control_verbs[] = {
	{ "status", "", "the master and its workers: what they serve, how much, and what is wrong", 0, 0,
	    control_status },
	{ "connections", "[FILTER…]", "those that are open; server=NAME upstream=NAME protocol=NAME "
	    "state=WORD side=client|peer src=CIDR idle>30s age<5m limit=N", 0, 12, control_connections },
	{ "kick", "ID [now]", "ends a connection: behind the answer that is under way, or now", 1, 2,
	    control_kick },
	{ "upstreams", "[NAME]", "every peer: its state, what is under way, what failed", 0, 1,
	    control_upstreams },
	{ "drain", "PEER", "nothing new is asked of UPSTREAM/PEER, over reloads too", 1, 1, drain },
	{ "enable", "PEER", "… and is again", 1, 1, enable },
	{ "worker", "N restart", "another serves in its place; it leaves when what runs on it is over", 2, 2,
	    worker },
	{ "snapshots", "", "the configurations that live in each worker, and who holds them", 0, 0,
	    control_snapshots },
	{ "explain", "QUESTION… [-H FIELD] [--src ADDRESS] [--listener ADDRESS]", "what would serve a "
	    "question, and why; --running: of what is served, else of the files", 0,
	    CONTROL_WORDS_MAX - 1, control_look },
	{ "routes", "[SERVER]", "the order in which questions are tried; --running: as explain", 0, 2,
	    control_look },
	{ "log", "LEVEL|configured", "from which level on the error log is written", 1, 1, set_level },
	{ "reload", "", "reads the configuration again; ends when every worker serves it", 0, 0, reload },
	{ "upgrade", "", "runs the program anew, which takes over all sockets; this one goes when that one serves",
	    0, 0, upgrade },
	{ NULL, NULL, NULL, 0, 0, NULL },
};

const struct control_verb *
control_verb_find(struct slice name)
{
	for (const struct control_verb *v = control_verbs; v->name != NULL; v++)
		if (slice_is(name, v->name))
			return v;
	return NULL;
}
