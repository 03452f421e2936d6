/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs between any two instructions of the loop: what it finds may be half written. So nothing is
 * followed but through the kernel, which says of an address that it is none rather than ending the
 * process; and nothing is called that may wait, take memory or be in the middle of something.
 */
#include "core/glance.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/exchange.h"
#include "core/module_call.h"

enum { WORD_MOST = 64, PIECE_MOST = 128 };

_Thread_local struct module_call module_call;

static struct engine *looked_at;

/* ------------------------------------------------------------------ looking */

static bool
peek(void *to, const void *from, size_t n)
{
	struct iovec here = { to, n }, there = { (void *)(uintptr_t)from, n };

	return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)n;
}

static void
put_slice(struct builder *b, struct slice s)
{
	char room[PIECE_MOST];
	size_t n = MIN_OF(s.n, sizeof(room));

	if (peek(room, s.at, n))
		builder_put(b, room, n);
	if (n != s.n)
		BUILDER_LITERAL(b, "...");
}

static void
put_word(struct builder *b, const char *at)
{
	char c;

	for (int i = 0; i < WORD_MOST && peek(&c, at + i, 1) && c != '\0'; i++)
		builder_byte(b, c);
}

static void
begin(struct builder *b, const char *what)
{
	builder_text(b, b->n != 0 ? ", " : "");
	builder_text(b, what);
}

static void
put_addr(struct builder *b, const struct addr *at)
{
	char text[ADDR_TEXT];
	struct addr a;

	if (peek(&a, at, sizeof(a)))
		builder_slice_put(b, addr_print(&a, text));
}

static void
put_protocol(struct builder *b, const struct conn *c)
{
	const struct protocol_ops *ops;
	const char *name;

	if (peek(&ops, &c->protocol, sizeof(ops)) && peek(&name, &ops->name, sizeof(name)))
		put_word(b, name);
}

/* ------------------------------------------------------------------ an exchange */

static void
put_step(struct builder *b, const struct exchange *ex)
{
	struct steps steps;
	struct step step;
	const char *name;
	int at = ex->taker >= 0 ? ex->taker : ex->step - 1;

	if (ex->steps == NULL) {
		begin(b, "choice of a route");
		return;
	}
	if (at < 0 || !peek(&steps, ex->steps, sizeof(steps)) || at >= steps.count ||
	    !peek(&step, steps.items + at, sizeof(step)) ||
	    !peek(&name, &step.ops->name, sizeof(name)))
		return;
	begin(b, ex->answer_state != ANSWER_NONE || ex->answer.status != 0 ? "answer of step " :
	    ex->taker < 0 && step.when != NULL ? "condition of step " : "step ");
	put_word(b, name);
}

static void
put_route(struct builder *b, const struct exchange *ex)
{
	struct slice shown;

	if (ex->route == NULL || !peek(&shown, &ex->route->shown, sizeof(shown)))
		return;
	begin(b, shown.n != 0 ? "route " : "route");
	put_slice(b, shown);
}

static void
put_target(struct builder *b, const struct message *m)
{
	if (m->base == NULL || m->target.n == 0)
		return;
	begin(b, "");
	put_slice(b, message_piece(m, m->method_text));
	builder_byte(b, ' ');
	put_slice(b, message_piece(m, m->target));
}

static void
put_exchange(struct builder *b, const struct exchange *ex)
{
	put_step(b, ex);
	put_route(b, ex);
	if (ex->server_name.n != 0) {
		begin(b, "server ");
		put_slice(b, ex->server_name);
	}
	if (ex->client != NULL) {
		begin(b, "");
		put_protocol(b, ex->client);
		builder_text(b, " of client ");
		put_addr(b, ex->src);
	}
	put_target(b, &ex->question);
	if (ex->peer_text.n != 0) {
		begin(b, "peer ");
		put_slice(b, ex->peer_text);
	}
}

/* Of its own fields, which stand in front of its memory. */
static bool
peek_exchange(struct exchange *copy, const struct exchange *ex)
{
	return ex != NULL && peek(copy, ex, offsetof(struct exchange, settle)) && copy->busy != 0 &&
	    !copy->free;
}

/* ------------------------------------------------------------------ a connection */

static void
put_listener(struct builder *b, const struct engine *e, uint16_t number)
{
	struct binding binding;
	struct slice text;

	if (number >= e->binding_count || !peek(&binding, e->bindings + number, sizeof(binding)) ||
	    binding.listener == NULL || !peek(&text, &binding.listener->text, sizeof(text)))
		return;
	begin(b, "listener ");
	put_slice(b, text);
}

static void
put_reading(struct builder *b, const struct engine *e, const struct conn *c)
{
	uint8_t side;
	uint16_t binding;

	if (!peek(&side, &c->side, sizeof(side)) || !peek(&binding, &c->binding, sizeof(binding)))
		return;
	begin(b, "reads ");
	put_protocol(b, c);
	builder_text(b, side == SIDE_PEER ? " of a peer" : " of client ");
	if (side == SIDE_PEER)
		return;
	put_addr(b, &c->remote);
	put_listener(b, e, binding);
}

/* ------------------------------------------------------------------ all of it */

static void
put_tale(struct builder *b, const struct engine *e)
{
	struct module_call call = module_call;
	struct exchange ex;
	bool reads;

	if (call.function != NULL) {
		begin(b, "in ");
		put_word(b, call.function);
		builder_text(b, "() of ");
		put_word(b, call.of);
	}
	if (peek_exchange(&ex, e->entered))
		put_exchange(b, &ex);
	else if (e->fed != NULL && peek(&reads, &e->fed->in_read, sizeof(reads)) && reads)
		put_reading(b, e, e->fed);
}

static void
on_signal(int number)
{
	struct engine *e = looked_at;
	int error = errno;

	if (e == NULL)
		return;

	struct worker_shared *mine = e->shared;
	uint32_t asked = __atomic_load_n((uint32_t *)&mine->asked, __ATOMIC_ACQUIRE);
	struct builder b = builder_on(mine->tale, sizeof(mine->tale) - 1);

	put_tale(&b, e);
	mine->tale[b.n] = '\0';
	__atomic_store_n((uint32_t *)&mine->told, asked, __ATOMIC_RELEASE);
	errno = error;
}

bool
glance_open(struct engine *e)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	sigfillset(&action.sa_mask);
	looked_at = e;
	return sigaction(GLANCE_SIGNAL, &action, NULL) == 0;
}

void
glance_close(void)
{
	signal(GLANCE_SIGNAL, SIG_IGN);
	looked_at = NULL;
}
