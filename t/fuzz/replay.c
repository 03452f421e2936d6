/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A fuzz target without a fuzzer: gives it every file of its corpus, whole,
 * and a small one cut off behind each of its bytes. What crashes or is reported by a
 * sanitizer fails `make check`, with any compiler.
 *
 *   replay_NAME [FILE…]      without files: those of $srcdir/t/fuzz/corpus/NAME
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

enum { CUT_MAX = 2048, INPUT_MAX = 16 * 1024 * 1024 };

int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

/* In memory of exactly that size, so that a sanitizer sees a read behind the end. */
static void
give(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + (size == 0));

	if (copy == NULL)
		abort();
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static bool
replay(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(INPUT_MAX);
	bool fine = f != NULL && data != NULL;

	if (fine) {
		size_t size = fread(data, 1, INPUT_MAX, f);

		fine = ferror(f) == 0;
		give(data, size);
		for (size_t cut = 0; cut < size && size <= CUT_MAX; cut++)
			give(data, cut);
	}
	if (!fine)
		perror(path);
	if (f != NULL)
		fclose(f);
	free(data);
	return fine;
}

static int
replay_directory(const char *path)
{
	DIR *directory = opendir(path);
	int count = 0;

	if (directory == NULL)
		return -1;
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		char file[4096];

		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(file, sizeof(file), "%s/%s", path, entry->d_name) >= (int)sizeof(file) || !replay(file)) {
			count = -1;
			break;
		}
		count++;
	}
	closedir(directory);
	return count;
}

int
main(int argc, char **argv)
{
	const char *name = strstr(argv[0], "replay_");
	const char *srcdir = getenv("srcdir");
	char path[4096];
	int count = 0;

	if (LLVMFuzzerInitialize != NULL)
		LLVMFuzzerInitialize(&argc, &argv);
	if (argc > 1) {
		for (int i = 1; i < argc; i++)
			if (!replay(argv[i]))
				return 1;
		return 0;
	}
	snprintf(path, sizeof(path), "%s/t/fuzz/corpus/%s", srcdir != NULL ? srcdir : ".",
	    name != NULL ? name + strlen("replay_") : "");
	count = replay_directory(path);
	if (count <= 0) {
		fprintf(stderr, "%s: no corpus\n", path);
		return 1;
	}
	printf("%s: %d files\n", path, count);
	return 0;
}
