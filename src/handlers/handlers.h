/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The directive rows of every handler; the registry lists them. A row is a
 * step: its `ops` is the handler, its struct is what the step finds in step->settings.
 */
#ifndef MILLRACE_HANDLERS_HANDLERS_H
#define MILLRACE_HANDLERS_HANDLERS_H

#include "config/schema.h"

extern const struct directive handler_access_rows[];    /* allow, deny */
extern const struct directive handler_close_rows[];
extern const struct directive handler_drop_rows[];
extern const struct directive handler_echo_rows[];
extern const struct directive handler_headers_rows[];   /* request_header, response_header */
extern const struct directive handler_limit_rows[];
extern const struct directive handler_proxy_rows[];
extern const struct directive handler_redirect_rows[];
extern const struct directive handler_reply_rows[];
extern const struct directive handler_return_rows[];
extern const struct directive handler_rewrite_rows[];

#endif
