#!/usr/bin/env bash
# Installs what `make test` and `make ci` use beyond Go, where it is missing.
#   install.sh [--no-browser]
# From Debian: a JDK and Maven (Kafka), PostgreSQL, Redis, kcat, promtool, Chromium. From Maven Central: the Kafka jars.
# Every step says what it found, installed or could not install, and why. Ends with 1 when something that the tests
# need is still missing, so that a caller may stop; the tests themselves skip, and say so, what they cannot start.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
missing=() updated=
log=$(mktemp)
trap 'rm -f "$log"' EXIT

have() { command -v "$1" >/dev/null 2>&1; }
# shellcheck disable=SC2317 # called through need
have_postgres() { have postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }

# apt_install PACKAGE...: quietly; the package lists are refreshed once, before the first install.
apt_install() {
  [ "$(id -u)" = 0 ] || { echo "needs root: apt-get install $*" >"$log"; return 1; }
  have apt-get || { echo "no apt-get on this system" >"$log"; return 1; }
  if [ -z "$updated" ]; then apt-get update -qq >"$log" 2>&1 && updated=1; fi
  # RUNLEVEL=1: no package starts a service of its own; the tests start their own on free ports.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1
}

# need NAME CHECK WHY PACKAGE...
need() {
  local name=$1 check=$2 why=$3
  shift 3
  if $check; then
    echo "found      $name"
  elif apt_install "$@" && $check; then
    echo "installed  $name"
  else
    echo "MISSING    $name ($why): $(grep -v '^$' "$log" | tail -1)"
    missing+=("$name")
  fi
}

need "Java" "have java" "Apache Kafka" openjdk-17-jre-headless
need "Maven" "have mvn" "the Kafka jars" maven
need "PostgreSQL" "have_postgres" "postgres sink tests" postgresql postgresql-client
need "Redis" "have redis-server" "redis sink tests" redis-server
need "kcat" "have kcat" "foreign-client tests" kcat
need "promtool" "have promtool" "checks of the Prometheus files" prometheus
if [ "${1:-}" != --no-browser ]; then
  need "Chromium" "have chromium" "tests of pages and of the WebSocket in a real browser" chromium
fi

if out=$("$here/kafka.sh" fetch 2>&1); then
  echo "found      Kafka jars"
else
  echo "MISSING    Kafka jars: $(tail -1 <<<"$out")"
  missing+=("Kafka jars")
fi

[ ${#missing[@]} = 0 ] && exit 0
printf 'Not installed: %s\n' "$(IFS=,; echo "${missing[*]}")"
exit 1
