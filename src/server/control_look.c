/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * explain and routes of what runs: a short-lived child builds the snapshot from the bundle that is served, and looks.
 * It answers whoever asked by itself; the master ends it when it takes too long.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/build.h"
#include "server/control_inner.h"
#include "server/explain.h"

enum {
	LOOK_TIME = 10 * 1000,                  /* ms */
	LOOK_MAX = 64 * 1024 * 1024             /* bytes of an answer, as who asks takes them */
};

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

static bool
tell(int fd, struct slice text)
{
	struct pollfd room = { .fd = fd, .events = POLLOUT };

	while (text.n != 0) {
		ssize_t n = send(fd, text.at, text.n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0)
			text = slice_after(text, (size_t)n);
		else if (errno == EAGAIN)
			(void)poll(&room, 1, -1);
		else if (errno != EINTR)
			return false;
	}
	return true;
}

/* A part of it would be taken for all. */
static bool
answer(int fd, struct slice text, bool good)
{
	struct report r;
	struct slice line;

	report_init(&r, LOOK_MAX);
	while (slice_split(&text, '\n', &line))
		report_whole_line(&r, good ? '>' : '~', line);
	if (r.dropped != 0) {
		report_free(&r);
		report_line(&r, '-', "that is more than %d MiB", LOOK_MAX / 1024 / 1024);
		r.dropped = 0;
	}
	report_end(&r);
	return tell(fd, slice_make(r.at, r.n));
}

NORETURN static void
run_child(const struct control_client *k)
{
	struct arena arena;
	sigset_t none;
	char *text = NULL;
	size_t n = 0;

	for (int number = 1; number < NSIG; number++)
		signal(number, number == SIGPIPE ? SIG_IGN : SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	process_unblock_signals(&none);
	binding_let_go(&k->master->bindings);
	arena_init(&arena, NULL, 0);

	FILE *to = open_memstream(&text, &n);
	int status = to == NULL ? EXPLAIN_FAILED : look(k, &arena, to);
	bool told = to != NULL && fflush(to) == 0 &&
	    answer(k->fd, slice_make(text, n), status == EXPLAIN_GOOD);

	/* Not exit: what the master has registered to run at its end is not the child's. */
	_exit(told ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* ------------------------------------------------------------------ the master */

void
control_forget_look(struct control_client *k, bool owner)
{
	if (owner && k->looker > 0)
		kill(k->looker, SIGKILL);
	k->looker = 0;
}

static bool
has_looked(struct control_client *k)
{
	int status = k->look_status;

	if (k->looker != 0)
		return false;
	k->told = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
	if (k->told)
		return true;
	/* Behind what it has told of a line. */
	report_line(&k->report, '\n', "%s", "");
	if (k->look_late)
		report_line(&k->report, '-', "it took longer than %d s", LOOK_TIME / 1000);
	else if (WIFSIGNALED(status))
		report_line(&k->report, '-', "who looked was ended by signal %d", WTERMSIG(status));
	else
		report_line(&k->report, '-', "who looked could not tell");
	return true;
}

/* It ends in a moment; until then it may still be telling. */
static void
is_late(struct control_client *k)
{
	k->look_late = true;
	kill(k->looker, SIGKILL);
	control_wait(k, has_looked, is_late, LOOK_TIME);
}

void
control_look(struct control_client *k)
{
	sigset_t before;

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
