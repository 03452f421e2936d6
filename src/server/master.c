/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Signals and deaths only write down what has changed; settle(), at the end of every pass, does
 * what is then missing: forks a worker, lends a socket, ends. A forked worker leaves through the
 * same door, master_run, having given back all that was the master's.
 */
#include "server/master_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/notify.h"

/* ------------------------------------------------------------------ phases */

static void
kill_one(struct master *m, struct slot *s)
{
	kill(s->pid, SIGKILL);
}

static void
on_kill(struct deadline *d)
{
	crew_each(CONTAINER_OF(d, struct master, kill), kill_one);
}

/* All that we have is another master's, or nobody's. */
static void
leave(struct master *m)
{
	upgrade_leave(m);
	notify_say("STOPPING=1\nSTATUS=ending");
}

void
master_stop(struct master *m)
{
	if (m->phase == PHASE_STOPPING) {
		crew_each(m, kill_one);
		return;
	}
	log_line(LOG_NOTICE, "stopping");
	leave(m);
	m->phase = PHASE_STOPPING;
	crew_say(m, CHANNEL_STOP);
	deadline_set(&m->loop, &m->kill, STOP_GRACE);
}

/*
 * Our own hold on the sockets goes too: a client that comes now is refused and not forgotten, or another master's.
 */
void
master_quit(struct master *m)
{
	if (m->phase >= PHASE_DRAINING)
		return;
	log_line(LOG_NOTICE, "draining");
	leave(m);
	m->phase = PHASE_DRAINING;
	crew_say(m, CHANNEL_DRAIN);
	binding_close(&m->bindings, upgrade_owns_files(m));
	if (m->upgrade.leaves)
		pid_file_give(&m->pid_file, true);
}

static void
begin_serving(struct master *m)
{
	for (size_t i = 0; i < m->slot_count; i++)
		if (m->slots[i]->state != SLOT_READY)
			return;
	m->phase = PHASE_SERVING;
	log_line(LOG_NOTICE, "serving: %zu worker%s, %zu listener%s", m->slot_count,
	    m->slot_count == 1 ? "" : "s", m->bindings.count, m->bindings.count == 1 ? "" : "s");
	watch_follow(m, true);
	upgrade_serves(m);
	notify_say("READY=1\nSTATUS=serving");
	if (m->tell < 0)
		return;
	if (write(m->tell, "", 1) != 1)
		log_errno(LOG_WARN, errno, "who started the server is gone");
	close(m->tell);
	m->tell = -1;
	process_stdio_to_null();
}

static void
settle(void *what)
{
	struct master *m = what;

	crew_spawn_due(m);
	if (m->is_worker)
		return;
	if (m->phase == PHASE_STARTING)
		begin_serving(m);
	if (m->phase == PHASE_SERVING)
		crew_settle(m);
	reload_settle(m);
	if (m->is_worker)
		return;
	control_settle(m);
	upgrade_settle(m);
	if (m->phase >= PHASE_DRAINING && crew_all_ended(m))
		loop_stop(&m->loop);
}

static void
on_signal(struct loop_event *e, unsigned what)
{
	struct master_signal *s = CONTAINER_OF(e, struct master_signal, event);
	struct master *m = s->master;

	switch (s->number) {
	case SIGCHLD:
		crew_reap(m);
		break;
	case SIGTERM:
	case SIGINT:
		master_stop(m);
		break;
	case SIGQUIT:
		master_quit(m);
		break;
	case SIGUSR1:
		logs_reopen(m);
		break;
	case SIGWINCH:
		/* A terminal says so whenever its size changes. */
		if (m->background || m->upgrade.stage == HEIR_SERVES)
			upgrade_retire(m);
		break;
	case SIGHUP:
		if (m->phase == PHASE_RETIRED)
			crew_return(m);
		else
			master_reload(m, NULL);
		break;
	default:
		master_upgrade(m, NULL);
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
	if (m->upgrade.elder < 0)
		m->background = m->options->background == MASTER_AS_CONFIGURED ?
		    m->bundle.header->daemon : m->options->background == MASTER_BACKGROUND;
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
	reload_name_shared(m);
	return true;
}

static bool
take_pid_file(struct master *m)
{
	struct slice path = bundle_text(&m->bundle, m->bundle.header->pid_path);
	pid_t holder;

	if (path.n == 0 || upgrade_has_pid_file(m, path) || pid_file_take(&m->pid_file, path.at, &holder))
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

		if (!binding_agrees(&m->bindings, l))
			good = process_refuse(
			    "the configuration's listeners are not numbered as they should be");
		else if (binding_find(&m->bindings, l->transport, &l->addr) == NULL &&
		    !binding_open(&m->bindings, l, text))
			good = process_refuse("cannot listen on %s: %s", text.at, strerror(errno));
	}
	return good;
}

static bool
prepare(struct master *m)
{
	uint64_t allowed;

	if (!upgrade_follow(m) || !notify_take_sockets(&m->bindings))
		return false;
	if (m->shared.at == NULL && !shared_open(&m->shared, SHARED_SIZE))
		return process_refuse("no address space for shared memory: %s", strerror(errno));
	if (!load(m))
		return false;
	if (m->bindings.group == 0)
		m->bindings.group = MAX_OF(load_cpus(), m->bundle.header->workers);
	if (!process_raise_descriptors(0, &allowed))
		return process_refuse("cannot raise the limit of descriptors: %s", strerror(errno));
	if (!take_shared(m) || !crew_open(m) || !take_pid_file(m))
		return false;
	bool logs = logs_open(m), bound = bind_listeners(m);
	if (binding_forget_given(&m->bindings) != 0)
		fputs("server: warning: not all sockets that were opened for us are listeners'\n", stderr);
	return bound && logs;
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

static const int signals_watched[MASTER_SIGNALS] = { SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGUSR1,
	SIGHUP, SIGUSR2, SIGWINCH };

/*
 * The first process of a container has no default actions: what it is told while it starts would be
 * lost, so it waits until somebody watches.
 */
static void
hold_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_COUNT(signals_watched); i++)
		sigaddset(&set, signals_watched[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
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

/* Of us, and of a worker while there should be one that serves. */
static void
on_sign(struct deadline *d)
{
	struct master *m = CONTAINER_OF(d, struct master, sign);

	if (m->phase != PHASE_SERVING || crew_beats(m))
		notify_say("WATCHDOG=1");
	deadline_set(&m->loop, d, notify_watchdog());
}

static bool
begin(struct master *m)
{
	sigset_t none;

	if (m->background && m->upgrade.elder < 0 && !go_to_background(m))
		return false;
	if (!pid_file_write(&m->pid_file, getpid()))
		return process_refuse(
		    "cannot write the pid file %s: %s", m->pid_file.path, strerror(errno));
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	process_name("server master");
	log_name("master");
	if (!loop_open(&m->loop) || !watch_signals(m) || !upgrade_begin(m))
		return process_refuse("no event loop: %s", strerror(errno));
	log_to(m->error_fd, m->bundle.header->error_level);
	/* Who started us may have blocked what we are told by. */
	sigemptyset(&none);
	process_unblock_signals(&none);
	m->look.run = crew_look;
	m->kill.run = on_kill;
	m->looked = clock_ms();
	deadline_set(&m->loop, &m->look, LOOK_EVERY);
	m->sign.run = on_sign;
	if (notify_watchdog() != 0)
		deadline_set(&m->loop, &m->sign, notify_watchdog());
	return control_open(m);
}

/* ------------------------------------------------------------------ the end */

static void
close_loop(struct master *m)
{
	for (size_t i = 0; i < ARRAY_COUNT(m->signals); i++)
		loop_unwatch(&m->signals[i].event);
	deadline_remove(&m->loop, &m->look);
	deadline_remove(&m->loop, &m->kill);
	deadline_remove(&m->loop, &m->sign);
	loop_close(&m->loop);
}

/* `owner`: the master itself, which takes its files along; else a fork of it. */
static void
close_master(struct master *m, bool owner)
{
	/* In a fork the registrations are the master's, which lives on. */
	bool remove = owner && upgrade_owns_files(m);

	if (m->loop.base != NULL && !owner)
		loop_forget(&m->loop);
	upgrade_close(m, owner);
	control_close(m, owner);
	reload_close(m, owner);
	watch_close(&m->watch, owner);
	crew_close(m, owner);
	if (m->loop.base != NULL && owner)
		close_loop(m);
	binding_close(&m->bindings, remove);
	pid_file_give(&m->pid_file, owner);
	logs_close(m);
	bundle_close(&m->bundle);
	shared_close(&m->shared);
	notify_close();
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
		.watch = WATCH_OFF,
		.pid_file = PID_FILE_NONE,
		.error_fd = -1,
		.tell = -1,
		.wait_for = -1,
	};

	binding_init(&m.bindings, 0);
	reload_init(&m);
	control_init(&m.control);
	upgrade_init(&m);
	notify_open();
	if (getpid() == 1)
		hold_signals();
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
