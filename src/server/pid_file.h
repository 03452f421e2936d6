/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file that names the master: locked for its life, so that a living
 * master is told from a file that was left behind.
 */
#ifndef MILLRACE_SERVER_PID_FILE_H
#define MILLRACE_SERVER_PID_FILE_H

#include <sys/types.h>

#include "base/common.h"

struct pid_file {
	char *path;                     /* NULL: none */
	char *old_path;                 /* its second name, while another is to follow */
	int fd;
};

#define PID_FILE_OLD ".oldbin"
#define PID_FILE_NONE ((struct pid_file){ .fd = -1 })

/*
 * Creates and locks it, with the directories above it. False with errno; EWOULDBLOCK: another holds it, *holder is its pid (0: not
 * known).
 */
MUST_USE bool pid_file_take(struct pid_file *p, const char *path, pid_t *holder);
MUST_USE bool pid_file_write(const struct pid_file *p, pid_t pid);
/*
 * Another master is to follow: the file has a second name from here on, PATH.oldbin, which is what
 * is left of it once that one has taken the path. False with errno: there is none.
 */
MUST_USE bool pid_file_offer(struct pid_file *p);
/* It does not follow after all. */
void pid_file_withdraw(struct pid_file *p);
/*
 * That other one: a file of its own in place of the one that is there, at once. False with errno.
 */
MUST_USE bool pid_file_follow(struct pid_file *p, const char *path, pid_t pid);
/* `owner`: removes it. The lock goes with the last process that has the descriptor. */
void pid_file_give(struct pid_file *p, bool owner);
/* Who holds it. 0: nobody; -1 with errno (EBUSY: somebody, who has not written a number yet). */
pid_t pid_file_holder(const char *path);

#endif
