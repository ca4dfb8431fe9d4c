#!/usr/bin/env bash
# The steps of `make ci`, each timed. The race run and the studies are together every test of `make test`, each of them once, with
# the same real services; the documented examples are among them (TestDocs…, TestReference…, Example…). A failed step does not
# hide the ones after it, and what failed is told once more at the end.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
failed=() timings=()
log=$(mktemp) told=$(mktemp)
trap 'rm -f "$log" "$told"' EXIT

step() { # NAME COMMAND...
  local name=$1 began=$SECONDS status=0
  shift
  echo "=== $name"
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  timings+=("$(printf '%5d s  %s' $((SECONDS - began)) "$name")")
  if [ "$status" != 0 ]; then
    failed+=("$name")
    echo "=== $name FAILED ($status)"
    { echo "=== $name"; grep -aE -A6 '^ *--- FAIL|^panic:|DATA RACE|^FAIL[[:space:]]' "$log" | cut -c1-300 | tail -100 || tail -20 "$log"; } >>"$told"
  fi
}

step "tidy" make --no-print-directory tidy-check
step "format" make --no-print-directory fmt-check
step "generated files" make --no-print-directory generate-check
step "lint" make --no-print-directory lint
step "prometheus files" make --no-print-directory prometheus-check
step "compose" make --no-print-directory compose-test
step "tests with -race" make --no-print-directory race
step "studies" make --no-print-directory studies
step "fuzz smoke" make --no-print-directory fuzz T=3s
step "bench smoke" make --no-print-directory bench-smoke

printf '\nTime per step:\n'
printf '  %s\n' "${timings[@]}"
if [ ${#failed[@]} != 0 ]; then
  cat "$told"
  printf 'FAILED: %s\n' "$(IFS=,; echo "${failed[*]}")"
  exit 1
fi
echo "all steps passed"
