/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * explain and routes of what runs: a short-lived child builds the snapshot from the bundle that is served, and looks.
 * The master only carries what it wrote, and ends it when it takes too long or nobody waits any more.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/build.h"
#include "server/control_inner.h"
#include "server/explain.h"

enum { LOOK_TIME = 10 * 1000 };         /* ms */

/* ------------------------------------------------------------------ the child */

static int
look(const struct control_client *k, struct arena *a, FILE *to)
{
	const struct bundle *b = &k->master->bundle;
	const struct control_request *r = &k->request;
	const char *words[CONTROL_WORDS_MAX];
	struct sources files;
	struct diag diag;
	const struct build_input build = {
		.files = &files,
		.path = bundle_text(b, b->header->path),
		.prefix = bundle_text(b, b->header->prefix),
	};
	bool routes = slice_is(r->words[0], "routes");

	bundle_sources(b, &files, a);
	diag_init(&diag, a, &files);
	for (size_t i = 1; i < r->count; i++)
		words[i - 1] = arena_text(a, r->words[i]);

	const struct explain_input in = { build_snapshot(&build, &diag), &files };

	if (in.snapshot == NULL) {
		fputs("what is served cannot be read again\n", to);
		return EXPLAIN_FAILED;
	}
	/* One of the two is written to. */
	return (routes ? explain_routes : explain_question)(&in, words, r->count - 1, to, to);
}

NORETURN static void
run_child(const struct control_client *k)
{
	struct arena arena;
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		signal(number, number == SIGPIPE ? SIG_IGN : SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	process_unblock_signals(&none);
	binding_let_go(&k->master->bindings);
	arena_init(&arena, NULL, 0);

	FILE *to = fdopen(k->look_fd, "w");
	int status = to == NULL ? EXPLAIN_FAILED : look(k, &arena, to);

	/* Not exit: what the master has registered to run at its end is not the child's. */
	_exit(to != NULL && fflush(to) == 0 ? status : EXPLAIN_FAILED);
}

/* ------------------------------------------------------------------ the master */

void
control_forget_look(struct control_client *k, bool owner)
{
	if (owner && k->looker > 0)
		kill(k->looker, SIGKILL);
	if (k->look_fd > 0)
		close(k->look_fd);
	k->looker = 0;
	k->look_fd = 0;
}

static void
take_text(struct control_client *k, char kind)
{
	char *room = memory_try(REPORT_MAX);
	struct slice text, line;
	ssize_t n = room == NULL ? 0 : pread(k->look_fd, room, REPORT_MAX, 0);

	text = slice_make(room, n > 0 ? (size_t)n : 0);
	while (slice_split(&text, '\n', &line))
		report_whole_line(&k->report, kind, line);
	free(room);
}

static bool
has_looked(struct control_client *k)
{
	int status = k->look_status;

	if (k->looker != 0)
		return false;
	if (!WIFEXITED(status))
		report_line(&k->report, '-', "who looked was ended by signal %d", WTERMSIG(status));
	else
		take_text(k, WEXITSTATUS(status) == EXPLAIN_GOOD ? '>' : '-');
	control_forget_look(k, true);
	return true;
}

static void
is_late(struct control_client *k)
{
	control_forget_look(k, true);
	control_refuse(k, "it took longer than %d s", LOOK_TIME / 1000);
}

void
control_look(struct control_client *k)
{
	sigset_t before;

	k->look_fd = memfd_create("look", MFD_CLOEXEC);
	if (k->look_fd < 0) {
		k->look_fd = 0;
		control_refuse(k, "there is no file to look with: %s", strerror(errno));
		return;
	}
	fflush(NULL);
	process_block_signals(&before);
	k->looker = fork();
	if (k->looker == 0)
		run_child(k);

	int error = errno;

	process_unblock_signals(&before);
	if (k->looker > 0) {
		control_wait(k, has_looked, is_late, LOOK_TIME);
		return;
	}
	k->looker = 0;
	control_forget_look(k, true);
	control_refuse(k, "there is no process to look with: %s", strerror(error));
}

bool
control_reaped(struct master *m, pid_t pid, int status)
{
	for (struct control_client *k = m->control.clients; k != NULL; k = k->next)
		if (k->looker == pid) {
			k->looker = 0;
			k->look_status = status;
			return true;
		}
	return false;
}
