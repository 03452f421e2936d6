/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The child's work, and what can only be checked with the master's rights:
 * that the user exists, and that a worker may open as many descriptors as it is to serve.
 */
#include "server/load.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/socket.h"
#include "server/process.h"

/* loop, channel, logs, the spare one, files that are open for a moment */
enum { DESCRIPTORS_RESERVE = 64 };

static const char verdict_good[] = "good";

unsigned
load_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
		return (unsigned)CPU_COUNT(&set);
	return (unsigned)MAX_OF(sysconf(_SC_NPROCESSORS_ONLN), 1L);
}

/* ------------------------------------------------------------------ paths */

static struct slice
absolute(struct arena *a, const char *path)
{
	char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
	struct slice whole = slice_of(
	    here == NULL ? arena_text(a, slice_of(path)) : arena_printf(a, "%s/%s", here, path));

	free(here);
	return whole;
}

/* What stands before the last slash; `otherwise` when there is none. */
static struct slice
parent(struct slice path, struct slice otherwise)
{
	while (path.n > 0 && path.at[path.n - 1] != '/')
		path.n--;
	if (path.n == 0)
		return otherwise;
	return path.n == 1 ? path : slice_first(path, path.n - 1);
}

void
load_locate(struct sources *files, const char *config, const char *prefix, struct build_input *in)
{
	struct stat about;
	bool directory = stat(config, &about) == 0 && S_ISDIR(about.st_mode);

	in->files = files;
	in->path = absolute(files->arena, config);
	in->prefix = prefix == NULL ? SLICE_EMPTY : absolute(files->arena, prefix);
	files->directory = directory ? in->path : parent(in->path, SLICE("/"));
	files->shown_directory =
	    directory ? slice_of(config) : parent(slice_of(config), SLICE("."));
}

/* ------------------------------------------------------------------ who the workers are */

static void
know_groups(struct bundle_identity *who, const char *user)
{
	gid_t groups[BUNDLE_GROUPS_MAX];
	int count = BUNDLE_GROUPS_MAX;

	/* More than fit: the first ones, the user's own among them. */
	if (getgrouplist(user, who->gid, groups, &count) < 0)
		count = MIN_OF(count, (int)BUNDLE_GROUPS_MAX);
	who->group_count = (uint32_t)count;
	for (int i = 0; i < count; i++)
		who->groups[i] = groups[i];
}

static bool
identify_by_root(struct bundle_identity *who, const char *user, const char *group)
{
	const struct passwd *u = getpwnam(user);

	if (u == NULL)
		return process_refuse("user \"%s\" does not exist", user);
	who->uid = u->pw_uid;
	who->gid = u->pw_gid;
	if (group[0] != '\0') {
		const struct group *g = getgrnam(group);

		if (g == NULL)
			return process_refuse("group \"%s\" does not exist", group);
		who->gid = g->gr_gid;
	}
	/* Who it is already: a container may know no other, nor groups. */
	who->changes = who->uid != geteuid() || who->gid != getegid();
	know_groups(who, user);
	return true;
}

/* As nginx: only root can become another, and never serves as itself unless it is said. */
static bool
identify(struct bundle_identity *who, const struct snapshot *s, struct arena *a)
{
	const char *user = s->user.n == 0 ? "nobody" : arena_text(a, s->user);

	memset(who, 0, sizeof(*who));
	if (geteuid() == 0)
		return identify_by_root(who, user, arena_text(a, s->group));

	const struct passwd *u = s->user.n == 0 ? NULL : getpwnam(user);
	if (s->user.n > 0 && (u == NULL || u->pw_uid != geteuid()))
		fprintf(stderr,
		    "server: warning: user \"%s\" is ignored: the start is not by root\n", user);
	return true;
}

/* ------------------------------------------------------------------ the child */

static bool
count_descriptors(struct bundle_contents *c, size_t group)
{
	const struct snapshot *s = c->snapshot;
	uint64_t allowed;

	/* In the worst case one worker serves all sockets. */
	c->descriptors = (uint64_t)s->connections_max + DESCRIPTORS_RESERVE + s->log_count +
			 s->listener_count * group;
	if (process_raise_descriptors(c->descriptors, &allowed))
		return true;
	return process_refuse(
	    "%lld connections a worker need %llu descriptors, and the limit is %llu: raise it "
	    "(ulimit -n, LimitNOFILE) or lower \"connections\"",
	    (long long)s->connections_max, (unsigned long long)c->descriptors,
	    (unsigned long long)allowed);
}

static bool
foretell(
    const struct load_input *in, const struct snapshot *s, uint16_t *bindings, uint64_t *offsets)
{
	uint32_t next = in->bindings->next;

	for (size_t i = 0; i < s->listener_count; i++) {
		const struct listener *l = &s->listeners[i];

		bindings[i] =
		    binding_number(in->bindings, &next, (uint8_t)bundle_transport(l), &l->addr);
		if (bindings[i] == BINDING_NONE)
			return process_refuse(
			    "more than %d listeners, with those that are running", BINDINGS_MAX);
	}
	for (size_t i = 0; i < s->shared_count; i++)
		if (!shared_take(in->shared, &s->shared[i], &offsets[i]))
			return process_refuse("shared memory is full: %zu of %zu bytes",
			    in->shared->used, in->shared->size);
	return true;
}

static int
bundle_of(const struct load_input *in, const struct build_input *build, const struct snapshot *s)
{
	struct arena *a = build->files->arena;
	uint16_t *bindings = arena_array(a, s->listener_count, sizeof(*bindings));
	uint64_t *offsets = arena_array(a, s->shared_count, sizeof(*offsets));
	struct bundle_contents c = {
		.snapshot = s,
		.files = build->files,
		.path = build->path,
		.prefix = build->prefix,
		.parts = build->parts,
		.bindings = bindings,
		.offsets = offsets,
		.workers = s->workers > 0 ? (uint32_t)s->workers : MIN_OF(load_cpus(), BUNDLE_WORKERS_MAX),
	};

	if (in->bindings->group != 0 && c.workers > in->bindings->group)
		c.workers = 0;
	if (c.workers == 0) {
		process_refuse("more workers than there are sockets for, which are made at the start: "
		    "at most %zu until it is started anew", in->bindings->group);
		return -1;
	}
	if (!identify(&c.identity, s, a) ||
	    !count_descriptors(
		&c, in->bindings->group != 0 ? in->bindings->group :
		(size_t)MAX_OF(load_cpus(), c.workers)) ||
	    !foretell(in, s, bindings, offsets))
		return -1;
	int fd = bundle_write(&c);
	if (fd < 0)
		process_refuse("the configuration cannot be kept: %s", strerror(errno));
	return fd;
}

static void
add_listeners(struct compare_list *parts, struct arena *a, const struct snapshot *s)
{
	for (size_t i = 0; i < s->listener_count; i++)
		compare_add(parts, a, &(struct compare_part){ .kind = COMPARE_LISTENER,
			.name = s->listeners[i].text, .fingerprint = s->listeners[i].fingerprint });
}

static void
say_changes(const struct load_input *in, const struct compare_list *parts, struct arena *a)
{
	struct compare_list before;

	bundle_parts(in->running, &before, a);
	compare_print(&before, parts, stderr);
}

/* The memfd, or -1: the errors were said. */
static int
make(const struct load_input *in)
{
	struct arena arena;
	struct sources files;
	struct diag diag;
	struct compare_list parts = { .count = 0 };
	struct build_input build = { .parts = &parts };
	int fd = -1;

	arena_init(&arena, NULL, 0);
	sources_init(&files, &arena, true);
	load_locate(&files, in->config, in->prefix, &build);
	diag_init(&diag, &arena, &files);
	struct snapshot *s = build_snapshot(&build, &diag);
	diag_print(&diag, stderr);
	if (s != NULL) {
		add_listeners(&parts, &arena, s);
		fd = bundle_of(in, &build, s);
		if (fd >= 0 && in->running != NULL)
			say_changes(in, &parts, &arena);
	}
	/* Nothing is given back: who waits would wait for that, too, and the process ends. */
	fflush(stderr);
	return fd;
}

NORETURN static void
run_child(const struct load_input *in, int to)
{
	sigset_t none;

	/*
	 * What the master does on a signal is not the child's; and it ends with who waits for it.
	 */
	for (int number = 1; number < NSIG; number++)
		signal(number, number == SIGPIPE ? SIG_IGN : SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	process_unblock_signals(&none);
	binding_let_go(in->bindings);

	if (in->running != NULL) {
		dup2(in->said, STDERR_FILENO);
		setvbuf(stderr, NULL, _IOFBF, BUFSIZ);
	}
	shared_foretell(in->shared);

	int fd = make(in);
	bool told = fd >= 0 && socket_pass(to, verdict_good, sizeof(verdict_good), &fd, 1);

	if (fd >= 0)
		close(fd);
	close(to);
	/* Not exit: what the master has registered to run at its end is not the child's. */
	_exit(told ? 0 : 1);
}

/* ------------------------------------------------------------------ the master's side */

bool
load_begin(struct load *l, const struct load_input *in)
{
	int pair[2];
	sigset_t before;

	if (!socket_pair(pair))
		return false;
	fflush(NULL);
	shared_sync(in->shared);
	process_block_signals(&before);
	l->fd = pair[0];
	l->pid = fork();
	if (l->pid == 0) {
		close(pair[0]);
		run_child(in, pair[1]);
	}
	int error = errno;
	process_unblock_signals(&before);
	close(pair[1]);
	if (l->pid > 0)
		return true;
	close(pair[0]);
	errno = error;
	return false;
}

bool
load_end(struct load *l, struct bundle *b)
{
	char verdict[sizeof(verdict_good)] = "";
	int fd = -1;
	size_t fd_count = 1;
	ssize_t n = socket_receive(l->fd, verdict, sizeof(verdict), &fd, &fd_count);

	close(l->fd);
	l->fd = -1;
	if (n == (ssize_t)sizeof(verdict) && fd_count == 1 &&
	    memcmp(verdict, verdict_good, sizeof(verdict)) == 0)
		return bundle_open(b, fd);
	if (fd_count == 1 && n > 0)
		close(fd);
	*b = BUNDLE_NONE;
	return false;
}

bool
load_wait(struct load *l, struct bundle *b)
{
	struct pollfd verdict = { .fd = l->fd, .events = POLLIN };
	int status = 0;

	while (poll(&verdict, 1, -1) < 0 && errno == EINTR)
		;
	bool good = load_end(l, b);
	while (waitpid(l->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		process_refuse(
		    "the check of the configuration was ended by signal %d", WTERMSIG(status));
	else if (!good && status == 0)
		process_refuse("the check of the configuration gave no usable result");
	return good;
}
