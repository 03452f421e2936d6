/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection without its PROXY header is not served: who sends none is not
 * who the listener was made for. One that ends before its first byte (a probe)
 * is not worth a line in the log.
 */
#include "protocols/proxy_line.h"

#include "core/engine.h"
#include "core/proxy_header.h"

/* ms in which a header may still come, when the worker leaves */
enum { DRAIN_GRACE = 1000 };

static void
refuse(struct conn *c)
{
	const struct reason_text *reason = &reason_texts[REASON_BAD_PROXY_LINE];
	char text[ADDR_TEXT];
	struct slice from = addr_print(&c->remote, text);

	engine_count(&c->engine->shared->reasons[REASON_BAD_PROXY_LINE], 1);
	log_line(reason->level, "%s, client " SLICE_FORMAT, reason->text, SLICE_ARG(from));
	conn_close(c);
}

static void
proxy_line_open(struct conn *c)
{
	conn_expect(c, conn_listener(c)->settings.head_timeout, REASON_BAD_PROXY_LINE);
}

static void
set_addresses(struct conn *c, const struct proxy_header *header)
{
	c->remote = header->src;
	if (c->local == NULL)
		c->local = memory_alloc(sizeof(*c->local));
	*c->local = header->dst;
}

static size_t
proxy_line_read(struct conn *c, struct slice in)
{
	struct proxy_header header;
	ssize_t n = proxy_header_parse(in, &header);

	if (n == 0)
		return 0;
	if (n < 0) {
		refuse(c);
		return in.n;
	}
	if (header.known)
		set_addresses(c, &header);
	conn_expect_nothing(c);
	conn_switch(c, c->next_protocol);
	return (size_t)n;
}

static void
proxy_line_finish(struct conn *c, size_t left)
{
	if (left != 0)
		refuse(c);
	else
		conn_close(c);
}

static void
proxy_line_late(struct conn *c, enum reason reason)
{
	if (reason == REASON_BAD_PROXY_LINE)
		refuse(c);
	else
		conn_close(c);
}

/* It may have been accepted a moment ago, and what it asks for be under way. */
static void
proxy_line_drain(struct conn *c)
{
	conn_expect(c, DRAIN_GRACE, REASON_SHUTDOWN);
}

const struct protocol_ops protocol_proxy_line = {
	.name = "proxy_line",
	.open = proxy_line_open,
	.read = proxy_line_read,
	.finish = proxy_line_finish,
	.late = proxy_line_late,
	.drain = proxy_line_drain,
};
