/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A few connections at a time, each with a deadline for its request and for taking its answer. Nothing here waits:
 * what other processes have to say comes over their channels.
 */
#include "server/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/control_inner.h"

/* Milliseconds but for the first. */
enum { CLIENTS_MOST = 16, REQUEST_TIME = 5000, ANSWER_TIME = 10 * 1000, SAMPLE_EVERY = 1000 };

void
control_init(struct control *c)
{
	*c = (struct control){ .fd = -1, .level = -1 };
}

int
control_level(const struct master *m)
{
	return m->control.level >= 0 ? m->control.level : (int)m->bundle.header->error_level;
}

/* ------------------------------------------------------------------ a connection */

static void
on_rest(struct loop_task *t)
{
	struct control_client *k = CONTAINER_OF(t, struct control_client, rest);

	report_free(&k->report);
	free(k);
}

/* `owner`: as of control_close. */
static void
close_client(struct control_client *k, bool owner)
{
	struct control *c = &k->master->control;
	struct control_client **at = &c->clients;

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	c->count--;
	if (k->waits)
		master_reload_forget(k->master, &k->waiter);
	k->waits = false;
	control_forget_asked(k);
	control_forget_look(k, owner);
	k->stage = CONTROL_OVER;
	/* A child that was forked meanwhile has it, too. */
	if (owner)
		shutdown(k->fd, SHUT_RDWR);
	close(k->fd);
	if (!owner) {
		on_rest(&k->rest);
		return;
	}
	deadline_remove(&k->master->loop, &k->deadline);
	loop_queue(&k->master->loop, LOOP_REST, &k->rest);
}

static void
drop(struct control_client *k)
{
	loop_unwatch(&k->event);
	close_client(k, true);
}

/* A close with bytes unread would take the answer back. */
static void
drop_rest(int fd)
{
	char room[4096];

	for (int i = 0; i < 16 && recv(fd, room, sizeof(room), MSG_DONTWAIT) > 0; i++)
		continue;
}

static void
write_answer(struct control_client *k)
{
	while (k->sent < k->report.n) {
		ssize_t n = send(
		    k->fd, k->report.at + k->sent, k->report.n - k->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno != EINTR)
			break;
		k->sent += n > 0 ? (size_t)n : 0;
	}
	drop_rest(k->fd);
	drop(k);
}

void
control_finish(struct control_client *k)
{
	if (!k->told)
		report_end(&k->report);
	k->stage = CONTROL_WRITING;
	deadline_set(&k->master->loop, &k->deadline, ANSWER_TIME);
	write_answer(k);
}

void
control_refuse(struct control_client *k, const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	report_line(&k->report, '-', "%s", text);
	control_finish(k);
}

void
control_wait(struct control_client *k, bool (*is_done)(struct control_client *k),
    void (*late)(struct control_client *k), uint64_t ms)
{
	k->stage = CONTROL_WORKING;
	k->is_done = is_done;
	k->late = late;
	if (ms != 0)
		deadline_set(&k->master->loop, &k->deadline, ms);
	else
		deadline_clear(&k->deadline);
}

static void
run(struct control_client *k)
{
	const struct control_verb *v = control_verb_find(k->request.words[0]);
	size_t count = k->request.count - 1;

	if (v == NULL)
		control_refuse(k, "there is no verb \"" SLICE_FORMAT "\"",
		    SLICE_ARG(slice_first(k->request.words[0], MIN_OF(k->request.words[0].n, 100))));
	else if (count < v->least || count > v->most)
		control_refuse(k, "write: %s %s", v->name, v->words);
	else
		v->run(k);
}

/* Some of it; false: nothing more comes for now, or ever. */
static bool
read_some(struct control_client *k)
{
	const char *fault;
	ssize_t n = recv(k->fd, k->in + k->in_n, sizeof(k->in) - k->in_n, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		drop(k);
		return false;
	}
	k->in_n += (size_t)n;
	switch (control_request_read(&k->request, slice_make(k->in, k->in_n), &fault)) {
	case CONTROL_MORE:
		return true;
	case CONTROL_WHOLE:
		run(k);
		break;
	case CONTROL_BAD:
		control_refuse(k, "%s", fault);
	}
	return false;
}

static void
on_client(struct loop_event *e, unsigned what)
{
	struct control_client *k = CONTAINER_OF(e, struct control_client, event);

	if (k->stage == CONTROL_READING && (what & (LOOP_READABLE | LOOP_CLOSED)) != 0)
		while (read_some(k))
			continue;
	else if (k->stage == CONTROL_WRITING && (what & LOOP_WRITABLE) != 0)
		write_answer(k);
}

static void
on_deadline(struct deadline *d)
{
	struct control_client *k = CONTAINER_OF(d, struct control_client, deadline);

	/* Where the master itself was stopped all may have answered meanwhile. */
	if (k->stage == CONTROL_WORKING && k->is_done(k))
		control_finish(k);
	else if (k->stage == CONTROL_WORKING)
		k->late(k);
	else if (k->stage == CONTROL_READING)
		control_refuse(k, "the request did not come in time");
	else
		drop(k);
}

static void
take_client(struct master *m, int fd)
{
	static const char full[] = "-too many ask at once\n.\n";
	struct control *c = &m->control;
	struct control_client *k;

	if (c->count == CLIENTS_MOST) {
		(void)!send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		drop_rest(fd);
		close(fd);
		return;
	}
	k = memory_zalloc(sizeof(*k));
	k->master = m;
	k->fd = fd;
	k->number = ++c->asked;
	k->rest.run = on_rest;
	k->deadline.run = on_deadline;
	report_init(&k->report, REPORT_MAX);
	k->next = c->clients;
	c->clients = k;
	c->count++;
	if (!loop_watch(&m->loop, &k->event, fd, LOOP_EDGE, on_client))
		close_client(k, true);
	else
		deadline_set(&m->loop, &k->deadline, REQUEST_TIME);
}

/* ------------------------------------------------------------------ the socket */

static void
on_accept(struct loop_event *e, unsigned what)
{
	struct control *c = CONTAINER_OF(e, struct control, event);
	struct master *m = CONTAINER_OF(c, struct master, control);
	struct addr from;

	for (int i = 0; i < CLIENTS_MOST; i++) {
		int fd = socket_accept(c->fd, &from);

		/* Without a descriptor for it whoever waits would be told of again at once, and again. */
		if (fd < 0 && errno != EAGAIN)
			loop_unwatch(e);
		if (fd < 0)
			return;
		take_client(m, fd);
	}
}

static void
on_sample(struct deadline *d)
{
	struct control *c = CONTAINER_OF(d, struct control, sample);
	struct master *m = CONTAINER_OF(c, struct master, control);

	crew_each(m, control_take_sample);
	if (c->fd >= 0 && !c->event.watched)
		(void)!loop_watch(&m->loop, &c->event, c->fd, LOOP_LEVEL, on_accept);
	deadline_set(&m->loop, d, SAMPLE_EVERY);
}

static struct slice
wanted_path(const struct master *m)
{
	return bundle_text(&m->bundle, m->bundle.header->control_path);
}

static bool
is_ours(const struct control *c)
{
	struct stat there;

	return c->path != NULL && lstat(c->path, &there) == 0 &&
	    (uint64_t)there.st_dev == c->device && (uint64_t)there.st_ino == c->inode;
}

static void
remove_file(struct control *c)
{
	if (is_ours(c))
		unlink(c->path);
}

static void
close_socket(struct control *c, bool owner)
{
	if (c->fd < 0)
		return;
	if (owner) {
		loop_unwatch(&c->event);
		remove_file(c);
	}
	close(c->fd);
	free(c->path);
	c->fd = -1;
	c->path = NULL;
}

/* `over`: whoever listens there has given it up. False: errno. */
static bool
open_socket(struct master *m, struct slice path, bool over)
{
	const struct socket_options options = { .mode = 0600, .backlog = CLIENTS_MOST, .over = over };
	struct addr a = { .local.sun_family = AF_UNIX };
	struct control *c = &m->control;
	struct stat there;

	errno = ENAMETOOLONG;
	if (path.n >= sizeof(a.local.sun_path))
		return false;
	memcpy(a.local.sun_path, path.at, path.n);
	a.n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);

	int fd = socket_listen(&a, &options);

	if (fd < 0)
		return false;
	close_socket(c, true);
	c->fd = fd;
	c->path = strdup(a.local.sun_path);
	if (c->path == NULL)
		memory_gone();
	if (lstat(c->path, &there) == 0) {
		c->device = there.st_dev;
		c->inode = there.st_ino;
	}
	return loop_watch(&m->loop, &c->event, fd, LOOP_LEVEL, on_accept);
}

bool
control_open(struct master *m)
{
	struct slice path = wanted_path(m);

	m->control.opened = clock_ms();
	m->control.generation = m->generation;
	m->control.sample.run = on_sample;
	deadline_set(&m->loop, &m->control.sample, SAMPLE_EVERY);
	/* The one before us is asked until we serve. */
	if (path.n == 0 || upgrade_follows(m) || open_socket(m, path, false))
		return true;
	return process_refuse(
	    "cannot listen on the control socket %s: %s", path.at, strerror(errno));
}

/* What was said at run time holds until the configuration is read again. */
static void
follow_bundle(struct master *m)
{
	struct control *c = &m->control;
	struct slice path = wanted_path(m);

	if (c->generation == m->generation)
		return;
	c->generation = m->generation;
	c->level = -1;
	if (path.n == 0)
		close_socket(c, true);
	else if (is_ours(c) && slice_is(path, c->path))
		return;
	else if (!open_socket(m, path, false))
		log_errno(LOG_ERROR, errno, "cannot listen on the control socket %s", path.at);
}

void
control_renew(struct master *m)
{
	struct slice path = wanted_path(m);

	if (path.n != 0 && !is_ours(&m->control) && !open_socket(m, path, true))
		log_errno(LOG_ERROR, errno, "cannot listen on the control socket %s", path.at);
}

void
control_settle(struct master *m)
{
	follow_bundle(m);
	for (struct control_client *k = m->control.clients, *next; k != NULL; k = next) {
		next = k->next;
		if (k->stage == CONTROL_WORKING && k->is_done(k))
			control_finish(k);
	}
}

bool
control_report(struct master *m, struct slot *s, const struct channel_message *r)
{
	if (r->kind == CHANNEL_READY && m->control.level >= 0)
		channel_send(&s->channel,
		    &(struct channel_message){ .kind = CHANNEL_LEVEL, .slot = (uint32_t)m->control.level },
		    NULL, 0);
	if (r->kind != CHANNEL_ANSWERED)
		return false;
	for (struct control_client *k = m->control.clients; k != NULL; k = k->next)
		if (k->number == r->generation && k->stage == CONTROL_WORKING)
			control_take_answer(k, s);
	return true;
}

void
control_close(struct master *m, bool owner)
{
	struct control *c = &m->control;

	while (c->clients != NULL) {
		if (owner)
			loop_unwatch(&c->clients->event);
		close_client(c->clients, owner);
	}
	close_socket(c, owner);
	if (owner && m->loop.base != NULL)
		deadline_remove(&m->loop, &c->sample);
}
