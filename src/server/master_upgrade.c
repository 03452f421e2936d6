/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From one master to the next, which may be another program: the heir is born with all sockets and
 * the shared memory (handover.h), serves beside the elder, and takes its place once it has shown
 * that it serves. Until the elder gives up, what stands in the file system is the elder's to
 * remove; from then on it is the heir's.
 */
#include "server/master_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/handover.h"
#include "server/notify.h"

/* Milliseconds. */
enum {
	SPEAK_LIMIT = 5000,             /* for the heir to be what we think it is */
	SERVE_LIMIT = 60 * 1000,
	PROOF = 1000,                   /* both serve, before the elder goes */
	SAID_MOST = 64 * 1024,
};

/*
 * What masters say to each other: one byte each. ALONE: nobody before the elder has a part of the shared memory;
 * ENDED: no worker of the elder's has. Who is killed says neither, and its workers live.
 */
enum word {
	HEIR_SAYS_BORN = 'b', HEIR_SAYS_SERVES = 's',
	ELDER_SAYS_LEAVING = 'l', ELDER_SAYS_ALONE = 'a', ELDER_SAYS_ENDED = 'e',
};

void
upgrade_init(struct master *m)
{
	m->upgrade = (struct upgrade){ .link = -1, .said = -1, .elder = -1, .stderr_fd = -1 };
}

static void
say(int link, char word)
{
	(void)send(link, &word, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* 0: nothing now; -1: the other one is gone. */
static int
hear(int link)
{
	char word;
	ssize_t n = recv(link, &word, 1, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return n == 1 ? word : -1;
}

bool
upgrade_is_under_way(const struct master *m)
{
	return m->upgrade.stage != HEIR_NONE;
}

static bool
has_others_before(const struct master *m)
{
	return m->upgrade.elder >= 0 || m->upgrade.others;
}

bool
upgrade_shares_memory(const struct master *m)
{
	return upgrade_is_under_way(m) || has_others_before(m);
}

/* ------------------------------------------------------------------ the elder: birth of an heir */

/* In the child. */
NORETURN static void
become_heir(const struct master *m, const struct handover_about *about, int table)
{
	char *const *argv = m->options->argv;
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		if (number != SIGPIPE && number != SIGXFSZ)
			signal(number, SIG_DFL);
	sigemptyset(&none);
	notify_renumber();
	if (dup2(m->upgrade.said, STDERR_FILENO) < 0 ||
	    !handover_keep(about, &m->bindings, &m->shared, table))
		_exit(127);
	process_unblock_signals(&none);
	/* Where there is a choice the shell is not to try what the kernel cannot run. */
	if (strchr(argv[0], '/') != NULL)
		execv(argv[0], argv);
	else
		execvp(argv[0], argv);
	process_refuse("cannot run %s: %s", argv[0], strerror(errno));
	_exit(127);
}

static struct handover_about
about_us(const struct master *m, int link, int stderr_fd)
{
	struct handover_about about = { .link = link, .stderr_fd = stderr_fd,
		.background = m->background, .workers_shown = (uint32_t)m->places_made,
		.workers_others = !has_others_before(m) ? 0 :
		    (uint32_t)MAX_OF(m->places_inherited, (size_t)1) };
	struct slice path = bundle_text(&m->bundle, m->bundle.header->pid_path);

	if (m->pid_file.fd >= 0 && path.n < sizeof(about.pid_path))
		memcpy(about.pid_path, path.at, path.n);
	return about;
}

/* False: said. */
static bool
fork_heir(struct master *m, int link)
{
	int stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	const struct handover_about about = about_us(m, link, stderr_fd);
	int table = handover_write(&about, &m->bindings, &m->shared);
	sigset_t before;

	if (table < 0 || stderr_fd < 0) {
		dprintf(m->upgrade.said, "what is left to it cannot be written: %s\n",
		    strerror(errno));
		m->upgrade.heir = -1;
	} else {
		process_block_signals(&before);
		m->upgrade.heir = fork();
		if (m->upgrade.heir == 0)
			become_heir(m, &about, table);
		int error = errno;
		process_unblock_signals(&before);
		if (m->upgrade.heir < 0)
			dprintf(m->upgrade.said, "no process for it: %s\n", strerror(error));
	}
	if (table >= 0)
		close(table);
	if (stderr_fd >= 0)
		close(stderr_fd);
	return m->upgrade.heir > 0;
}

static void on_heir(struct loop_event *e, unsigned what);

/* False: said. */
static bool
bear(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	int pair[2];

	if (!pid_file_offer(&m->pid_file)) {
		dprintf(u->said, "%s%s: %s\n", m->pid_file.path, PID_FILE_OLD, strerror(errno));
		return false;
	}
	if (!socket_pair(pair)) {
		dprintf(u->said, "no socket: %s\n", strerror(errno));
		return false;
	}
	u->link = pair[0];
	bool born = fork_heir(m, pair[1]);
	close(pair[1]);
	if (!born || loop_watch(&m->loop, &u->heard, u->link, LOOP_LEVEL, on_heir))
		return born;
	dprintf(u->said, "it cannot be watched: %s\n", strerror(errno));
	kill(u->heir, SIGKILL);
	return true;                    /* its end is heard of */
}

/* ------------------------------------------------------------------ the elder: how it ends */

static void
tell_waiters(struct master *m, bool good, struct slice said)
{
	for (struct reload_waiter *w; (w = m->upgrade.waiters) != NULL;) {
		m->upgrade.waiters = w->next;
		w->done(w, good, said);
	}
}

static void
close_link(struct upgrade *u)
{
	loop_unwatch(&u->heard);
	if (u->link >= 0)
		close(u->link);
	if (u->said >= 0)
		close(u->said);
	u->link = u->said = -1;
}

/* All is as it was before. */
static void
roll_back(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	char *room = memory_alloc(SAID_MOST);

	dprintf(u->said, "not upgraded: master %d goes on\n", (int)getpid());

	struct slice said = slice_make(room, said_read(u->said, room, SAID_MOST));

	said_log(LOG_ERROR, said);
	notify_say("STATUS=the last upgrade failed");
	deadline_clear(&u->limit);
	close_link(u);
	pid_file_withdraw(&m->pid_file);
	control_renew(m);
	u->stage = HEIR_NONE;
	u->heir = 0;
	u->by_itself = false;
	if (m->phase == PHASE_RETIRED)
		crew_return(m);
	if (u->missed)
		master_reload(m, NULL);
	u->missed = false;
	tell_waiters(m, false, said);
	free(room);
}

static void
give_reason(struct upgrade *u, int status)
{
	if (u->given_up)
		return;
	if (WIFSIGNALED(status))
		dprintf(u->said, "the new master (%d) was ended by signal %d\n", (int)u->heir,
		    WTERMSIG(status));
	else
		dprintf(u->said, "the new master (%d) ended with status %d\n", (int)u->heir,
		    WEXITSTATUS(status));
}

bool
upgrade_reaped(struct master *m, pid_t pid, int status)
{
	struct upgrade *u = &m->upgrade;

	if (u->stage == HEIR_NONE || u->heir != pid)
		return false;
	give_reason(u, status);
	u->others |= WIFSIGNALED(status) && u->stage != HEIR_BORN;
	if (m->phase < PHASE_DRAINING) {
		roll_back(m);
		return true;
	}
	if (!u->given_up)
		log_line(LOG_ERROR, "the master that follows is gone while this one leaves");
	deadline_clear(&u->limit);
	u->stage = HEIR_NONE;
	u->heir = 0;
	return true;
}

/* First to leave as it should, then by force. */
static void
give_up(struct master *m, const char *why)
{
	struct upgrade *u = &m->upgrade;
	bool asked = u->given_up || u->stage == HEIR_BORN;

	if (!u->given_up)
		dprintf(u->said, "the new master (%d) %s\n", (int)u->heir, why);
	u->given_up = true;
	kill(u->heir, asked ? SIGKILL : SIGQUIT);
	deadline_set(&m->loop, &u->limit, STOP_GRACE);
}

static void
on_limit(struct deadline *d)
{
	struct upgrade *u = CONTAINER_OF(d, struct upgrade, limit);
	struct master *m = CONTAINER_OF(u, struct master, upgrade);

	if (u->stage == HEIR_BORN) {
		give_up(m, "has not said a word");
	} else if (u->stage == HEIR_SPEAKS || u->given_up) {
		give_up(m, "does not serve");
	} else if (u->stage == HEIR_SERVES && u->by_itself) {
		master_quit(m);
	}
}

static void
on_heir(struct loop_event *e, unsigned what)
{
	struct upgrade *u = CONTAINER_OF(e, struct upgrade, heard);
	struct master *m = CONTAINER_OF(u, struct master, upgrade);
	int word = hear(u->link);

	if (word < 0) {
		loop_unwatch(e);        /* its end says the rest */
	} else if (word == HEIR_SAYS_BORN && u->stage == HEIR_BORN) {
		u->stage = HEIR_SPEAKS;
		deadline_set(&m->loop, &u->limit, SERVE_LIMIT);
	} else if (word == HEIR_SAYS_SERVES && u->stage == HEIR_SPEAKS) {
		log_line(LOG_NOTICE, "the new master (%d) serves beside this one", (int)u->heir);
		u->stage = HEIR_SERVES;
		deadline_clear(&u->limit);
		if (u->by_itself)
			deadline_set(&m->loop, &u->limit, PROOF);
	}
}

/* ------------------------------------------------------------------ the elder: beginning */

static const char *
hindrance(const struct master *m)
{
	if (getpid() == 1)
		return "the first process of a container cannot be followed by another: start a "
		       "new container";
	if (m->phase >= PHASE_RETIRED)
		return "this master is leaving";
	if (m->upgrade.elder >= 0 && !m->upgrade.elder_leaves)
		return "the master before this one is still there: tell it to quit";
	return NULL;
}

static void
begin(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	const char *why = hindrance(m);

	u->wanted = u->given_up = false;
	u->said = memfd_create("upgrade", MFD_CLOEXEC);
	u->limit.run = on_limit;
	log_line(LOG_NOTICE, "upgrading: %s is run", m->options->argv[0]);
	u->stage = HEIR_BORN;
	if (why != NULL)
		dprintf(u->said, "%s\n", why);
	if (why != NULL || !bear(m)) {
		roll_back(m);
		return;
	}
	deadline_set(&m->loop, &u->limit, SPEAK_LIMIT);
}

void
upgrade_settle(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (u->wanted && u->stage == HEIR_NONE && m->phase != PHASE_STARTING &&
	    m->reload.stage == RELOAD_NONE)
		begin(m);
}

void
master_upgrade(struct master *m, struct reload_waiter *w)
{
	struct reload_waiter **at = &m->upgrade.waiters;

	if (upgrade_is_under_way(m)) {
		log_line(LOG_WARN, "an upgrade is under way already");
		if (w != NULL)
			w->done(w, false, SLICE("an upgrade is under way already\n"));
		return;
	}
	while (*at != NULL)
		at = &(*at)->next;
	if (w != NULL)
		w->next = NULL;
	*at = w;
	/* Another who asked already may wait. */
	m->upgrade.by_itself |= w != NULL;
	m->upgrade.wanted = true;
}

/* ------------------------------------------------------------------ the elder: leaving */

void
upgrade_leave(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	char said[64];

	if (u->stage == HEIR_NONE || u->leaves)
		return;
	deadline_clear(&u->limit);
	if (u->stage != HEIR_SERVES) {
		give_up(m, "is not waited for: this one ends");
		tell_waiters(m, false, SLICE("the server ends\n"));
		return;
	}
	u->leaves = true;
	notify_say("WATCHDOG=1\nMAINPID=%d", (int)u->heir);
	notify_hush(true);
	say(u->link, ELDER_SAYS_LEAVING);

	int n = snprintf(said, sizeof(said), "master %d serves in place of %d\n", (int)u->heir,
	    (int)getpid());

	tell_waiters(m, true, slice_make(said, (size_t)n));
}

void
upgrade_retire(struct master *m)
{
	if (m->phase != PHASE_SERVING)
		return;
	log_line(LOG_NOTICE, "workers drain, this master stays");
	m->phase = PHASE_RETIRED;
	crew_say(m, CHANNEL_DRAIN);
}

/* ------------------------------------------------------------------ the heir */

bool
upgrade_follow(struct master *m)
{
	struct handover_about about;
	struct upgrade *u = &m->upgrade;
	const char *why;

	switch (handover_take(&about, &m->bindings, &m->shared, &why)) {
	case HANDOVER_NONE:
		return true;
	case HANDOVER_BAD:
		return process_refuse(
		    "what the server that runs leaves to this one cannot be used: %s", why);
	default:
		break;
	}
	notify_hush(true);
	u->elder = about.link;
	u->stderr_fd = about.stderr_fd;
	m->background = about.background != 0;
	if (m->shared.at != NULL)
		m->places_made = about.workers_shown;
	m->places_inherited = m->places_made;
	u->places_first = about.workers_others;
	u->others = about.workers_others != 0;
	u->pid_path = strdup(about.pid_path);
	say(u->elder, HEIR_SAYS_BORN);
	return true;
}

/*
 * The sockets are as we want them, the file system is ours alone; what the configuration does not
 * have is closed.
 */
static void
take_over(struct master *m)
{
	if (m->upgrade.elder_leaves)
		return;
	const struct bundle_listener *all = bundle_listeners(&m->bundle);

	m->upgrade.elder_leaves = true;
	log_line(LOG_NOTICE, "the master before this one leaves");
	notify_hush(false);
	if (m->phase == PHASE_SERVING)
		notify_say("READY=1\nSTATUS=serving");
	for (size_t i = 0; i < m->bundle.header->listeners.count; i++)
		binding_follow(&m->bindings, &all[i]);
	reload_remove_gone(m);
}

static void
on_elder(struct loop_event *e, unsigned what)
{
	struct upgrade *u = CONTAINER_OF(e, struct upgrade, from_elder);
	struct master *m = CONTAINER_OF(u, struct master, upgrade);
	int word = hear(u->elder);

	if (word == ELDER_SAYS_LEAVING) {
		take_over(m);
	} else if (word == ELDER_SAYS_ALONE) {
		u->others = false;
	} else if (word == ELDER_SAYS_ENDED) {
		u->elder_ended = true;
	} else if (word < 0) {
		take_over(m);
		loop_unwatch(e);
		close(u->elder);
		u->elder = -1;
		if (u->elder_ended)
			crew_take_places(m, u->places_first, m->places_inherited);
		u->others |= !u->elder_ended;
	}
}

bool
upgrade_begin(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (u->elder < 0)
		return true;
	dup2(u->stderr_fd, STDERR_FILENO);
	close(u->stderr_fd);
	u->stderr_fd = -1;
	return loop_watch(&m->loop, &u->from_elder, u->elder, LOOP_LEVEL, on_elder);
}

bool
upgrade_follows(const struct master *m)
{
	return m->upgrade.elder >= 0;
}

bool
upgrade_has_pid_file(const struct master *m, struct slice path)
{
	return m->upgrade.pid_path != NULL && path.n != 0 && slice_is(path, m->upgrade.pid_path);
}

void
upgrade_serves(struct master *m)
{
	struct slice path = bundle_text(&m->bundle, m->bundle.header->pid_path);

	if (upgrade_has_pid_file(m, path) && !pid_file_follow(&m->pid_file, path.at, getpid()))
		log_errno(LOG_ERROR, errno, "the pid file %s stays the one of the master before",
		    path.at);
	free(m->upgrade.pid_path);
	m->upgrade.pid_path = NULL;
	control_renew(m);
	if (m->upgrade.elder >= 0)
		say(m->upgrade.elder, HEIR_SAYS_SERVES);
}

/* ------------------------------------------------------------------ both */

bool
upgrade_owns_files(const struct master *m)
{
	const struct upgrade *u = &m->upgrade;

	return !u->leaves && (u->elder < 0 || u->elder_leaves);
}

/* The last words. */
static void
say_ended(struct master *m)
{
	if (!has_others_before(m))
		say(m->upgrade.link, ELDER_SAYS_ALONE);
	say(m->upgrade.link, ELDER_SAYS_ENDED);
}

void
upgrade_close(struct master *m, bool owner)
{
	struct upgrade *u = &m->upgrade;

	if (owner && u->leaves)
		say_ended(m);
	if (owner && m->loop.base != NULL) {
		loop_unwatch(&u->heard);
		loop_unwatch(&u->from_elder);
		deadline_remove(&m->loop, &u->limit);
	}
	u->heard.watched = u->from_elder.watched = false;
	if (u->link >= 0)
		close(u->link);
	if (u->said >= 0)
		close(u->said);
	if (u->elder >= 0)
		close(u->elder);
	if (u->stderr_fd >= 0)
		close(u->stderr_fd);
	free(u->pid_path);
	upgrade_init(m);
}
