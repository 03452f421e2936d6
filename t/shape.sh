#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# How long functions and files are. Fails on a function over 100 lines (unless a comment in front of or in it says
# `shape: parser` or `shape: table`) and on a file over 1,200; says what median and ninth decile are.
set -eu
here=${srcdir:-$(dirname "$0")/..}
cd "$here"
lengths=$(mktemp)
trap 'rm -f "$lengths"' EXIT

status=0
find src modules -name '*.[ch]' 2>/dev/null | LC_ALL=C sort | xargs awk -v lengths="$lengths" '
	# A function ends at a brace in column 1; it began at the last one opened there. Tables and structs begin on a line that holds more.
	FNR == 1 { start = 0; marked = 0; name = "" }
	FNR > 1200 && !(FILENAME in long) { long[FILENAME] = 1; print FILENAME ": more than 1200 lines"; failed = 1 }
	/shape: (parser|table)/ { marked = FNR }
	/^[a-z_][a-z_0-9]*\(/ { name = $0; sub(/\(.*/, "", name); named = FNR }
	/^\{/ { start = FNR }
	/^\}/ && start {
		n = FNR - start - 1
		if (n > 100 && !(marked && marked >= start - 6)) {
			printf "%s:%d: %s has %d lines\n", FILENAME, start, name, n
			failed = 1
		}
		if (marked < start - 6 || !marked)
			print n > lengths
		start = 0
	}
	END { close(lengths); exit failed }' || status=1
LC_ALL=C sort -n "$lengths" | awk '
	{ n[NR] = $1; if ($1 > 40) over++ }
	END { if (NR) printf "shape: %d functions, median %d lines, nine in ten <= %d, longest %d, %.1f %% over 40\n",
		NR, n[int((NR + 1) / 2)], n[int((NR * 9 + 9) / 10)], n[NR], 100 * over / NR }'
exit $status
