#!/usr/bin/env bash
# A Redis server of its own for tests.
#   redis.sh start DIR PORT   starts it and prints its URL
#   redis.sh stop DIR         stops it (data stays)
# It listens on 127.0.0.1 and appends every write to a file in DIR, so that a server that was killed and started again
# on the same DIR has its data.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

start() { # DIR PORT
  local dir=${1:?DIR is missing} port=${2:?PORT is missing}
  command -v redis-server >/dev/null || absent "redis-server is not installed; see scripts/install.sh"
  if port_answers "$port"; then die "port $port is taken"; fi
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  redis-server --bind 127.0.0.1 --port "$port" --dir "$dir" --appendonly yes --save '' \
    --daemonize no </dev/null >>"$dir/redis.log" 2>&1 &
  echo $! >"$dir/redis.pid"
  for _ in $(seq 200); do
    if [ "$(ping_redis "$port")" = +PONG ]; then
      follow_owner "$dir" "$dir/redis.pid"
      echo "redis://127.0.0.1:$port/0"
      return
    fi
    running "$(cat "$dir/redis.pid")" || break
    sleep 0.05
  done
  tail -5 "$dir/redis.log" >&2
  die "redis-server did not answer on port $port"
}

# ping_redis PORT prints what the server answers to PING: +PONG, or an error while it loads its data.
ping_redis() {
  local line=
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 0
  printf 'PING\r\n' >&3
  read -r -t 1 line <&3 || true
  exec 3>&-
  echo "${line%$'\r'}"
} 2>/dev/null

stop() { # DIR
  local pid
  [ -e "$1/redis.pid" ] || return 0
  pid=$(cat "$1/redis.pid")
  rm -f "$1/redis.pid"
  end "$pid" 10
}

command=${1:-}
shift || true
case $command in
  start) start "$@" ;;
  stop) stop "$@" ;;
  *) usage ;;
esac
