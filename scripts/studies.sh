#!/usr/bin/env bash
# The studies: the tests that call testservices.Study, which the race run leaves out, and no others. Arguments go to go test.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t files < <(git ls-files --cached --others --exclude-standard '*_test.go' | xargs -r grep -l 'testservices\.Study(t)')
names=$(awk '/^func /{name = ""} match($0, /^func Test[A-Za-z0-9_]*/){name = substr($0, 6, RLENGTH - 5)}
  /testservices\.Study\(t\)/{if (name == "") {print FILENAME ": testservices.Study stands outside of a test, where it is not found" >"/dev/stderr"; exit 1}; print name}' "${files[@]}")
mapfile -t packages < <(printf './%s\n' "${files[@]}" | xargs -r -n1 dirname | sort -u)
exec scripts/test.sh -run "^($(sort -u <<<"$names" | paste -sd '|'))\$" "$@" "${packages[@]}"
