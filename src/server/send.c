/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The number in a pid file is what its writer calls itself: in another container it is somebody
 * else's. So the kernel is asked who listens at the control socket, and answers in numbers of our
 * own; where nobody does, the process of the file's number must have that very file open.
 */
#include "server/send.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/build.h"
#include "server/control_client.h"
#include "server/load.h"
#include "server/pid_file.h"
#include "server/process.h"
#include "server/upgrade.h"

/* ------------------------------------------------------------------ where it is */

struct where {
	char *pid, *control;            /* empty: the configuration has none */
};

static void
where_close(struct where *w)
{
	free(w->pid);
	free(w->control);
}

/*
 * What else is wrong with the configuration is no reason not to find who runs. False: errors were
 * said.
 */
static bool
where_open(struct where *w, const struct master_options *options)
{
	struct arena arena;
	struct sources files;
	struct diag diag;
	struct build_paths paths;
	struct build_input in = { .files = NULL };

	arena_init(&arena, NULL, 0);
	sources_init(&files, &arena, true);
	load_locate(&files, options->config, options->prefix, &in);
	diag_init(&diag, &arena, &files);

	bool good = build_paths(&in, &diag, &paths) || paths.pid.n != 0 || paths.control.n != 0;

	if (good) {
		*w = (struct where){ strndup(paths.pid.at, paths.pid.n),
			strndup(paths.control.at, paths.control.n) };
	} else {
		diag_print(&diag, stderr);
		process_refuse("the configuration does not say which master is meant: give its -c and -p");
	}
	arena_reset(&arena);
	return good;
}

char *
send_where(const struct master_options *options)
{
	struct where w;

	if (!where_open(&w, options))
		return NULL;
	free(w.pid);
	return w.control;
}

/* ------------------------------------------------------------------ who it is */

static void
no_pid(void)
{
	process_refuse("the configuration has no \"pid\", so the master cannot be found: write pid PATH; and "
	    "start it again");
}

/* False: it does not, or that cannot be seen (*hidden). */
static bool
has_open(pid_t pid, const char *path, bool *hidden)
{
	char name[64];
	struct stat wanted, one;
	bool found = false;

	snprintf(name, sizeof(name), "/proc/%d/fd", (int)pid);
	DIR *all = stat(path, &wanted) == 0 ? opendir(name) : NULL;
	*hidden = all == NULL && (errno != ENOENT || access("/proc/self", F_OK) < 0);
	for (struct dirent *e; !found && all != NULL && (e = readdir(all)) != NULL;)
		found = fstatat(dirfd(all), e->d_name, &one, 0) == 0 && one.st_dev == wanted.st_dev &&
		    one.st_ino == wanted.st_ino;
	if (all != NULL)
		closedir(all);
	return found;
}

/* 0: errors were said. */
static pid_t
find_by_file(const char *path)
{
	pid_t pid = pid_file_holder(path);
	bool hidden;

	if (pid == 0)
		process_refuse("no master is running: %s", path);
	else if (pid < 0)
		process_refuse("cannot read the pid file %s: %s", path, strerror(errno));
	else if (has_open(pid, path, &hidden) || hidden)
		return pid;
	else
		process_refuse("process %d, which %s names, is another: the master runs in another container",
		    (int)pid, path);
	return 0;
}

static pid_t
find(const struct where *w)
{
	pid_t pid = w->control[0] != '\0' ? control_listener(w->control) : -1;

	if (pid > 0)
		return pid;
	if (pid == 0)
		process_refuse("the master at %s runs in another container, and is no process of this one",
		    w->control);
	else if (w->pid[0] != '\0')
		return find_by_file(w->pid);
	else if (w->control[0] != '\0')
		process_refuse("no master answers at %s: is one running, with the same -c and -p?", w->control);
	else
		no_pid();
	return 0;
}

/* ------------------------------------------------------------------ -s */

static int
signal_master(const struct where *w, int number)
{
	pid_t pid = find(w);

	if (pid > 0 && kill(pid, number) == 0)
		return 0;
	if (pid > 0)
		process_refuse("cannot signal the master (pid %d): %s", (int)pid, strerror(errno));
	return 1;
}

/* Two masters, told from each other by the file. */
static int
upgrade(const struct where *w)
{
	if (w->pid[0] != '\0')
		return find_by_file(w->pid) > 0 ? upgrade_by_signals(w->pid) : 1;
	no_pid();
	return 1;
}

/* 0: it is no word. */
static int
signal_of(const char *word)
{
	static const struct {
		const char *word;
		int number;
	} words[] = { { "stop", SIGTERM }, { "quit", SIGQUIT }, { "reopen", SIGUSR1 },
		{ "reload", SIGHUP }, { "upgrade", SIGUSR2 } };

	for (size_t i = 0; i < ARRAY_COUNT(words); i++)
		if (strcmp(words[i].word, word) == 0)
			return words[i].number;
	return 0;
}

bool
send_knows(const char *word)
{
	return signal_of(word) != 0;
}

int
send_word(const struct master_options *options, const char *socket, const char *word)
{
	struct where w;

	if (socket != NULL)
		w = (struct where){ strdup(""), strdup(socket) };
	else if (!where_open(&w, options))
		return 1;
	int number = signal_of(word), status = number == SIGUSR2 ? upgrade(&w) : signal_master(&w, number);
	where_close(&w);
	return status;
}
