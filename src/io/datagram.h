/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Datagrams in batches: one system call takes up to 64 off a socket, one puts up to 64 on it. An
 * answer leaves from the address that its question came to, which on a socket of all addresses the
 * kernel tells and has to be told.
 */
#ifndef MILLRACE_IO_DATAGRAM_H
#define MILLRACE_IO_DATAGRAM_H

#include "base/addr.h"

enum {
	DATAGRAM_BATCH = 64,
	DATAGRAM_LONGEST = 65535,        /* bytes */
};

/* One that was taken: its bytes stay until the next take. */
struct datagram {
	struct slice bytes;
	const struct addr *from;
	/* where it came to, an IPv4 address mapped; `::` where the socket is bound to one */
	struct in6_addr to;
	uint16_t port;                   /* that it came to, on a connected socket; else 0 */
	bool cut;                        /* it was longer: these are its first bytes */
};

struct datagram_inbox;
struct datagram_outbox;

/* NULL: there is no memory for it. One for any number of sockets. */
MUST_USE struct datagram_inbox *datagram_inbox_new(void);
void datagram_inbox_free(struct datagram_inbox *in);
/* How many came, at most DATAGRAM_BATCH; fewer: no more wait. -1 with errno (EAGAIN: none). */
MUST_USE int datagram_take(struct datagram_inbox *in, int fd);
void datagram_at(struct datagram_inbox *in, int i, struct datagram *g);

MUST_USE struct datagram_outbox *datagram_outbox_new(void);
void datagram_outbox_free(struct datagram_outbox *out);
/*
 * One more that waits for datagram_send; `bytes` and `to` live until then. `from`: as datagram.to.
 * False: it is full, or of another socket; send first.
 */
MUST_USE bool datagram_put(struct datagram_outbox *out, int fd, struct slice bytes,
    const struct addr *to, const struct in6_addr *from);
/* All that wait. How many the kernel did not take: they are lost. */
size_t datagram_send(struct datagram_outbox *out);

/*
 * A socket for one peer. Disconnected it has no port and gets nothing; it may be connected again,
 * and has another port then. What still lies in it came to the port before; so did an error, which
 * the first write or read tells.
 */
MUST_USE int datagram_open_socket(int family);
/* False with errno. *port: its own. */
MUST_USE bool datagram_connect(int fd, const struct addr *to, uint16_t *port);
/* False: it is of no use any more. */
MUST_USE bool datagram_disconnect(int fd);

/* On a socket that is bound, or will be: what is told of those that come, and how many may wait. */
MUST_USE bool datagram_prepare(int fd, const struct addr *bound);
/*
 * All that comes to the group of sockets that this is one of comes to one of them; or, as before,
 * to each what its source makes of it. False with errno: nothing has changed.
 */
MUST_USE bool datagram_gather(int fd, bool all);

#endif
