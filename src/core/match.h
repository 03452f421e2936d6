/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Conditions and regular expressions, compiled. The only file over PCRE2.
 */
#ifndef MILLRACE_CORE_MATCH_H
#define MILLRACE_CORE_MATCH_H

#include "core/field.h"

enum { REGEX_CAPTURES_MAX = 16 };           /* the whole match included */

struct regex;
struct condition;

/*
 * Compiled without JIT; JIT is tried at the first match (pages that may not be executed: the
 * interpreter serves). Equal patterns share one object, counted; the arena's reset releases it.
 * NULL: reported.
 */
struct regex *regex_compile(struct reading *r, struct slice pattern, bool nocase, struct span at);
/* What matching keeps for the thread that calls, which is about to end. */
void regex_end_thread(void);
/*
 * Positions against subject: captures[2*i], [2*i+1]; unset ones are SIZE_MAX. False: no match (or
 * the limit: *over).
 */
bool regex_match(
    struct regex *re, struct slice subject, size_t captures[2 * REGEX_CAPTURES_MAX], bool *over);
/* The same for an exchange: running into the limit is remembered there (ex->gave_up). */
bool regex_match_in(struct exchange *ex, struct regex *re, struct slice subject,
    size_t captures[2 * REGEX_CAPTURES_MAX]);
/* What every match begins with (may be empty); *anchored: only at the start of the subject. */
struct slice regex_prefix(const struct regex *re, bool *anchored);
/*
 * Pieces that are in every text that matches, ASCII letters in any case; a NUL stands behind each.
 * May be empty.
 */
struct slice regex_pieces(const struct regex *re);
/* Index of a named group, or -1. */
int regex_group(const struct regex *re, struct slice name);
/*
 * The names of groups 1, 2, … ("" where a group has none), at most REGEX_CAPTURES_MAX - 1, NULL-
 * terminated, in the arena of `r`.
 */
const char *const *regex_groups(struct reading *r, const struct regex *re);

/* An argument that is a regex, verbatim: fills a struct regex *. */
extern const struct type type_regex;

/*
 * Types are checked: operator against field and literal, CIDRs, numbers, regexes. NULL: reported.
 */
struct condition *condition_compile(
    struct reading *r, const struct scope *scope, const struct expression *e);
bool condition_is(const struct condition *c, struct exchange *ex);
/*
 * It says the same of every question (a tautology as far as can be seen): true when `b` holds
 * whenever `a` does. For unreachable routes.
 */
bool condition_implies(const struct condition *a, const struct condition *b);
/* Equal for equal conditions. */
uint64_t condition_fingerprint(const struct condition *c);
/*
 * What decides whether it holds: calls tell(to, …) for the field of each test that does, in order.
 */
void condition_explain(const struct condition *c, struct exchange *ex,
    void (*tell)(void *to, const struct field_ref *ref), void *to);
/* The latest moment any of its fields needs. */
enum moment condition_moment(const struct condition *c);

#endif
