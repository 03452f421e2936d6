/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who runs, found by the configuration and from outside: where it answers, and `server -s`.
 */
#ifndef MILLRACE_SERVER_SEND_H
#define MILLRACE_SERVER_SEND_H

#include "server/master.h"

/*
 * Where the running master answers; NULL: errors were said; empty: nowhere. The caller frees it.
 */
char *send_where(const struct master_options *options);
/* stop, quit, reopen, reload or upgrade. */
bool send_knows(const char *word);
/*
 * A word that it knows to the living master, as a signal; `socket`: to who listens there, or NULL. The exit
 * status; errors were said on stderr.
 */
int send_word(const struct master_options *options, const char *socket, const char *word);

#endif
