/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * THE list: every protocol and every handler there is, and the directive
 * tables that they and the core bring.
 */
#ifndef MILLRACE_SERVER_REGISTRY_H
#define MILLRACE_SERVER_REGISTRY_H

#include "core/handler.h"
#include "core/protocol.h"

/* ended by NULL; the first is the default */
extern const struct protocol_ops *const registry_protocols[];
const struct protocol_ops *registry_protocol(struct slice name);   /* or NULL */

/* Whether a step of that name, or anything else, stands in servers, routes or error blocks. */
bool registry_has_word(struct slice word);

/* what may stand at the top level; fills a struct main_block (build.h) */
extern const struct table registry_main[];
extern const struct elsewhere registry_elsewhere[];     /* nginx's words and ours */

#endif
