/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The headers of a batch stand ready; only those that a call has used are made anew. The room for
 * what comes is address space: pages are there once a datagram was that long. Rooms do not begin at
 * the same place of a page, so that their first bytes do not compete for the same lines of the
 * cache.
 */
#include "io/datagram.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"

enum {
	ROOM = DATAGRAM_LONGEST + 1 + 192,
	WAITING = 1024 * 1024,           /* bytes that the kernel is asked to keep for us */
};

union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(struct sockaddr_in6))];
};

struct datagram_inbox {
	struct mmsghdr heads[DATAGRAM_BATCH];
	struct iovec pieces[DATAGRAM_BATCH];
	struct addr from[DATAGRAM_BATCH];
	union control controls[DATAGRAM_BATCH];
	char *room;
	int used;                        /* heads that a call has written to */
};

struct datagram_outbox {
	struct mmsghdr heads[DATAGRAM_BATCH];
	struct iovec pieces[DATAGRAM_BATCH];
	union control controls[DATAGRAM_BATCH];
	int fd;
	unsigned count;
};

/* ------------------------------------------------------------------ in */

static void
refresh(struct datagram_inbox *in, int i)
{
	struct msghdr *h = &in->heads[i].msg_hdr;

	h->msg_namelen = sizeof(in->from[i].v6);
	h->msg_controllen = sizeof(in->controls[i]);
	h->msg_flags = 0;
}

struct datagram_inbox *
datagram_inbox_new(void)
{
	struct datagram_inbox *in = memory_zalloc(sizeof(*in));

	in->room = mmap(NULL, (size_t)DATAGRAM_BATCH * ROOM, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (in->room == MAP_FAILED) {
		free(in);
		errno = ENOMEM;
		return NULL;
	}
	for (int i = 0; i < DATAGRAM_BATCH; i++) {
		in->pieces[i] = (struct iovec){ in->room + (size_t)i * ROOM, DATAGRAM_LONGEST };
		in->heads[i].msg_hdr = (struct msghdr){
			.msg_name = &in->from[i].any,
			.msg_iov = &in->pieces[i],
			.msg_iovlen = 1,
			.msg_control = &in->controls[i],
		};
		refresh(in, i);
	}
	return in;
}

void
datagram_inbox_free(struct datagram_inbox *in)
{
	if (in == NULL)
		return;
	munmap(in->room, (size_t)DATAGRAM_BATCH * ROOM);
	free(in);
}

int
datagram_take(struct datagram_inbox *in, int fd)
{
	int n;

	while (in->used > 0)
		refresh(in, --in->used);
	do
		n = recvmmsg(fd, in->heads, DATAGRAM_BATCH, MSG_DONTWAIT, NULL);
	while (n < 0 && errno == EINTR);
	/* The first that did not come may have been begun. */
	in->used = MIN_OF(MAX_OF(n, 0) + 1, (int)DATAGRAM_BATCH);
	for (int i = 0; i < n; i++)
		in->from[i].n = MIN_OF(
		    in->heads[i].msg_hdr.msg_namelen, (socklen_t)sizeof(in->from[i].v6));
	return n;
}

/* IPv4: the address to answer from, which is not that of a datagram to all or to many. */
static void
read_control(struct msghdr *h, struct datagram *g)
{
	struct in6_addr to = IN6ADDR_ANY_INIT;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			const struct in_pktinfo *info = (const void *)CMSG_DATA(c);

			to.s6_addr[10] = to.s6_addr[11] = 0xff;
			memcpy(to.s6_addr + 12, &info->ipi_spec_dst, 4);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			to = ((const struct in6_pktinfo *)(const void *)CMSG_DATA(c))->ipi6_addr;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_ORIGDSTADDR) {
			g->port = ntohs(((const struct sockaddr_in *)(const void *)CMSG_DATA(c))->sin_port);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_ORIGDSTADDR) {
			g->port =
			    ntohs(((const struct sockaddr_in6 *)(const void *)CMSG_DATA(c))->sin6_port);
		}
	}
	if (IN6_IS_ADDR_MULTICAST(&to) || (IN6_IS_ADDR_V4MAPPED(&to) && to.s6_addr[12] >= 224))
		to = (struct in6_addr)IN6ADDR_ANY_INIT;
	g->to = to;
}

void
datagram_at(struct datagram_inbox *in, int i, struct datagram *g)
{
	struct msghdr *h = &in->heads[i].msg_hdr;

	*g = (struct datagram){
		.bytes = slice_make(in->pieces[i].iov_base, in->heads[i].msg_len),
		.from = &in->from[i],
		.cut = (h->msg_flags & MSG_TRUNC) != 0,
	};
	if (h->msg_controllen != 0)
		read_control(h, g);
}

/* ------------------------------------------------------------------ out */

struct datagram_outbox *
datagram_outbox_new(void)
{
	struct datagram_outbox *out = memory_zalloc(sizeof(*out));

	for (int i = 0; i < DATAGRAM_BATCH; i++)
		out->heads[i].msg_hdr =
		    (struct msghdr){ .msg_iov = &out->pieces[i], .msg_iovlen = 1 };
	return out;
}

void
datagram_outbox_free(struct datagram_outbox *out)
{
	free(out);
}

static void
say_from_v4(union control *control, struct msghdr *h, const struct in6_addr *from)
{
	struct in_pktinfo info = { .ipi_ifindex = 0 };

	memcpy(&info.ipi_spec_dst, from->s6_addr + 12, 4);
	control->head = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof(info)),
		.cmsg_level = IPPROTO_IP,
		.cmsg_type = IP_PKTINFO,
	};
	memcpy(CMSG_DATA(&control->head), &info, sizeof(info));
	h->msg_controllen = CMSG_SPACE(sizeof(info));
}

/* An address of one link says nothing without its link, and that is the one of who is told. */
static void
say_from_v6(union control *control, struct msghdr *h, const struct in6_addr *from,
    const struct addr *to)
{
	struct in6_pktinfo info = {
		.ipi6_addr = *from,
		.ipi6_ifindex = IN6_IS_ADDR_LINKLOCAL(from) ? to->v6.sin6_scope_id : 0,
	};

	control->head = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof(info)),
		.cmsg_level = IPPROTO_IPV6,
		.cmsg_type = IPV6_PKTINFO,
	};
	memcpy(CMSG_DATA(&control->head), &info, sizeof(info));
	h->msg_controllen = CMSG_SPACE(sizeof(info));
}

bool
datagram_put(struct datagram_outbox *out, int fd, struct slice bytes, const struct addr *to,
    const struct in6_addr *from)
{
	if (out->count == DATAGRAM_BATCH || (out->count != 0 && out->fd != fd))
		return false;

	union control *control = &out->controls[out->count];
	struct msghdr *h = &out->heads[out->count].msg_hdr;

	out->fd = fd;
	out->pieces[out->count++] = (struct iovec){ (char *)(uintptr_t)bytes.at, bytes.n };
	h->msg_name = (struct sockaddr *)(uintptr_t)&to->any;
	h->msg_namelen = to->n;
	h->msg_control = control;
	if (IN6_IS_ADDR_UNSPECIFIED(from))
		h->msg_control = NULL, h->msg_controllen = 0;
	else if (to->any.sa_family == AF_INET)
		say_from_v4(control, h, from);
	else
		say_from_v6(control, h, from, to);
	return true;
}

/* A full socket takes none of the others either; what else is wrong is wrong with one of them. */
size_t
datagram_send(struct datagram_outbox *out)
{
	unsigned at = 0;
	size_t lost = 0;

	while (at < out->count) {
		int n = sendmmsg(
		    out->fd, out->heads + at, out->count - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			at += (unsigned)n;
		} else if (errno == EAGAIN || errno == ENOBUFS) {
			lost += out->count - at;
			break;
		} else if (errno != EINTR) {
			lost++;
			at++;
		}
	}
	out->count = 0;
	return lost;
}

/* ------------------------------------------------------------------ connected ones */

int
datagram_open_socket(int family)
{
	const int on = 1;
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || (family == AF_INET6 ?
	    setsockopt(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, &on, sizeof(on)) :
	    setsockopt(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, &on, sizeof(on))) == 0)
		return fd;

	int error = errno;

	close(fd);
	errno = error;
	return -1;
}

bool
datagram_connect(int fd, const struct addr *to, uint16_t *port)
{
	struct sockaddr_in6 own;
	socklen_t n = sizeof(own);

	if (connect(fd, &to->any, to->n) < 0 || getsockname(fd, (struct sockaddr *)&own, &n) < 0)
		return false;
	/* At the same place in both families. */
	*port = ntohs(own.sin6_port);
	return true;
}

bool
datagram_disconnect(int fd)
{
	const struct sockaddr none = { .sa_family = AF_UNSPEC };

	return connect(fd, &none, sizeof(none)) == 0;
}

/* ------------------------------------------------------------------ options */

static bool
is_of_all(const struct addr *a)
{
	return a->any.sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr)
					    : a->v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

bool
datagram_prepare(int fd, const struct addr *bound)
{
	const int on = 1, waiting = WAITING;

	/* As much as is allowed: it is no fault to be given less. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &waiting, sizeof(waiting)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &waiting, sizeof(waiting));
	if (!is_of_all(bound))
		return true;
	return bound->any.sa_family == AF_INET6 ?
	    setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) == 0 :
	    setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) == 0;
}

bool
datagram_gather(int fd, bool all)
{
	struct sock_filter first[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	const struct sock_fprog program = { .len = 1, .filter = first };
	const int none = 0;

	return all ? setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
			 sizeof(program)) == 0
		   : setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none, sizeof(none)) == 0;
}
