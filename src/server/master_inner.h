/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the master share. Nobody else includes it.
 *
 *   master.c          the start, signals, phases, the end
 *   master_crew.c     workers: born, equipped, watched, replaced, buried; whose sockets are whose
 *   master_log.c      the logs, opened and given to the workers
 *   master_reload.c   from one bundle to the next
 *   master_watch.c    a reload when a file changes
 *   master_upgrade.c  from one master to the next
 */
#ifndef MILLRACE_SERVER_MASTER_INNER_H
#define MILLRACE_SERVER_MASTER_INNER_H

#include "base/clock.h"
#include "core/glance.h"
#include "server/channel.h"
#include "server/control.h"
#include "server/load.h"
#include "server/master.h"
#include "server/pid_file.h"
#include "server/process.h"
#include "server/watch.h"
#include "server/worker.h"

/* Milliseconds but for LOOP_. */
enum {
	LOOK_EVERY = 500,
	HUNG_AFTER = 2000,              /* without a beat while others beat: its sockets are lent */
	KILLED_AFTER = 10 * 1000,
	ASK_EVERY = 2500,               /* one that hangs: what it is at */
	TOLD_AFTER = 100,               /* … and then it is looked at again */
	START_LIMIT = 60 * 1000,        /* to build and serve */
	STOP_GRACE = 3000,              /* from TERM to KILL */
	DELAY_FIRST = 100, DELAY_MAX = 10 * 1000,
	FORGIVEN_AFTER = 10 * 1000,     /* who has served so long ends a loop */
	/* a loop: so many in a row that hardly served, or so many deaths altogether within that time */
	LOOP_SOON = 3, SOON = 500,
	LOOP_DEATHS = 12, LOOP_WITHIN = 60 * 1000,
};

/* RETIRED: its workers drain, and it could still go on. */
enum phase { PHASE_STARTING, PHASE_SERVING, PHASE_RETIRED, PHASE_DRAINING, PHASE_STOPPING };
enum slot_state { SLOT_EMPTY, SLOT_STARTING, SLOT_READY, SLOT_LEAVING };

enum { NOBODY = -1 };

/* A worker, or the place of one that is to come. */
struct slot {
	struct master *master;
	struct slot *next;              /* of those that leave */
	uint32_t number;                /* from 0 */
	enum slot_state state;
	pid_t pid;                      /* when not EMPTY */
	struct channel channel;
	struct worker_shared *shared;
	uint64_t given, given_at;       /* the generation it was given last, and when */
	uint64_t serves;                /* the one it serves */
	uint32_t closing;               /* bindings that it was told to close, and did not yet */
	bool parting;                   /* another has its number: it leaves once that one serves */
	bool told;                      /* … and was told so */
	bool hung;
	bool untold;                    /* … and the log does not have it yet */
	uint64_t asked_at, asked_beat;  /* what it is at: when, and its beat then; 0: it was not */
	uint64_t deaf_since;            /* its end of the channel is closed; 0: it is not */
	uint64_t born;
	uint64_t ready;                 /* when it began to serve; 0: it does not yet */
	uint64_t due;                   /* EMPTY: not before */
	uint64_t delay;                 /* what its birth was put off by; 0: by nothing */
	uint64_t deaths[LOOP_DEATHS];   /* the latest, newest first */
	uint32_t soon;                  /* how many in a row hardly served */
	bool loops;                     /* those to come are put off */
	uint64_t died;                  /* how often, one after another of its number */
	struct control_sample sample;
	struct deadline again;          /* wakes the loop at `due` */
};

struct master_signal {
	struct loop_event event;
	struct master *master;
	int number;
};

enum { MASTER_SIGNALS = 8 };

enum reload_stage { RELOAD_NONE, RELOAD_CHECKING, RELOAD_ROLLING };

struct reload {
	enum reload_stage stage;
	struct load load;
	struct loop_event verdict;
	int child_status;               /* of waitpid; -1: it lives */
	int said;                       /* a memfd: what is said to who waits; -1: none */
	uint64_t began;
	bool turns_over;                /* workers are replaced rather than told */
	bool removed;                   /* what is gone was closed */
	bool failed;                    /* a worker could not build it */
	bool late;                      /* the check was given up */
	bool again;                     /* asked for since it began */
	struct reload_waiter *now, *later;
};

enum heir_stage { HEIR_NONE, HEIR_BORN, HEIR_SPEAKS, HEIR_SERVES };

struct upgrade {
	/* who is to follow us */
	enum heir_stage stage;
	pid_t heir;
	int link;                       /* to it; or -1 */
	int said;                       /* a memfd, its stderr until it serves; or -1 */
	struct loop_event heard;
	struct deadline limit;
	bool wanted;
	bool by_itself;                 /* we leave as soon as it has shown that it serves */
	bool given_up;
	bool leaves;                    /* we do: what was ours is its own */
	bool missed;                    /* the configuration changed meanwhile */
	struct reload_waiter *waiters;
	/* whom we follow */
	int elder;                      /* -1: nobody, or it has ended */
	bool elder_leaves;              /* it will not come back */
	bool elder_ended;               /* … and has, with all its workers */
	bool others;                    /* workers of masters that are gone may use our shared memory */
	struct loop_event from_elder;
	char *pid_path;                 /* of its pid file, until that is ours */
	int stderr_fd;                  /* the real one while 2 is the elder's to read; or -1 */
	size_t places_first;            /* of those inherited, the first that is its own */
};

struct master {
	const struct master_options *options;
	struct loop loop;
	struct master_signal signals[MASTER_SIGNALS];
	enum phase phase;
	int status;                     /* to exit with */

	struct bundle bundle;           /* what is served */
	uint64_t generation;
	struct reload reload;
	struct control control;
	struct watch watch;
	struct upgrade upgrade;
	struct binding_table bindings;
	struct shared shared;
	struct pid_file pid_file;
	int error_fd;
	/* by index of the bundle; standard ones are not ours to close */
	int *log_fds;
	size_t log_count;

	/* by number: as many as a group has sockets, of which slot_count are to serve */
	struct slot **slots;
	size_t slot_count, slot_room;
	struct slot *leavers;           /* whose number is another's, or nobody's */
	/* what workers show of themselves: in shared memory; free ones */
	struct worker_shared **places;
	size_t place_count, place_room, places_made, places_inherited;
	/* by slot of the sockets: the worker that has them beside their own, or NOBODY */
	int *lent;
	struct deadline look, kill, sign;
	bool asked;                     /* in this look: a worker that hangs */
	uint64_t looked, awake_since;   /* a master that was stopped itself saw no beats */

	bool background;
	/* background: says to who started us that we serve; or -1 */
	int tell;
	int wait_for;                   /* that one, waiting; or -1 */
	bool is_worker;                 /* forked: on the way out to become one */
	struct worker_start start;
};

/* ------------------------------------------------------------------ master.c */

void master_stop(struct master *m);
/* Drains, and ends with its last worker. */
void master_quit(struct master *m);

/* ------------------------------------------------------------------ master_crew.c: messages of many */

struct batch {
	struct channel *to;
	struct channel_message message;
	int fds[SOCKET_PASS_MAX];
	size_t fd_count;
};

struct batch batch_of(struct channel *to, enum channel_kind kind, uint32_t slot);
/* fd -1: none goes along. */
void batch_add(struct batch *b, uint32_t index, int fd);
void batch_send(struct batch *b);

/* ------------------------------------------------------------------ master_crew.c */

/* Calls for each worker that lives, those that leave among them. */
void crew_each(struct master *m, void (*call)(struct master *m, struct slot *s));
/* The places of all that there may be; false: errors were said. */
MUST_USE bool crew_open(struct master *m);
void crew_close(struct master *m, bool owner);
void crew_say(struct master *m, enum channel_kind kind);
/* What ended is waited for, and buried. */
void crew_reap(struct master *m);
void crew_look(struct deadline *d);
/* Workers that are due are born; who became one finds m->is_worker set. */
void crew_spawn_due(struct master *m);
/* Sockets of who does not serve are lent; who is replaced leaves. */
void crew_settle(struct master *m);
/* So many serve from now on: more are born, those behind leave. */
void crew_resize(struct master *m, size_t count);
/* Another configuration may serve where that one did not: who was put off is tried at once. */
void crew_forgive(struct master *m);
/* A new one in its place; it leaves as soon as that one serves. */
void crew_replace(struct master *m, struct slot *s);
/* The bundle, to a worker that serves another: what is new to it, and the word to build it. */
void crew_give_bundle(struct master *m, struct slot *s);
/* Nobody listens there any more. */
void crew_unlisten(struct master *m, const struct bound *b);
/* ms since it was last seen alive. */
uint64_t crew_silence(const struct master *m, const struct slot *s);
/* A worker has a flow of a listener that is gone. */
bool crew_answers_for_gone(const struct master *m);
/*
 * The generations that workers have something of, and ours; free it. NULL: two show it in the same place, so
 * it is not known.
 */
struct shared_span *crew_held(const struct master *m, size_t *count);
/* shared->tale says what it is at: it has not gone on since. */
bool crew_tells(const struct slot *s);
bool crew_all_ended(const struct master *m);
/* Places of workers of another master, numbers first to end - 1: nobody shows anything there any more. */
void crew_take_places(struct master *m, size_t first, size_t end);
/* From PHASE_RETIRED: others are born in place of those that drain. */
void crew_return(struct master *m);
/* At least one serves and shows that it lives. */
bool crew_beats(const struct master *m);

/* ------------------------------------------------------------------ master_log.c */

MUST_USE bool logs_open(struct master *m);
void logs_close(struct master *m);
void logs_reopen(struct master *m);
void logs_send(struct master *m, struct slot *s);
/*
 * Those of another bundle: equal paths keep their descriptor. False: said to `said`, and nothing has
 * changed.
 */
MUST_USE bool logs_follow(struct master *m, const struct bundle *b, int said);

/* ------------------------------------------------------------------ master_reload.c */

/* What was written to a file of what is said. */
size_t said_read(int fd, char *room, size_t size);
void said_log(enum log_level level, struct slice said);

void reload_init(struct master *m);
/* Goes on where something has changed; part of every pass. */
void reload_settle(struct master *m);
/* The child of the check is among those that ended. */
void reload_reaped(struct master *m, pid_t pid, int status);
/* The end of the master, or a fork of it. */
void reload_close(struct master *m, bool owner);
/* The objects of the bundle: the generation that is served names them. */
void reload_name_shared(struct master *m);
/* Sockets that the configuration does not have are closed. */
void reload_remove_gone(struct master *m);

/* ------------------------------------------------------------------ master_upgrade.c */

void upgrade_init(struct master *m);
/* Takes what another master leaves to us, if there is one. False: errors were said. */
MUST_USE bool upgrade_follow(struct master *m);
/* There is one that has not ended. */
bool upgrade_follows(const struct master *m);
/* The elder's pid file is that one: it becomes ours when we serve. */
bool upgrade_has_pid_file(const struct master *m, struct slice path);
/* All is open: from here on stderr is our own, and the elder is heard. */
MUST_USE bool upgrade_begin(struct master *m);
void upgrade_serves(struct master *m);
/* Begins what was asked for; part of every pass. */
void upgrade_settle(struct master *m);
/* False: that was not the heir. */
bool upgrade_reaped(struct master *m, pid_t pid, int status);
bool upgrade_is_under_way(const struct master *m);
/* Who is not of this master may have a part of the shared memory. */
bool upgrade_shares_memory(const struct master *m);
/* Workers drain, the master stays: it may return. */
void upgrade_retire(struct master *m);
/* We end: all is the heir's, or, if that one does not serve yet, it ends too. */
void upgrade_leave(struct master *m);
/* No other master lives that the pid file and the Unix sockets may be of. */
bool upgrade_owns_files(const struct master *m);
void upgrade_close(struct master *m, bool owner);

/* ------------------------------------------------------------------ master_watch.c */

/* Behind the start and each reload: watches what the bundle was read from. `good`: it was. */
void watch_follow(struct master *m, bool good);

#endif
