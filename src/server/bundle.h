/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bundle: one sealed memfd with everything a configuration was read from (each file, glob and
 * failure) and a manifest of fixed-size records, all that the master wants to know of it. The
 * master checks bounds and parses nothing; a worker builds its snapshot from it.
 *
 * Layout: header, tables of records, one pool of texts with a NUL behind each.
 */
#ifndef MILLRACE_SERVER_BUNDLE_H
#define MILLRACE_SERVER_BUNDLE_H

#include <sys/types.h>

#include "config/source.h"
#include "core/engine.h"
#include "server/compare.h"

enum {
	BUNDLE_VERSION = 2,
	BUNDLE_GROUPS_MAX = 64,
	BUNDLE_WORKERS_MAX = 1024,
};

/* `at` counts from the start of the pool. */
struct bundle_text {
	uint64_t at, n;
};

/* `at` counts from the start of the bundle. */
struct bundle_table {
	uint64_t at, count;
};

struct bundle_listener {
	struct addr addr;
	struct bundle_text text;
	uint64_t fingerprint;
	int32_t backlog;
	uint32_t mode;
	uint16_t binding;               /* its number */
	uint8_t transport;              /* enum endpoint_transport */
	bool gathered;                  /* its datagrams come to one socket: flow by FIELD */
	uint8_t unused[4];
};

/* Of a peer, for who shows its state: down by configuration; whether it may rest at all. */
enum bundle_peer { BUNDLE_PEER_DOWN = 1, BUNDLE_PEER_RESTS = 2 };

struct bundle_shared {
	struct shared_key key;
	/* where the master's table has it, or will when it follows this bundle */
	uint64_t offset;
	uint32_t peer;                  /* enum bundle_peer, or-ed */
	uint32_t unused;
};

/* struct compare_part as it is kept. */
struct bundle_part {
	struct bundle_text name, of;
	uint64_t fingerprint;
	uint32_t kind, zero;
};

struct bundle_source {
	struct bundle_text name, shown, text;
	uint64_t first_name, name_count;        /* of a glob: in the table of names */
	uint32_t kind;                  /* enum source_kind */
	int32_t error;
	uint32_t mode;
	uint32_t unused;
};

/* Who the workers are; only a master with root's rights changes that. */
struct bundle_identity {
	uint32_t changes;               /* 1: the rest counts */
	uint32_t uid, gid;
	uint32_t group_count;
	uint32_t groups[BUNDLE_GROUPS_MAX];
};

struct bundle_header {
	char magic[8];
	uint32_t version, header_size;
	uint64_t size;                  /* of all */
	/* logs, names: struct bundle_text; texts: bytes */
	struct bundle_table listeners, logs, shared, sources, names, parts, texts;
	/* as build_snapshot wants them */
	struct bundle_text path, prefix, directory, shown_directory;
	struct bundle_text pid_path, control_path, error_path;
	struct bundle_identity identity;
	uint64_t descriptors;           /* that a worker must be able to open */
	uint32_t workers;               /* 1..BUNDLE_WORKERS_MAX */
	uint32_t error_level;           /* enum log_level */
	uint32_t daemon;
	uint32_t watch;
};

/* What is written down. */
struct bundle_contents {
	const struct snapshot *snapshot;
	const struct sources *files;
	struct slice path, prefix;
	const uint16_t *bindings;       /* by listener */
	const uint64_t *offsets;        /* by shared key */
	struct bundle_identity identity;
	uint64_t descriptors;
	uint32_t workers;
	const struct compare_list *parts;       /* or NULL */
};

/* A sealed memfd, or -1 with errno. */
MUST_USE int bundle_write(const struct bundle_contents *c);

struct bundle {
	int fd;                         /* -1: none */
	const char *at;
	size_t n;
	const struct bundle_header *header;
};

#define BUNDLE_NONE ((struct bundle){ .fd = -1 })

/*
 * Maps it, takes the descriptor (closed when this fails). False: not sealed, or not a bundle:
 * bundle_check.
 */
MUST_USE bool bundle_open(struct bundle *b, int fd);
void bundle_close(struct bundle *b);
/* All that is counted, placed or enumerated in these bytes is in bounds; `at` is aligned to 8. */
MUST_USE bool bundle_check(const void *at, size_t n);

/*
 * Of an open bundle. Texts have a NUL behind them; those of the header, of listeners and of logs
 * have none inside.
 */
struct slice bundle_text(const struct bundle *b, struct bundle_text text);
const struct bundle_listener *bundle_listeners(const struct bundle *b);
const struct bundle_shared *bundle_shared(const struct bundle *b);
struct slice bundle_log(const struct bundle *b, size_t index);
/* What is in it, by name; texts stay in the bundle. */
void bundle_parts(const struct bundle *b, struct compare_list *list, struct arena *arena);
/* The set of files as it was read: no disk. It points into the bundle, which must outlive it. */
void bundle_sources(const struct bundle *b, struct sources *files, struct arena *arena);

enum endpoint_transport bundle_transport(const struct listener *l);

#endif
