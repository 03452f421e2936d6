/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The time as the loop saw it last: no system call to ask. One clock a process.
 */
#ifndef MILLRACE_BASE_CLOCK_H
#define MILLRACE_BASE_CLOCK_H

#include "base/bytes.h"

/* Asks the kernel (vDSO); once a pass of the loop. */
void clock_update(void);

uint64_t clock_ms(void);                 /* monotonic, milliseconds; the cached value */
uint64_t clock_us(void);                 /* monotonic, microseconds; the cached value */
uint64_t clock_us_exact(void);           /* asks */
int64_t clock_unix(void);                /* seconds since 1970; cached */
uint64_t clock_unix_ms(void);            /* milliseconds since 1970; cached */

/* Texts are remade at most once a second (ISO's milliseconds aside) and live until then. */
struct slice clock_http_date(void);      /* Sun, 06 Nov 1994 08:49:37 GMT (RFC 9110 5.6.7) */
struct slice clock_log_date(void);       /* 06/Nov/1994:08:49:37 +0000 (the combined log; local time) */
struct slice clock_error_date(void);     /* 1994/11/06 08:49:37 (the error log; local time) */
struct slice clock_iso_date(void);       /* 1994-11-06T08:49:37+00:00 (local time with its offset) */

#endif
