/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server/handover: what one master writes the next one reads, and what is cut or crooked is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/handover.h"

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };

struct given {
	struct handover_about about;
	struct binding_table bindings;
	struct shared shared;
};

static struct given ours;
static struct shared_key key = { .kind = SHARED_LIMIT, .size = 64, .name = "few" };

static int
any_fd(void)
{
	return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
}

static struct bound
group(uint16_t number, const char *address, size_t count)
{
	struct bound b = { .number = number, .backlog = 7, .fd_count = count,
		.fds = calloc(count, sizeof(int)), .text = strdup(address) };

	assert_true(addr_parse(slice_of(address), &b.addr));
	b.transport = addr_is_unix(&b.addr) ? ENDPOINT_UNIX : ENDPOINT_TCP;
	for (size_t i = 0; i < count; i++)
		b.fds[i] = any_fd();
	return b;
}

static int
open_ours(void **state)
{
	struct bound tcp = group(3, "127.0.0.1:80", 4), local = group(9, "unix:/nowhere/a.sock", 1);
	uint64_t offset;

	ours = (struct given){ .about = { .link = any_fd(), .stderr_fd = any_fd(), .background = 1,
		.workers_shown = 4, .workers_others = 2, .pid_path = "/run/a.pid" } };
	local.common = true;
	local.device = 5;
	local.inode = 6;
	local.mode = 0660;
	binding_init(&ours.bindings, 4);
	binding_inherit(&ours.bindings, &tcp);
	binding_inherit(&ours.bindings, &local);
	ours.bindings.next = 10;
	return shared_open(&ours.shared, 4096) && shared_take(&ours.shared, &key, &offset) ? 0 : -1;
}

static void
close_given(struct given *g)
{
	binding_close(&g->bindings, false);
	shared_close(&g->shared);
}

static int
close_ours(void **state)
{
	close_given(&ours);
	close(ours.about.link);
	close(ours.about.stderr_fd);
	return 0;
}

/* A table of these bytes, whose number stands in the environment. */
static void
offer(const void *at, size_t n, int seals)
{
	int fd = memfd_create("table", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char number[16];

	assert_int_equal(write(fd, at, n), n);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	snprintf(number, sizeof(number), "%d", fd);
	setenv("MILLRACE_HANDOVER", number, 1);
}

static size_t
written(char *room, size_t size)
{
	int fd = handover_write(&ours.about, &ours.bindings, &ours.shared);

	assert_true(fd >= 0);
	ssize_t n = pread(fd, room, size, 0);
	assert_in_range(n, 1, size - 1);
	close(fd);
	return (size_t)n;
}

static enum handover_taking
take(struct given *g)
{
	const char *why = NULL;
	enum handover_taking taking;

	memset(g, 0, sizeof(*g));
	binding_init(&g->bindings, 0);
	g->shared.fd = -1;
	taking = handover_take(&g->about, &g->bindings, &g->shared, &why);
	assert_null(getenv("MILLRACE_HANDOVER"));
	assert_int_equal(taking == HANDOVER_BAD, why != NULL);
	return taking;
}

static void
nobody_is_followed(void **state)
{
	struct given theirs;

	assert_int_equal(take(&theirs), HANDOVER_NONE);
}

static void
all_of_it_arrives(void **state)
{
	static char room[16384];
	struct given theirs;
	uint64_t before, after;

	offer(room, written(room, sizeof(room)), SEALS);
	assert_int_equal(take(&theirs), HANDOVER_TAKEN);
	assert_memory_equal(&theirs.about, &ours.about, sizeof(ours.about));
	assert_int_equal(theirs.bindings.count, 2);
	assert_int_equal(theirs.bindings.next, 10);
	assert_int_equal(theirs.bindings.group, 4);

	const struct bound *tcp = &theirs.bindings.all[0], *local = &theirs.bindings.all[1];

	assert_int_equal(tcp->number, 3);
	assert_true(addr_equal(&tcp->addr, &ours.bindings.all[0].addr));
	assert_int_equal(tcp->fd_count, 4);
	assert_memory_equal(tcp->fds, ours.bindings.all[0].fds, 4 * sizeof(int));
	assert_false(tcp->common);
	assert_int_equal(local->number, 9);
	assert_true(local->common);
	assert_int_equal(local->device, 5);
	assert_int_equal(local->inode, 6);
	assert_int_equal(local->mode, 0660);
	assert_string_equal(local->text, "unix:/nowhere/a.sock");
	assert_true(shared_take(&ours.shared, &key, &before));
	assert_true(shared_take(&theirs.shared, &key, &after));
	assert_int_equal(before, after);

	/* They are the same descriptors here: closed once. */
	for (size_t i = 0; i < theirs.bindings.count; i++)
		theirs.bindings.all[i].fd_count = 0;
	theirs.shared.fd = -1;
	close_given(&theirs);
}

static void
what_is_cut_is_refused(void **state)
{
	static char room[16384];
	size_t whole = written(room, sizeof(room));
	struct given theirs;

	for (size_t n = 0; n < whole; n++) {
		offer(room, n, SEALS);
		assert_int_equal(take(&theirs), HANDOVER_BAD);
	}
	offer(room, whole + 1, SEALS);
	assert_int_equal(take(&theirs), HANDOVER_BAD);
	offer(room, whole, F_SEAL_GROW);
	assert_int_equal(take(&theirs), HANDOVER_BAD);
}

/* Version, sizes, counts: no value of any of them leads out of the table. */
static void
what_is_crooked_is_refused(void **state)
{
	static char room[16384];
	size_t whole = written(room, sizeof(room));
	struct given theirs;

	for (size_t i = 0; i < 24 + 12; i++)
		for (int bit = 0; bit < 8; bit++) {
			/* Of another layout it is taken, without the memory. */
			if (i >= 12 && i < 16)
				continue;
			room[i] ^= (char)(1 << bit);
			offer(room, whole, SEALS);
			assert_int_equal(take(&theirs), HANDOVER_BAD);
			room[i] ^= (char)(1 << bit);
		}
}

static void
numbers_that_are_none_are_refused(void **state)
{
	static const char *const numbers[] = { "", "x", "-1", "0", "1", "99999", "99999999999999999999" };
	struct given theirs;

	for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
		int kept = fcntl(1, F_DUPFD_CLOEXEC, 20), input = fcntl(0, F_DUPFD_CLOEXEC, 20);

		setenv("MILLRACE_HANDOVER", numbers[i], 1);
		assert_int_equal(take(&theirs), HANDOVER_BAD);
		assert_int_equal(fcntl(1, F_GETFD), 0);
		close(kept);
		close(input);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_followed),
		cmocka_unit_test_setup_teardown(all_of_it_arrives, open_ours, close_ours),
		cmocka_unit_test_setup_teardown(what_is_cut_is_refused, open_ours, close_ours),
		cmocka_unit_test_setup_teardown(what_is_crooked_is_refused, open_ours, close_ours),
		cmocka_unit_test_setup_teardown(numbers_that_are_none_are_refused, open_ours, close_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
