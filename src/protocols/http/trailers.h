/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fields behind a chunked body (RFC 9112 7.1.2), where `trailers pass` lets them go on. They wait
 * in the message, so that another attempt tells them again.
 */
#ifndef MILLRACE_PROTOCOLS_HTTP_TRAILERS_H
#define MILLRACE_PROTOCOLS_HTTP_TRAILERS_H

#include "core/message.h"

#include <sys/types.h>

/*
 * A section at the front of `in`: how long it is (its empty line included), and those of its fields
 * that may go on are in m->trailers, as copies in the arena. 0: it goes on behind `in`. -1:
 * malformed or too large.
 *
 * None that frames, routes, authenticates or says how to read the content (RFC 9110 6.5.1): who
 * merges them into the head would take it for what it is not.
 */
MUST_USE ssize_t trailers_take(struct message *m, struct arena *a, struct slice in);

size_t trailers_room(const struct message *m);
/* As a section, its empty line included. */
void trailers_put(struct builder *b, const struct message *m);

#endif
