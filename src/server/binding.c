/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening and closing the groups. A group is opened only when nobody else
 * listens there: with SO_REUSEPORT a second master of the same user would
 * otherwise get half of the connections without a word. One that was given to us is ours alone already.
 */
#include "server/binding.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/datagram.h"
#include "io/socket.h"

void
binding_init(struct binding_table *t, size_t group)
{
	*t = (struct binding_table){ .next = BINDING_NONE + 1, .generation = 1, .group = group };
}

static void
close_sockets(struct bound *b)
{
	for (size_t i = 0; i < b->fd_count; i++)
		close(b->fds[i]);
	free(b->fds);
	free(b->text);
}

/* Another server may have taken the path since. */
static void
remove_file(const struct bound *b)
{
	struct stat file;

	if (b->inode != 0 && lstat(b->addr.local.sun_path, &file) == 0 &&
	    file.st_dev == b->device && file.st_ino == b->inode)
		unlink(b->addr.local.sun_path);
}

void
binding_close(struct binding_table *t, bool owner)
{
	for (size_t i = 0; i < t->count; i++) {
		if (owner)
			remove_file(&t->all[i]);
		close_sockets(&t->all[i]);
	}
	free(t->all);
	t->all = NULL;
	t->count = t->room = 0;
	(void)binding_forget_given(t);
}

void
binding_let_go(const struct binding_table *t)
{
	for (size_t i = 0; i < t->count; i++)
		for (size_t slot = 0; slot < t->all[i].fd_count; slot++)
			close(t->all[i].fds[slot]);
}

void
binding_remove(struct binding_table *t, size_t index)
{
	struct bound *b = &t->all[index];

	remove_file(b);
	close_sockets(b);
	memmove(b, b + 1, (--t->count - index) * sizeof(*b));
}

/*
 * Where a value makes a flow, its datagrams come from many sources, and the kernel would share them out:
 * all have to come to one worker. What the group was told before, by whom it was inherited from, only the kernel
 * knows.
 */
static void
gather(const struct bound *b, bool wanted)
{
	if (b->transport == ENDPOINT_UDP && b->fd_count > 1 &&
	    !datagram_gather(b->fds[0], wanted) && wanted)
		log_line(LOG_WARN, "flows of %s may be several, one a worker: %s", b->text,
		    strerror(errno));
}

/* Of one that listens it changes how many may wait, and nothing else. */
static void
follow_backlog(struct bound *b, int backlog)
{
	if (b->backlog == backlog || b->transport == ENDPOINT_UDP)
		return;
	b->backlog = backlog;
	for (size_t i = 0; i < b->fd_count; i++)
		(void)listen(b->fds[i], backlog);
}

/* What it is without being set depends on when it was made: it stays. */
static void
follow_mode(struct bound *b, uint32_t mode)
{
	if (b->mode == mode)
		return;
	b->mode = mode;
	if (mode != 0 && b->inode != 0)
		(void)chmod(b->addr.local.sun_path, mode);
}

/* To the workers it is new. */
static void
come_back(const struct binding_table *t, struct bound *b)
{
	if (b->gone)
		b->since = t->generation;
	b->gone = false;
}

void
binding_follow(struct binding_table *t, const struct bundle_listener *l)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->all[i].number == l->binding) {
			come_back(t, &t->all[i]);
			gather(&t->all[i], l->gathered);
			follow_backlog(&t->all[i], l->backlog);
			follow_mode(&t->all[i], l->mode);
		}
}

const struct bound *
binding_find(const struct binding_table *t, uint8_t transport, const struct addr *a)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->all[i].transport == transport && addr_equal(&t->all[i].addr, a))
			return &t->all[i];
	return NULL;
}

static bool
has_number(const struct binding_table *t, uint16_t number)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->all[i].number == number)
			return true;
	return false;
}

uint16_t
binding_number(
    const struct binding_table *t, uint32_t *next, uint8_t transport, const struct addr *a)
{
	const struct bound *known = binding_find(t, transport, a);

	if (known != NULL)
		return known->number;
	for (int tries = 0; tries < BINDINGS_MAX; tries++) {
		uint16_t number = *next > BINDINGS_MAX ? BINDING_NONE + 1 : (uint16_t)*next;

		*next = number + 1u;
		if (!has_number(t, number))
			return number;
	}
	return BINDING_NONE;
}

bool
binding_agrees(const struct binding_table *t, const struct bundle_listener *l)
{
	const struct bound *known = binding_find(t, l->transport, &l->addr);

	return known != NULL ? known->number == l->binding : !has_number(t, l->binding);
}

/* ------------------------------------------------------------------ opening */

static bool
is_wildcard(const struct addr *a)
{
	return a->any.sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr) :
	    a->v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

/*
 * One of our own groups, on that port of all addresses or of this one, would answer for others too.
 */
static bool
holds_port(const struct binding_table *t, const struct bundle_listener *l)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct bound *b = &t->all[i];

		if (b->transport == l->transport && addr_port(&b->addr) == addr_port(&l->addr) &&
		    (is_wildcard(&b->addr) || is_wildcard(&l->addr)))
			return true;
	}
	return false;
}

/* A bind alone: nobody can connect to it meanwhile. */
static bool
port_is_free(const struct addr *a, bool datagram)
{
	const int on = 1;
	int fd = socket(a->any.sa_family, (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	bool is_free =
	    (datagram || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0) &&
	    bind(fd, &a->any, a->n) == 0;
	int error = errno;
	close(fd);
	errno = error;
	return is_free;
}

static struct socket_options
options_of(const struct bundle_listener *l)
{
	return (struct socket_options){
		.backlog = l->backlog,
		.mode = l->mode,
		.reuse_port = l->transport != ENDPOINT_UNIX,
		.datagram = l->transport == ENDPOINT_UDP,
	};
}

static bool
open_group(struct bound *b, const struct addr *a, const struct bundle_listener *l, size_t group)
{
	const struct socket_options options = options_of(l);

	while (b->fd_count < group) {
		int fd = socket_listen(a, &options);

		if (fd < 0)
			return false;
		b->fds[b->fd_count++] = fd;
	}
	return true;
}

static void
know_file(struct bound *b)
{
	struct stat file;

	if (b->transport == ENDPOINT_UNIX && b->addr.local.sun_path[0] != '\0' &&
	    lstat(b->addr.local.sun_path, &file) == 0) {
		b->device = file.st_dev;
		b->inode = file.st_ino;
	}
}

/* [::] stands for both families: on a machine without IPv6 for the one it has. */
static struct addr
address_to_bind(const struct addr *a)
{
	struct addr v4 = { .v4 = { .sin_family = AF_INET }, .n = sizeof(v4.v4) };

	if (a->any.sa_family != AF_INET6 || !IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr))
		return *a;
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 || errno != EAFNOSUPPORT)
		return *a;
	v4.v4.sin_port = a->v6.sin6_port;
	return v4;
}

void
binding_inherit(struct binding_table *t, const struct bound *b)
{
	if (t->count == t->room) {
		t->room = 2 * t->room + 4;
		t->all = memory_realloc(t->all, t->room * sizeof(*t->all));
	}
	t->all[t->count++] = *b;
}

/* ------------------------------------------------------------------ what was open before we were */

bool
binding_give(struct binding_table *t, int fd)
{
	struct binding_given one = { .fd = fd };
	int kind = 0, listens = 0, v6_only = 0;
	socklen_t n = sizeof(int);

	if (!socket_local(fd, &one.addr) || getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &n) < 0)
		return false;
	(void)getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n);
	(void)getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, &n);
	one.datagram = kind == SOCK_DGRAM && !addr_is_unix(&one.addr);
	one.addr.datagram = one.datagram;
	errno = EPROTOTYPE;
	if (!one.datagram && (kind != SOCK_STREAM || !listens))
		return false;
	errno = EAFNOSUPPORT;
	if (v6_only != 0 && is_wildcard(&one.addr))
		return false;           /* what we call all addresses is of both families */
	t->given = memory_realloc(t->given, (t->given_count + 1) * sizeof(*t->given));
	t->given[t->given_count++] = one;
	return true;
}

size_t
binding_forget_given(struct binding_table *t)
{
	size_t unused = 0;

	for (size_t i = 0; i < t->given_count; i++) {
		if (t->given[i].fd < 0)
			continue;
		close(t->given[i].fd);
		unused++;
	}
	free(t->given);
	t->given = NULL;
	t->given_count = 0;
	return unused;
}

static struct binding_given *
find_given(struct binding_table *t, const struct bundle_listener *l, const struct addr *a)
{
	for (size_t i = 0; i < t->given_count; i++) {
		struct binding_given *g = &t->given[i];

		if (g->fd >= 0 && (addr_equal(&g->addr, &l->addr) || addr_equal(&g->addr, a)))
			return g;
	}
	return NULL;
}

static bool
may_have_company(int fd)
{
	int shares = 0;
	socklen_t n = sizeof(shares);

	return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &shares, &n) == 0 && shares != 0;
}

/* Its file, if it is a Unix socket, is not ours to remove. */
static bool
open_given(struct bound *b, struct binding_given *g, const struct bundle_listener *l, size_t group)
{
	const struct socket_options options = options_of(l);
	bool alone = l->transport == ENDPOINT_UNIX || !may_have_company(g->fd);

	if (!socket_adopt(g->fd, &g->addr, &options))
		return false;
	b->fds[b->fd_count++] = g->fd;
	g->fd = -1;
	b->common = alone && l->transport != ENDPOINT_UDP;
	return alone || open_group(b, &g->addr, l, group);
}

static bool
open_own(const struct binding_table *t, struct bound *b, const struct addr *a,
    const struct bundle_listener *l)
{
	b->common = l->transport == ENDPOINT_UNIX;
	if (!b->common && !holds_port(t, l) && !port_is_free(a, l->transport == ENDPOINT_UDP))
		return false;
	if (!open_group(b, a, l, b->common ? 1 : t->group))
		return false;
	know_file(b);
	return true;
}

bool
binding_open(struct binding_table *t, const struct bundle_listener *l, struct slice text)
{
	struct bound b = { .number = l->binding, .transport = l->transport,
		.since = t->generation, .addr = l->addr, .backlog = l->backlog, .mode = l->mode,
		.fds = memory_zalloc((t->group + 1) * sizeof(*b.fds)) };
	struct addr a = address_to_bind(&l->addr);
	struct binding_given *given = find_given(t, l, &a);
	bool opened =
	    given != NULL ? open_given(&b, given, l, t->group) : open_own(t, &b, &a, l);
	int error = errno;

	b.text = strndup(text.at, text.n);
	if (!opened || b.text == NULL) {
		close_sockets(&b);
		errno = opened ? ENOMEM : error;
		return false;
	}
	if (l->gathered)
		gather(&b, true);
	binding_inherit(t, &b);
	t->next = l->binding + 1u;
	return true;
}
