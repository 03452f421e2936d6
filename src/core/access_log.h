/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The access log: a line an exchange, built in one pass into the worker's
 * buffer, written when 64 KiB are full or a second has passed. It never waits:
 * what cannot be written when 1 MiB is waiting is dropped and counted.
 */
#ifndef MILLRACE_CORE_ACCESS_LOG_H
#define MILLRACE_CORE_ACCESS_LOG_H

#include "base/log.h"
#include "core/settings.h"
#include "io/loop.h"

struct exchange;

enum { ACCESS_FLUSH = 64 * 1024, ACCESS_MAX = 1024 * 1024, ACCESS_LINE_MAX = 8 * 1024 };

struct access_sink {
	struct slice path;              /* heap copy: the key over reloads */
	int fd;                         /* -1: none */
	char *buffer;                   /* grows to ACCESS_MAX, NULL when empty for long */
	size_t n, size;
	/* the descriptor took nothing: it is asked again at so many bytes, or by the deadline */
	size_t stuck;
	bool torn;                      /* the buffer begins within a line */
	bool is_file;                   /* regular: takes any number of bytes at once */
	struct deadline flush;
	struct loop *loop;
	uint64_t lines, dropped;
	struct log_limit failed;
};

/* The descriptor becomes the sink's, and non-blocking where it is a pipe or a socket. */
void access_open(struct access_sink *sink, struct loop *loop, struct slice path, int fd);
/*
 * Another descriptor (reopen); the old one is closed after what it takes of what waits, the rest
 * goes to the new one.
 */
void access_reopen(struct access_sink *sink, int fd);
void access_close(struct access_sink *sink);       /* writes what it can, closes */
void access_flush(struct access_sink *sink);
/* One line for an exchange that ends; at most ACCESS_LINE_MAX bytes, values are cut to fit. */
void access_write(struct access_sink *sink, enum access_format format, struct exchange *ex);

#endif
