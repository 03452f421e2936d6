/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flock and not fcntl: it belongs to the open file, so it stays when the
 * master goes to the background by a fork, and no close elsewhere lets it go.
 */
#include "server/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

enum { TRIES = 16, PAUSE = 10 * 1000 };

static pid_t
read_number(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text), 0);
	uint64_t number;

	if (n <= 0 ||
	    !slice_to_u64(slice_first(slice_make(text, (size_t)n),
			      slice_find(slice_make(text, (size_t)n), '\n', 0)),
		&number) ||
	    number == 0 || number > INT32_MAX)
		return 0;
	return (pid_t)number;
}

static bool
is_alive(pid_t pid)
{
	return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

/* What is removed at the end must be ours to remove. False: closed, with errno. */
static bool
is_regular(int fd)
{
	struct stat about;

	if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode))
		return true;
	close(fd);
	errno = EINVAL;
	return false;
}

static bool
is_still_there(int fd, const char *path)
{
	struct stat ours, there;

	return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev &&
	    ours.st_ino == there.st_ino;
}

/* The directories above it, which a start of the machine may have left empty (/run). */
static void
make_directories(const char *path)
{
	char *name = strdup(path);

	for (char *at = name; at != NULL && (at = strchr(at + 1, '/')) != NULL; *at = '/') {
		*at = '\0';
		(void)mkdir(name, 0755);
	}
	free(name);
}

static int
open_or_make(const char *path)
{
	const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	int fd = open(path, flags, 0644);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	make_directories(path);
	return open(path, flags, 0644);
}

/*
 * The one before us may remove its file between our open and our lock: then it is another file that
 * counts.
 */
bool
pid_file_take(struct pid_file *p, const char *path, pid_t *holder)
{
	bool held = false;

	*holder = 0;
	for (int i = 0; i < TRIES; i++) {
		int fd = open_or_make(path);

		if (fd < 0 || !is_regular(fd))
			return false;
		held = flock(fd, LOCK_EX | LOCK_NB) < 0;
		if (held) {
			*holder = read_number(fd);
			close(fd);
			/* Nobody of that number: one that ends, or a look of `server -s`. */
			if (is_alive(*holder))
				break;
			usleep(PAUSE);
			continue;
		}
		if (is_still_there(fd, path)) {
			*p = (struct pid_file){ .path = strdup(path), .fd = fd };
			return true;
		}
		close(fd);
	}
	errno = held ? EWOULDBLOCK : EBUSY;
	return false;
}

bool
pid_file_write(const struct pid_file *p, pid_t pid)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%d\n", (int)pid);

	return p->fd < 0 || (pwrite(p->fd, text, (size_t)n, 0) == n && ftruncate(p->fd, n) == 0);
}

bool
pid_file_offer(struct pid_file *p)
{
	char *name;

	if (p->fd < 0)
		return true;
	if (asprintf(&name, "%s%s", p->path, PID_FILE_OLD) < 0)
		return false;
	/* One that was left behind: who holds none of them has no right to it. */
	if (pid_file_holder(name) == 0)
		unlink(name);
	if (link(p->path, name) < 0) {
		free(name);
		return false;
	}
	p->old_path = name;
	return true;
}

void
pid_file_withdraw(struct pid_file *p)
{
	if (p->old_path == NULL)
		return;
	if (!is_still_there(p->fd, p->path))
		rename(p->old_path, p->path);
	else
		unlink(p->old_path);
	free(p->old_path);
	p->old_path = NULL;
}

bool
pid_file_follow(struct pid_file *p, const char *path, pid_t pid)
{
	char *name;

	if (asprintf(&name, "%s.%d", path, (int)pid) < 0)
		return false;
	unlink(name);
	*p = (struct pid_file){
		.path = strdup(path),
		.fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644),
	};
	bool good = p->fd >= 0 && flock(p->fd, LOCK_EX | LOCK_NB) == 0 && pid_file_write(p, pid) &&
	    rename(name, path) == 0;
	int error = errno;
	if (!good && p->fd >= 0)
		unlink(name);
	if (!good)
		pid_file_give(p, false);
	free(name);
	errno = error;
	return good;
}

static void
remove_own(const struct pid_file *p, const char *path)
{
	if (path != NULL && is_still_there(p->fd, path))
		unlink(path);
}

void
pid_file_give(struct pid_file *p, bool owner)
{
	if (p->fd >= 0) {
		if (owner) {
			remove_own(p, p->path);
			remove_own(p, p->old_path);
		}
		close(p->fd);
	}
	free(p->path);
	free(p->old_path);
	*p = PID_FILE_NONE;
}

pid_t
pid_file_holder(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	bool held = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	pid_t pid = held ? read_number(fd) : 0;
	close(fd);
	errno = EBUSY;
	return held && pid == 0 ? -1 : pid;
}
