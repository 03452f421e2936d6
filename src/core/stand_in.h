/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stand-in for an exchange that never was: a message without a client, so that its fields may be asked for
 * and conditions on it tried. It runs no steps, and ends without a word.
 */
#ifndef MILLRACE_CORE_STAND_IN_H
#define MILLRACE_CORE_STAND_IN_H

#include "core/exchange.h"

struct stand_in {
	struct exchange ex;
	struct unit unit;
	struct addr nobody;
};

/* In the engine round it, which has a scratch and need have no more. */
void stand_in_open(struct stand_in *s, struct engine *e);
/* The message that it is about from here on. */
struct exchange *stand_in_for(struct stand_in *s, const struct unit *u);
/* Gives back what was found in that message: before the next, and in the end. */
void stand_in_forget(struct stand_in *s);

#endif
