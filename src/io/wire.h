/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How bytes get in and out of a connection: plain here, TLS beside it later.
 * Nothing here knows what the bytes mean.
 */
#ifndef MILLRACE_IO_WIRE_H
#define MILLRACE_IO_WIRE_H

#include <sys/types.h>
#include <sys/uio.h>

#include "base/bytes.h"

struct wire {                            /* part of a conn */
	int fd;
	void *state;                     /* of the ops: an SSL; NULL when plain */
};

/*
 * Results of read and write: bytes; 0 from read: end of stream; WIRE_AGAIN; WIRE_BROKEN (errno says
 * how).
 */
enum { WIRE_AGAIN = -1, WIRE_BROKEN = -2 };

struct wire_ops {
	const char *name;
	ssize_t (*read)(struct wire *w, char *at, size_t n);
	ssize_t (*write)(struct wire *w, const struct iovec *pieces, int count);
	void (*shut)(struct wire *w);            /* no more will be written: FIN */
	void (*close)(struct wire *w);           /* state and descriptor */
	bool splices;                            /* the descriptor carries the bytes as they are */
};

extern const struct wire_ops wire_plain;

/*
 * A pipe between two plain wires. Fill moves up to `n` bytes from the descriptor into the pipe,
 * drain out of it. Results as read and write above. The process ignores SIGPIPE: splice cannot be
 * told to.
 */
struct wire_pipe {
	int in, out;                     /* -1: not open */
	size_t held;                     /* bytes inside */
	size_t size;                     /* bytes it can hold */
};
MUST_USE bool wire_pipe_open(struct wire_pipe *p);
void wire_pipe_close(struct wire_pipe *p);
ssize_t wire_pipe_fill(struct wire_pipe *p, int from, size_t n);
ssize_t wire_pipe_drain(struct wire_pipe *p, int to);

#endif
