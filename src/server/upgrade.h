/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `server upgrade` from outside, with signals and the pid file alone: as an administrator does it
 * by hand.
 */
#ifndef MILLRACE_SERVER_UPGRADE_H
#define MILLRACE_SERVER_UPGRADE_H

#include "base/common.h"

/*
 * Tells the master of that pid file to run its program anew; once that one serves, the old one is
 * told to quit. The exit status; what happened was said.
 */
int upgrade_by_signals(const char *pid_path);

#endif
