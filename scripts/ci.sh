#!/usr/bin/env bash
# The steps of `make ci`, each timed. The race run is the one run of the tests: it is every test of `make test` too, with
# the same real services, so running them twice would only cost time. A failed step does not hide the ones after it.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
failed=() timings=()

step() { # NAME COMMAND...
  local name=$1 began=$SECONDS status=0
  shift
  echo "=== $name"
  "$@" || status=$?
  timings+=("$(printf '%5d s  %s' $((SECONDS - began)) "$name")")
  if [ "$status" != 0 ]; then failed+=("$name"); echo "=== $name FAILED ($status)"; fi
}

step "tidy" make --no-print-directory tidy-check
step "format" make --no-print-directory fmt-check
step "generated files" make --no-print-directory generate-check
step "lint" make --no-print-directory lint
step "prometheus files" make --no-print-directory prometheus-check
step "compose" make --no-print-directory compose-test
step "tests with -race" make --no-print-directory race
step "documented examples" make --no-print-directory docs
step "fuzz smoke" make --no-print-directory fuzz T=3s
step "bench smoke" make --no-print-directory bench-smoke

printf '\nTime per step:\n'
printf '  %s\n' "${timings[@]}"
if [ ${#failed[@]} != 0 ]; then
  printf 'FAILED: %s\n' "$(IFS=,; echo "${failed[*]}")"
  exit 1
fi
echo "all steps passed"
