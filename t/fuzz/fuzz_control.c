/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests of the control socket: what is read is the same however it is cut, what is whole can be written
 * again, and filters of any words are taken or refused with a sentence.
 */
#include "server/control_report.h"
#include "server/control_request.h"
#include "fuzz.h"

static void
try_whole(const struct control_request *r, struct slice in)
{
	char room[CONTROL_REQUEST_MAX + 1], said[512];
	struct builder b = builder_on(room, sizeof(room)), fault = builder_on(said, sizeof(said));
	struct control_filter f;
	struct slice worker;
	uint64_t number;

	MUST(r->count >= 1 && r->count <= CONTROL_WORDS_MAX);
	MUST(control_request_write(&b, r->words, r->count));
	MUST(slice_equal(builder_slice(&b), in));
	if (control_filter_read(&f, r->words + 1, r->count - 1, &fault))
		MUST(fault.n == 0 && f.limit >= 1 && f.limit <= CONTROL_ROWS_MAX);
	else
		MUST(fault.n != 0);
	if (control_id_read(r->words[0], &worker, &number))
		MUST(number != 0 && worker.n != 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_make((const char *)data, n);
	struct control_request r;
	const char *fault;
	enum control_reading whole = control_request_read(&r, in, &fault);
	struct report report;

	MUST((whole == CONTROL_BAD) == (fault != NULL));
	if (whole == CONTROL_WHOLE)
		try_whole(&r, in);
	for (size_t i = 0; i < n && i <= CONTROL_REQUEST_MAX; i++)
		/* Nothing but the last byte makes it whole. */
		if (control_request_read(&r, slice_first(in, i), &fault) == CONTROL_WHOLE)
			MUST(whole == CONTROL_BAD);
	report_init(&report, 4096);
	report_take_rows(&report, in);
	report_end(&report);
	MUST(report.n <= 4096 && slice_ends(slice_make(report.at, report.n), SLICE(".\n")));
	report_free(&report);
	return 0;
}
