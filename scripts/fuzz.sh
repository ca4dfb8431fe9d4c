#!/usr/bin/env bash
# Runs every fuzz target of the module in turn.
#   fuzz.sh [TIME=30s]
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s} count=0
while IFS= read -r dir; do
  while IFS= read -r target; do
    echo "--- fuzz $dir $target for $time"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "./$dir"
    count=$((count + 1))
  done < <(go test -list '^Fuzz' "./$dir" | grep '^Fuzz')
done < <(git ls-files --cached --others --exclude-standard '*_test.go' | xargs -r grep -lE '^func Fuzz' | xargs -r -n1 dirname | sort -u)
echo "$count fuzz targets ran clean"
