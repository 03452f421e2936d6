/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The code of modules in this process. It is loaded from the bytes that were read and checked (a
 * memfd), never from a path: a worker without rights, which has them from the bundle, runs exactly
 * what the check ran, whatever becomes of the file.
 *
 * Equal bytes are loaded once, whoever asks; each asker holds them, and what nobody holds is
 * unloaded. This is the one thing that a build of a snapshot shares with the process it runs in.
 */
#ifndef MILLRACE_SERVER_MODULE_CODE_H
#define MILLRACE_SERVER_MODULE_CODE_H

#include "base/bytes.h"
#include "module.h"

struct module_code;

enum { MODULE_WHY = 512 };

/* NULL: `why` says in words what is wrong with it. `name` is for debuggers. */
MUST_USE struct module_code *module_code_hold(
    struct slice bytes, const char *name, char why[static MODULE_WHY]);
void module_code_release(struct module_code *code);
/* What its millrace_module returned; as large as it says, no smaller than ABI 1 has it. */
const struct millrace_module *module_code_table(const struct module_code *code);

/* Tells its bytes from others. */
uint64_t module_code_fingerprint(const struct module_code *code);

#endif
