/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A protocol that a module offers (module.h), behind the table that every protocol of messages
 * fills. Each value that the module returns is checked here: what it says of a message ends at
 * worst the connection that the message is of.
 */
#ifndef MILLRACE_PROTOCOLS_LOADED_H
#define MILLRACE_PROTOCOLS_LOADED_H

#include "core/protocol.h"
#include "module.h"

/*
 * The protocol that `given` describes, in memory of the arena. NULL: `*wrong` says what is not as
 * module.h wants it. Usable once it was settled.
 */
struct protocol_ops *loaded_protocol_read(
    struct arena *a, const struct millrace_protocol *given, const char **wrong);
/*
 * The settings are there; `fingerprint` tells them and the code of the module from others. False:
 * `*wrong` says what does not go with them.
 */
MUST_USE bool loaded_protocol_settle(
    struct protocol_ops *ops, struct arena *a, const void *settings,
    uint64_t fingerprint, const char **wrong);

/* Of struct millrace_host. */
void loaded_set_body(struct millrace_message *m, struct millrace_span body);
void loaded_set_field(struct millrace_message *m, unsigned field, struct millrace_span value);
void loaded_set_id(struct millrace_message *m, struct millrace_span id);
void loaded_set_one_way(struct millrace_message *m);
void *loaded_alloc(struct millrace_message *m, size_t n);
bool loaded_write(struct millrace_out *out, const void *at, size_t n);

#endif
