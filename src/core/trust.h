/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who is believed about the client that asks through it: real_ip { … }. Once the server is known
 * and before the route is chosen, ex->src becomes the real client; what others say of who asks is
 * dropped.
 */
#ifndef MILLRACE_CORE_TRUST_H
#define MILLRACE_CORE_TRUST_H

#include "config/schema.h"
#include "core/message.h"

struct exchange;

struct trust {
	struct list from;               /* struct network; none: nobody */
	struct slice header;            /* the field that says who the client is */
	struct slice request_id;        /* the field whose value becomes the exchange's id; or empty */
};

/* What is inside the block; offsets are of a struct trust. And its check. */
extern const struct table trust_tables[];
bool trust_check(struct reading *r, const struct statement *s, void *filled);
/* What was filled, as a server keeps it. */
struct trust trust_keep(const struct trust *filled);

#define TRUST_CLAIMS \
	(UINT64_C(1) << KNOWN_FORWARDED | UINT64_C(1) << KNOWN_X_FORWARDED_FOR | \
	    UINT64_C(1) << KNOWN_X_FORWARDED_HOST | UINT64_C(1) << KNOWN_X_FORWARDED_PORT | \
	    UINT64_C(1) << KNOWN_X_FORWARDED_PROTO | UINT64_C(1) << KNOWN_X_REAL_IP)

static inline bool
trust_matters(const struct trust *t, const struct message *m)
{
	return (m->known & TRUST_CLAIMS) != 0 || m->claims || t->from.n != 0;
}

/*
 * Where it matters. The connection of ex is trusted: ex->trusted, ex->src and ex->id are what its
 * fields say. It is not: fields that say who asks (Forwarded, X-Forwarded-*, X-Real-IP, the one
 * that is configured) are removed. Removed in both cases: those whose name is one of these with `_`
 * for `-`, which CGI cannot tell apart.
 */
void trust_question(struct exchange *ex);

#endif
