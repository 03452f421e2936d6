/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * HTTP/1 as an inhabitant of the road: `protocol http`, the default.
 */
#ifndef MILLRACE_PROTOCOLS_HTTP_H1_H
#define MILLRACE_PROTOCOLS_HTTP_H1_H

#include "core/protocol.h"

extern const struct protocol_ops protocol_http;

#endif
