#!/usr/bin/env bash
# A PostgreSQL server of its own for tests, from the binaries of the system.
#   postgres.sh start DIR PORT   makes a cluster in DIR when there is none, starts it, prints a DSN
#   postgres.sh stop DIR         stops it at once (data stays)
# It listens on 127.0.0.1 and on a socket in DIR, trusts every local user, and runs with fsync off: a crash of the
# machine may lose data, a crash of the server may not. Never keep anything in it. PostgreSQL refuses to run as root,
# so root's servers run as `postgres`, or `nobody` where there is no such user; DIR must be reachable for that user.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

# bin_dir prints the folder of initdb and postgres: the newest version installed, or the one in PATH.
bin_dir() {
  local found
  found=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -1) || true
  [ -n "$found" ] || found=$(command -v initdb) || absent "PostgreSQL is not installed; see scripts/install.sh"
  dirname "$found"
}

# as_server runs a command as the user that owns the cluster.
as_server() {
  if [ "$(id -u)" != 0 ]; then "$@"; return; fi
  setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" --clear-groups env HOME=/tmp "$@"
}

start() { # DIR PORT
  local dir=${1:?DIR is missing} port=${2:?PORT is missing} bin
  bin=$(bin_dir) || exit
  if port_answers "$port"; then die "port $port is taken"; fi
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  if [ "$(id -u)" = 0 ]; then
    chown "$server_user" "$dir"
    as_server test -w "$dir" || die "user $server_user cannot reach $dir: a folder above it is closed to others"
  fi
  cd "$dir"
  if [ ! -e "$dir/data/PG_VERSION" ]; then
    as_server "$bin/initdb" -N -A trust -U tapewatch -E UTF8 --locale=C -D "$dir/data" >"$dir/initdb.log" 2>&1 ||
      { tail -5 "$dir/initdb.log" >&2; die "initdb failed"; }
  fi
  as_server "$bin/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w -t 60 -s start -o "-p $port \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories='$dir' -c max_connections=200 \
    -c fsync=off -c full_page_writes=off -c shared_buffers=64MB" </dev/null >/dev/null 2>"$dir/start.log" ||
    { tail -5 "$dir/start.log" "$dir/server.log" >&2; die "the server did not start"; }
  follow_owner "$dir" "$dir/data/postmaster.pid"
  echo "postgres://tapewatch@127.0.0.1:$port/postgres?sslmode=disable"
}

stop() { # DIR
  local bin
  bin=$(bin_dir) || exit
  [ -e "$1/data/postmaster.pid" ] || return 0
  cd "$1"
  as_server "$bin/pg_ctl" -D "$PWD/data" -m immediate -w -s stop
}

server_user=postgres
id "$server_user" >/dev/null 2>&1 || server_user=nobody
command=${1:-}
shift || true
case $command in
  start) start "$@" ;;
  stop) stop "$@" ;;
  *) usage ;;
esac
