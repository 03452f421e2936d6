/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Regular expressions (the only file over PCRE2) and conditions. A condition
 * is a tree of and, or and tests; `not` is pushed down to the tests when it is
 * compiled, so that absent fields need one rule only: a test without a value is
 * false, and its negation is true.
 */
#include "core/match.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "base/map.h"
#include "core/exchange.h"
#include "core/pattern.h"

/* ------------------------------------------------------------------ regular expressions */

enum {
	MATCH_STEPS = 100000,
	MATCH_HEAP_KIB = 1024,
	JIT_STACK_MIN = 32 * 1024, JIT_STACK_MAX = 512 * 1024,
	PATTERN_MAX = 16 * 1024,
	PIECES_ROOM = 1 + 2 * 2         /* beyond the pattern's own length */
};

struct regex {
	pcre2_code *code;
	struct slice pattern;           /* behind this struct, as the pieces are */
	struct slice prefix, pieces;
	uint32_t holders;
	bool nocase, anchored;
	bool jit_tried;
};

/* What matching needs besides the pattern: one a thread, made when first wanted. */
static _Thread_local struct {
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
} matcher;

static bool
prepare_matcher(void)
{
	if (likely(matcher.data != NULL))
		return true;
	matcher.context = pcre2_match_context_create(NULL);
	if (matcher.context == NULL)
		return false;
	pcre2_set_match_limit(matcher.context, MATCH_STEPS);
	pcre2_set_heap_limit(matcher.context, MATCH_HEAP_KIB);
	matcher.stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
	if (matcher.stack != NULL)
		pcre2_jit_stack_assign(matcher.context, NULL, matcher.stack);
	matcher.data = pcre2_match_data_create(REGEX_CAPTURES_MAX, NULL);
	return matcher.data != NULL;
}

void
regex_end_thread(void)
{
	pcre2_match_data_free(matcher.data);
	pcre2_jit_stack_free(matcher.stack);
	pcre2_match_context_free(matcher.context);
	matcher.data = NULL;
	matcher.stack = NULL;
	matcher.context = NULL;
}

static void
regex_release(void *what)
{
	struct regex *re = what;

	if (--re->holders != 0)
		return;
	pcre2_code_free(re->code);
	free(re);
}

/* A byte that PCRE2 itself found to be in every match, where it is one whatever the case. */
static size_t
add_unit(const pcre2_code *code, uint32_t type, uint32_t unit, char *out)
{
	uint32_t has = 0, byte = 0;

	if (pcre2_pattern_info(code, type, &has) != 0 || has != 1 ||
	    pcre2_pattern_info(code, unit, &byte) != 0 || byte == 0 || byte >= 0x80)
		return 0;
	out[0] = (char)byte;
	out[1] = '\0';
	return 2;
}

/* PCRE2 and our own reading of the pattern must agree that it is anchored. */
static void
read_pattern(struct regex *re, char *room)
{
	struct pattern p = pattern_read(re->pattern, re->nocase, room);
	uint32_t options = 0;

	if (pcre2_pattern_info(re->code, PCRE2_INFO_ALLOPTIONS, &options) == 0)
		re->anchored = (options & PCRE2_ANCHORED) != 0;
	re->prefix = re->anchored ? p.prefix : SLICE_EMPTY;
	re->pieces = slice_make(room, p.pieces.n);
	re->pieces.n += add_unit(
	    re->code, PCRE2_INFO_FIRSTCODETYPE, PCRE2_INFO_FIRSTCODEUNIT, room + re->pieces.n);
	re->pieces.n += add_unit(
	    re->code, PCRE2_INFO_LASTCODETYPE, PCRE2_INFO_LASTCODEUNIT, room + re->pieces.n);
}

static struct regex *
regex_new(struct reading *r, struct slice pattern, bool nocase, struct span at)
{
	int error;
	PCRE2_SIZE where;
	uint32_t options = PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C |
			   (nocase ? PCRE2_CASELESS : 0);

	pcre2_code *code =
	    pcre2_compile((PCRE2_SPTR)pattern.at, pattern.n, options, &error, &where, NULL);

	if (code == NULL) {
		PCRE2_UCHAR text[128];
		struct span place = at;

		pcre2_get_error_message(error, text, sizeof(text));
		/* a string's quote stands before the pattern */
		place.at += (uint32_t)(MIN_OF(where, pattern.n) + (at.n > pattern.n));
		place.n = 1;
		diag_error(r->diag, at.n >= pattern.n ? place : at,
		    "this is not a regular expression: %s", (const char *)text);
		return NULL;
	}

	struct regex *re = memory_zalloc(sizeof(*re) + 2 * pattern.n + PIECES_ROOM);
	char *copy = (char *)(re + 1);

	memcpy(copy, pattern.at, pattern.n);
	re->code = code;
	re->pattern = slice_make(copy, pattern.n);
	re->nocase = nocase;
	re->holders = 1;
	read_pattern(re, copy + pattern.n);
	return re;
}

/* Equal texts with and without case are two objects. */
static struct slice
regex_key(struct arena *a, struct slice pattern, bool nocase)
{
	char *key = arena_alloc(a, pattern.n + 1);

	key[0] = nocase ? 'i' : '-';
	memcpy(key + 1, pattern.at, pattern.n);
	return slice_make(key, pattern.n + 1);
}

struct regex *
regex_compile(struct reading *r, struct slice pattern, bool nocase, struct span at)
{
	if (pattern.n > PATTERN_MAX) {
		diag_error(r->diag, at, "a regular expression has at most %d bytes", PATTERN_MAX);
		return NULL;
	}
	if (r->regexes == NULL) {
		r->regexes = arena_alloc(r->arena, sizeof(*r->regexes));
		map_init(r->regexes, r->arena, false);
	}

	struct slice key = regex_key(r->arena, pattern, nocase);
	struct regex *re = map_find(r->regexes, key);

	if (re != NULL)
		return re;
	re = regex_new(r, pattern, nocase, at);
	if (re != NULL) {
		map_add(r->regexes, key, re);
		arena_on_reset(r->arena, regex_release, re);
	}
	return re;
}

bool
regex_match(
    struct regex *re, struct slice subject, size_t captures[2 * REGEX_CAPTURES_MAX], bool *over)
{
	*over = false;
	if (!slice_starts(subject, re->prefix))
		return false;
	if (unlikely(!re->jit_tried)) {
		/* refused where pages may not be executed: the interpreter serves */
		re->jit_tried = true;
		(void)pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE);
	}
	if (!prepare_matcher()) {
		*over = true;
		return false;
	}

	const char *at = subject.n == 0 ? "" : subject.at;
	int count =
	    pcre2_match(re->code, (PCRE2_SPTR)at, subject.n, 0, 0, matcher.data, matcher.context);

	if (count < 0) {
		*over = count != PCRE2_ERROR_NOMATCH;
		return false;
	}

	/* 0: more groups than we keep, and those that we keep are all set */
	size_t set = count == 0 ? REGEX_CAPTURES_MAX : (size_t)count;
	const PCRE2_SIZE *found = pcre2_get_ovector_pointer(matcher.data);

	for (size_t i = 0; i < 2 * REGEX_CAPTURES_MAX; i++)
		captures[i] = i < 2 * set && found[i] != PCRE2_UNSET ? found[i] : SIZE_MAX;
	return true;
}

bool
regex_match_in(struct exchange *ex, struct regex *re, struct slice subject,
    size_t captures[2 * REGEX_CAPTURES_MAX])
{
	/* one limit for all values there may be: thousands at the limit are no answer either */
	if (unlikely(ex->gave_up))
		return false;

	bool over, matches = regex_match(re, subject, captures, &over);

	if (unlikely(over))
		ex->gave_up = true;
	return matches;
}

struct slice
regex_prefix(const struct regex *re, bool *anchored)
{
	*anchored = re->anchored;
	return re->prefix;
}

struct slice
regex_pieces(const struct regex *re)
{
	return re->pieces;
}

/* PCRE2's own, by name. */
struct name_table {
	const uint8_t *entries;         /* two bytes of number, name, NUL */
	uint32_t count, size;
};

static struct name_table
name_table(const struct regex *re)
{
	struct name_table t = { 0 };

	pcre2_pattern_info(re->code, PCRE2_INFO_NAMECOUNT, &t.count);
	pcre2_pattern_info(re->code, PCRE2_INFO_NAMEENTRYSIZE, &t.size);
	pcre2_pattern_info(re->code, PCRE2_INFO_NAMETABLE, &t.entries);
	return t;
}

static unsigned
name_number(const struct name_table *t, uint32_t i, const char **name)
{
	const uint8_t *entry = t->entries + (size_t)i * t->size;

	*name = (const char *)entry + 2;
	return (unsigned)entry[0] << 8 | entry[1];
}

int
regex_group(const struct regex *re, struct slice name)
{
	struct name_table t = name_table(re);
	const char *own;

	for (uint32_t i = 0; i < t.count; i++) {
		unsigned number = name_number(&t, i, &own);

		if (slice_is(name, own))
			return number < REGEX_CAPTURES_MAX ? (int)number : -1;
	}
	return -1;
}

const char *const *
regex_groups(struct reading *r, const struct regex *re)
{
	struct name_table t = name_table(re);
	uint32_t count = 0;

	pcre2_pattern_info(re->code, PCRE2_INFO_CAPTURECOUNT, &count);
	count = MIN_OF(count, (uint32_t)REGEX_CAPTURES_MAX - 1);

	const char **names = arena_array(r->arena, count + 1, sizeof(*names));

	for (uint32_t i = 0; i < count; i++)
		names[i] = "";
	for (uint32_t i = 0; i < t.count; i++) {
		const char *own;
		unsigned number = name_number(&t, i, &own);

		if (number >= 1 && number <= count)
			names[number - 1] = arena_text(r->arena, slice_of(own));
	}
	return names;
}

static bool
regex_read(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	struct regex **re = out;

	*re = regex_compile(r, v->raw, false, v->span);
	return *re != NULL;
}

const struct type type_regex = {
	.name = "REGEX",
	.wanted = "a regular expression (\"^/u/[0-9]+$\")",
	.size = sizeof(struct regex *),
	.read = regex_read,
};

/* ------------------------------------------------------------------ conditions */

enum test {
	TEST_OR, TEST_AND,              /* of children */
	TEST_TEXTS,                     /* the value is one of these */
	TEST_BARES,                     /* the same, of a value that is a bare word */
	TEST_RANGES,                    /* the number is in one of these */
	TEST_NETWORKS,                  /* the address is in one of these */
	TEST_REGEX,
	TEST_EXISTS
};

struct range {
	int64_t first, last;
};

struct condition {
	uint8_t test;                   /* enum test */
	bool negated;                   /* not of OR and AND */
	uint32_t count;                 /* of what the array holds */
	struct field_ref ref;
	union {
		const struct condition **children;
		struct slice *texts;
		struct range *ranges;   /* sorted, disjoint */
		struct network *networks;
		struct regex *regex;
	};
	const struct map *index;        /* of many texts */
};

enum { FEW_TEXTS = 8 };

static bool
is_group(const struct condition *c)
{
	return c->test == TEST_OR || c->test == TEST_AND;
}

static const char *const type_words[] = {
	[FIELD_TEXT] = "a text", [FIELD_NUMBER] = "a number", [FIELD_ADDRESS] = "an address",
	[FIELD_BARE] = "a word", [FIELD_ANY] = "a value",
};
static const char *const operators[] = {
	[IS_EQUAL] = "==",
	[IS_NOT_EQUAL] = "!=",
	[IS_LESS] = "<",
	[IS_LESS_EQUAL] = "<=",
	[IS_GREATER] = ">",
	[IS_GREATER_EQUAL] = ">=",
	[IS_MATCH] = "~",
};

static bool
is_lower(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.at[i] < 'a' || s.at[i] > 'z')
			return false;
	return s.n != 0;
}

/* It is compared as it is written (RFC 9110 9.1), and so never true. */
static void
warn_lower(struct reading *r, const struct field *field, const struct value *v)
{
	char upper[16];

	if (v->raw.n > sizeof(upper) || !is_lower(v->raw))
		return;
	for (size_t i = 0; i < v->raw.n; i++)
		upper[i] = (char)(v->raw.at[i] - 'a' + 'A');
	diag_warning(r->diag, v->span, "\"" SLICE_FORMAT "\" is not " SLICE_FORMAT
	    ": the field %s is compared as it is written",
	    SLICE_ARG(v->raw), SLICE_ARG(slice_make(upper, v->raw.n)), field->name);
}

static bool
compile_texts(struct reading *r, struct condition *c, const struct expression *e)
{
	bool nocase = c->ref.field->flags & FIELD_NOCASE;
	struct map *index = NULL;

	c->test = TEST_TEXTS;
	c->texts = arena_array(r->arena, e->operand_count, sizeof(*c->texts));
	for (size_t i = 0; i < e->operand_count; i++) {
		if (!schema_decode(r, &e->operands[i], false, &c->texts[i]))
			return false;
		if (c->ref.field->flags & FIELD_CAPITALS)
			warn_lower(r, c->ref.field, &e->operands[i]);
	}
	if (c->count > FEW_TEXTS) {
		index = arena_alloc(r->arena, sizeof(*index));
		map_init(index, r->arena, nocase);
		for (size_t i = 0; i < c->count; i++)
			map_add(index, c->texts[i], &c->texts[i]);
		c->index = index;
	}
	return true;
}

static bool
parse_number(struct slice s, int64_t *out)
{
	bool minus = s.n > 0 && s.at[0] == '-';
	uint64_t n;

	if (!slice_to_u64(minus ? slice_after(s, 1) : s, &n) || n > INT64_MAX)
		return false;
	*out = minus ? -(int64_t)n : (int64_t)n;
	return true;
}

static bool
parse_range(struct slice s, struct range *out)
{
	size_t dots = slice_find_slice(s, SLICE(".."));

	if (dots == s.n) {
		bool fine = parse_number(s, &out->first);

		out->last = out->first;
		return fine;
	}
	return parse_number(slice_first(s, dots), &out->first) &&
	       parse_number(slice_after(s, dots + 2), &out->last) && out->first <= out->last;
}

static bool
report_number(struct reading *r, const struct condition *c, const struct value *v)
{
	int64_t number;

	if (v->kind == VALUE_STRING && parse_number(v->raw, &number))
		diag_error(r->diag, v->span,
		    "\"%s" SLICE_FORMAT "\" is a number; write " SLICE_FORMAT " without quotes",
		    c->ref.field->name, SLICE_ARG(diag_word(c->ref.name)), SLICE_ARG(v->raw));
	else
		diag_error(r->diag, v->span, "\"" SLICE_FORMAT "\" is not a number",
		    SLICE_ARG(diag_word(v->raw)));
	return false;
}

static int
range_compare(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->first != y->first ? (x->first < y->first ? -1 : 1)
				    : (x->last > y->last) - (x->last < y->last);
}

/* Sorted and joined: one set is in another when each of its ranges is in one of the other's. */
static void
join_ranges(struct condition *c)
{
	size_t n = 0;

	qsort(c->ranges, c->count, sizeof(*c->ranges), range_compare);
	for (size_t i = 1; i < c->count; i++) {
		struct range *last = &c->ranges[n], *next = &c->ranges[i];

		if (last->last == INT64_MAX || next->first <= last->last + 1)
			last->last = MAX_OF(last->last, next->last);
		else
			c->ranges[++n] = *next;
	}
	c->count = (uint32_t)n + 1;
}

/* `< n` and the like as ranges. No number is below the smallest: that range is empty. */
static struct range
comparison_range(enum comparison comparison, int64_t n)
{
	switch (comparison) {
	case IS_LESS:
		return n == INT64_MIN ? (struct range){ 1, 0 } : (struct range){ INT64_MIN, n - 1 };
	case IS_LESS_EQUAL:
		return (struct range){ INT64_MIN, n };
	case IS_GREATER:
		return n == INT64_MAX ? (struct range){ 1, 0 } : (struct range){ n + 1, INT64_MAX };
	case IS_GREATER_EQUAL:
		return (struct range){ n, INT64_MAX };
	default:
		return (struct range){ n, n };
	}
}

static bool
compile_ranges(struct reading *r, struct condition *c, const struct expression *e)
{
	int64_t number;

	c->test = TEST_RANGES;
	c->ranges = arena_array(r->arena, e->operand_count, sizeof(*c->ranges));
	for (size_t i = 0; i < e->operand_count; i++) {
		const struct value *v = &e->operands[i];

		if (v->kind == VALUE_STRING)
			return report_number(r, c, v);
		if (e->kind == EXPRESSION_IN) {
			if (!parse_range(v->raw, &c->ranges[i]))
				return report_number(r, c, v);
			continue;
		}
		if (!parse_number(v->raw, &number)) {
			struct range range;

			if (!parse_range(v->raw, &range))
				return report_number(r, c, v);
			diag_error(r->diag, v->span,
			    "a range stands behind \"in\": " SLICE_FORMAT " in (" SLICE_FORMAT ")",
			    SLICE_ARG(diag_word(e->field.raw)), SLICE_ARG(diag_word(v->raw)));
			return false;
		}
		c->ranges[i] = comparison_range(e->comparison, number);
	}
	join_ranges(c);
	return true;
}

static bool
compile_network(struct reading *r, const struct value *v, struct network *out)
{
	char text[ADDR_TEXT];

	switch (network_parse(v->raw, out)) {
	case NETWORK_OK:
		return true;
	case NETWORK_HOST_BITS:
		diag_error(r->diag, v->span,
		    "\"" SLICE_FORMAT "\" has bits set behind its prefix; write \"" SLICE_FORMAT
		    "\"",
		    SLICE_ARG(diag_word(v->raw)), SLICE_ARG(network_print(out, text)));
		return false;
	case NETWORK_BAD:
		break;
	}
	diag_error(r->diag, v->span,
	    "\"" SLICE_FORMAT "\" is not an address or a network (10.0.0.1, 10.0.0.0/8, unix:)",
	    SLICE_ARG(diag_word(v->raw)));
	return false;
}

static bool
compile_networks(struct reading *r, struct condition *c, const struct expression *e)
{
	bool fine = true;

	c->test = TEST_NETWORKS;
	c->networks = arena_array(r->arena, e->operand_count, sizeof(*c->networks));
	for (size_t i = 0; i < e->operand_count; i++)
		fine = compile_network(r, &e->operands[i], &c->networks[i]) && fine;
	return fine;
}

static bool
compile_pattern(struct reading *r, struct condition *c, const struct expression *e)
{
	const struct value *v = &e->operands[0];

	if (c->ref.type != FIELD_TEXT && c->ref.type != FIELD_ANY) {
		diag_error(r->diag, e->field.span,
		    "\"" SLICE_FORMAT "\" is %s; \"~\" wants a text field",
		    SLICE_ARG(diag_word(e->field.raw)), type_words[c->ref.type]);
		return false;
	}
	c->test = TEST_REGEX;
	c->regex = regex_compile(r, v->raw, c->ref.field->flags & FIELD_NOCASE, v->span);
	return c->regex != NULL;
}

/*
 * What a literal is compared as, where its form says so: 5 and 1..9; true, null, 1.5; "text", text.
 */
static enum test
form_of(const struct value *v)
{
	struct range range;

	if (v->kind == VALUE_STRING)
		return TEST_TEXTS;
	if (parse_range(v->raw, &range))
		return TEST_RANGES;
	if (slice_is(v->raw, "true") || slice_is(v->raw, "false") || slice_is(v->raw, "null") ||
	    (v->raw.n > 1 && ascii_is_digit(v->raw.at[v->raw.at[0] == '-'])))
		return TEST_BARES;
	return TEST_TEXTS;
}

/* The operands of one form, as a test of its own; count 0: there are none. */
static bool
compile_form(struct reading *r, struct condition *c, const struct expression *e, enum test form)
{
	struct expression some = *e;

	some.operands = arena_array(r->arena, e->operand_count, sizeof(*some.operands));
	some.operand_count = 0;
	for (size_t i = 0; i < e->operand_count; i++)
		if (form_of(&e->operands[i]) == form)
			some.operands[some.operand_count++] = e->operands[i];
	c->count = (uint32_t)some.operand_count;
	if (c->count == 0)
		return true;
	if (form == TEST_RANGES)
		return compile_ranges(r, c, &some);
	if (!compile_texts(r, c, &some))
		return false;
	c->test = (uint8_t)form;
	return true;
}

/* One test; or where the literals have several forms, a group with one of each. */
static bool
compile_forms(struct reading *r, struct condition *c, const struct expression *e, bool ordered)
{
	static const enum test forms[] = { TEST_TEXTS, TEST_BARES, TEST_RANGES };
	struct condition group = { .test = c->negated ? TEST_AND : TEST_OR };

	if (ordered)
		return compile_ranges(r, c, e);
	group.children = arena_array(r->arena, ARRAY_COUNT(forms), sizeof(*group.children));
	for (size_t i = 0; i < ARRAY_COUNT(forms); i++) {
		struct condition *one = arena_alloc(r->arena, sizeof(*one));

		*one = *c;
		if (!compile_form(r, one, e, forms[i]))
			return false;
		if (one->count > 0)
			group.children[group.count++] = one;
	}
	*c = group.count > 1 ? group : *group.children[0];
	return true;
}

/* The operands, by the field's type and the operator. */
static bool
compile_operands(struct reading *r, struct condition *c, const struct expression *e)
{
	bool ordered = e->kind == EXPRESSION_COMPARE && e->comparison >= IS_LESS &&
		       e->comparison <= IS_GREATER_EQUAL;

	c->count = (uint32_t)e->operand_count;
	if (e->kind == EXPRESSION_COMPARE && e->comparison == IS_MATCH)
		return compile_pattern(r, c, e);
	if (ordered && c->ref.type != FIELD_NUMBER && c->ref.type != FIELD_ANY) {
		diag_error(r->diag, e->field.span,
		    "\"" SLICE_FORMAT "\" is %s; \"%s\" wants a number field",
		    SLICE_ARG(diag_word(e->field.raw)), type_words[c->ref.type],
		    operators[e->comparison]);
		return false;
	}
	switch (c->ref.type) {
	case FIELD_NUMBER:
		return compile_ranges(r, c, e);
	case FIELD_ADDRESS:
		return compile_networks(r, c, e);
	case FIELD_ANY:
		return compile_forms(r, c, e, ordered);
	case FIELD_TEXT:
	case FIELD_BARE:
		break;
	}
	return compile_texts(r, c, e);
}

static struct condition *
compile_test(struct reading *r, const struct scope *scope, const struct expression *e, bool negated)
{
	struct condition *c = arena_zalloc(r->arena, sizeof(*c));

	if (e->field.kind == VALUE_STRING) {
		diag_error(r->diag, e->field.span,
		    "a field is written without quotes: " SLICE_FORMAT,
		    SLICE_ARG(diag_word(e->field.raw)));
		return NULL;
	}
	if (!field_find(r, scope, e->field.raw, e->field.span, &c->ref))
		return NULL;
	c->negated = negated != (e->negated || (e->kind == EXPRESSION_COMPARE &&
						   e->comparison == IS_NOT_EQUAL));
	if (e->kind == EXPRESSION_EXISTS) {
		c->test = TEST_EXISTS;
		return c;
	}
	return compile_operands(r, c, e) ? c : NULL;
}

static struct condition *compile_any(
    struct reading *r, const struct scope *scope, const struct expression *e, bool negated);

/* The terms of a tree of one operator: `a and (b and c)` has three. */
static uint32_t
count_terms(const struct expression *e, enum expression_kind kind)
{
	return e->kind != kind ? 1 : count_terms(e->left, kind) + count_terms(e->right, kind);
}

static bool
compile_terms(struct reading *r, const struct scope *scope, const struct expression *e,
    enum expression_kind kind, bool negated, struct condition *group)
{
	if (e->kind == kind) {
		bool left = compile_terms(r, scope, e->left, kind, negated, group);

		return compile_terms(r, scope, e->right, kind, negated, group) && left;
	}

	const struct condition *term = compile_any(r, scope, e, negated);

	group->children[group->count++] = term;
	return term != NULL;
}

static struct condition *
compile_group(
    struct reading *r, const struct scope *scope, const struct expression *e, bool negated)
{
	struct condition *c = arena_zalloc(r->arena, sizeof(*c));

	/* de Morgan: not (a or b) is not a and not b */
	c->test = (e->kind == EXPRESSION_OR) != negated ? TEST_OR : TEST_AND;
	c->children = arena_array(r->arena, count_terms(e, e->kind), sizeof(*c->children));
	return compile_terms(r, scope, e, e->kind, negated, c) ? c : NULL;
}

static struct condition *
compile_any(struct reading *r, const struct scope *scope, const struct expression *e, bool negated)
{
	for (; e->kind == EXPRESSION_NOT; e = e->left)
		negated = !negated;
	if (e->kind == EXPRESSION_OR || e->kind == EXPRESSION_AND)
		return compile_group(r, scope, e, negated);
	return compile_test(r, scope, e, negated);
}

struct condition *
condition_compile(struct reading *r, const struct scope *scope, const struct expression *e)
{
	return compile_any(r, scope, e, false);
}

/* ------------------------------------------------------------------ asked */

static bool
texts_have(const struct condition *c, struct slice text)
{
	bool nocase = c->ref.field->flags & FIELD_NOCASE;

	if (c->index != NULL)
		return map_find(c->index, text) != NULL;
	for (size_t i = 0; i < c->count; i++)
		if (nocase ? slice_equal_nocase(text, c->texts[i]) : slice_equal(text, c->texts[i]))
			return true;
	return false;
}

static bool
ranges_have(const struct condition *c, int64_t number)
{
	size_t low = 0, high = c->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (number > c->ranges[middle].last)
			low = middle + 1;
		else
			high = middle;
	}
	return low < c->count && number >= c->ranges[low].first && number <= c->ranges[low].last;
}

static bool
networks_have(const struct condition *c, const struct addr *a)
{
	for (size_t i = 0; i < c->count; i++)
		if (network_has(&c->networks[i], a))
			return true;
	return false;
}

/* Where each value says what it is, "1" is not 1. */
static bool
is_of(const struct condition *c, const struct field_value *value, enum field_type type)
{
	return c->ref.type != FIELD_ANY || value->type == type;
}

static bool
value_fits(const struct condition *c, struct exchange *ex, const struct field_value *value)
{
	size_t captures[2 * REGEX_CAPTURES_MAX];

	switch (c->test) {
	case TEST_TEXTS:
		return is_of(c, value, FIELD_TEXT) && texts_have(c, value->text);
	case TEST_BARES:
		return is_of(c, value, FIELD_BARE) && texts_have(c, value->text);
	case TEST_RANGES:
		return is_of(c, value, FIELD_NUMBER) && ranges_have(c, value->number);
	case TEST_NETWORKS:
		return networks_have(c, value->addr);
	case TEST_REGEX:
		return regex_match_in(ex, c->regex, value->text, captures);
	}
	return true;                    /* EXISTS */
}

bool
condition_is(const struct condition *c, struct exchange *ex)
{
	struct field_value value;

	if (is_group(c)) {
		bool decides = c->test == TEST_OR;

		for (size_t i = 0; i < c->count; i++)
			if (condition_is(c->children[i], ex) == decides)
				return decides;
		return !decides;
	}

	bool repeated = c->ref.field->flags & FIELD_REPEATED;

	for (size_t nth = 0; (nth == 0 || repeated) && c->ref.field->get(ex, &c->ref, nth, &value);
	     nth++)
		if (value_fits(c, ex, &value))
			return !c->negated;
	return c->negated;
}

void
condition_explain(const struct condition *c, struct exchange *ex,
    void (*tell)(void *to, const struct field_ref *ref), void *to)
{
	if (!is_group(c)) {
		tell(to, &c->ref);
		return;
	}

	bool decides = c->test == TEST_OR, decided = condition_is(c, ex) == decides;

	/* One child does, or all of them together. */
	for (size_t i = 0; i < c->count; i++) {
		if (decided && condition_is(c->children[i], ex) != decides)
			continue;
		condition_explain(c->children[i], ex, tell, to);
		if (decided)
			return;
	}
}

enum moment
condition_moment(const struct condition *c)
{
	enum moment latest = MOMENT_OPEN;

	if (!is_group(c))
		return field_moment(&c->ref);
	for (size_t i = 0; i < c->count; i++)
		latest = MAX_OF(latest, condition_moment(c->children[i]));
	return latest;
}

/* ------------------------------------------------------------------ compared */

static bool
same_field(const struct field_ref *a, const struct field_ref *b)
{
	return a->field == b->field && a->known == b->known && slice_equal(a->name, b->name);
}

static bool
ranges_within(const struct condition *a, const struct condition *b)
{
	for (size_t i = 0; i < a->count; i++) {
		const struct range *one = &a->ranges[i];
		bool within = one->first > one->last;

		for (size_t k = 0; k < b->count && !within; k++)
			within = one->first >= b->ranges[k].first && one->last <= b->ranges[k].last;
		if (!within)
			return false;
	}
	return true;
}

static bool
network_within(const struct network *a, const struct network *b)
{
	size_t whole = b->bits / 8;
	uint8_t mask = (uint8_t)(0xff00 >> b->bits % 8);

	return a->family == b->family && a->bits >= b->bits && memcmp(a->at, b->at, whole) == 0 &&
	    (mask == 0 || ((a->at[whole] ^ b->at[whole]) & mask) == 0);
}

static bool
networks_within(const struct condition *a, const struct condition *b)
{
	for (size_t i = 0; i < a->count; i++) {
		bool within = false;

		for (size_t k = 0; k < b->count && !within; k++)
			within = network_within(&a->networks[i], &b->networks[k]);
		if (!within)
			return false;
	}
	return true;
}

/* Whatever value fits `a` fits `b`; their negations aside. */
static bool
fits_within(const struct condition *a, const struct condition *b)
{
	if (b->test == TEST_EXISTS)
		return true;
	if (a->test != b->test)
		return false;
	switch (a->test) {
	case TEST_TEXTS:
	case TEST_BARES:
		for (size_t i = 0; i < a->count; i++)
			if (!texts_have(b, a->texts[i]))
				return false;
		return true;
	case TEST_RANGES:
		return ranges_within(a, b);
	case TEST_NETWORKS:
		return networks_within(a, b);
	case TEST_REGEX:
		return a->regex == b->regex;
	}
	return false;
}

static bool
test_implies(const struct condition *a, const struct condition *b)
{
	if (!same_field(&a->ref, &b->ref) || a->negated != b->negated)
		return false;
	return a->negated ? fits_within(b, a) : fits_within(a, b);
}

static bool implies(const struct condition *a, const struct condition *b, unsigned *budget);

static bool
all_children_imply(const struct condition *a, const struct condition *b, unsigned *budget)
{
	for (size_t i = 0; i < a->count; i++)
		if (!implies(a->children[i], b, budget))
			return false;
	return true;
}

static bool
implies_all_children(const struct condition *a, const struct condition *b, unsigned *budget)
{
	for (size_t i = 0; i < b->count; i++)
		if (!implies(a, b->children[i], budget))
			return false;
	return true;
}

static bool
any_child_implies(const struct condition *a, const struct condition *b, unsigned *budget)
{
	for (size_t i = 0; i < a->count; i++)
		if (implies(a->children[i], b, budget))
			return true;
	return false;
}

static bool
implies_any_child(const struct condition *a, const struct condition *b, unsigned *budget)
{
	for (size_t i = 0; i < b->count; i++)
		if (implies(a, b->children[i], budget))
			return true;
	return false;
}

/* Conservative, and within a budget: trying pairs of nested groups grows fast. */
static bool
implies(const struct condition *a, const struct condition *b, unsigned *budget)
{
	if (*budget == 0)
		return false;
	--*budget;
	if (a->test == TEST_OR)
		return all_children_imply(a, b, budget);
	if (b->test == TEST_AND)
		return implies_all_children(a, b, budget);
	if (a->test == TEST_AND && any_child_implies(a, b, budget))
		return true;
	if (b->test == TEST_OR)
		return implies_any_child(a, b, budget);
	return !is_group(a) && !is_group(b) && test_implies(a, b);
}

bool
condition_implies(const struct condition *a, const struct condition *b)
{
	unsigned budget = 2000;

	return b == NULL || a == b || (a != NULL && implies(a, b, &budget));
}

static uint64_t
add_slice(uint64_t so_far, struct slice s)
{
	return fingerprint_add(fingerprint_add(so_far, &s.n, sizeof(s.n)), s.at, s.n);
}

uint64_t
condition_fingerprint(const struct condition *c)
{
	uint64_t f = fingerprint_add(FINGERPRINT_START, &c->test, 1);

	f = fingerprint_add(f, &c->negated, 1);
	f = fingerprint_add(f, &c->count, sizeof(c->count));
	if (!is_group(c)) {
		f = fingerprint_add(f, &c->ref.field, sizeof(c->ref.field));
		f = add_slice(f, c->ref.name);
	}
	for (size_t i = 0; i < c->count; i++) {
		uint64_t child;

		switch (c->test) {
		case TEST_OR:
		case TEST_AND:
			child = condition_fingerprint(c->children[i]);
			f = fingerprint_add(f, &child, sizeof(child));
			break;
		case TEST_TEXTS:
		case TEST_BARES:
			f = add_slice(f, c->texts[i]);
			break;
		case TEST_RANGES:
			f = fingerprint_add(f, &c->ranges[i], sizeof(c->ranges[i]));
			break;
		case TEST_NETWORKS:
			f = fingerprint_add(f, &c->networks[i], sizeof(c->networks[i]));
			break;
		case TEST_REGEX:
			f = fingerprint_add(f, &c->regex, sizeof(c->regex));
			break;
		}
	}
	return f;
}
