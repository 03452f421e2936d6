/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server/bundle: what goes in comes out, sealed; and no cut, no flipped bit
 * and no lying number of a bundle gets past the check.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/bundle.h"

static struct arena arena;
static struct sources files;
static struct snapshot snapshot;
static struct listener listeners[3];
static struct log_file logs[2];
static struct shared_key keys[2];

static const uint16_t bindings[] = { 1, 7, 3 };
static const uint64_t offsets[] = { 0, 128 };

static void
add_file(const char *name, struct slice text, int error, unsigned mode)
{
	sources_add(&files, &(struct source){ .kind = SOURCE_FILE, .name = slice_of(name), .text = text, .error = error, .mode = mode });
}

static void
add_sources(void)
{
	static struct slice matches[] = { { "/c/sites/a.conf", 15 }, { "/c/sites/b.conf", 15 } };

	sources_init(&files, &arena, false);
	files.directory = SLICE("/c");
	files.shown_directory = SLICE("conf");
	add_file("/c/main.conf", SLICE("include \"sites/*.conf\";\n"), 0, 0640);
	sources_add(&files, &(struct source){ .kind = SOURCE_GLOB, .name = SLICE("/c/sites/*.conf"), .text = SLICE_EMPTY,
	    .names = matches, .name_count = 2 });
	add_file("/c/sites/a.conf", SLICE("\0\xff\n\"binary\0"), 0, 0600);
	add_file("/c/sites/b.conf", SLICE_EMPTY, EACCES, 0);
	sources_add(&files, &(struct source){ .kind = SOURCE_GLOB, .name = SLICE("/c/none*"), .text = SLICE_EMPTY });
}

static void
set_listener(struct listener *l, const char *text, uint64_t fingerprint)
{
	*l = (struct listener){ .text = slice_of(text), .fingerprint = fingerprint, .backlog = 100 };
	assert_true(addr_parse(l->text, &l->addr));
}

static int
make_contents(void **state)
{
	arena_init(&arena, NULL, 0);
	add_sources();
	set_listener(&listeners[0], "127.0.0.1:8080", 11);
	set_listener(&listeners[1], "[::1]:8081", 12);
	set_listener(&listeners[2], "unix:/tmp/x.sock", 13);
	listeners[2].mode = 0660;
	logs[0].path = SLICE("/var/log/a.log");
	logs[1].path = SLICE("stderr");
	keys[0] = (struct shared_key){ SHARED_PEER, 48, "app 10.0.0.1:80" };
	keys[1] = (struct shared_key){ SHARED_PEER, 64, "app 10.0.0.2:80" };
	snapshot = (struct snapshot){
		.pid_path = SLICE("/run/x.pid"), .error_path = SLICE("/var/log/e.log"), .error_level = LOG_WARN, .daemon = true,
		.listeners = listeners, .listener_count = 3, .logs = logs, .log_count = 2, .shared = keys, .shared_count = 2,
	};
	return 0;
}

static int
free_contents(void **state)
{
	arena_reset(&arena);
	return 0;
}

static int
write_one(void)
{
	const struct bundle_contents contents = {
		.snapshot = &snapshot, .files = &files, .path = SLICE("/c/main.conf"), .prefix = SLICE("/p"),
		.bindings = bindings, .offsets = offsets, .workers = 4, .descriptors = 1000,
		.identity = { .changes = 1, .uid = 33, .gid = 34, .group_count = 2, .groups = { 34, 35 } },
	};
	int fd = bundle_write(&contents);

	assert_true(fd >= 0);
	return fd;
}

static void
manifest_comes_back(void **state)
{
	struct bundle b;

	assert_true(bundle_open(&b, write_one()));
	assert_true(slice_is(bundle_text(&b, b.header->path), "/c/main.conf"));
	assert_true(slice_is(bundle_text(&b, b.header->prefix), "/p"));
	assert_true(slice_is(bundle_text(&b, b.header->pid_path), "/run/x.pid"));
	assert_string_equal(bundle_text(&b, b.header->error_path).at, "/var/log/e.log");
	assert_int_equal(b.header->error_level, LOG_WARN);
	assert_int_equal(b.header->workers, 4);
	assert_int_equal(b.header->descriptors, 1000);
	assert_true(b.header->daemon);
	assert_int_equal(b.header->identity.uid, 33);
	assert_int_equal(b.header->identity.groups[1], 35);
	assert_int_equal(b.header->listeners.count, 3);
	for (size_t i = 0; i < 3; i++) {
		const struct bundle_listener *l = &bundle_listeners(&b)[i];

		assert_true(addr_equal(&l->addr, &listeners[i].addr));
		assert_true(slice_equal(bundle_text(&b, l->text), listeners[i].text));
		assert_int_equal(l->fingerprint, listeners[i].fingerprint);
		assert_int_equal(l->binding, bindings[i]);
		assert_int_equal(l->mode, listeners[i].mode);
	}
	assert_int_equal(bundle_listeners(&b)[2].transport, ENDPOINT_UNIX);
	assert_int_equal(b.header->logs.count, 2);
	assert_true(slice_is(bundle_log(&b, 1), "stderr"));
	assert_memory_equal(&bundle_shared(&b)[1].key, &keys[1], sizeof(keys[1]));
	assert_int_equal(bundle_shared(&b)[1].offset, 128);
	bundle_close(&b);
}

static void
sources_come_back(void **state)
{
	struct arena other;
	struct sources back;
	struct bundle b;

	assert_true(bundle_open(&b, write_one()));
	arena_init(&other, NULL, 0);
	bundle_sources(&b, &back, &other);
	assert_int_equal(back.count, files.count);
	assert_true(slice_is(back.directory, "/c"));
	for (size_t i = 0; i < files.count; i++) {
		const struct source *was = files.items[i], *is = back.items[i];

		assert_int_equal(is->kind, was->kind);
		assert_true(slice_equal(is->name, was->name));
		assert_true(slice_equal(is->shown, was->shown));
		assert_true(slice_equal(is->text, was->text));
		assert_int_equal(is->text.at[is->text.n], 0);
		assert_int_equal(is->error, was->error);
		assert_int_equal(is->mode, was->mode);
		assert_int_equal(is->name_count, was->name_count);
		for (size_t j = 0; j < was->name_count; j++)
			assert_true(slice_equal(is->names[j], was->names[j]));
	}
	/* Asked by name, as the build asks; what was not recorded is not there. */
	assert_ptr_equal(sources_glob(&back, SLICE("sites/*.conf")), back.items[1]);
	assert_ptr_equal(sources_file(&back, SLICE("sites/b.conf")), back.items[3]);
	assert_int_equal(sources_file(&back, SLICE("/etc/passwd"))->error, ENOENT);
	arena_reset(&other);
	bundle_close(&b);
}

static void
sealed(void **state)
{
	struct bundle b;
	int fd = write_one();

	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_true(bundle_open(&b, fd));

	/* The same bytes without seals are no bundle. */
	int open_one = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(write(open_one, b.at, b.n) == (ssize_t)b.n);
	bundle_close(&b);
	assert_false(bundle_open(&b, open_one));
	assert_int_equal(fcntl(open_one, F_GETFD), -1);
	assert_false(bundle_open(&b, -1));
}

/* A copy that ends where the memory does, so that a look behind it is seen. */
static bool
check_copy(const char *at, size_t n, size_t flip, char bits)
{
	char *copy = malloc(n == 0 ? 1 : n);

	memcpy(copy, at, n);
	if (flip < n)
		copy[flip] ^= bits;
	bool good = bundle_check(copy, n);
	free(copy);
	return good;
}

static void
cut_is_refused(void **state)
{
	struct bundle b;

	assert_true(bundle_open(&b, write_one()));
	assert_true(check_copy(b.at, b.n, SIZE_MAX, 0));
	for (size_t n = 0; n < b.n; n++)
		assert_false(check_copy(b.at, n, SIZE_MAX, 0));
	bundle_close(&b);
}

/* A header that says what is there after the cut: then it is the tables that lie. */
static void
cut_with_true_size_is_refused(void **state)
{
	struct bundle b;

	assert_true(bundle_open(&b, write_one()));
	for (size_t n = sizeof(struct bundle_header); n < b.n; n++) {
		struct bundle_header *copy = malloc(n);

		memcpy(copy, b.at, n);
		copy->size = n;
		assert_false(bundle_check(copy, n));
		free(copy);
	}
	bundle_close(&b);
}

/* Any byte may be wrong: refused, or read to the end without a look outside. */
static void
flipped_bytes_stay_inside(void **state)
{
	static const char bits[] = { 1, '\x40', '\x80', '\xff' };
	struct bundle b;

	assert_true(bundle_open(&b, write_one()));
	for (size_t i = 0; i < b.n; i++)
		for (size_t j = 0; j < sizeof(bits); j++) {
			char *copy = malloc(b.n);

			memcpy(copy, b.at, b.n);
			copy[i] ^= bits[j];
			if (bundle_check(copy, b.n)) {
				struct bundle bent = { .fd = -1, .at = copy, .n = b.n, .header = (void *)copy };
				struct arena other;
				struct sources back;

				arena_init(&other, NULL, 0);
				bundle_sources(&bent, &back, &other);
				arena_reset(&other);
			}
			free(copy);
		}
	bundle_close(&b);
}

static struct bundle_header *
copy_of(const struct bundle *b)
{
	struct bundle_header *h = malloc(b->n);

	memcpy(h, b->at, b->n);
	return h;
}

#define REFUSES(change) do { \
	struct bundle_header *h = copy_of(&b); \
	struct bundle_listener *l = (void *)((char *)h + h->listeners.at); \
	struct bundle_shared *k = (void *)((char *)h + h->shared.at); \
	struct bundle_source *s = (void *)((char *)h + h->sources.at); \
	(void)l, (void)k, (void)s; \
	change; \
	assert_false(bundle_check(h, b.n)); \
	free(h); \
} while (0)

static void
lies_are_refused(void **state)
{
	struct bundle b;

	assert_true(bundle_open(&b, write_one()));
	REFUSES(h->version++);
	REFUSES(h->workers = 0);
	REFUSES(h->workers = BUNDLE_WORKERS_MAX + 1);
	REFUSES(h->error_level = LOG_LEVELS);
	REFUSES(h->identity.group_count = BUNDLE_GROUPS_MAX + 1);
	REFUSES(h->listeners.at = 0);
	REFUSES(h->listeners.at += 1);
	REFUSES(h->listeners.count = UINT64_MAX / 2);
	REFUSES(h->texts.count = UINT64_MAX);
	REFUSES(h->path.at = UINT64_MAX);
	REFUSES(h->path.n = UINT64_MAX);
	REFUSES(h->path.n--);
	REFUSES(l[0].binding = BINDING_NONE);
	REFUSES(l[0].transport = ENDPOINT_UNIX);
	REFUSES(l[2].transport = ENDPOINT_TCP);
	REFUSES(l[0].addr.n++);
	REFUSES(l[0].addr.any.sa_family = AF_PACKET);
	REFUSES(memset(l[2].addr.local.sun_path, 'x', sizeof(l[2].addr.local.sun_path)));
	REFUSES(l[0].backlog = -1);
	REFUSES(l[0].mode = 010000);
	REFUSES(memset(k[0].key.name, 'x', SHARED_NAME));
	REFUSES(k[0].key.size = 0);
	REFUSES(k[0].peer = 4);
	REFUSES(s[0].kind = 2);
	REFUSES(s[1].first_name = 3);
	REFUSES(s[1].name_count = UINT64_MAX);
	REFUSES(s[0].text.n = UINT64_MAX - 1);
	bundle_close(&b);
}

/* A path with a NUL inside would be another path to a system call. */
static void
nul_in_a_path_is_refused(void **state)
{
	struct bundle b;

	snapshot.pid_path = SLICE("/run/x\0.pid");
	assert_false(bundle_open(&b, write_one()));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(manifest_comes_back, make_contents, free_contents),
		cmocka_unit_test_setup_teardown(sources_come_back, make_contents, free_contents),
		cmocka_unit_test_setup_teardown(sealed, make_contents, free_contents),
		cmocka_unit_test_setup_teardown(cut_is_refused, make_contents, free_contents),
		cmocka_unit_test_setup_teardown(cut_with_true_size_is_refused, make_contents, free_contents),
		cmocka_unit_test_setup_teardown(flipped_bytes_stay_inside, make_contents, free_contents),
		cmocka_unit_test_setup_teardown(lies_are_refused, make_contents, free_contents),
		cmocka_unit_test_setup_teardown(nul_in_a_path_is_refused, make_contents, free_contents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
