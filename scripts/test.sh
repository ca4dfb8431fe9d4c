#!/usr/bin/env bash
# go test with the given arguments, after saying which real services the integration tests will find, and a list of the
# tests that were skipped, with their reasons, at the end. Used by `make test`, `make race` and `make studies`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
libs=${KAFKA_LIBS:-${XDG_CACHE_HOME:-$HOME/.cache}/tapewatch/kafka-libs}

# tell NAME FOUND MISSING
tell() { if [ -n "$2" ]; then echo "  $1: yes, $2"; else echo "  $1: NO, its tests are skipped: $3"; fi; }
path_of() { command -v "$1" 2>/dev/null || true; }
kafka=$(path_of java)
kafka_missing="no java; \`make deps\` installs it"
if [ -n "$kafka" ] && [ ! -e "$libs/.complete" ] && ! fetched=$(scripts/kafka.sh fetch 2>&1); then
  kafka=''
  kafka_missing=$(tail -1 <<<"$fetched")
fi
postgres=$(compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -V | tail -1)
data=${TAPEWATCH_DATA:-../shared/data}
echo "Real services for the integration tests:"
tell Kafka "$kafka" "$kafka_missing"
tell PostgreSQL "${postgres:-$(path_of postgres)}" "no postgres binary; \`make deps\` installs it"
tell Redis "$(path_of redis-server)" "no redis-server; \`make deps\` installs it"
tell kcat "$(path_of kcat)" "no kcat; \`make deps\` installs it"
tell Chromium "$(path_of chromium)" "no chromium; \`make deps\` installs it"
tell "recorded data" "$([ -d "$data" ] && echo "$data")" "no folder $data; set TAPEWATCH_DATA"

# The lines come as they are made; -v alone says why a test was skipped, so the full log goes to a file.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
go test -v "$@" 2>&1 | tee "$log" | grep -a --line-buffered -Ev '^(=== (RUN|PAUSE|CONT|NAME)|--- PASS|    +--- PASS|PASS$)' |
  grep -a --line-buffered -E '^(ok|FAIL|---|panic|\?|coverage:|-test.shuffle)|--- (FAIL|SKIP)|SKIPPED|_test.go:[0-9]+:.*|^#|DATA RACE|WARNING' |
  grep -a --line-buffered -v 'no test files'
status=("${PIPESTATUS[@]}")
if [ "${status[0]}" != 0 ]; then
  echo "--- the output of failed tests, once more in full (last 300 lines around failures)"
  grep -anE -B60 -A5 '^\s*--- FAIL|^panic:|DATA RACE|^FAIL' "$log" | tail -300
fi
skipped=$(grep -acE '^\s*--- SKIP' "$log")
echo "Tests: $(grep -acE '^\s*--- PASS' "$log") passed, $(grep -acE '^\s*--- FAIL' "$log") failed, $skipped skipped"
exit "${status[0]}"
