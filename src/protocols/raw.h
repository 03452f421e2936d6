/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes as they come, until both sides have ended: `protocol tcp`.
 */
#ifndef MILLRACE_PROTOCOLS_RAW_H
#define MILLRACE_PROTOCOLS_RAW_H

#include "core/protocol.h"

extern const struct protocol_ops protocol_tcp, protocol_udp;

#endif
