/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every file may use: the compiler's attributes under readable names.
 */
#ifndef MILLRACE_BASE_COMMON_H
#define MILLRACE_BASE_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_USE        __attribute__((warn_unused_result))
#define PRINTF(at, va)  __attribute__((format(printf, at, va)))
#define NORETURN        __attribute__((noreturn))
#define UNUSED          __attribute__((unused))
#define FALLTHROUGH     __attribute__((fallthrough))
#define likely(x)       __builtin_expect(!!(x), 1)
#define unlikely(x)     __builtin_expect(!!(x), 0)
/* A way of its own, mostly a rare one: a call, so that others pay nothing for its locals. */
#define APART           __attribute__((noinline))

#define ARRAY_COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b)    ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b)    ((a) > (b) ? (a) : (b))

/*
 * Memory of ours that nobody has taken: AddressSanitizer reports who touches
 * it between hide and show. Without it both are nothing.
 */
#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_HIDES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEMORY_HIDES 1
#endif
#endif
#ifdef MEMORY_HIDES
#include <sanitizer/asan_interface.h>
#define memory_hide(at, n) ASAN_POISON_MEMORY_REGION((at), (n))
#define memory_show(at, n) ASAN_UNPOISON_MEMORY_REGION((at), (n))
#else
#define memory_hide(at, n) ((void)(at), (void)(n))
#define memory_show(at, n) ((void)(at), (void)(n))
#endif

/* The struct that holds `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

#endif
