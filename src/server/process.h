/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a process does to itself: rights, limits, names, standard descriptors.
 */
#ifndef MILLRACE_SERVER_PROCESS_H
#define MILLRACE_SERVER_PROCESS_H

#include <signal.h>

#include "server/bundle.h"

/* `server: error: …` on stderr, before there is a log. Returns false. */
PRINTF(1, 2) bool process_refuse(const char *format, ...);
/*
 * All that the hard limit allows, and that limit too where it is below `need` and may be raised.
 * False: fewer than need; *allowed says how many.
 */
MUST_USE bool process_raise_descriptors(uint64_t need, uint64_t *allowed);
/* How many more are allowed than are needed. */
uint64_t process_spare_descriptors(uint64_t need);
/*
 * Gives up root's rights for good and the ways back to any; no core dumps, first to go when memory
 * is short. False with errno: *what failed.
 */
MUST_USE bool process_drop_rights(const struct bundle_identity *who, const char **what);
void process_name(const char *name);                  /* in ps; at most 15 bytes are seen */
void process_stdio_to_null(void);
/* Opens what is closed of 0, 1 and 2, so that no socket or file of ours ever has such a number. */
void process_stdio_open(void);
/* All signals, for a fork: before is kept for process_unblock. */
void process_block_signals(sigset_t *before);
void process_unblock_signals(const sigset_t *before);
/* Closes all but the standard three and `keep` (ascending). */
void process_close_others(const int *keep, size_t count);

#endif
