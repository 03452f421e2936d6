/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Signals and deaths only write down what has changed; settle(), at the end of every pass, does
 * what is then missing: forks a worker, lends a socket, ends. A forked worker leaves through the
 * same door, master_run, having given back all that was the master's.
 */
#include "server/master.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/channel.h"
#include "server/load.h"
#include "server/pid_file.h"
#include "server/process.h"
#include "server/worker.h"

/* Milliseconds but for the crashes. */
enum {
	LOOK_EVERY = 500,
	HUNG_AFTER = 2000,              /* without a beat while others beat: its sockets are lent */
	KILLED_AFTER = 10 * 1000,
	START_LIMIT = 60 * 1000,        /* to build and serve */
	STOP_GRACE = 3000,              /* from TERM to KILL */
	DELAY_FIRST = 100, DELAY_MAX = 10 * 1000,
	CRASHES = 5, CRASHES_WITHIN = 60 * 1000,
};

enum phase { PHASE_STARTING, PHASE_SERVING, PHASE_DRAINING, PHASE_STOPPING };
enum slot_state { SLOT_EMPTY, SLOT_STARTING, SLOT_READY, SLOT_LEAVING };

enum { NOBODY = -1 };

/* A worker's place. */
struct slot {
	uint32_t number;                /* from 0 */
	enum slot_state state;
	pid_t pid;                      /* when not EMPTY */
	struct channel channel;
	struct worker_shared *shared;
	bool hung;
	uint64_t deaf_since;            /* its end of the channel is closed; 0: it is not */
	uint64_t born;
	uint64_t due;                   /* EMPTY: not before */
	uint64_t delay;                 /* what the next death costs */
	uint64_t deaths[CRASHES];       /* the latest, newest first */
	bool alarmed;
	struct deadline again;          /* wakes the loop at `due` */
};

struct master_signal {
	struct loop_event event;
	struct master *master;
	int number;
};

static const int signals_watched[] = { SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGHUP, SIGUSR2,
	SIGWINCH };

struct master {
	const struct master_options *options;
	struct loop loop;
	struct master_signal signals[ARRAY_COUNT(signals_watched)];
	enum phase phase;
	int status;                     /* to exit with */

	struct bundle bundle;           /* what is served */
	uint64_t generation;
	struct binding_table bindings;
	struct shared shared;
	struct pid_file pid_file;
	int error_fd;
	/* by index of the bundle; standard ones are not ours to close */
	int *log_fds;
	size_t log_count;

	struct slot *slots;             /* one a worker */
	size_t slot_count;
	/* by slot of the sockets: the worker that has them beside their own, or NOBODY */
	int *lent;
	struct deadline look, kill;
	uint64_t looked, awake_since;   /* a master that was stopped itself saw no beats */

	bool background;
	/* background: says to who started us that we serve; or -1 */
	int tell;
	int wait_for;                   /* that one, waiting; or -1 */
	bool is_worker;                 /* forked: on the way out to become one */
	struct worker_start start;
};

/* ------------------------------------------------------------------ messages of many */

struct batch {
	struct channel *to;
	struct channel_message message;
	int fds[SOCKET_PASS_MAX];
	size_t fd_count;
};

static struct batch
batch_of(struct channel *to, enum channel_kind kind, uint32_t slot)
{
	return (struct batch){ .to = to, .message = { .kind = kind, .slot = slot } };
}

static void
batch_send(struct batch *b)
{
	if (b->message.count > 0)
		channel_send(b->to, &b->message, b->fds, b->fd_count);
	b->message.count = 0;
	b->fd_count = 0;
}

/* fd -1: none goes along. */
static void
batch_add(struct batch *b, uint32_t index, int fd)
{
	if (b->message.count == SOCKET_PASS_MAX)
		batch_send(b);
	b->message.index[b->message.count++] = index;
	if (fd >= 0)
		b->fds[b->fd_count++] = fd;
}

/* ------------------------------------------------------------------ logs */

static int
standard_fd(struct slice path)
{
	if (path.n == 0 || slice_is(path, "stderr"))
		return STDERR_FILENO;
	return slice_is(path, "stdout") ? STDOUT_FILENO : -1;
}

/*
 * A pipe that somebody gave us is opened once more: we must never wait for its reader, and the others
 * who write to it may want to. In the background it is to be let go.
 */
static int
open_standard(const struct master *m, int fd)
{
	char path[32];
	struct stat info;

	if (m->background || fstat(fd, &info) != 0 || !S_ISFIFO(info.st_mode))
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

	int own = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);

	return own >= 0 ? own : fd;
}

static int
open_log(const struct master *m, struct slice path)
{
	int fd = standard_fd(path);

	if (fd >= 0)
		return open_standard(m, fd);
	return open(
	    path.at, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
}

static void
close_log(int fd)
{
	if (fd > STDERR_FILENO)
		close(fd);
}

static struct slice
error_path(const struct master *m)
{
	return bundle_text(&m->bundle, m->bundle.header->error_path);
}

static bool
open_logs(struct master *m)
{
	size_t count = m->bundle.header->logs.count;
	bool good = true;

	m->error_fd = open_log(m, error_path(m));
	if (m->error_fd < 0)
		good = process_refuse("cannot open %s: %s", error_path(m).at, strerror(errno));
	m->log_fds = memory_zalloc((count + 1) * sizeof(*m->log_fds));
	for (; m->log_count < count; m->log_count++) {
		int fd = open_log(m, bundle_log(&m->bundle, m->log_count));

		if (fd < 0)
			good = process_refuse("cannot open %s: %s",
			    bundle_log(&m->bundle, m->log_count).at, strerror(errno));
		m->log_fds[m->log_count] = fd;
	}
	return good;
}

/* The new one, or the old one when that fails. */
static int
reopen_log(const struct master *m, struct slice path, int old)
{
	int fd = open_log(m, path);

	if (fd >= 0)
		return fd;
	log_errno(LOG_ERROR, errno, "cannot reopen %s: the old file stays", path.at);
	return old;
}

static void
send_logs(struct master *m, struct slot *s)
{
	struct batch b = batch_of(&s->channel, CHANNEL_LOG, 0);

	for (size_t i = 0; i < m->log_count; i++)
		batch_add(&b, (uint32_t)i, m->log_fds[i]);
	batch_send(&b);
}

static void
reopen_logs(struct master *m)
{
	int error_fd = reopen_log(m, error_path(m), m->error_fd);

	if (error_fd != m->error_fd) {
		log_to(error_fd, m->bundle.header->error_level);
		close_log(m->error_fd);
		m->error_fd = error_fd;
	}
	for (size_t i = 0; i < m->log_count; i++) {
		int fd = reopen_log(m, bundle_log(&m->bundle, i), m->log_fds[i]);

		if (fd != m->log_fds[i])
			close_log(m->log_fds[i]);
		m->log_fds[i] = fd;
	}
	for (size_t i = 0; i < m->slot_count; i++) {
		struct batch b = batch_of(&m->slots[i].channel, CHANNEL_LOG, 0);

		batch_add(&b, CHANNEL_ERROR_LOG, m->error_fd);
		batch_send(&b);
		send_logs(m, &m->slots[i]);
	}
	log_line(LOG_NOTICE, "logs reopened");
}

/* ------------------------------------------------------------------ workers: birth and death */

static size_t
home_of(const struct master *m, size_t slot)
{
	return slot % m->slot_count;
}

static void
send_slot(struct master *m, struct slot *to, enum channel_kind kind, size_t slot)
{
	struct batch b = batch_of(&to->channel, kind, (uint32_t)slot);

	for (size_t i = 0; i < m->bindings.count; i++) {
		const struct bound *one = &m->bindings.all[i];

		if (one->transport != ENDPOINT_UNIX)
			batch_add(&b, one->number, kind == CHANNEL_LISTEN ? one->fds[slot] : -1);
	}
	batch_send(&b);
}

static void
send_unix(struct master *m, struct slot *to)
{
	struct batch b = batch_of(&to->channel, CHANNEL_LISTEN, CHANNEL_ALL_SLOTS);

	for (size_t i = 0; i < m->bindings.count; i++)
		if (m->bindings.all[i].transport == ENDPOINT_UNIX)
			batch_add(&b, m->bindings.all[i].number, m->bindings.all[i].fds[0]);
	batch_send(&b);
}

/* All that a worker serves with. */
static void
equip(struct master *m, struct slot *s)
{
	const struct channel_message bundle = { .kind = CHANNEL_BUNDLE,
		.generation = m->generation };

	channel_send(&s->channel, &bundle, &m->bundle.fd, 1);
	send_logs(m, s);
	send_unix(m, s);
	for (size_t i = s->number; i < m->bindings.group; i += m->slot_count)
		send_slot(m, s, CHANNEL_LISTEN, i);
	channel_say(&s->channel, CHANNEL_GO, m->generation);
}

static void stop(struct master *m);

static void
on_report(struct channel *c, const struct channel_message *r, const int *fds, size_t fd_count)
{
	struct slot *s = CONTAINER_OF(c, struct slot, channel);

	for (size_t i = 0; i < fd_count; i++)
		close(fds[i]);
	if (r->kind == CHANNEL_READY && s->state == SLOT_STARTING) {
		s->state = SLOT_READY;
		log_line(LOG_INFO, "worker %u (%d) serves", s->number + 1, (int)s->pid);
	} else if (r->kind == CHANNEL_LEAVING && s->state == SLOT_READY) {
		s->state = SLOT_LEAVING;
		log_line(LOG_INFO, "worker %u (%d) drains", s->number + 1, (int)s->pid);
	} else if (r->kind == CHANNEL_FAILED) {
		log_line(LOG_ERROR, "worker %u (%d) cannot serve the configuration", s->number + 1,
		    (int)s->pid);
	}
}

/* It is ending, or has lost its senses: a moment shows which. */
static void
on_channel_ended(struct channel *c)
{
	CONTAINER_OF(c, struct slot, channel)->deaf_since = clock_ms();
}

/* In the child: what it takes along. The rest is given back on the way out. */
static void
leave_as_worker(struct master *m, const struct slot *s, int channel)
{
	m->is_worker = true;
	m->start = (struct worker_start){
		.number = s->number,
		.channel = channel,
		.error_fd = m->error_fd,
		.error_level = m->bundle.header->error_level,
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

/*
 * Later, and later each time: a machine short of memory is not helped by haste. A start that lacks
 * something is none.
 */
static void
put_off(struct master *m, struct slot *s)
{
	if (m->phase == PHASE_STARTING) {
		m->status = 1;
		stop(m);
		return;
	}
	s->due = clock_ms() + s->delay;
	deadline_set(&m->loop, &s->again, s->delay);
	s->delay = s->delay == 0 ? DELAY_FIRST : MIN_OF(2 * s->delay, (uint64_t)DELAY_MAX);
}

static void
adopt(struct master *m, struct slot *s, pid_t pid, int channel)
{
	s->pid = pid;
	s->state = SLOT_STARTING;
	s->born = clock_ms();
	s->deaf_since = 0;
	if (channel_open(&s->channel, &m->loop, channel))
		equip(m, s);
	else
		kill(pid, SIGKILL);
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
	s->shared->beat = s->shared->generation = s->shared->connections = s->shared->flows = 0;
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
count_death(struct slot *s)
{
	uint64_t now = clock_ms();

	memmove(s->deaths + 1, s->deaths, (CRASHES - 1) * sizeof(s->deaths[0]));
	s->deaths[0] = now;
	if (now - s->born >= CRASHES_WITHIN) {
		s->delay = 0;
		s->alarmed = false;
	}
	if (s->deaths[CRASHES - 1] == 0 || now - s->deaths[CRASHES - 1] > CRASHES_WITHIN ||
	    s->alarmed)
		return;
	s->alarmed = true;
	log_line(LOG_ALERT,
	    "worker %u ended %d times within %d seconds: the others serve, it is tried again ever "
	    "later",
	    s->number + 1, CRASHES, CRASHES_WITHIN / 1000);
}

static void
bury(struct master *m, struct slot *s, int status)
{
	log_death(s, status, m->phase >= PHASE_DRAINING);
	channel_close(&s->channel);
	s->state = SLOT_EMPTY;
	s->pid = 0;
	s->hung = false;
	for (size_t i = 0; i < m->bindings.group; i++)
		if (m->lent[i] == (int)s->number)
			m->lent[i] = NOBODY;
	if (m->phase == PHASE_SERVING)
		count_death(s);
	if (m->phase <= PHASE_SERVING)
		put_off(m, s);
}

/* As the first process of a container we inherit the orphans too: whoever ended is waited for. */
static void
reap(struct master *m)
{
	int status;

	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		for (size_t i = 0; i < m->slot_count; i++)
			if (m->slots[i].state != SLOT_EMPTY && m->slots[i].pid == pid)
				bury(m, &m->slots[i], status);
}

/* ------------------------------------------------------------------ the watch */

static bool
serves(const struct slot *s)
{
	return s->state == SLOT_READY && !s->hung;
}

static uint64_t
silence(const struct master *m, const struct slot *s)
{
	uint64_t beat = __atomic_load_n((const uint64_t *)&s->shared->beat, __ATOMIC_RELAXED);
	uint64_t since = MAX_OF(MAX_OF(beat, s->born), m->awake_since), now = clock_ms();

	return now > since ? now - since : 0;
}

/* One that starts may be silent while it builds; one that beats and never serves is lost, too. */
static bool
is_lost(const struct master *m, const struct slot *s, uint64_t silent)
{
	uint64_t started = MAX_OF(s->born, m->awake_since);

	if (s->deaf_since != 0 && clock_ms() - s->deaf_since > STOP_GRACE)
		return true;
	return s->state == SLOT_STARTING ? clock_ms() - started > START_LIMIT
					 : silent > KILLED_AFTER;
}

static void
judge(const struct master *m, struct slot *s, bool others_beat)
{
	uint64_t silent = silence(m, s);

	channel_retry(&s->channel);
	if (is_lost(m, s, silent)) {
		log_line(LOG_ALERT,
		    "worker %u (%d) does not answer, its last sign of life is %llu ms old: it is "
		    "killed",
		    s->number + 1, (int)s->pid, (unsigned long long)silent);
		kill(s->pid, SIGKILL);
	} else if (s->state == SLOT_READY && !s->hung && silent > HUNG_AFTER && others_beat) {
		s->hung = true;
		log_line(LOG_WARN, "worker %u (%d) hangs: its sockets are lent", s->number + 1,
		    (int)s->pid);
	} else if (s->hung && silent <= HUNG_AFTER) {
		s->hung = false;
		log_line(LOG_NOTICE, "worker %u (%d) is back", s->number + 1, (int)s->pid);
	}
}

static void
on_look(struct deadline *d)
{
	struct master *m = CONTAINER_OF(d, struct master, look);
	bool others_beat = false;

	if (clock_ms() - m->looked > HUNG_AFTER)
		m->awake_since = clock_ms();
	m->looked = clock_ms();
	for (size_t i = 0; i < m->slot_count; i++)
		others_beat |=
		    m->slots[i].state == SLOT_READY && silence(m, &m->slots[i]) <= HUNG_AFTER;
	for (size_t i = 0; i < m->slot_count; i++)
		if (m->slots[i].state != SLOT_EMPTY)
			judge(m, &m->slots[i], others_beat);
	deadline_set(&m->loop, d, LOOK_EVERY);
}

static int
lowest_serving(const struct master *m)
{
	for (size_t i = 0; i < m->slot_count; i++)
		if (serves(&m->slots[i]))
			return (int)i;
	return NOBODY;
}

/* Who should have the sockets of that slot beside their own worker. */
static int
borrower(const struct master *m, size_t slot)
{
	if (serves(&m->slots[home_of(m, slot)]))
		return NOBODY;
	if (m->lent[slot] != NOBODY && serves(&m->slots[m->lent[slot]]))
		return m->lent[slot];
	return lowest_serving(m);
}

static void
settle_lending(struct master *m)
{
	for (size_t i = 0; i < m->bindings.group; i++) {
		int now = borrower(m, i);

		if (now == m->lent[i])
			continue;
		if (m->lent[i] != NOBODY)
			send_slot(m, &m->slots[m->lent[i]], CHANNEL_UNLISTEN, i);
		if (now != NOBODY)
			send_slot(m, &m->slots[now], CHANNEL_LISTEN, i);
		m->lent[i] = now;
	}
}

/* ------------------------------------------------------------------ phases */

static void
say_to_all(struct master *m, enum channel_kind kind)
{
	for (size_t i = 0; i < m->slot_count; i++)
		if (m->slots[i].state != SLOT_EMPTY)
			channel_say(&m->slots[i].channel, kind, m->generation);
}

static void
kill_all(struct master *m)
{
	for (size_t i = 0; i < m->slot_count; i++)
		if (m->slots[i].state != SLOT_EMPTY)
			kill(m->slots[i].pid, SIGKILL);
}

static void
on_kill(struct deadline *d)
{
	kill_all(CONTAINER_OF(d, struct master, kill));
}

static void
stop(struct master *m)
{
	if (m->phase == PHASE_STOPPING) {
		kill_all(m);
		return;
	}
	log_line(LOG_NOTICE, "stopping");
	m->phase = PHASE_STOPPING;
	say_to_all(m, CHANNEL_STOP);
	deadline_set(&m->loop, &m->kill, STOP_GRACE);
}

/* Our own hold on the sockets goes too: a client that comes now is refused and not forgotten. */
static void
quit(struct master *m)
{
	if (m->phase >= PHASE_DRAINING)
		return;
	log_line(LOG_NOTICE, "draining");
	m->phase = PHASE_DRAINING;
	say_to_all(m, CHANNEL_DRAIN);
	binding_close(&m->bindings, true);
}

static void
begin_serving(struct master *m)
{
	for (size_t i = 0; i < m->slot_count; i++)
		if (m->slots[i].state != SLOT_READY)
			return;
	m->phase = PHASE_SERVING;
	log_line(
	    LOG_NOTICE, "serving: %zu workers, %zu listeners", m->slot_count, m->bindings.count);
	if (m->tell < 0)
		return;
	if (write(m->tell, "", 1) != 1)
		log_errno(LOG_WARN, errno, "who started the server is gone");
	close(m->tell);
	m->tell = -1;
	process_stdio_to_null();
}

static void
spawn_due(struct master *m)
{
	for (size_t i = 0; i < m->slot_count && !m->is_worker && m->phase <= PHASE_SERVING; i++)
		if (m->slots[i].state == SLOT_EMPTY && m->slots[i].due <= clock_ms())
			spawn(m, &m->slots[i]);
}

static bool
all_ended(const struct master *m)
{
	for (size_t i = 0; i < m->slot_count; i++)
		if (m->slots[i].state != SLOT_EMPTY)
			return false;
	return true;
}

static void
settle(void *what)
{
	struct master *m = what;

	spawn_due(m);
	if (m->is_worker)
		return;
	if (m->phase == PHASE_STARTING)
		begin_serving(m);
	if (m->phase == PHASE_SERVING)
		settle_lending(m);
	if (m->phase >= PHASE_DRAINING && all_ended(m))
		loop_stop(&m->loop);
}

static void
on_again(struct deadline *d)
{
}

static void
on_signal(struct loop_event *e, unsigned what)
{
	struct master_signal *s = CONTAINER_OF(e, struct master_signal, event);
	struct master *m = s->master;

	switch (s->number) {
	case SIGCHLD:
		reap(m);
		break;
	case SIGTERM:
	case SIGINT:
		stop(m);
		break;
	case SIGQUIT:
		quit(m);
		break;
	case SIGUSR1:
		reopen_logs(m);
		break;
	case SIGWINCH:
		/* A terminal says so whenever its size changes. */
		if (m->background)
			log_line(LOG_WARN, "draining for an upgrade: not supported yet");
		break;
	case SIGHUP:
		log_line(LOG_WARN, "reload: not supported yet");
		break;
	default:
		log_line(LOG_WARN, "upgrade: not supported yet");
	}
}

/* ------------------------------------------------------------------ the start */

static bool
load(struct master *m)
{
	const struct load_input in = {
		.config = m->options->config,
		.prefix = m->options->prefix,
		.bindings = &m->bindings,
		.shared = &m->shared,
	};
	struct load l;

	if (!load_begin(&l, &in))
		return process_refuse(
		    "no process to check the configuration with: %s", strerror(errno));
	if (!load_wait(&l, &m->bundle))
		return false;
	m->generation++;
	m->background = m->options->background == MASTER_AS_CONFIGURED ? m->bundle.header->daemon :
	    m->options->background == MASTER_BACKGROUND;
	if (m->background && m->bundle.header->error_path.n == 0)
		fputs("server: warning: in the background there is no stderr to log to; write: "
		      "error_log PATH;\n",
		    stderr);
	return true;
}

/*
 * The child foretold where each object is: a master that comes to something else does not follow
 * it.
 */
static bool
take_shared(struct master *m)
{
	const struct bundle_shared *all = bundle_shared(&m->bundle);

	for (size_t i = 0; i < m->bundle.header->shared.count; i++) {
		uint64_t offset;

		if (!shared_take(&m->shared, &all[i].key, &offset) || offset != all[i].offset)
			return process_refuse(
			    "the configuration's shared memory is not where it should be");
	}
	return true;
}

static bool
take_pid_file(struct master *m)
{
	struct slice path = bundle_text(&m->bundle, m->bundle.header->pid_path);
	pid_t holder;

	if (path.n == 0 || pid_file_take(&m->pid_file, path.at, &holder))
		return true;
	if (errno == EWOULDBLOCK)
		return process_refuse(
		    "another master (pid %d) is running: %s", (int)holder, path.at);
	return process_refuse("cannot write the pid file %s: %s", path.at, strerror(errno));
}

/* All of them, so that all that is wrong is said at once. */
static bool
bind_listeners(struct master *m)
{
	const struct bundle_listener *all = bundle_listeners(&m->bundle);
	bool good = true;

	for (size_t i = 0; i < m->bundle.header->listeners.count; i++) {
		const struct bundle_listener *l = &all[i];
		struct slice text = bundle_text(&m->bundle, l->text);
		const struct bound *known = binding_find(&m->bindings, l->transport, &l->addr);

		if (known != NULL ? known->number != l->binding : l->binding < m->bindings.next)
			good = process_refuse(
			    "the configuration's listeners are not numbered as they should be");
		else if (known == NULL && !binding_open(&m->bindings, l, text))
			good = process_refuse("cannot listen on %s: %s", text.at, strerror(errno));
	}
	return good;
}

static bool
open_slots(struct master *m)
{
	size_t count = m->bundle.header->workers;

	m->slots = memory_zalloc(count * sizeof(*m->slots));
	for (; m->slot_count < count; m->slot_count++) {
		struct slot *s = &m->slots[m->slot_count];
		struct shared_key key = { .kind = SHARED_WORKER,
			.size = sizeof(struct worker_shared) };
		uint64_t offset;

		snprintf(key.name, sizeof(key.name), "%zu", m->slot_count);
		if (!shared_take(&m->shared, &key, &offset))
			return process_refuse("shared memory is full");
		*s = (struct slot){
			.number = (uint32_t)m->slot_count,
			.channel = { .fd = -1, .receive = on_report, .ended = on_channel_ended },
			.shared = shared_at(&m->shared, offset, key.size),
			.again.run = on_again,
		};
	}
	m->lent = memory_zalloc(m->bindings.group * sizeof(*m->lent));
	for (size_t i = 0; i < m->bindings.group; i++)
		m->lent[i] = NOBODY;
	return true;
}

static bool
prepare(struct master *m)
{
	uint64_t allowed;

	if (!shared_open(&m->shared, SHARED_SIZE))
		return process_refuse("no address space for shared memory: %s", strerror(errno));
	if (!load(m))
		return false;
	m->bindings.group = MAX_OF(load_cpus(), m->bundle.header->workers);
	if (!process_raise_descriptors(0, &allowed))
		return process_refuse("cannot raise the limit of descriptors: %s", strerror(errno));
	if (!take_shared(m) || !open_slots(m) || !take_pid_file(m))
		return false;
	bool logs = open_logs(m);
	return bind_listeners(m) && logs;
}

/* False: we are who started it, and wait. */
static bool
go_to_background(struct master *m)
{
	int pipe_ends[2];

	fflush(NULL);
	if (pipe2(pipe_ends, O_CLOEXEC) < 0)
		return process_refuse("no pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid == 0) {
		close(pipe_ends[0]);
		m->tell = pipe_ends[1];
		setsid();
		return true;
	}
	close(pipe_ends[1]);
	if (pid > 0) {
		m->wait_for = pipe_ends[0];
		return false;
	}
	close(pipe_ends[0]);
	return process_refuse("no process for the background: %s", strerror(errno));
}

static bool
watch_signals(struct master *m)
{
	for (size_t i = 0; i < ARRAY_COUNT(signals_watched); i++) {
		struct master_signal *s = &m->signals[i];

		s->master = m;
		s->number = signals_watched[i];
		if (!loop_signal(&m->loop, &s->event, s->number, on_signal))
			return false;
	}
	return true;
}

static bool
begin(struct master *m)
{
	sigset_t none;

	if (m->background && !go_to_background(m))
		return false;
	if (!pid_file_write(&m->pid_file, getpid()))
		return process_refuse(
		    "cannot write the pid file %s: %s", m->pid_file.path, strerror(errno));
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	process_name("server master");
	log_name("master");
	log_to(m->error_fd, m->bundle.header->error_level);
	if (!loop_open(&m->loop) || !watch_signals(m))
		return process_refuse("no event loop: %s", strerror(errno));
	/* Who started us may have blocked what we are told by. */
	sigemptyset(&none);
	process_unblock_signals(&none);
	m->look.run = on_look;
	m->kill.run = on_kill;
	m->looked = clock_ms();
	deadline_set(&m->loop, &m->look, LOOK_EVERY);
	return true;
}

/* ------------------------------------------------------------------ the end */

static void
close_loop(struct master *m)
{
	for (size_t i = 0; i < ARRAY_COUNT(m->signals); i++)
		loop_unwatch(&m->signals[i].event);
	for (size_t i = 0; i < m->slot_count; i++) {
		channel_close(&m->slots[i].channel);
		deadline_remove(&m->loop, &m->slots[i].again);
	}
	deadline_remove(&m->loop, &m->look);
	deadline_remove(&m->loop, &m->kill);
	loop_close(&m->loop);
}

/* The registrations are the master's, which lives on. */
static void
forget_loop(struct master *m)
{
	loop_forget(&m->loop);
	for (size_t i = 0; i < m->slot_count; i++)
		channel_forget(&m->slots[i].channel);
}

/* `owner`: the master itself, which takes its files along; else a fork of it. */
static void
close_master(struct master *m, bool owner)
{
	if (m->loop.base != NULL && owner)
		close_loop(m);
	else if (m->loop.base != NULL)
		forget_loop(m);
	binding_close(&m->bindings, owner);
	pid_file_give(&m->pid_file, owner);
	for (size_t i = 0; i < m->log_count; i++)
		close_log(m->log_fds[i]);
	free(m->log_fds);
	free(m->slots);
	free(m->lent);
	close_log(m->error_fd);
	bundle_close(&m->bundle);
	shared_close(&m->shared);
	if (m->tell >= 0)
		close(m->tell);
}

static int
wait_for_background(struct master *m)
{
	char byte;
	ssize_t n;

	close_master(m, false);
	while ((n = read(m->wait_for, &byte, 1)) < 0 && errno == EINTR)
		;
	close(m->wait_for);
	if (n == 1)
		return 0;
	process_refuse("the start failed: the error log says why");
	return 1;
}

int
master_run(const struct master_options *options)
{
	struct master m = {
		.options = options,
		.bundle = BUNDLE_NONE,
		.pid_file = PID_FILE_NONE,
		.error_fd = -1,
		.tell = -1,
		.wait_for = -1,
	};

	binding_init(&m.bindings, 0);
	bool begun = prepare(&m) && begin(&m);
	if (m.wait_for >= 0)
		return wait_for_background(&m);
	if (begun) {
		settle(&m);
		loop_run(&m.loop, settle, &m);
	}
	if (m.is_worker) {
		struct worker_start start = m.start;

		close_master(&m, false);
		return worker_run(&start);
	}
	if (begun)
		log_line(LOG_NOTICE, "ended");
	log_to(STDERR_FILENO, LOG_NOTICE);
	close_master(&m, true);
	return begun ? m.status : 1;
}

/* ------------------------------------------------------------------ -s */

/* What the configuration calls its pid file; NULL: errors were said. */
static char *
configured_pid_path(const struct master_options *options)
{
	struct arena arena;
	struct sources files;
	struct diag diag;
	struct build_input in = { .files = NULL };
	char *path = NULL;

	arena_init(&arena, NULL, 0);
	sources_init(&files, &arena, true);
	load_locate(&files, options->config, options->prefix, &in);
	diag_init(&diag, &arena, &files);
	struct snapshot *s = build_snapshot(&in, &diag);
	if (s == NULL) {
		diag_print(&diag, stderr);
		process_refuse("the configuration does not say which master is meant");
	} else if (s->pid_path.n == 0) {
		process_refuse(
		    "the configuration has no \"pid\": there is no way to find the master");
	} else {
		path = strndup(s->pid_path.at, s->pid_path.n);
	}
	if (s != NULL)
		snapshot_release(NULL, s);
	arena_reset(&arena);
	return path;
}

static int
signal_master(const char *path, int number)
{
	pid_t pid = pid_file_holder(path);

	if (pid == 0)
		process_refuse("no master is running: %s", path);
	else if (pid < 0)
		process_refuse("cannot read the pid file %s: %s", path, strerror(errno));
	else if (kill(pid, number) < 0)
		process_refuse("cannot signal the master (pid %d): %s", (int)pid, strerror(errno));
	else
		return 0;
	return 1;
}

int
master_send(const struct master_options *options, const char *word)
{
	static const struct {
		const char *word;
		int number;
	} words[] = { { "stop", SIGTERM }, { "quit", SIGQUIT }, { "reopen", SIGUSR1 } };
	size_t i = 0;

	while (i < ARRAY_COUNT(words) && strcmp(words[i].word, word) != 0)
		i++;
	if (i == ARRAY_COUNT(words)) {
		if (strcmp(word, "reload") == 0)
			process_refuse("reload is not supported yet: quit and start again");
		else
			process_refuse(
			    "unknown signal \"%s\": stop, quit or reopen is meant", word);
		return 1;
	}
	char *path = configured_pid_path(options);
	int status = path == NULL ? 1 : signal_master(path, words[i].number);
	free(path);
	return status;
}
