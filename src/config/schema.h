/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Directive tables. A directive is said once, as a row beside the struct it
 * fills: the row drives the check, the default, -T, -D, the manual, did-you-mean
 * and the fuzzer's dictionary. This file knows no directive and no server.
 *
 * A block's struct is filled in two passes: first the settings and the single blocks,
 * in whatever order they stand, then the repeated blocks, each of which may start as a copy
 * of its parent's settings. So there is no merging, and order matters only among steps.
 */
#ifndef MILLRACE_CONFIG_SCHEMA_H
#define MILLRACE_CONFIG_SCHEMA_H

#include "config/ast.h"

struct scope;                           /* what a field may be asked for here: core/field.h */
struct reading;
struct argument;

/*
 * The type of an argument. `read` decodes one value into out (`size` bytes there), or reports an
 * error and returns false. `compile`, where it is not NULL, is called later, when the scope of the
 * statement is known.
 */
struct type {
	const char *name;               /* DURATION: the manual's word */
	const char *wanted;             /* "a duration (500ms, 30s, 1m30s)": for messages */
	size_t size;
	bool (*read)(struct reading *r, const struct value *v, const struct argument *a, void *out);
	bool (*compile)(
	    struct reading *r, const struct scope *scope, const struct argument *a, void *out);
};

extern const struct type
    type_flag,                          /* bool: on | off */
    type_integer,                       /* int64_t, between min and max of the argument */
    type_size,                          /* uint64_t bytes: 512 8k 1m 2g (binary) */
    /* uint64_t bytes per second: 240/s 8k/s 1m/s, or 0; a bare number proposes 240/s */
    type_bandwidth,
    /* uint64_t milliseconds: 500ms 30s 1m30s 7d; a bare number proposes 30s */
    type_duration,
    type_rate,                          /* struct rate: 20/s 5/m 100/h, or 0 for none */
    type_percent,                       /* uint32_t, hundredths of a percent: 95% 0.5% */
    type_octal,                         /* uint32_t: 0660 */
    type_word,                          /* int: index into argument.words */
    /* struct name: the name of something, resolved by the build */
    type_name,
    /* struct slice: resolved against the configuration's directory, NUL behind it */
    type_path,
    type_string,                        /* struct slice: text without ${fields}, escapes decoded */
    type_bytes,                         /* struct slice: \n \r \t \0 \\ \" \' \xNN decoded */
    type_raw,                           /* struct value: as it stands */
    type_address,                       /* struct endpoint */
    type_network,                       /* struct network: 10.0.0.0/8, unix: */
    type_status,                        /* struct status_range: 502 or 500..599 */
    type_method;                        /* struct slice: a token, as an HTTP method */

struct name {
	struct slice text;
	struct span span;
};

/* Where something listens or connects. A host name is kept: it resolves at run time. */
struct endpoint {
	struct slice text;              /* as written */
	struct slice host;              /* empty for numeric addresses, a port alone, unix: */
	uint16_t port;
	uint8_t transport;              /* enum endpoint_transport */
	bool any;                       /* `80`, `*:80`: both families */
	struct span span;
	struct addr *addr;              /* numeric or unix:, else NULL */
};

enum endpoint_transport { ENDPOINT_TCP, ENDPOINT_UDP, ENDPOINT_UNIX };

/* So many in so long. */
struct rate {
	uint64_t count;                 /* 0: any */
	uint64_t period;                /* ms */
};

struct status_range {
	uint16_t first, last;
};

/*
 * Every value of an ARGUMENT_MANY argument, and of a repeated directive: an array of `n` elements.
 */
struct list {
	void *items;
	size_t n, room;
};

enum argument_flags {
	ARGUMENT_OPTIONAL = 1,          /* may be missing; all behind it too */
	/* the last one: as many as there are, at least one unless OPTIONAL; fills a struct list */
	ARGUMENT_MANY = 2,
	/* NAME=VALUE behind the others, in any order; a flag NAME alone where type is type_flag */
	ARGUMENT_OPTION = 4,
	/* its name is in the manual as it stands: all the words that may be there */
	ARGUMENT_PHRASE = 8,
};

struct argument {
	/* in the manual: ADDRESS; of an option: the word before `=` */
	const char *name;
	const struct type *type;        /* NULL ends the array */
	size_t offset;                  /* in the struct of the directive */
	unsigned flags;
	/* of numbers, sizes (bytes), durations (ms); both 0: no bounds */
	int64_t min, max;
	const char *const *words;       /* type_word: what may stand, NULL-terminated */
	int more;                       /* what else a type wants to know (the place of a text) */
	/* an OPTION's or OPTIONAL's default, as it would be written, or NULL (zeroed) */
	const char *otherwise;
};

enum directive_kind {
	/* fills the block's struct; inherited by copy; never with `when` */
	DIRECTIVE_SETTING,
	/* runs; may carry `when`; each is one more `struct filled` in the list at `offset` */
	DIRECTIVE_STEP,
	DIRECTIVE_BLOCK                 /* opens a block */
};

enum directive_flags {
	/* may stand more than once: a struct list of `struct filled` at `offset` */
	DIRECTIVE_REPEATS = 1,
	DIRECTIVE_REQUIRED = 2,
	/* a BLOCK or repeated SETTING that may carry `when` (a STEP always may) */
	DIRECTIVE_WHEN = 4,
	/* the free row: its first argument is the statement's own word */
	DIRECTIVE_FREE = 8,
	/* acts before a server is known: belongs to the listener (said in the manual) */
	DIRECTIVE_LISTENER = 16,
	DIRECTIVE_BLOCK_OPTIONAL = 32,  /* the block may be missing: `check http "/x";` */
	/*
	 * a repeated setting said in an inner block adds to the inherited list instead of
	 * replacing it
	 */
	DIRECTIVE_ADDS = 64,
	/* stands there to say what is wrong with it: in no manual, and in no list of places */
	DIRECTIVE_HIDDEN = 128,
};

struct directive {
	const char *name;               /* NULL ends the table */
	enum directive_kind kind;
	unsigned flags;
	const struct argument *arguments;      /* NULL: none */
	/*
	 * not repeated: arguments (and the inside) fill the block's struct from here; else the
	 * list
	 */
	size_t offset;
	/* REPEATS and STEP: bytes of the struct that each one fills (zeroed first) */
	size_t size;
	const struct table *inside;     /* of a block: its tables, ended by rows NULL */
	/* a SETTING's default: its arguments as they would be written; NULL: zeroed */
	const char *otherwise;
	/*
	 * (from: behind the table's offset, as every offset of a row) a repeated block starts
	 * with a copy of these bytes of its parent's struct
	 */
	size_t inherit_from, inherit_to, inherit_size;
	/*
	 * Rules across arguments and inside; called when all is filled without an error. Reports
	 * and returns false.
	 */
	bool (*check)(struct reading *r, const struct statement *s, void *filled);
	const void *ops;                /* of a STEP: its struct handler_ops */
	const char *help;               /* one line for -D and the manual; ends with a full stop */
	/*
	 * instead of `inside`, of a block whose tables only the statement tells: those, and the
	 * struct that they fill. Called without a block, too: then it is as an empty one. NULL:
	 * there are none, the block is passed over.
	 */
	const struct table *(*find_inside)(
	    struct reading *r, const struct statement *s, void *filled, void **target);
};

/* Some rows, and where in the block's struct their offsets start. */
struct table {
	const struct directive *rows;
	size_t offset;
};

/* Stands in a table in place of rows that only a reading knows: its `loaded`. */
extern const struct directive schema_loaded[];

/* One repeated directive as it was read. `list`s of repeated rows hold these. */
struct filled {
	const struct directive *row;
	const struct statement *statement;
	void *data;                     /* row->size bytes */
	struct compile_item *compile;   /* what schema_compile has still to do */
	bool broken;                    /* an error was reported of it, or of what is inside */
};

/* What a row of nginx's is called here; NULL-terminated tables, asked when a word is unknown. */
struct elsewhere {
	/* proxy_pass; or with its place: `listen ssl`, `upstream zone`, `$host` */
	const char *word;
	/* `proxy`: printed as: nginx's "proxy_pass" is "proxy" here */
	const char *here;
	const char *instead;            /* here NULL: printed as: "http": … */
};

/* One run of the check. The caller sets the first four and keeps it until the snapshot is built. */
struct reading {
	struct arena *arena;            /* what is filled lives here */
	/*
	 * or here, unless it is of a step: what the build copies from and then forgets; NULL:
	 * arena
	 */
	struct arena *work;
	struct sources *sources;
	struct diag *diag;
	const struct elsewhere *elsewhere;
	const struct directive *loaded; /* what schema_loaded stands for; NULL: nothing */
	bool trace;                     /* keep origins for schema_print_effective */
	struct trace *root;             /* set by schema_fill when trace is */
	struct compile_item *compile;   /* of the row being read */
	void *more;                     /* the caller's */
	/* patterns compiled so far: core/match.c's; NULL at first */
	struct map *regexes;
	/* schema.c's own: what it knows of the tables; made when first wanted */
	struct schema_state *state;
};

/*
 * Fills `target` from the statements of `block`, defaults first. `where` names the block in
 * messages ("route"). False: errors were reported.
 */
bool schema_fill(struct reading *r, const struct table *tables, const struct block *block,
    const char *where, void *target);
/*
 * Compiles what the row's types left for later (texts, fields, regexes of its arguments, of the
 * settings and single blocks inside it and, of a STEP, of everything inside it). A STEP or repeated
 * BLOCK inside a BLOCK is compiled by itself, in its own scope. What stands outside any repeated
 * row is in reading.compile once schema_fill is done: `(struct filled){ .compile = r->compile }`.
 * Nothing is compiled twice.
 */
bool schema_compile(struct reading *r, const struct scope *scope, struct filled *f);
/*
 * What is known of a word in its place (a block, a directive whose option it is, `$` for fields):
 * `place word`. NULL: nothing.
 */
const struct elsewhere *schema_elsewhere(
    const struct reading *r, const char *place, struct slice word);
void schema_report_elsewhere(
    struct reading *r, struct slice word, struct span at, const struct elsewhere *e);
/* said, not defaulted; needs trace */
bool schema_is_set(const struct reading *r, const void *target, const char *name);

/*
 * -T: every block with every setting's effective value, as configuration text, `# file:line` or `#
 * default` behind each.
 */
void schema_print_effective(struct reading *r, FILE *to);
/*
 * -D: the reference of these tables and all inside them, as text; `roff` for the manual page
 * server.conf(5).
 */
void schema_print_reference(const struct table *tables, FILE *to, bool roff);
/*
 * Each word that may stand anywhere, one a line: the fuzzer's dictionary and the shell's
 * completion.
 */
void schema_print_words(const struct table *tables, FILE *to);

/*
 * Decodes what a quoted string says: \n \r \t \0 \\ \" \' \xNN. `\$` stays `\$` when keep_dollar.
 * False: reported.
 */
bool schema_decode(struct reading *r, const struct value *v, bool keep_dollar, struct slice *out);

#endif
