/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SHA-1 and base64, as the WebSocket handshake wants them (RFC 6455 4.2.2). SHA-1 only proves there
 * that the other end speaks the protocol: use it for nothing that must be secret.
 */
#ifndef MILLRACE_BASE_DIGEST_H
#define MILLRACE_BASE_DIGEST_H

#include <sys/types.h>

#include "base/bytes.h"

enum { DIGEST_SHA1 = 20 };

void digest_sha1(struct slice s, uint8_t out[static DIGEST_SHA1]);

/* RFC 4648 4, padded. */
void base64_write(struct builder *b, struct slice s);
/*
 * Strict: padded, nothing between the letters, no stray bits. Returns how many bytes it is of (at
 * most s.n / 4 * 3), or -1 when it is malformed or `size` is too small for them.
 */
MUST_USE ssize_t base64_read(struct slice s, uint8_t *out, size_t size);

#endif
