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
	int fd;
};

#define PID_FILE_NONE ((struct pid_file){ .fd = -1 })

/*
 * Creates and locks it. False with errno; EWOULDBLOCK: another holds it, *holder is its pid (0: not
 * known).
 */
MUST_USE bool pid_file_take(struct pid_file *p, const char *path, pid_t *holder);
MUST_USE bool pid_file_write(const struct pid_file *p, pid_t pid);
/* `owner`: removes it. The lock goes with the last process that has the descriptor. */
void pid_file_give(struct pid_file *p, bool owner);
/* Who holds it. 0: nobody; -1 with errno (EBUSY: somebody, who has not written a number yet). */
pid_t pid_file_holder(const char *path);

#endif
