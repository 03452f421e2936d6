#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Who may include whom, held by a machine:
#   1 base  2 config  3 io  4 core  5 protocols | handlers (never each other)  6 server
# A file includes its own floor and those below. Each foreign library stands behind one file. Objects of
# protocols and handlers keep nothing between calls, so they have no writable data. No source is forgotten in Makefile.am.
set -eu
here=${srcdir:-$(dirname "$0")/..}
objects=${BUILD:-$here}
nm=${NM:-nm}
wrong=$(mktemp)
trap 'rm -f "$wrong"' EXIT

bad() {
	printf '%s\n' "$*" >>"$wrong"
}

# The number of a file's floor, by its first folder.
floor() {
	case $1 in
	base/*) echo 1 ;;
	config/*) echo 2 ;;
	io/*) echo 3 ;;
	core/*) echo 4 ;;
	protocols/* | handlers/*) echo 5 ;;
	server/*) echo 6 ;;
	module.h) echo 5 ;;
	main.c) echo 6 ;;
	*) echo 0 ;;
	esac
}

cd "$here/src"
for file in $(find . -name '*.[ch]' | sed 's|^\./||' | LC_ALL=C sort); do
	mine=$(floor "$file")
	[ "$mine" -gt 0 ] || bad "src/$file: stands on no floor"
	for included in $(sed -n 's|^[ 	]*#[ 	]*include[ 	]*"\([^"]*\)".*|\1|p' "$file"); do
		theirs=$(floor "$included")
		[ -e "$included" ] || bad "src/$file: includes \"$included\", which is no src/FLOOR/FILE.h"
		[ "$theirs" -le "$mine" ] || bad "src/$file (floor $mine) includes $included (floor $theirs)"
		case $file:$included in
		protocols/*:handlers/* | handlers/*:protocols/*)
			bad "src/$file includes $included: protocols and handlers do not know each other" ;;
		handlers/*:handlers/handlers.h | protocols/*:protocols/protocols.h | protocols/frame/*:protocols/frame/* | protocols/http/*:protocols/http/* | protocols/resp/*:protocols/resp/*) ;;
		handlers/*.c:handlers/* | protocols/*.c:protocols/*)
			[ "${included%.h}" = "${file%.c}" ] || bad "src/$file includes $included: none knows a sibling" ;;
		esac
	done
done
# only WHO HEADER… : a library's headers in one file
only() {
	who=$1
	shift
	for header; do
		for file in $(grep -rlE "^[ 	]*#[ 	]*include[ 	]*<$header" . | sed 's|^\./||'); do
			[ "$file" = "$who" ] || bad "src/$file includes <$header…>: that is for src/$who alone"
		done
	done
}
only io/loop.c 'event2/' 'event\.h' 'evutil\.h'
only core/match.c 'pcre2'
only io/tls.c 'openssl/'
only io/resolve.c 'ares'
cd - >/dev/null

for file in $(cd "$here" && find src -name '*.[ch]' ! -name module.h; cd "$here" && ls t/unit/test_*.c t/flow/test_*.py t/fuzz/fuzz_*.c 2>/dev/null); do
	case $file in
	t/unit/*) listed=${file%.c} ;;
	*) listed=$file ;;
	esac
	grep -qwF -- "$listed" "$here/Makefile.am" || bad "$file: not in Makefile.am"
done

# b and B: .bss; d and D: .data; C: common. What the relocator alone writes (.data.rel.ro) nm shows as d too, so ask for the section.
# Sanitizers and coverage add data of their own: names with __ are theirs.
found=0
for object in $(find "$objects/src/protocols" "$objects/src/handlers" -name '*.o' 2>/dev/null); do
	found=$((found + 1))
	"$nm" -f sysv --defined-only "$object" 2>/dev/null | awk -F'|' -v object="${object#"$objects"/}" '
		{ gsub(/ /, "", $1); gsub(/ /, "", $4); gsub(/ /, "", $7) }
		$1 ~ /^(__|\.L|_?asan|\.)/ || $4 !~ /OBJECT/ { next }
		$7 ~ /^\.(data|bss|tdata|tbss)/ && $7 !~ /^\.data\.rel\.ro/ || $7 ~ /COM/ {
			printf "%s: %s is writable static data (%s)\n", object, $1, $7
		}' >>"$wrong"
done

if [ -s "$wrong" ]; then
	cat "$wrong"
	exit 1
fi
echo "floors: fine; $found objects without writable data"
