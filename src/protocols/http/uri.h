/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The target of a question, made into what routes see (decoded, without dots) and what is
 * forwarded. Both come out of one reading, so that they cannot differ about which resource is
 * meant.
 */
#ifndef MILLRACE_PROTOCOLS_HTTP_URI_H
#define MILLRACE_PROTOCOLS_HTTP_URI_H

#include "core/message.h"
#include "core/reason.h"

/*
 * From m->target (origin-form, absolute-form, `*`), m->path, m->query and m->forward. False: *why
 * is REASON_BAD_MESSAGE. Refused are NUL, a slash or a backslash behind a percent sign, a raw
 * backslash, spaces, control bytes, raw bytes past ASCII and `#`, a percent sign that is none of
 * %XX (in the path), and `..` above the root.
 *
 * path has every %XX decoded, once, `.` and `..` worked off, and one slash for several. forward
 * keeps those, has what is decoded and
 * unreserved (RFC 3986 6.2.2) as itself, and all other %XX as they came, in capitals: decoding %3B
 * would change what is meant. The query is not decoded. Where there is nothing to do, both are
 * views of the target; else of the arena. An absolute target is forwarded without its authority.
 */
MUST_USE bool uri_normalise(struct message *m, struct arena *a, enum reason *why);

#endif
