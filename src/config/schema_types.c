/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The types of arguments that know nothing of servers: numbers with units,
 * names, paths, strings, addresses. Each message says what would be right.
 */
#include "config/schema_state.h"

#include "base/addr.h"

#include <stdarg.h>
#include <stdio.h>

/* -- helpers -- */

PRINTF(4, 5) static bool
refuse(struct reading *r, const struct value *v, const char *wanted, const char *format, ...)
{
	char advice[160] = "";
	va_list args;

	va_start(args, format);
	vsnprintf(advice, sizeof(advice), format, args);
	va_end(args);
	diag_error(r->diag, v->span, "\"%.*s\" is not %s%s%s", SLICE_ARG(diag_word(v->raw)), wanted,
	    advice[0] != '\0' ? "; " : "", advice);
	return false;
}

struct unit {
	const char *name;
	uint64_t size;
};

/* Largest first. */
static const struct unit time_units[] = {
	{ "d", UINT64_C(86400000) }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
};
static const struct unit size_units[] = {
	{ "g", UINT64_C(1) << 30 }, { "m", UINT64_C(1) << 20 }, { "k", UINT64_C(1) << 10 }, { "", 1 },
};

/* In the largest unit that leaves no rest: 1500ms, 90s, 2m. */
static const char *
print_units(char text[static 32], uint64_t n, const struct unit *units, size_t count)
{
	size_t i = 0;

	while (i + 1 < count && (n == 0 ? units[i].size > 1000 : n % units[i].size != 0))
		i++;
	snprintf(text, 32, "%llu%s", (unsigned long long)(n / units[i].size), units[i].name);
	return text;
}

static const char *
print_duration(char text[static 32], int64_t n)
{
	return print_units(text, (uint64_t)n, time_units, ARRAY_COUNT(time_units));
}

static const char *
print_size(char text[static 32], int64_t n)
{
	if (n == 0)
		return "0";
	return print_units(text, (uint64_t)n, size_units, ARRAY_COUNT(size_units));
}

static const char *
print_bandwidth(char text[static 32], int64_t n)
{
	char size[32];

	snprintf(text, 32, n == 0 ? "%.20s" : "%.20s/s", print_size(size, n));
	return text;
}

static const char *
print_number(char text[static 32], int64_t n)
{
	snprintf(text, 32, "%lld", (long long)n);
	return text;
}

static const char *
print_percent(char text[static 32], int64_t n)
{
	if (n % 100 == 0)
		snprintf(text, 32, "%lld%%", (long long)(n / 100));
	else
		snprintf(text, 32, "%lld.%02lld%%", (long long)(n / 100), (long long)(n % 100));
	return text;
}

const char *
schema_bound(char text[static 32], const struct type *type, int64_t n)
{
	if (type == &type_duration)
		return print_duration(text, n);
	if (type == &type_size)
		return print_size(text, n);
	if (type == &type_bandwidth)
		return print_bandwidth(text, n);
	return type == &type_percent ? print_percent(text, n) : print_number(text, n);
}

static bool
check_bounds(struct reading *r, const struct value *v, const struct argument *a, bool inside,
    const char *(*print)(char text[static 32], int64_t n))
{
	char low[32], high[32];

	if (inside)
		return true;
	if (a->max == INT64_MAX)
		diag_error(r->diag, v->span, "\"%.*s\" is out of bounds; at least %s",
		    SLICE_ARG(diag_word(v->raw)), print(low, a->min));
	else
		diag_error(r->diag, v->span, "\"%.*s\" is out of bounds; from %s to %s",
		    SLICE_ARG(diag_word(v->raw)), print(low, a->min), print(high, a->max));
	return false;
}

static bool
has_bounds(const struct argument *a)
{
	return a->min != 0 || a->max != 0;
}

static bool
is_inside(const struct argument *a, uint64_t n)
{
	return !has_bounds(a) || (n <= INT64_MAX && (int64_t)n >= a->min && (int64_t)n <= a->max);
}

/* Takes the digits that `s` begins with; false without one or past 64 bits. */
static bool
take_number(struct slice *s, uint64_t *out)
{
	size_t n = 0;

	while (n < s->n && ascii_is_digit(s->at[n]))
		n++;
	if (!slice_to_u64(slice_first(*s, n), out))
		return false;
	*s = slice_after(*s, n);
	return true;
}

static bool
is_number(struct slice s)
{
	uint64_t ignored;

	return take_number(&s, &ignored) && s.n == 0;
}

/* -- numbers -- */

static bool
read_flag(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	static const struct { const char *word; const char *meant; } others[] = {
		{ "yes", "on" }, { "true", "on" }, { "1", "on" }, { "no", "off" }, { "false", "off" }, { "0", "off" },
	};

	if (slice_is(v->raw, "on") || slice_is(v->raw, "off")) {
		*(bool *)out = slice_is(v->raw, "on");
		return true;
	}
	for (size_t i = 0; i < ARRAY_COUNT(others); i++)
		if (slice_equal_nocase(v->raw, slice_of(others[i].word)))
			return refuse(r, v, "on or off", "write \"%s\"", others[i].meant);
	return refuse(r, v, "on or off", "%s", "");
}

static bool
read_integer(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	bool minus = v->raw.n > 1 && v->raw.at[0] == '-';
	uint64_t n;

	if (!slice_to_u64(slice_after(v->raw, minus), &n) || n > INT64_MAX)
		return refuse(r, v, "a number", "%s", "");
	int64_t number = minus ? -(int64_t)n : (int64_t)n;
	if (has_bounds(a) && (number < a->min || number > a->max))
		return check_bounds(r, v, a, false, print_number);
	*(int64_t *)out = number;
	return true;
}

/* False when the product does not fit. */
static bool
scale(uint64_t n, uint64_t unit, uint64_t *sum)
{
	return !__builtin_mul_overflow(n, unit, &n) && !__builtin_add_overflow(*sum, n, sum) &&
	       *sum <= INT64_MAX;
}

static bool
read_size(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	static const char wanted[] = "a size (512, 8k, 1m, 2g)";
	struct slice rest = v->raw;
	uint64_t n, total = 0;

	if (!take_number(&rest, &n))
		return refuse(r, v, wanted, "%s", "");
	for (size_t i = 0; i < ARRAY_COUNT(size_units); i++) {
		if (slice_is(rest, size_units[i].name)) {
			if (!scale(n, size_units[i].size, &total))
				return refuse(r, v, wanted, "it is too large");
			*(uint64_t *)out = total;
			return check_bounds(r, v, a, is_inside(a, total), print_size);
		}
		if (size_units[i].name[0] != '\0' && rest.n <= 3 && rest.n > 0 &&
		    ascii_lower(rest.at[0]) == size_units[i].name[0])
			return refuse(r, v, wanted, "write \"%llu%s\"", (unsigned long long)n,
			    size_units[i].name);
	}
	return refuse(r, v, wanted, "%s", "");
}

/* A size by the second. Nothing at all needs no unit. */
static bool
read_bandwidth(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	static const char wanted[] = "a bandwidth (240/s, 8k/s, 1m/s)";
	struct slice rest = v->raw;
	uint64_t n, total = 0;
	size_t unit = 0;

	if (slice_is(rest, "0")) {
		*(uint64_t *)out = 0;
		return true;
	}
	if (!take_number(&rest, &n))
		return refuse(r, v, wanted, "%s", "");
	while (unit + 1 < ARRAY_COUNT(size_units) &&
	    !slice_starts(rest, slice_of(size_units[unit].name)))
		unit++;
	if (slice_is(rest, size_units[unit].name))
		return refuse(r, v, wanted, "write \"%.*s/s\"", SLICE_ARG(v->raw));
	if (!slice_is(slice_after(rest, strlen(size_units[unit].name)), "/s"))
		return refuse(r, v, wanted, "%s", "");
	if (!scale(n, size_units[unit].size, &total))
		return refuse(r, v, wanted, "it is too large");
	*(uint64_t *)out = total;
	return check_bounds(r, v, a, is_inside(a, total), print_bandwidth);
}

/* How many in a second, a minute, an hour. None at all needs no unit. */
static bool
read_rate(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	static const char wanted[] = "a rate (20/s, 5/m)";
	static const struct unit periods[] = { { "/s", 1000 }, { "/m", 60000 }, { "/h", 3600000 } };
	struct slice rest = v->raw;
	struct rate *rate = out;
	uint64_t n;

	if (!take_number(&rest, &n) || (n == 0 && rest.n != 0))
		return refuse(r, v, wanted, "%s", "");
	if (rest.n == 0 && n != 0)
		return refuse(r, v, wanted, "write \"%.*s/s\"", SLICE_ARG(v->raw));
	*rate = (struct rate){ .count = n, .period = 1000 };
	for (size_t i = 0; i < ARRAY_COUNT(periods); i++)
		if (slice_is(rest, periods[i].name)) {
			rate->period = periods[i].size;
			rest.n = 0;
		}
	if (rest.n != 0)
		return refuse(r, v, wanted, "%s", "");
	return check_bounds(r, v, a, is_inside(a, n), print_number);
}

/* Takes `30s` off *rest; units must fall from left to right. *i is where to go on among them. */
static bool
take_duration(struct slice *rest, size_t *i, uint64_t *total)
{
	uint64_t n;
	size_t letters = 0;

	if (!take_number(rest, &n))
		return false;
	while (letters < rest->n && ascii_is_alpha(rest->at[letters]))
		letters++;
	struct slice unit = slice_first(*rest, letters);
	*rest = slice_after(*rest, letters);
	for (; *i < ARRAY_COUNT(time_units); ++*i)
		if (slice_is(unit, time_units[*i].name))
			return scale(n, time_units[(*i)++].size, total);
	return false;
}

static bool
read_duration(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	struct slice rest = v->raw;
	uint64_t total = 0;
	size_t unit = 0;

	if (is_number(v->raw))
		return refuse(r, v, "a duration", "write \"%.*ss\"", SLICE_ARG(v->raw));
	do
		if (!take_duration(&rest, &unit, &total))
			return refuse(r, v, "a duration (500ms, 30s, 1m30s, 7d)", "%s", "");
	while (rest.n > 0);
	*(uint64_t *)out = total;
	return check_bounds(r, v, a, is_inside(a, total), print_duration);
}

static bool
read_percent(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	static const char wanted[] = "a percentage (95%, 0.5%)";
	struct slice rest = v->raw;
	uint64_t whole, part = 0;

	if (is_number(v->raw))
		return refuse(r, v, wanted, "write \"%.*s%%\"", SLICE_ARG(v->raw));
	if (!take_number(&rest, &whole) || whole > UINT32_MAX / 200)
		return refuse(r, v, wanted, "%s", "");
	if (rest.n > 1 && rest.at[0] == '.') {
		size_t before = rest.n - 1;

		rest = slice_after(rest, 1);
		if (!take_number(&rest, &part) || before - rest.n > 2)
			return refuse(r, v, wanted, "at most two digits behind the point");
		part *= before - rest.n == 1 ? 10 : 1;
	}
	if (!slice_is(rest, "%"))
		return refuse(r, v, wanted, "%s", "");
	static const struct argument usual = { .max = 10000 };
	uint64_t hundredths = whole * 100 + part;
	if (!check_bounds(r, v, has_bounds(a) ? a : &usual,
		is_inside(has_bounds(a) ? a : &usual, hundredths), print_percent))
		return false;
	*(uint32_t *)out = (uint32_t)hundredths;
	return true;
}

static bool
read_octal(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	uint32_t n = 0;

	for (size_t i = 0; i < v->raw.n; i++) {
		if (v->raw.at[i] < '0' || v->raw.at[i] > '7' || v->raw.n > 5)
			return refuse(r, v, "an octal mode (0660)", "%s", "");
		n = n * 8 + (uint32_t)(v->raw.at[i] - '0');
	}
	if (v->raw.n == 0 || n > 07777)
		return refuse(r, v, "an octal mode (0660)", "%s", "");
	*(uint32_t *)out = n;
	return true;
}

static bool
read_status(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	static const char wanted[] = "a status (502, 500..599)";
	struct slice rest = v->raw;
	uint64_t first, last;

	if (!take_number(&rest, &first))
		return refuse(r, v, wanted, "%s", "");
	last = first;
	if (slice_starts(rest, SLICE(".."))) {
		rest = slice_after(rest, 2);
		if (!take_number(&rest, &last))
			return refuse(r, v, wanted, "%s", "");
	} else if (rest.n > 0 && rest.at[0] == '-')
		return refuse(r, v, wanted, "write two dots between the first and the last");
	if (rest.n > 0)
		return refuse(r, v, wanted, "%s", "");
	if (first < 100 || last > 599 || first > last)
		return refuse(r, v, wanted, "from 100 to 599%s",
		    first > last ? ", the smaller one first" : "");
	*(struct status_range *)out = (struct status_range){ (uint16_t)first, (uint16_t)last };
	return true;
}

/* -- words and strings -- */

static const char *
word_at(void *what, size_t i)
{
	return ((const char *const *)what)[i];
}

static bool
read_word(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	char text[256];
	struct builder b = builder_on(text, sizeof(text));
	size_t count = 0;

	for (; a->words[count] != NULL; count++)
		if (v->kind == VALUE_WORD && slice_is(v->raw, a->words[count])) {
			*(int *)out = (int)count;
			return true;
		}
	for (size_t i = 0; i < count; i++)
		builder_printf(&b, "%s%s",
		    i == 0           ? ""
		    : i == count - 1 ? " or "
				     : ", ",
		    a->words[i]);
	const char *closest = diag_closest(v->raw, word_at, (void *)(uintptr_t)a->words, count);
	text[MIN_OF(b.n, sizeof(text) - 1)] = '\0';
	if (closest != NULL && v->kind == VALUE_WORD)
		return refuse(r, v, text, "did you mean \"%s\"?", closest);
	return refuse(r, v, text, "%s",
	    v->kind == VALUE_STRING && closest != NULL ? "write it without quotes" : "");
}

/* What is wrong in a string, where in it. */
static struct span
span_in(const struct value *v, size_t at, size_t n)
{
	if (v->span.file == 0)
		return v->span;
	return (struct span){ v->span.file, v->span.at + (v->kind == VALUE_STRING) + (uint32_t)at,
		(uint32_t)n };
}

/* Decodes the escape at s[*i], a backslash, and moves *i behind it. */
static bool
decode_escape(
    struct reading *r, const struct value *v, bool keep_dollar, size_t *i, struct builder *b)
{
	static const char names[] = "nrt0\\\"'", bytes[] = "\n\r\t\0\\\"'";
	struct slice s = v->raw;
	char c = *i + 1 < s.n ? s.at[*i + 1] : '\0';
	const char *name = c != '\0' ? strchr(names, c) : NULL;

	if (name != NULL) {
		builder_byte(b, bytes[name - names]);
		*i += 2;
		return true;
	}
	if (c == '$') {
		if (keep_dollar)
			builder_byte(b, '\\');
		builder_byte(b, '$');
		*i += 2;
		return true;
	}
	if (c == 'x' && *i + 3 < s.n && ascii_hex_value(s.at[*i + 2]) >= 0 &&
	    ascii_hex_value(s.at[*i + 3]) >= 0) {
		builder_byte(
		    b, (char)(ascii_hex_value(s.at[*i + 2]) * 16 + ascii_hex_value(s.at[*i + 3])));
		*i += 4;
		return true;
	}
	if (c == 'x')
		diag_error(r->diag, span_in(v, *i, 2), "\"\\x\" wants two hexadecimal digits");
	else
		diag_error(r->diag, span_in(v, *i, 2),
		    "unknown escape \"\\%.1s\"; a backslash itself is \"\\\\\"",
		    *i + 1 < s.n ? s.at + *i + 1 : "");
	return false;
}

bool
schema_decode(struct reading *r, const struct value *v, bool keep_dollar, struct slice *out)
{
	struct slice s = v->raw;

	*out = s;
	if (v->kind == VALUE_WORD || slice_find(s, '\\', 0) == s.n)
		return true;
	struct builder b = builder_on(arena_alloc(r->arena, s.n + 1), s.n);
	for (size_t i = 0; i < s.n;) {
		if (s.at[i] != '\\')
			builder_byte(&b, s.at[i++]);
		else if (!decode_escape(r, v, keep_dollar, &i, &b))
			return false;
	}
	b.at[b.n] = '\0';
	*out = builder_slice(&b);
	return true;
}

static bool
read_name(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	if (v->raw.n == 0) {
		diag_error(r->diag, v->span, "a name is not empty");
		return false;
	}
	*(struct name *)out = (struct name){ v->raw, v->span };
	return true;
}

static bool
read_path(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	struct slice path;

	if (!schema_decode(r, v, false, &path))
		return false;
	if (path.n == 0 || memchr(path.at, '\0', path.n) != NULL) {
		diag_error(
		    r->diag, v->span, path.n == 0 ? "a path is not empty" : "a path holds no NUL");
		return false;
	}
	*(struct slice *)out = sources_resolve(r->sources, path);
	return true;
}

static bool
read_string(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	size_t dollar = slice_find_slice(v->raw, SLICE("${"));
	bool escaped = dollar > 0 && dollar < v->raw.n && v->raw.at[dollar - 1] == '\\';

	if (dollar < v->raw.n && !escaped && v->kind == VALUE_STRING) {
		diag_error(r->diag,
		    span_in(
			v, dollar, MIN_OF(slice_find(v->raw, '}', dollar) + 1, v->raw.n) - dollar),
		    "no fields may stand in this string; a plain \"${\" is \"\\${\"");
		return false;
	}
	return schema_decode(r, v, false, out);
}

static bool
read_bytes(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	return schema_decode(r, v, false, out);
}

static bool
read_raw(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	*(struct value *)out = *v;
	return true;
}

static bool
read_method(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	for (size_t i = 0; i < v->raw.n; i++)
		if (!ascii_is_token(v->raw.at[i]))
			return refuse(r, v, "a method (GET)", "%s", "");
	if (v->raw.n == 0)
		return refuse(r, v, "a method (GET)", "%s", "");
	*(struct slice *)out = v->raw;
	return true;
}

/* -- addresses -- */

static bool
read_network(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	struct network *net = out;
	char text[ADDR_TEXT];

	switch (network_parse(v->raw, net)) {
	case NETWORK_OK:
		return true;
	case NETWORK_HOST_BITS:
		diag_error(r->diag, v->span,
		    "\"%.*s\" has bits set behind its prefix; write \"%.*s\"",
		    SLICE_ARG(diag_word(v->raw)), SLICE_ARG(network_print(net, text)));
		return false;
	default:
		return refuse(
		    r, v, a->type != NULL ? a->type->wanted : type_network.wanted, "%s", "");
	}
}

static const char address_wanted[] = "an address (80, 10.0.0.1:80, [::1]:80, host:80, unix:PATH)";

static bool
read_unix(struct reading *r, const struct value *v, struct endpoint *e)
{
	struct slice path = slice_after(v->raw, 5);
	struct value piece = { v->kind, v->span, path };
	struct addr *addr = arena_zalloc(r->arena, sizeof(*addr));

	if (v->kind == VALUE_STRING && !schema_decode(r, &piece, false, &path))
		return false;
	if (path.n == 0)
		return refuse(r, v, address_wanted, "a path is missing behind \"unix:\"");
	path = sources_resolve(r->sources, path);
	if (path.n >= sizeof(addr->local.sun_path)) {
		diag_error(r->diag, v->span,
		    "the path of a Unix socket has at most %zu bytes; this one has %zu",
		    sizeof(addr->local.sun_path) - 1, path.n);
		return false;
	}
	addr->local.sun_family = AF_UNIX;
	memcpy(addr->local.sun_path, path.at, path.n);
	addr->n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
	e->transport = ENDPOINT_UNIX;
	e->addr = addr;
	return true;
}

static bool
read_port(struct reading *r, const struct value *v, struct slice digits, struct endpoint *e)
{
	uint64_t port;

	if (!is_number(digits))
		return refuse(
		    r, v, address_wanted, "\"%.*s\" is no port", SLICE_ARG(diag_word(digits)));
	if (!slice_to_u64(digits, &port) || port == 0 || port > 65535) {
		diag_error(r->diag, v->span, "port %.*s is out of bounds; from 1 to 65535",
		    SLICE_ARG(diag_word(digits)));
		return false;
	}
	e->port = (uint16_t)port;
	return true;
}

static bool
is_host(struct slice host)
{
	if (host.n == 0 || host.n > 253 || host.at[0] == '.' || host.at[0] == '-')
		return false;
	for (size_t i = 0; i < host.n; i++) {
		char c = host.at[i];

		if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && c != '_' &&
		    (c != '.' || host.at[i - 1] == '.'))
			return false;
	}
	return true;
}

/* Digits and dots only: meant as IPv4, so never a name. */
static bool
is_numeric(struct slice host)
{
	for (size_t i = 0; i < host.n; i++)
		if (!ascii_is_digit(host.at[i]) && host.at[i] != '.')
			return false;
	return true;
}

static bool
refuse_portless(struct reading *r, const struct value *v, struct slice text)
{
	struct addr addr;

	if (text.n > 0 && text.at[0] != '[' && slice_find(text, ':', 0) < text.n &&
	    addr_parse_host(text, &addr))
		return refuse(r, v, address_wanted,
		    "an IPv6 address stands in brackets: \"[%.*s]:80\"", SLICE_ARG(text));
	if (addr_parse_host(text, &addr) || is_host(text) || slice_is(text, "*"))
		return refuse(r, v, address_wanted, "a port is missing: \"%.*s:80\"",
		    SLICE_ARG(diag_word(text)));
	return refuse(r, v, address_wanted, "%s", "");
}

static bool
read_host(struct reading *r, const struct value *v, struct slice text, struct endpoint *e)
{
	struct addr addr;
	size_t colon = text.n;

	while (colon > 0 && text.at[colon - 1] != ':')
		colon--;
	struct slice host = slice_first(text, colon > 0 ? colon - 1 : 0);
	bool bracketed = host.n > 0 && host.at[0] == '[';
	if (colon == 0 || (!bracketed && slice_find(host, ':', 0) < host.n) ||
	    (bracketed && host.at[host.n - 1] != ']'))
		return refuse_portless(r, v, text);
	if (!read_port(r, v, slice_after(text, colon), e))
		return false;
	if (slice_is(host, "*")) {
		e->any = true;
		return true;
	}
	if (addr_parse_host(host, &addr)) {
		addr_set_port(&addr, e->port);
		e->addr = arena_alloc(r->arena, sizeof(addr));
		*e->addr = addr;
		return true;
	}
	if (bracketed || is_numeric(host) || !is_host(host))
		return refuse(
		    r, v, address_wanted, "\"%.*s\" is no host", SLICE_ARG(diag_word(host)));
	e->host = host;
	return true;
}

/* Where nginx wants a URL. */
static bool
refuse_url(struct reading *r, const struct value *v)
{
	size_t from = slice_find_slice(v->raw, SLICE("://")) + 3;
	struct slice host =
	    slice_first(slice_after(v->raw, from), slice_find(slice_after(v->raw, from), '/', 0));

	if (host.n == 0 || slice_starts(v->raw, SLICE("https:")))
		return refuse(r, v, address_wanted, "%s",
		    host.n == 0 ? "" : "tls to backends is not there yet");
	diag_error(r->diag, v->span, "\"%.*s\" is a URL; write \"%.*s\"",
	    SLICE_ARG(diag_word(v->raw)), SLICE_ARG(diag_word(host)));
	return false;
}

static bool
read_address(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	struct endpoint e = { .text = v->raw, .host = SLICE_EMPTY, .span = v->span };
	struct slice text = v->raw;

	bool fine;
	if (slice_find_slice(text, SLICE("://")) < text.n)
		fine = refuse_url(r, v);
	else if (slice_starts(text, SLICE("tcp:")))
		fine = refuse(r, v, address_wanted, "write it without \"tcp:\"");
	else if (slice_starts(text, SLICE("unix:")))
		fine = read_unix(r, v, &e);
	else {
		bool udp = slice_starts(text, SLICE("udp:"));

		e.transport = udp ? ENDPOINT_UDP : ENDPOINT_TCP;
		text = slice_after(text, udp ? 4 : 0);
		e.any = is_number(text);
		fine = e.any ? read_port(r, v, text, &e) : read_host(r, v, text, &e);
	}
	*(struct endpoint *)out = e;
	return fine;
}

const struct type type_flag = { "on|off", "on or off", sizeof(bool), read_flag, NULL };
const struct type type_integer = { "NUMBER", "a number", sizeof(int64_t), read_integer, NULL };
const struct type type_size = { "SIZE", "a size (512, 8k, 1m, 2g)", sizeof(uint64_t), read_size,
	NULL };
const struct type type_bandwidth = { "BANDWIDTH", "a bandwidth (240/s, 8k/s, 1m/s)",
	sizeof(uint64_t), read_bandwidth, NULL };
const struct type type_duration = { "DURATION", "a duration (500ms, 30s, 1m30s, 7d)",
	sizeof(uint64_t), read_duration, NULL };
const struct type type_rate = { "RATE", "a rate (20/s, 5/m)", sizeof(struct rate), read_rate, NULL };
const struct type type_percent = { "PERCENT", "a percentage (95%, 0.5%)", sizeof(uint32_t),
	read_percent, NULL };
const struct type type_octal = { "OCTAL", "an octal mode (0660)", sizeof(uint32_t), read_octal,
	NULL };
const struct type type_word = { "WORD", "one of a few words", sizeof(int), read_word, NULL };
const struct type type_name = { "NAME", "a name", sizeof(struct name), read_name, NULL };
const struct type type_path = { "PATH", "a path, relative to the configuration's directory",
	sizeof(struct slice), read_path, NULL };
const struct type type_string = { "STRING", "a string without ${fields}", sizeof(struct slice),
	read_string, NULL };
const struct type type_bytes = { "BYTES", "bytes (\"\\r\\n\", \"\\x00\")", sizeof(struct slice),
	read_bytes, NULL };
const struct type type_raw = { "VALUE", "a word or a string", sizeof(struct value), read_raw,
	NULL };
const struct type type_address = { "ADDRESS", address_wanted, sizeof(struct endpoint), read_address,
	NULL };
const struct type type_network = { "NETWORK", "a network (10.0.0.0/8, fe80::/10, unix:)",
	sizeof(struct network), read_network, NULL };
const struct type type_status = { "STATUS", "a status (502, 500..599)", sizeof(struct status_range),
	read_status, NULL };
const struct type type_method = { "METHOD", "a method (GET)", sizeof(struct slice), read_method,
	NULL };
