/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The logs: opened with the master's rights, kept by it, written to by the workers.
 */
#include "server/master_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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
	int real = fd == STDERR_FILENO && m->upgrade.stderr_fd >= 0 ? m->upgrade.stderr_fd : fd;
	char path[32];
	struct stat info;

	if (m->background || fstat(real, &info) != 0 || !S_ISFIFO(info.st_mode))
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", real);

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

bool
logs_open(struct master *m)
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

void
logs_send(struct master *m, struct slot *s)
{
	struct batch b = batch_of(&s->channel, CHANNEL_LOG, 0);

	for (size_t i = 0; i < m->log_count; i++)
		batch_add(&b, (uint32_t)i, m->log_fds[i]);
	batch_send(&b);
}

static void
send_error_log(struct master *m, struct slot *s)
{
	struct batch b = batch_of(&s->channel, CHANNEL_LOG, 0);

	batch_add(&b, CHANNEL_ERROR_LOG, m->error_fd);
	batch_send(&b);
}

static void
send_all_logs(struct master *m, struct slot *s)
{
	send_error_log(m, s);
	/* It has those of the bundle that it serves, or builds. */
	if (s->given == m->generation)
		logs_send(m, s);
}

static void
follow_error_log(struct master *m, int fd)
{
	log_to(fd, (enum log_level)control_level(m));
	if (fd != m->error_fd)
		close_log(m->error_fd);
	m->error_fd = fd;
}

void
logs_reopen(struct master *m)
{
	follow_error_log(m, reopen_log(m, error_path(m), m->error_fd));
	for (size_t i = 0; i < m->log_count; i++) {
		int fd = reopen_log(m, bundle_log(&m->bundle, i), m->log_fds[i]);

		if (fd != m->log_fds[i])
			close_log(m->log_fds[i]);
		m->log_fds[i] = fd;
	}
	crew_each(m, send_all_logs);
	log_line(LOG_NOTICE, "logs reopened");
}

void
logs_close(struct master *m)
{
	for (size_t i = 0; i < m->log_count; i++)
		close_log(m->log_fds[i]);
	free(m->log_fds);
	m->log_fds = NULL;
	m->log_count = 0;
	close_log(m->error_fd);
}

/* ------------------------------------------------------------------ those of another bundle */

/* Our own of that path; -1: we have none. */
static int
known_log(const struct master *m, struct slice path)
{
	for (size_t i = 0; i < m->log_count; i++)
		if (slice_equal(bundle_log(&m->bundle, i), path))
			return m->log_fds[i];
	return -1;
}

static bool
is_in(int fd, const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fds[i] == fd)
			return true;
	return false;
}

/* Those that are in one set and not in the other. */
static void
close_others(const int *fds, size_t count, const int *kept, size_t kept_count)
{
	for (size_t i = 0; i < count; i++)
		if (fds[i] >= 0 && !is_in(fds[i], kept, kept_count))
			close_log(fds[i]);
}

static int
open_said(const struct master *m, struct slice path, int said)
{
	int fd = open_log(m, path);

	if (fd < 0)
		dprintf(said, "cannot open %s: %s\n", path.at, strerror(errno));
	return fd;
}

bool
logs_follow(struct master *m, const struct bundle *b, int said)
{
	size_t count = b->header->logs.count;
	int *fds = memory_zalloc((count + 1) * sizeof(*fds));
	struct slice path = bundle_text(b, b->header->error_path);
	int error_fd = slice_equal(path, error_path(m)) ? m->error_fd : open_said(m, path, said);
	bool good = error_fd >= 0;

	for (size_t i = 0; i < count; i++) {
		fds[i] = known_log(m, bundle_log(b, i));
		if (fds[i] < 0)
			fds[i] = open_said(m, bundle_log(b, i), said);
		good &= fds[i] >= 0;
	}
	if (!good) {
		close_others(fds, count, m->log_fds, m->log_count);
		if (error_fd != m->error_fd)
			close_log(error_fd);
		free(fds);
		return false;
	}
	close_others(m->log_fds, m->log_count, fds, count);
	free(m->log_fds);
	m->log_fds = fds;
	m->log_count = count;
	log_to(error_fd, b->header->error_level);
	if (error_fd != m->error_fd) {
		close_log(m->error_fd);
		m->error_fd = error_fd;
		crew_each(m, send_error_log);
	}
	return true;
}
