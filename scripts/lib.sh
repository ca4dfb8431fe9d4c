# Shared by kafka.sh, postgres.sh and redis.sh; sourced, never run.
# shellcheck shell=bash

die() { echo "${0##*/}: $*" >&2; exit 1; }

# absent ends with 3, which tells a caller that the service cannot be had here, as opposed to having failed.
absent() { echo "${0##*/}: $*" >&2; exit 3; }

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

# follow_owner DIR PIDFILE...: when TAPEWATCH_OWNER_PID is set, a watcher ends the services soon after that process is
# gone, however it went, so that a test binary that was killed or panicked leaves no broker or database behind. It then
# removes DIR when TAPEWATCH_OWNER_REMOVES=1. It reads the pid files at the end, because a restart changes them, and goes
# when they have gone: that is how stop says that there is nothing left to watch.
follow_owner() {
  local owner=${TAPEWATCH_OWNER_PID:-} dir=$1 file watched
  [ -n "$owner" ] || return 0
  shift
  (
    trap '' INT HUP
    watched=1
    while [ -n "$watched" ] && running "$owner"; do
      sleep 0.5
      watched=
      for file in "$@"; do if [ -e "$file" ]; then watched=1; fi; done
    done
    for file in "$@"; do
      if [ -e "$file" ]; then end "$(head -1 "$file")" 5; fi
    done
    if [ "${TAPEWATCH_OWNER_REMOVES:-}" = 1 ] && ! running "$owner"; then rm -rf "$dir"; fi
  ) </dev/null >/dev/null 2>&1 &
}
