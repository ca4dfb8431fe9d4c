# Shared by kafka.sh, postgres.sh and redis.sh; sourced, never run.
# shellcheck shell=bash

die() { echo "${0##*/}: $*" >&2; exit 1; }

# usage prints the comment block at the head of the calling script.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0" >&2; exit 2; }

# running PID says whether the process exists and is not a zombie.
running() {
  local state
  state=$(ps -o stat= -p "$1" 2>/dev/null) || return 1
  [ "${state:0:1}" != Z ]
}

# port_answers PORT says whether something on loopback accepts a connection there.
port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# end PID [SECONDS] asks the process to stop and kills it after the deadline.
end() {
  local pid=$1 i
  kill "$pid" 2>/dev/null || return 0
  for ((i = 0; i < ${2:-20} * 10; i++)); do
    running "$pid" || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
}

# follow_owner PIDFILE DIR: when TAPEWATCH_OWNER_PID is set, a watcher ends the service soon after that process is
# gone, however it went, so that a test binary that was killed or panicked leaves no broker or database behind. With
# TAPEWATCH_OWNER_REMOVES=1 the watcher then removes DIR too. The pid file is read at the end: a restart changes it.
follow_owner() {
  local owner=${TAPEWATCH_OWNER_PID:-} file=$1 dir=$2
  [ -n "$owner" ] || return 0
  (
    while running "$owner" && [ -e "$file" ]; do sleep 0.5; done
    if [ -e "$file" ]; then end "$(head -1 "$file")" 5; fi
    if [ "${TAPEWATCH_OWNER_REMOVES:-}" = 1 ] && ! running "$owner"; then rm -rf "$dir"; fi
  ) </dev/null >/dev/null 2>&1 &
}
