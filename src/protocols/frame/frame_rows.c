/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of a protocol block. What one of them says in several words (`u16be at 4 counts after`)
 * is kept as it stands here and read by frame_read.c, when all of the block is there.
 */
#include "protocols/frame/frame_rows.h"

/* ------------------------------------------------------------------ one word that may stand */

static bool
read_only(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	bool right = v->kind == VALUE_WORD && slice_is(v->raw, a->words[0]);

	*(bool *)out = right;
	if (!right)
		diag_error(r->diag, v->span, "\"" SLICE_FORMAT "\" is not %s",
		    SLICE_ARG(diag_word(v->raw)), a->words[0]);
	return right;
}

/* bool: the word that stands in argument.words, and no other */
static const struct type type_only = {
	.name = "WORD",
	.wanted = "that word",
	.size = sizeof(bool),
	.read = read_only,
};

static const char *const cr_words[] = { "cr", NULL };
static const char *const ignore_words[] = { "ignore", NULL };
static const char *const independent_words[] = { "independent", NULL };

/* ------------------------------------------------------------------ arguments */

#define IN_SHAPE(member)        offsetof(struct shape_block, member)
#define IN_PROTOCOL(member)     offsetof(struct protocol_block, member)
/* As many words as stand there, in a struct list. */
#define WORDS(array, shown) \
	static const struct argument array[] = { \
		{ .name = (shown), .type = &type_raw, .flags = ARGUMENT_MANY | ARGUMENT_PHRASE }, \
		{ 0 } \
	}

WORDS(boundary_arguments, "BYTES...|json_value");
WORDS(length_arguments, "KIND [at N] [counts whole|body|after]");
WORDS(headers_arguments, "until BYTES... length NAME [else BYTES...]");
WORDS(byte_arguments, "BYTE");
WORDS(escape_arguments, "BYTE [flip BYTE] [BYTE as BYTE]...");
WORDS(check_arguments, "SUM [KIND] [over A..B] [at N]");
WORDS(switch_arguments, "KIND [at N]");
WORDS(format_arguments, "json|text|words|kv [EQUALS BETWEEN]|binary");
WORDS(answers_arguments, "in_order|by FIELD|none");

static const struct argument strip_arguments[] = {
	{ .name = "cr", .type = &type_only, .words = cr_words },
	{ 0 },
};

static const struct argument empty_arguments[] = {
	{ .name = "ignore", .type = &type_only, .words = ignore_words },
	{ 0 },
};

static const struct argument messages_arguments[] = {
	{ .name = "independent", .type = &type_only, .words = independent_words },
	{ 0 },
};

static const struct argument on_arguments[] = {
	{ .name = "on|off", .type = &type_flag, .flags = ARGUMENT_OPTIONAL, .otherwise = "on" },
	{ 0 },
};

static const struct argument adjust_arguments[] = {
	{ .name = "N", .type = &type_integer, .min = -FRAME_MAX_MOST, .max = FRAME_MAX_MOST },
	{ 0 },
};

static const struct argument bytes_count_arguments[] = {
	{ .name = "N", .type = &type_integer, .min = 0, .max = FRAME_MAX_MOST },
	{ 0 },
};

static const struct argument fixed_arguments[] = {
	{ .name = "N", .type = &type_integer, .min = 1, .max = FRAME_MAX_MOST },
	{ 0 },
};

static const struct argument size_arguments[] = {
	{ .name = "SIZE", .type = &type_size, .min = 1, .max = FRAME_MAX_MOST },
	{ 0 },
};

static const struct argument bytes_arguments[] = {
	{ .name = "BYTES", .type = &type_bytes },
	{ 0 },
};

static const struct argument case_arguments[] = {
	{ .name = "VALUE", .type = &type_raw, .offset = offsetof(struct case_line, value) },
	{ 0 },
};

static const struct argument field_arguments[] = {
	{ .name = "NAME", .type = &type_raw, .offset = offsetof(struct field_line, name) },
	{ .name = "KIND [at N]", .type = &type_raw, .offset = offsetof(struct field_line, words),
	    .flags = ARGUMENT_MANY | ARGUMENT_PHRASE },
	{ 0 },
};

static const struct argument error_arguments[] = {
	{ .name = "TEXT", .type = &type_text, .more = TEXT_PLAIN },
	{ 0 },
};

static const struct argument example_arguments[] = {
	{ .name = "BYTES", .type = &type_raw, .offset = offsetof(struct example_line, raw) },
	{ 0 },
};

const struct argument protocol_block_arguments[] = {
	{ .name = "NAME", .type = &type_name, .offset = IN_PROTOCOL(name) },
	{ 0 },
};

/* ------------------------------------------------------------------ rows */

static bool
example_check(struct reading *r, const struct statement *s, void *filled)
{
	struct example_line *line = filled;

	return schema_decode(r, &line->raw, false, &line->bytes);
}

static const struct directive shape_rows[] = {
	{ "boundary", DIRECTIVE_SETTING, .arguments = boundary_arguments,
	    .offset = IN_SHAPE(boundary),
	    .help = "What a message ends with: one of 1 to 4 strings, of which the first is "
	    "written; json_value: where a value of JSON ends." },
	{ "strip", DIRECTIVE_SETTING, .arguments = strip_arguments, .offset = IN_SHAPE(strip_cr),
	    .help = "All CR in front of the boundary belong to it." },
	{ "empty", DIRECTIVE_SETTING, .arguments = empty_arguments,
	    .offset = IN_SHAPE(empty_ignore),
	    .help = "A message with an empty body is none." },
	{ "length", DIRECTIVE_SETTING, .flags = DIRECTIVE_REPEATS, .arguments = length_arguments,
	    .offset = IN_SHAPE(lengths), .size = sizeof(struct length_line),
	    .help = "A number that says how long a message is. KIND: u8, u16be, u16le … u64le, dec N, "
	    "hex N, dec until BYTE, hex until BYTE, varint, mqtt_varint. It counts the body, the "
	    "whole message, or what stands after it. Several are added up." },
	{ "adjust", DIRECTIVE_SETTING, .arguments = adjust_arguments, .offset = IN_SHAPE(adjust),
	    .help = "Bytes that are added to what the lengths say." },
	{ "header", DIRECTIVE_SETTING, .arguments = bytes_count_arguments,
	    .offset = IN_SHAPE(header),
	    .help = "Where the body begins; not said: behind what is known to stand there." },
	{ "fixed", DIRECTIVE_SETTING, .arguments = fixed_arguments,
	    .offset = IN_SHAPE(fixed), .help = "Every message has so many bytes." },
	{ "headers", DIRECTIVE_SETTING, .arguments = headers_arguments,
	    .offset = IN_SHAPE(headers),
	    .help = "Lines of NAME: VALUE, up to an empty one; the line NAME tells how long the body "
	    "behind them is; without it the body ends with the BYTES behind else." },
	{ "start", DIRECTIVE_SETTING, .arguments = byte_arguments, .offset = IN_SHAPE(start),
	    .help = "The byte that a message begins with; the same as the end: one between two." },
	{ "end", DIRECTIVE_SETTING, .arguments = byte_arguments, .offset = IN_SHAPE(end),
	    .help = "The byte that a message ends with, escaped inside." },
	{ "escape", DIRECTIVE_SETTING, .arguments = escape_arguments, .offset = IN_SHAPE(escape),
	    .help = "What stands in front of an escaped byte, and how that is written: changed by "
	    "flip (xor), or each as another." },
	{ "sync", DIRECTIVE_SETTING, .arguments = bytes_arguments, .offset = IN_SHAPE(sync),
	    .help = "What every message begins with." },
	{ "resync", DIRECTIVE_SETTING, .arguments = on_arguments, .offset = IN_SHAPE(resync),
	    .help = "What is malformed is skipped, up to the next sync or boundary, and does not end "
	    "the connection." },
	{ "check", DIRECTIVE_SETTING, .arguments = check_arguments, .offset = IN_SHAPE(check),
	    .help = "A checksum, xor8, crc16_modbus or crc32, over the bytes from A to B (not said: up "
	    "to the sum), behind the body or at N of the header." },
	{ "trailer", DIRECTIVE_SETTING, .arguments = bytes_arguments, .offset = IN_SHAPE(trailer),
	    .help = "What a message of known length ends with." },
	{ "max", DIRECTIVE_SETTING, .arguments = size_arguments, .offset = IN_SHAPE(max),
	    .help = "How long a message may be, also an unfinished one. Obligatory where messages "
	    "have no fixed size." },
	{ "min", DIRECTIVE_SETTING, .arguments = size_arguments, .offset = IN_SHAPE(min),
	    .help = "How short a message may be; not said: what its header and fields need." },
	{ 0 },
};

static const struct table shape_tables[] = { { shape_rows, 0 }, { NULL, 0 } };
static const struct table case_tables[] = {
	{ shape_rows, offsetof(struct case_line, shape) },
	{ NULL, 0 },
};

static const struct directive switch_rows[] = {
	{ "case", DIRECTIVE_BLOCK, .flags = DIRECTIVE_REPEATS, .arguments = case_arguments,
	    .offset = offsetof(struct switch_block, cases), .size = sizeof(struct case_line),
	    .inside = case_tables,
	    .help = "Messages of that type: a number, or its bytes in quotes." },
	{ "else", DIRECTIVE_BLOCK, .offset = offsetof(struct switch_block, otherwise),
	    .inside = shape_tables,
	    .help = "Messages of every other type." },
	{ 0 },
};

static const struct directive fields_rows[] = {
	{ "NAME", DIRECTIVE_SETTING, .flags = DIRECTIVE_REPEATS | DIRECTIVE_FREE,
	    .arguments = field_arguments, .size = sizeof(struct field_line),
	    .help = "msg.NAME, at an offset from where the message begins. KIND: as of length, also i8, "
	    "i16be … i64le, and bytes N, which is text." },
	{ 0 },
};

static const struct table switch_tables[] = { { switch_rows, 0 }, { NULL, 0 } };
static const struct table fields_tables[] = { { fields_rows, 0 }, { NULL, 0 } };

static const struct directive protocol_rows[] = {
	{ "switch", DIRECTIVE_BLOCK, .arguments = switch_arguments,
	    .offset = IN_PROTOCOL(types), .inside = switch_tables,
	    .help = "A number says which form a message has." },
	{ "preface", DIRECTIVE_BLOCK, .offset = IN_PROTOCOL(preface), .inside = shape_tables,
	    .help = "The first message of a client has another form." },
	{ "datagram", DIRECTIVE_SETTING, .arguments = on_arguments,
	    .offset = IN_PROTOCOL(datagram),
	    .help = "Messages come in datagrams: each is one, or holds several that are framed." },
	{ "format", DIRECTIVE_SETTING, .arguments = format_arguments,
	    .offset = IN_PROTOCOL(format),
	    .help = "What a body is: json (msg.a.b, msg[0]), text, words (msg[0]), kv (msg.name), or "
	    "binary (the declared fields alone)." },
	{ "fields", DIRECTIVE_BLOCK, .offset = IN_PROTOCOL(fields), .inside = fields_tables,
	    .help = "Fields at fixed places of a message." },
	{ "answers", DIRECTIVE_SETTING, .arguments = answers_arguments,
	    .offset = IN_PROTOCOL(answers),
	    .help = "How answers find their questions: in their order, or by a field that both have. "
	    "Not said: there are none." },
	{ "messages", DIRECTIVE_SETTING, .arguments = messages_arguments,
	    .offset = IN_PROTOCOL(independent),
	    .help = "No message depends on those before it: clients may share connections to a "
	    "peer." },
	{ "error", DIRECTIVE_SETTING, .arguments = error_arguments, .offset = IN_PROTOCOL(error),
	    .help = "The body of what is answered when a question fails; ${code} is the status that "
	    "HTTP has for it, ${reason} its word." },
	{ "idempotent", DIRECTIVE_SETTING, .flags = DIRECTIVE_REPEATS | DIRECTIVE_WHEN,
	    .offset = IN_PROTOCOL(idempotent),
	    .help = "Asking twice does no harm: of every question, or of those of which the "
	    "condition holds." },
	{ "example", DIRECTIVE_SETTING, .flags = DIRECTIVE_REPEATS | DIRECTIVE_WHEN,
	    .arguments = example_arguments, .offset = IN_PROTOCOL(examples),
	    .size = sizeof(struct example_line), .check = example_check,
	    .help = "A message, tried whenever the configuration is checked: cut at every byte it is "
	    "one, the condition holds of it, and written anew it is the same." },
	{ 0 },
};

const struct table protocol_block_tables[] = {
	{ shape_rows, IN_PROTOCOL(shape) },
	{ protocol_rows, 0 },
	{ NULL, 0 },
};
