/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the build (and the registry, whose rows fill these
 * structs) share. Nobody else includes it.
 */
#ifndef MILLRACE_SERVER_BUILD_INNER_H
#define MILLRACE_SERVER_BUILD_INNER_H

#include "core/field_map.h"
#include "core/limit.h"
#include "server/build.h"
#include "server/registry.h"

/* ------------------------------------------------------------------ what the rows fill */

struct drain_block {
	uint64_t deadline;              /* ms; 0: any time */
};

struct main_block {
	struct name user, group;
	int64_t workers;                /* 0: auto */
	struct slice pid_path, control_path;
	bool daemon, watch;
	struct slice error_path;
	int error_level;                /* index into log_level_names */
	int64_t connections_max;
	uint64_t memory_max;
	struct drain_block drain;
	struct server_settings defaults;
	struct list upstreams;          /* struct filled of struct named_upstream */
	struct list maps;               /* … of struct map_block */
	struct list protocols;          /* … of struct protocol_block */
	struct list limits;             /* … of struct limit_block */
	struct list servers;            /* … of struct server_block */
	struct list modules;            /* … of struct module_line */
};

struct module_line {
	struct value path;
};

struct named_upstream {
	struct name name;
	struct upstream_block block;
};

struct server_block {
	struct name name;
	struct list listens;            /* struct filled of struct listen_line */
	struct list name_lines;         /* … of struct server_name_line */
	struct name protocol;
	struct server_settings settings;
	/* … of what handlers want, struct route_line, struct error_line */
	struct list steps, routes, errors;
};

struct listen_line {
	struct endpoint to;
	bool default_server, proxy_protocol;
	int64_t backlog;
	uint32_t mode;
};

struct server_name_line {
	struct list names;              /* struct name */
};

struct route_line {
	struct list pattern;            /* struct value: nothing, PATH, `=` PATH, `~` REGEX */
	struct settings settings;
	struct list steps;
};

struct error_line {
	struct list statuses;           /* struct status_range */
	bool intercept;
	struct list steps;
};

/* ------------------------------------------------------------------ while it is built */

/* Steps before they are laid out; memory of the work arena. */
struct step_list {
	struct step *items;
	size_t count;
};

/* A server name as it was written, checked. */
struct server_name {
	struct slice text;              /* lower case */
	struct span span;
	bool reported;                  /* as one that another server has too */
};

struct server_build {
	struct server *server;
	const struct server_block *block;
	struct server_name *names;
	size_t name_count, name_room;
	const struct field_ref *flow_by;        /* of its listeners of datagrams; or NULL */
	struct span span;               /* `server NAME` */
};

struct build {
	struct reading reading;
	const struct build_input *in;
	struct diag *diag;
	/* the tables found no error: what is missing was not said, rather than said wrongly */
	bool clean;
	struct snapshot *snapshot;
	struct arena work;              /* the tree, and lists that the snapshot does not keep */
	struct main_block main;
	struct map maps;                /* name -> struct field_map */
	/* all that there are by now, NULL behind them; work arena */
	const struct protocol_ops **protocols;
	size_t protocol_count, protocol_room;
	/* name -> struct name, of those that the configuration declares, be they right or wrong */
	struct map declared;
	struct map limits;              /* name -> struct limit; the same in order: */
	struct limit **limit_items;
	size_t limit_count;
	struct map upstreams;           /* name -> struct upstream */
	struct map places;              /* address written in place -> struct upstream of it */
	struct upstream **upstream_items;       /* in order; work arena */
	size_t upstream_count, upstream_room;
	struct map logs;                /* path -> struct log_file */
	struct log_file *log_items;
	size_t log_count, log_room;
	const struct upstream_block *plain;   /* one with every default; NULL until wanted */
	struct server_build *servers;
	/* what was loaded, in order; the steps that it offers, and whose each is */
	struct build_module **modules;
	size_t module_count, module_room;
	bool module_missing;            /* one could not be loaded */
	struct directive *steps;
	const struct build_module **step_owners;
	size_t step_count, step_room, step_owner_count, step_owner_room;

	/* What is being built just now. */
	const struct protocol_ops *protocol;
	const struct settings *settings;
	struct scope scope;             /* of a step */
	/* steps of an error block: how the answer failed is known */
	bool failing;
	const struct step_list *inherited;      /* a route: of its server; else NULL */
	/* a route: handlers whose inherited steps are dropped */
	const struct handler_ops **reset;
	size_t reset_count, reset_room;
};

/* build.c */
/* The address to bind or connect to; false: reported. `any` becomes [::]. */
MUST_USE bool build_address(struct build *b, const struct endpoint *e, struct addr *out);
/* Copies settings into the snapshot, their log resolved. */
const struct settings *build_keep_settings(struct build *b, const struct settings *settings);

/* build_protocol.c */
void build_protocols(struct build *b);
/* It is found by its name from here on. False: there is one of that name. */
MUST_USE bool build_add_protocol(struct build *b, const struct protocol_ops *ops);
/* The protocol of that name; the default when none is said. NULL: reported. */
const struct protocol_ops *build_find_protocol(struct build *b, const struct name *name);

/* build_example.c */
struct declared;
void build_examples(struct build *b, const struct declared *x, const struct list *examples);

/* build_upstream.c */
void build_upstreams(struct build *b);
/* The list and the shared objects, when every server is built. */
void build_upstreams_end(struct build *b);

/* Memory that workers share, when build_upstreams_end has made the list. */
uint32_t build_add_shared(
    struct build *b, enum shared_kind kind, uint32_t size, struct slice name, struct slice of);

/* build_limit.c */
void build_limits(struct build *b);
/* Their tables, behind the peers' objects. */
void build_limits_end(struct build *b);

/* build_server.c: routes and steps. */
void build_server(struct build *b, struct server_build *sb);

/* build_use.c: what has a sense in its protocol. */
/* What a silent client (or, as a question, a peer) is sent can be said. */
void build_check_heartbeat(struct build *b, const struct protocol_ops *protocol,
    const struct heartbeat *h, bool question, const struct block *block, struct span otherwise);
/* Settings that a block says, and what they would be if it did not. */
struct build_said {
	const char *what;               /* "server", "upstream" */
	const struct protocol_ops *protocol;
	const struct block *block;
	const struct directive *rows;   /* fill: */
	const char *own, *outer;
};
/* An error or a warning for each that its protocol has no use for. */
void build_check_uses(struct build *b, const struct build_said *said);

/* build_module.c */
/* Loads what the top level names: its words may stand anywhere from here on. */
void build_modules_load(struct build *b, const struct block *tree);
/* Their settings are there: makes their protocols ready, and adds them. */
void build_modules_settle(struct build *b);
/* Says where a protocol of that name was loaded, if one was. */
void build_modules_note(struct build *b, struct slice name);
/* -D of what was loaded. */
void build_modules_print(const struct build *b, FILE *to, bool roff,
    void (*show)(const struct protocol_ops *ops, bool roff));
/* Of the row `module`. */
const struct table *build_module_inside(
    struct reading *r, const struct statement *s, void *filled, void **target);
bool build_module_check(struct reading *r, const struct statement *s, void *filled);

/* build_listener.c: listens and names. */
void build_names(struct build *b, struct server_build *sb);
void build_listeners(struct build *b);

#endif
