/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Status codes and their phrases (RFC 9110 15).
 */
#ifndef MILLRACE_PROTOCOLS_HTTP_STATUS_H
#define MILLRACE_PROTOCOLS_HTTP_STATUS_H

#include "base/bytes.h"

struct slice status_phrase(unsigned status);            /* empty when it has none */
/* `HTTP/1.1 200 OK` and CRLF; `other` is the phrase of a status that has none here. */
void status_put_line(struct builder *b, unsigned status, struct slice other);

#endif
