/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each failure with its word, its sentence, the status it answers with and how
 * loud it is: a client's faults are its own business, a peer's are the operator's.
 */
#include "core/reason.h"

const struct reason_text reason_texts[REASON_COUNT] = {
	[REASON_NONE] = { "none", "nothing failed", 0, LOG_DEBUG },
	[REASON_CLIENT_GONE] = { "client_gone", "the client closed before its answer was out", 0, LOG_INFO },
	[REASON_CLIENT_IDLE] = { "client_idle", "the client was silent", 0, LOG_DEBUG },
	[REASON_BAD_MESSAGE] = { "bad_message", "the question is malformed", 400, LOG_INFO },
	[REASON_BAD_HOST] = { "bad_host", "Host is missing, doubled or malformed", 400, LOG_INFO },
	[REASON_BAD_PROXY_LINE] = { "bad_proxy_line", "the connection did not begin with a PROXY header", 0, LOG_WARN },
	[REASON_URI_TOO_LONG] = { "uri_too_long", "the request line is too long", 414, LOG_INFO },
	[REASON_HEAD_TOO_LARGE] = { "head_too_large", "the header fields are too large", 431, LOG_INFO },
	[REASON_BODY_TOO_LARGE] = { "body_too_large", "the body is too large", 413, LOG_INFO },
	[REASON_BAD_EXPECTATION] = { "bad_expectation", "the expectation cannot be met", 417, LOG_INFO },
	[REASON_NOT_IMPLEMENTED] = { "not_implemented", "the question asks for what is not implemented", 501, LOG_INFO },
	[REASON_BAD_VERSION] = { "bad_version", "the version of the protocol is not supported", 505, LOG_INFO },
	[REASON_HEAD_TIMEOUT] = { "head_timeout", "the head did not come in time", 408, LOG_INFO },
	[REASON_BODY_TIMEOUT] = { "body_timeout", "the body stopped coming", 408, LOG_INFO },
	[REASON_WRITE_TIMEOUT] = { "write_timeout", "the client does not read", 0, LOG_INFO },
	[REASON_MISDIRECTED] = { "misdirected", "no server here has that name", 421, LOG_INFO },
	[REASON_NO_ROUTE] = { "no_route", "no route matches", 404, LOG_INFO },
	[REASON_DENIED] = { "denied", "access is denied", 403, LOG_INFO },
	[REASON_NO_PEER] = { "no_peer", "every peer is down or was tried", 502, LOG_ERROR },
	[REASON_PEER_REFUSED] = { "peer_refused", "the peer refused the connection", 502, LOG_ERROR },
	[REASON_PEER_CONNECT_TIMEOUT] = { "peer_connect_timeout", "the peer did not accept the connection in time", 504, LOG_ERROR },
	[REASON_PEER_CLOSED] = { "peer_closed", "the peer closed before its answer was complete", 502, LOG_ERROR },
	[REASON_PEER_RESET] = { "peer_reset", "the peer reset the connection", 502, LOG_ERROR },
	[REASON_PEER_BAD_MESSAGE] = { "peer_bad_message", "the peer's answer is malformed", 502, LOG_ERROR },
	[REASON_PEER_TIMEOUT] = { "peer_timeout", "the peer did not answer in time", 504, LOG_ERROR },
	[REASON_PEER_WRITE_TIMEOUT] = { "peer_write_timeout", "the peer does not read", 504, LOG_ERROR },
	[REASON_IDLE_TIMEOUT] = { "idle_timeout", "nothing moved either way", 0, LOG_INFO },
	[REASON_LIMIT] = { "limit", "out of descriptors or connections", 503, LOG_WARN },
	[REASON_SHUTDOWN] = { "shutdown", "the worker is leaving", 503, LOG_INFO },
	[REASON_INTERNAL] = { "internal", "a step gave up", 500, LOG_ERROR },
};
