/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What HTTP says of fields, whatever its version: which belong to one hop only, and
 * what a configuration may ask of a question and an answer (http_fields).
 */
#ifndef MILLRACE_PROTOCOLS_HTTP_FIELDS_H
#define MILLRACE_PROTOCOLS_HTTP_FIELDS_H

#include "core/field.h"
#include "core/message.h"

/*
 * Marks as removed what is not forwarded (RFC 9110 7.6.1): Connection, Proxy-Connection and the
 * fields that they name, Keep-Alive, Proxy-Authenticate, Proxy-Authorization, TE, Trailer,
 * Transfer-Encoding, Upgrade. They cannot remove Host, Content-Length, Forwarded and X-Forwarded-*.
 * Body, upgrade and keep_alive in *m stay: who writes the head says them anew.
 */
void fields_strip(struct message *m);

/*
 * The next value of a cookie of that name, over all Cookie fields; quotes are part of it (RFC 6265
 * 5.4). *field: how many of them were begun, *rest: what is left of the last; 0 and SLICE_EMPTY at
 * first. False: no more.
 */
bool fields_cookie(const struct message *m, struct slice name, size_t *field, struct slice *rest,
    struct slice *value);
/*
 * Takes the next `name=value` off the front of a query, not decoded; empty ones are passed over.
 * False: no more.
 */
bool fields_pair(struct slice *query, struct slice *name, struct slice *value);

/*
 * For the table of a protocol: method path uri query query.NAME header.NAME cookie.NAME host scheme
 * version, and of the answer status response_header.NAME. query.NAME has `%XX` and `+` decoded in
 * names and values; query is raw.
 */
extern const struct field http_fields[];

#endif
