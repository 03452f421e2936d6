/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line. What only looks (-t, -T, -D, -v) is done here: it binds
 * nothing, writes nothing and needs no rights; what serves is the master's.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/map.h"
#include "server/control_client.h"
#include "server/control_verb.h"
#include "server/explain.h"
#include "server/load.h"
#include "server/master.h"
#include "server/process.h"
#include "protocols/frame/declared.h"
#include "server/registry.h"
#include "server/send.h"

#ifndef MILLRACE_CONF_DIR
#define MILLRACE_CONF_DIR "/etc/millrace/conf.d"
#endif
#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif
#ifndef MILLRACE_BUILD
#define MILLRACE_BUILD "flags unknown"
#endif

enum { EXIT_USAGE = 2 };

enum action { ACTION_SERVE, ACTION_TEST, ACTION_EFFECTIVE, ACTION_REFERENCE, ACTION_SEND,
	ACTION_ASK, ACTION_EXPLAIN, ACTION_ROUTES };

struct options {
	struct master_options master;
	enum action action;
	const char *word;               /* -s */
	const char *module;             /* -D */
	const char *socket;             /* of a verb, instead of the configuration's */
	const char **verb;              /* and its words */
	size_t verb_count;
	bool quiet, json, man, words;
};

enum { OPTION_JSON = 256, OPTION_MAN, OPTION_WORDS, OPTION_MODULE, OPTION_SOCKET };

static const struct option long_options[] = {
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "man", no_argument, NULL, OPTION_MAN },
	{ "words", no_argument, NULL, OPTION_WORDS },
	{ "module", required_argument, NULL, OPTION_MODULE },
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'v' },
	{ NULL, 0, NULL, 0 },
};

static const char usage[] =
    "usage: server [-c PATH] [-p PREFIX] [-F]       serve; -F: stay in the foreground\n"
    "       server -t [-q] [--json] [-c PATH]       check the configuration; -q: say only what is wrong\n"
    "       server -T [-c PATH]                     check, and print every setting with its value and origin\n"
    "       server -s stop|quit|reopen|reload|upgrade   tell the server that runs\n"
    "       server -D [--man|--words]               every directive there is\n"
    "       server -D --module=PATH                 those of a module, and its fields\n"
    "       server [-c PATH] VERB … [--json]        ask the server that runs; -h lists the verbs\n"
    "       server [-c PATH] explain QUESTION ...   what the configuration would do with it, and why\n"
    "       server [-c PATH] routes [SERVER]        the order in which questions are tried\n"
    "       server -v | -V | -h                     version; version and build; this\n"
    "\n"
    "  -c PATH    the configuration: a file, or a directory whose *.conf are read in order\n"
    "             (" MILLRACE_CONF_DIR ")\n"
    "  -p PREFIX  where relative paths of the pid file and of logs begin\n"
    "  --socket=PATH  where it is asked, rather than where the configuration says\n";

/* ------------------------------------------------------------------ checking */

struct check {
	struct arena arena;
	struct sources files;
	struct diag diag;
	struct build_input input;
};

static void
check_begin(struct check *c, const struct options *o)
{
	*c = (struct check){ .input = { .trace = o->action == ACTION_EFFECTIVE } };
	arena_init(&c->arena, NULL, 0);
	sources_init(&c->files, &c->arena, true);
	load_locate(&c->files, o->master.config, o->master.prefix, &c->input);
	diag_init(&c->diag, &c->arena, &c->files);
}

static void
print_count(size_t count, const char *word)
{
	fprintf(stderr, "%zu %s%s", count, word, count == 1 ? "" : "s");
}

/* `configuration conf.d is fine`, `2 errors, 1 warning in conf.d`. */
static void
print_verdict(const struct check *c, const struct options *o)
{
	if (c->diag.errors == 0 && c->diag.warnings == 0) {
		if (!o->quiet)
			fprintf(stderr, "configuration %s is fine\n", o->master.config);
		return;
	}
	if (c->diag.errors != 0)
		print_count(c->diag.errors, "error");
	if (c->diag.errors != 0 && c->diag.warnings != 0)
		fputs(", ", stderr);
	if (c->diag.warnings != 0)
		print_count(c->diag.warnings, "warning");
	fprintf(stderr, " in %s\n", o->master.config);
}

static int
check_end(struct check *c, const struct options *o, bool fine)
{
	if (o->json)
		diag_print_json(&c->diag, stdout);
	else {
		diag_print(&c->diag, stderr);
		if (o->action == ACTION_TEST)
			print_verdict(c, o);
	}
	arena_reset(&c->arena);
	return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
test(const struct options *o)
{
	struct check c;

	check_begin(&c, o);

	struct snapshot *s = build_snapshot(&c.input, &c.diag);

	if (s != NULL)
		snapshot_release(NULL, s);
	return check_end(&c, o, s != NULL);
}

/* What a configuration does with a question, or with all of them. */
static int
explain(const struct options *o)
{
	struct check c;

	check_begin(&c, o);

	struct snapshot *s = build_snapshot(&c.input, &c.diag);
	struct explain_input in = { s, &c.files };
	int status = EXIT_FAILURE;

	if (s == NULL)
		return check_end(&c, o, false);
	status = (o->action == ACTION_EXPLAIN ? explain_question : explain_routes)(
	    &in, o->verb + 1, o->verb_count - 1, stdout, stderr);
	snapshot_release(NULL, s);
	arena_reset(&c.arena);
	return status;
}

static int
print_effective(const struct options *o)
{
	struct check c;

	check_begin(&c, o);
	return check_end(&c, o, build_print_effective(&c.input, &c.diag, stdout));
}

static void
print_fields(const struct field *fields, const char *protocol, bool man)
{
	static const char *const types[] = {
		[FIELD_TEXT] = "text", [FIELD_NUMBER] = "number", [FIELD_ADDRESS] = "address",
		[FIELD_BARE] = "word", [FIELD_ANY] = "value",
	};
	static const char *const moments[] = { "on a connection", "with a question",
		"with an answer", "at the end" };

	for (const struct field *f = fields; f != NULL && f->name != NULL; f++) {
		bool place = slice_ends(slice_of(f->name), SLICE("["));

		printf(man ? ".TP\n.B %s%s\n" : "%s%s\n    ", f->name,
		    (f->flags & FIELD_FAMILY) == 0 ? "" : place ? "N]" : "NAME");
		printf("%s Known %s%s%s; a%s %s%s.\n%s", f->help, moments[f->moment],
		    protocol[0] != '\0' ? " of " : "", protocol,
		    f->type == FIELD_ADDRESS ? "n" : "", types[f->type],
		    (f->flags & FIELD_REPEATED) != 0 ? " that may have several values" : "",
		    man ? "" : "\n");
	}
}

static void
show_protocol(const struct protocol_ops *ops, bool man)
{
	print_fields(ops->fields, ops->name, man);
}

static int
print_module(const struct options *o)
{
	struct check c;

	check_begin(&c, o);
	c.input.path = slice_of(o->module);
	c.files.directory = c.files.shown_directory = SLICE(".");

	bool fine = build_print_module(&c.input, &c.diag, stdout, o->man, show_protocol);

	return check_end(&c, o, fine);
}

static int
print_reference(const struct options *o)
{
	if (o->module != NULL)
		return print_module(o);
	if (o->words) {
		schema_print_words(registry_main, stdout);
		return EXIT_SUCCESS;
	}
	schema_print_reference(registry_main, stdout, o->man);
	fputs(o->man ? ".SH FIELDS\nBare in conditions, ${NAME} in strings.\n"
		     : "\nFields: bare in conditions, ${NAME} in strings.\n\n",
	    stdout);
	print_fields(core_fields, "", o->man);
	for (const struct protocol_ops *const *p = registry_protocols; *p != NULL; p++)
		print_fields((*p)->fields, (*p)->name, o->man);
	print_fields(declared_fields, "declared protocols", o->man);
	return EXIT_SUCCESS;
}

/* ------------------------------------------------------------------ options */

static int
print_version(bool build)
{
	puts("millrace " PACKAGE_VERSION);
	if (build)
		puts("built with " __VERSION__ "\n" MILLRACE_BUILD
		     "\nconfiguration " MILLRACE_CONF_DIR);
#ifdef MILLRACE_LIBRARIES
	if (build)
		puts("libraries " MILLRACE_LIBRARIES);
#endif
	return EXIT_SUCCESS;
}

static bool
is_word_to_send(const char *word)
{
	if (send_knows(word))
		return true;
	fprintf(stderr,
	    "server: \"%s\" is nothing to send; -s takes stop, quit, reopen, reload or upgrade\n", word);
	return false;
}

static void
print_help(void)
{
	fputs(usage, stdout);
	puts("\nverbs:");
	control_print_verbs();
}

/* One option; false: bad usage. Those that answer at once end the program. */
static bool
take_option(struct options *o, int letter)
{
	switch (letter) {
	case 'c': o->master.config = optarg; return true;
	case 'p': o->master.prefix = optarg; return true;
	case 'F': o->master.background = MASTER_FOREGROUND; return true;
	case 't': o->action = ACTION_TEST; return true;
	case 'T': o->action = ACTION_EFFECTIVE; return true;
	case 'D': o->action = ACTION_REFERENCE; return true;
	case 'q': o->quiet = true; return true;
	case 's':
		o->action = ACTION_SEND;
		o->word = optarg;
		return is_word_to_send(optarg);
	case OPTION_JSON: o->json = true; return true;
	case OPTION_MAN: o->man = true; return true;
	case OPTION_WORDS: o->words = true; return true;
	case OPTION_MODULE: o->module = optarg; return true;
	case OPTION_SOCKET: o->socket = optarg; return true;
	case 'h': print_help(); exit(EXIT_SUCCESS);
	case 'v': exit(print_version(false));
	case 'V': exit(print_version(true));
	default: fputs(usage, stderr); return false;
	}
}

/* `--socket=PATH`, or it and the next word. */
static bool
take_socket(struct options *o, char ***at)
{
	if (strncmp(**at, "--socket=", 9) == 0)
		o->socket = **at + 9;
	else if (strcmp(**at, "--socket") == 0 && (*at)[1] != NULL)
		o->socket = *++*at;
	else
		return false;
	return true;
}

/* NULL: it is one, as far as can be told from here; else what is wrong with it. */
static const char *
misused(const struct options *o)
{
	const struct control_question q = { .words = o->verb, .count = o->verb_count };
	static char text[256];

	if (o->verb_count == 0)
		return "there is no verb";
	for (size_t i = 1; i < o->verb_count; i++)
		if (o->verb[i][0] == '-') {
			snprintf(text, sizeof(text), "%.20s stands before the verb: server -c PATH %.100s",
			    o->verb[i], o->verb[0]);
			return text;
		}
	const char *wrong = control_misused(&q);
	const char *option = send_knows(o->verb[0]) ? "-s" : access(o->verb[0], F_OK) == 0 ? "-c" : NULL;
	if (wrong == NULL || option == NULL || control_verb_find(slice_of(o->verb[0])) != NULL)
		return wrong;
	snprintf(text, sizeof(text), "there is no verb \"%.100s\"; did you mean: server %s %.100s", o->verb[0],
	    option, o->verb[0]);
	return text;
}

/* Options of ours may stand among its words. */
static bool
take_verb(struct options *o, char **argv)
{
	o->action = ACTION_ASK;
	o->verb = (const char **)argv;
	for (char **at = argv; *at != NULL; at++) {
		if (strcmp(*at, "--json") == 0)
			o->json = true;
		else if (!take_socket(o, &at))
			o->verb[o->verb_count++] = *at;
	}
	const char *wrong = misused(o);
	if (wrong != NULL)
		fprintf(stderr, "server: %s\nserver -h lists the options and the verbs\n", wrong);
	return wrong == NULL;
}

static int
ask_at(const struct options *o, const char *socket)
{
	const struct control_question q = {
		.socket = socket, .words = o->verb, .count = o->verb_count, .json = o->json };

	return control_ask(&q);
}

static int
ask(const struct options *o)
{
	bool by_signal = o->action == ACTION_SEND || strcmp(o->verb[0], "upgrade") == 0;
	int status = EXIT_FAILURE;

	if (o->socket != NULL)
		return ask_at(o, o->socket);

	char *path = send_where(&o->master);

	if (path != NULL && *path != '\0')
		status = ask_at(o, path);
	else if (path != NULL && by_signal)
		status = send_word(&o->master, NULL, o->verb[0]);
	else if (path != NULL)
		process_refuse("the configuration has no control socket: write control PATH, or pid PATH, which it "
		    "is beside; and start the master again");
	free(path);
	return status;
}

/* A reload and an upgrade are waited for, where there is a way to. */
static int
tell(struct options *o)
{
	if (strcmp(o->word, "reload") != 0 && strcmp(o->word, "upgrade") != 0)
		return send_word(&o->master, o->socket, o->word);
	o->verb = &o->word;
	o->verb_count = 1;
	return ask(o);
}

/*
 * Verbs that look at a configuration; `--running`, or where it is asked: the master's, which it is
 * asked for. False: it is another.
 */
static bool
take_look(struct options *o, char **argv)
{
	static char json[] = "--json";
	bool routes = strcmp(argv[0], "routes") == 0, runs = false;
	size_t count = 0;

	if (!routes && strcmp(argv[0], "explain") != 0)
		return false;
	for (char **at = argv; *at != NULL; at++)
		if (strcmp(*at, "--running") == 0)
			runs = true;
		else if (!take_socket(o, &at))
			argv[count++] = *at;
	/* In front of the verb it means the same; where the list ended there is room for it. */
	if (o->json)
		argv[count++] = json;
	o->json = false;
	runs |= o->socket != NULL;
	o->action = runs ? ACTION_ASK : routes ? ACTION_ROUTES : ACTION_EXPLAIN;
	o->verb = (const char **)argv;
	o->verb_count = count;
	return true;
}

static bool
take_options(struct options *o, int argc, char **argv)
{
	int letter;

	while ((letter = getopt_long(argc, argv, "+c:p:FtTDqs:hvV", long_options, NULL)) != -1)
		if (!take_option(o, letter))
			return false;
	if (optind == argc)
		return true;
	return take_look(o, argv + optind) || take_verb(o, argv + optind);
}

/* Who chooses names does not choose which of them collide. */
static void
seed_hashes(void)
{
	uint64_t key[2];

	if (getrandom(key, sizeof(key), 0) == sizeof(key))
		hash_seed(key[0], key[1]);
}

int
main(int argc, char **argv)
{
	struct options o = { .master = { .config = MILLRACE_CONF_DIR, .argv = argv } };

	process_stdio_open();
	seed_hashes();
	if (!take_options(&o, argc, argv))
		return EXIT_USAGE;
	switch (o.action) {
	case ACTION_TEST: return test(&o);
	case ACTION_EFFECTIVE: return print_effective(&o);
	case ACTION_REFERENCE: return print_reference(&o);
	case ACTION_ASK: return ask(&o);
	case ACTION_EXPLAIN:
	case ACTION_ROUTES: return explain(&o);
	case ACTION_SEND: return tell(&o);
	default: return master_run(&o.master);
	}
}
