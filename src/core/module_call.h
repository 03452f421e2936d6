/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which function of a module runs: noted around each call, for who looks at one that does not
 * return (glance.h).
 */
#ifndef MILLRACE_CORE_MODULE_CALL_H
#define MILLRACE_CORE_MODULE_CALL_H

#include <stddef.h>

struct module_call {
	const char *function;           /* NULL: none */
	const char *of;                 /* the protocol, or the handler */
};
/* A configuration is built on a thread of its own, which may call modules, too. */
extern _Thread_local struct module_call module_call;

static inline void
module_enter(const char *function, const char *of)
{
	module_call = (struct module_call){ function, of };
}

static inline void
module_leave(void)
{
	module_call.function = NULL;
}

#endif
