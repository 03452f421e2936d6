/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A step that a module offers (module.h), behind the table that every handler fills.
 */
#ifndef MILLRACE_HANDLERS_LOADED_H
#define MILLRACE_HANDLERS_LOADED_H

#include "config/schema.h"
#include "module.h"

/* A configuration that is being checked, as a module sees it. */
struct millrace_setup {
	struct arena *arena;
	struct diag *diag;
	struct span at;
};

/*
 * Fills the row of `given`, but for its arguments, in memory of the arena; the handler's functions
 * are given `settings`, the module's. False: `*wrong` says what is not as module.h wants it.
 */
MUST_USE bool loaded_handler_read(struct arena *a, const struct millrace_handler *given,
    const struct millrace_module *module, const void *settings, struct directive *row,
    const char **wrong);

/* MILLRACE_TEXT: a const struct millrace_text *. */
extern const struct type loaded_type_text;

/* Of struct millrace_host. */
struct millrace_span loaded_body(struct millrace_exchange *ex);
bool loaded_text(
    struct millrace_exchange *ex, const struct millrace_text *text, struct millrace_span *out);
bool loaded_reply(struct millrace_exchange *ex, unsigned status, const char *media_type,
    struct millrace_span body);

#endif
