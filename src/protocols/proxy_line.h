/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a listener that expects PROXY headers runs first on a connection: it
 * takes the header, sets the connection's addresses, and leaves.
 */
#ifndef MILLRACE_PROTOCOLS_PROXY_LINE_H
#define MILLRACE_PROTOCOLS_PROXY_LINE_H

#include "core/protocol.h"

extern const struct protocol_ops protocol_proxy_line;

#endif
