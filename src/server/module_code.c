/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loading by content, the table of what is loaded, and what the server offers a module.
 */
#include "server/module_code.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/log.h"
#include "base/map.h"
#include "base/memory.h"
#include "handlers/loaded.h"
#include "protocols/loaded.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

struct module_code {
	struct module_code *next;
	uint8_t hash[DIGEST_SHA1];
	size_t size;
	unsigned holders;
	/*
	 * open as long as the code is there: the loader knows it by the path that this number makes
	 */
	int fd;
	void *handle;
	const struct millrace_module *table;
};

/* One is loaded on the thread of a build while the loop may release another. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct module_code *all;

/* ------------------------------------------------------------------ what a module may call */

static void
say(const struct millrace_module *module, enum millrace_level level, const char *text)
{
	static const enum log_level levels[] = { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

	if (text != NULL)
		log_line((unsigned)level < ARRAY_COUNT(levels) ? levels[level] : LOG_ERROR,
		    "module %s: %s", module != NULL ? module->name : "?", text);
}

static void
refuse(const struct millrace_setup *setup, const char *text)
{
	diag_error(setup->diag, setup->at, "%s", text != NULL ? text : "(no reason given)");
}

static void *
keep(const struct millrace_setup *setup, size_t n)
{
	return n > INT32_MAX ? NULL : arena_zalloc(setup->arena, n);
}

static const struct millrace_host host = {
	.abi = MILLRACE_ABI,
	.size = sizeof(host),
	.log = say,
	.refuse = refuse,
	.keep = keep,
	.set_body = loaded_set_body,
	.set_field = loaded_set_field,
	.set_id = loaded_set_id,
	.set_one_way = loaded_set_one_way,
	.alloc = loaded_alloc,
	.write = loaded_write,
	.body = loaded_body,
	.text = loaded_text,
	.reply = loaded_reply,
};

/* ------------------------------------------------------------------ loading */

static bool
write_all(int fd, struct slice bytes)
{
	while (bytes.n > 0) {
		ssize_t n = write(fd, bytes.at, bytes.n);

		if (n < 0 && errno != EINTR)
			return false;
		bytes = slice_after(bytes, n < 0 ? 0 : (size_t)n);
	}
	return true;
}

/* A kernel before 6.3 does not know MFD_EXEC, one behind it may be told to want it. */
static int
create_file(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	return fd >= 0 || errno != EINVAL ? fd
					  : memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

static bool
open_file(struct module_code *code, struct slice bytes, const char *name, char *why)
{
	code->fd = create_file(name);
	if (code->fd >= 0 && write_all(code->fd, bytes) &&
	    fcntl(code->fd, F_ADD_SEALS,
		F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0)
		return true;
	snprintf(why, MODULE_WHY, "cannot be loaded: %s", strerror(errno));
	return false;
}

/* The loader begins with the path that it was given, which says nothing to anybody. */
static bool
load(struct module_code *code, char *why)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", code->fd);
	code->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (code->handle != NULL)
		return true;

	const char *said = dlerror();
	size_t n = strlen(path);

	if (strncmp(said, path, n) == 0 && strncmp(said + n, ": ", 2) == 0)
		said += n + 2;
	snprintf(why, MODULE_WHY, "cannot be loaded: %s", said);
	return false;
}

#define UP_TO(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))

static bool
check_table(const struct millrace_module *table, char *why)
{
	const unsigned least = UP_TO(struct millrace_module, release);

	if (table == NULL)
		snprintf(why, MODULE_WHY,
		    "says that it cannot work here: its millrace_module returned NULL");
	else if (table->abi != MILLRACE_ABI)
		snprintf(why, MODULE_WHY,
		    "was built for ABI %u of modules; this server has ABI %u: build it with this "
		    "server's millrace/module.h",
		    table->abi, MILLRACE_ABI);
	else if (table->size < least)
		snprintf(why, MODULE_WHY,
		    "has a struct millrace_module of %u bytes; ABI %u has at least %u", table->size,
		    MILLRACE_ABI, least);
	else if (table->name == NULL)
		snprintf(why, MODULE_WHY, "has no name");
	else
		return true;
	return false;
}

static bool
enter(struct module_code *code, char *why)
{
	const struct millrace_module *(*entry)(const struct millrace_host *);
	void *symbol = dlsym(code->handle, "millrace_module");

	if (symbol == NULL) {
		snprintf(why, MODULE_WHY,
		    "is no module of this server: it has no function millrace_module");
		return false;
	}
	memcpy(&entry, &symbol, sizeof(entry));
	code->table = entry(&host);
	return check_table(code->table, why);
}

static void
unload(struct module_code *code)
{
	if (code->handle != NULL)
		dlclose(code->handle);
	if (code->fd >= 0)
		close(code->fd);
	free(code);
}

/* ------------------------------------------------------------------ the table */

static struct module_code *
find(const uint8_t *hash, size_t size)
{
	struct module_code *code = all;

	while (code != NULL && (code->size != size || memcmp(code->hash, hash, DIGEST_SHA1) != 0))
		code = code->next;
	return code;
}

static struct module_code *
hold(struct slice bytes, const char *name, char *why)
{
	uint8_t hash[DIGEST_SHA1];

	digest_sha1(bytes, hash);
	struct module_code *code = find(hash, bytes.n);
	if (code != NULL) {
		code->holders++;
		return code;
	}
	code = memory_zalloc(sizeof(*code));
	code->fd = -1;
	code->size = bytes.n;
	code->holders = 1;
	memcpy(code->hash, hash, sizeof(hash));
	if (!open_file(code, bytes, name, why) || !load(code, why) || !enter(code, why)) {
		unload(code);
		return NULL;
	}
	code->next = all;
	all = code;
	return code;
}

struct module_code *
module_code_hold(struct slice bytes, const char *name, char why[static MODULE_WHY])
{
	pthread_mutex_lock(&lock);
	struct module_code *code = hold(bytes, name, why);
	pthread_mutex_unlock(&lock);
	return code;
}

static void
release(struct module_code *code)
{
	struct module_code **at = &all;

	if (--code->holders != 0)
		return;
	while (*at != code)
		at = &(*at)->next;
	*at = code->next;
	unload(code);
}

void
module_code_release(struct module_code *code)
{
	pthread_mutex_lock(&lock);
	release(code);
	pthread_mutex_unlock(&lock);
}

const struct millrace_module *
module_code_table(const struct module_code *code)
{
	return code->table;
}

uint64_t
module_code_fingerprint(const struct module_code *code)
{
	return fingerprint_add(FINGERPRINT_START, code->hash, sizeof(code->hash));
}
