#!/usr/bin/env bash
# Runs every fuzz target of the module in turn; a failed one does not stop the ones after it.
#   fuzz.sh [TIME=30s]
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s} count=0 failed=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz DIR TARGET. A loaded machine makes the go command report its own time limit as a failure, without an input
# (golang/go issue 75804); only that is tried again, up to three times.
fuzz() {
  local attempt
  for attempt in 1 2 3; do
    # Shrinking one interesting input takes up to a minute by default, all of a short run.
    go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 5s "./$1" 2>&1 | tee "$log" && return
    grep -q '^    context deadline exceeded$' "$log" || return 1
    if grep -q 'Failing input written' "$log"; then return 1; fi
    echo "attempt $attempt ended at the go command's own time limit, no input failed"
  done
  return 1
}

while IFS= read -r dir; do
  while IFS= read -r target; do
    echo "--- fuzz $dir $target for $time"
    fuzz "$dir" "$target" || failed+=("$dir $target")
    count=$((count + 1))
  done < <(go test -list '^Fuzz' "./$dir" | grep '^Fuzz')
done < <(git ls-files --cached --others --exclude-standard '*_test.go' | xargs -r grep -lE '^func Fuzz' | xargs -r -n1 dirname | sort -u)
if [ ${#failed[@]} != 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "$count fuzz targets ran clean"
