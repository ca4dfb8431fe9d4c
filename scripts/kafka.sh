#!/usr/bin/env bash
# Apache Kafka in KRaft mode on loopback, from Maven jars: one node or three.
#   kafka.sh fetch                                   fetches the jars (start does so too)
#   kafka.sh start DIR [NODES=1] [BASE_PORT=19092]   prints the bootstrap servers
#   kafka.sh kill DIR NODE [SIGNAL=KILL]             signals one node
#   kafka.sh restart DIR NODE                        starts a node again on its data
#   kafka.sh stop DIR                                ends all nodes (data stays)
#   kafka.sh tool CLASS ARGS...                      e.g. org.apache.kafka.tools.TopicCommand --list ...
# Node i listens on BASE+i-1 for clients and on BASE+100+i-1 as controller. start and restart return when the node
# serves metadata in which it (start: every node) is a live broker; an open port alone is not yet that.
# Exit code 3: Java, Maven or the jars are not to be had here. KAFKA_LIBS is where the jars are kept, KAFKA_HEAP
# the heap of a node (768m), KAFKA_PROPS more lines for its config.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
libs=${KAFKA_LIBS:-${XDG_CACHE_HOME:-$HOME/.cache}/tapewatch/kafka-libs}

# fetch copies the jars once; callers that come at the same time wait for the first.
fetch() {
  [ -e "$libs/.complete" ] && cmp -s "$here/kafka/pom.xml" "$libs/.complete" && return
  command -v java >/dev/null || absent "java is not installed; see scripts/install.sh"
  command -v mvn >/dev/null || absent "mvn is not installed and the Kafka jars are not in $libs; see scripts/install.sh"
  mkdir -p "$libs"
  (
    flock 9
    cmp -s "$here/kafka/pom.xml" "$libs/.complete" && exit
    echo "fetching the Kafka jars into $libs" >&2
    rm -f "$libs"/*.jar "$libs/.complete"
    mvn -q -B -f "$here/kafka/pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs" >&2 ||
      absent "the Kafka jars could not be fetched by Maven"
    cp "$here/kafka/pom.xml" "$libs/.complete"
  ) 9>"$libs/.lock" || exit
}

jvm() { # HEAP CLASS ARGS...
  local heap=$1
  shift
  exec java -Xms"$heap" -Xmx"$heap" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -Xshare:auto \
    -Dlog4j2.configurationFile="file:$here/kafka/log4j2.properties" -cp "$libs/*" "$@"
}

# live_brokers PORT prints the ids of the brokers that the node's metadata lists. The request is Metadata v1 for no
# topics, written out, because no client may be installed. Each broker in the answer is 21 bytes long: id, "127.0.0.1",
# port, no rack.
live_brokers() {
  local bytes size at
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf '\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\0' >&3
  read -r -a bytes <<<"$(take 4)"
  size=$((${bytes[2]:-0} * 256 + ${bytes[3]:-0}))
  read -r -a bytes <<<"$(take "$size")"
  exec 3>&-
  [ "${#bytes[@]}" -ge 8 ] || return 1
  for ((at = 8; at < 8 + 21 * bytes[7]; at += 21)); do echo "${bytes[at + 3]}"; done
}

# take N prints the next N bytes of descriptor 3 as decimal numbers on one line.
take() { timeout 2 dd bs=1 count="$1" <&3 2>/dev/null | od -An -v -tu1 -w512; }

# serving PORT ID... says whether the node at PORT lists every ID as a live broker.
serving() {
  local listed id
  listed=$(live_brokers "$1" 2>/dev/null) || return 1
  shift
  for id in "$@"; do grep -qx "$id" <<<"$listed" || return 1; done
}

port_of() { sed -n 's/^listeners=PLAINTEXT:\/\/127.0.0.1:\([0-9]*\),.*/\1/p' "$1/b$2.properties"; }

launch() { # DIR NODE: in the background, with a pid file
  (
    jvm "${KAFKA_HEAP:-768m}" kafka.Kafka "$1/b$2.properties" </dev/null >>"$1/b$2.log" 2>&1 &
    echo $! >"$1/b$2.pid"
  )
}

await() { # DIR NODE ID...: until the node lists every ID
  local dir=$1 node=$2 port
  shift 2
  port=$(port_of "$dir" "$node")
  for _ in $(seq 900); do
    serving "$port" "$@" && return
    running "$(cat "$dir/b$node.pid")" || { tail -20 "$dir/b$node.log" >&2; die "node $node ended while starting"; }
    sleep 0.1
  done
  tail -20 "$dir/b$node.log" >&2
  die "node $node did not serve on port $port within 90 s"
}

# cluster_id prints 16 random bytes in URL-safe base64, never with a leading dash: tools would take it for a flag.
cluster_id() { head -c 16 /dev/urandom | base64 | tr '+/' '-_' | sed 's/^-/A/' | cut -c1-22; }

configure() { # DIR NODES BASE NODE
  local dir=$1 nodes=$2 base=$3 node=$4 voters='' minisr=1 i
  if [ "$nodes" -ge 3 ]; then minisr=2; fi
  for ((i = 1; i <= nodes; i++)); do voters+="${voters:+,}$i@127.0.0.1:$((base + 99 + i))"; done
  cat >"$dir/b$node.properties" <<P
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$((base + node - 1)),CONTROLLER://127.0.0.1:$((base + 99 + node))
advertised.listeners=PLAINTEXT://127.0.0.1:$((base + node - 1))
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data$node
default.replication.factor=$nodes
min.insync.replicas=$minisr
offsets.topic.replication.factor=$nodes
offsets.topic.num.partitions=6
transaction.state.log.replication.factor=$nodes
transaction.state.log.min.isr=$minisr
transaction.state.log.num.partitions=6
share.coordinator.state.topic.replication.factor=$nodes
share.coordinator.state.topic.min.isr=$minisr
share.coordinator.state.topic.num.partitions=1
auto.create.topics.enable=false
unclean.leader.election.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
add.partitions.to.txn.retry.backoff.ms=1
group.coordinator.append.linger.ms=1
num.network.threads=2
num.io.threads=4
${KAFKA_PROPS:-}
P
}

start() { # DIR [NODES] [BASE_PORT]
  local dir=${1:?DIR is missing} nodes=${2:-1} base=${3:-19092} i ids=() servers=''
  fetch
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  for ((i = 1; i <= nodes; i++)); do
    ids+=("$i")
    servers+="${servers:+,}127.0.0.1:$((base + i - 1))"
    if port_answers $((base + i - 1)) || port_answers $((base + 99 + i)); then die "port $((base + i - 1)) or $((base + 99 + i)) is taken"; fi
  done
  [ -s "$dir/cluster.id" ] || cluster_id >"$dir/cluster.id"
  # From here a failed start leaves no node behind.
  starting=$dir
  trap '[ $? = 0 ] || stop "$starting"' EXIT
  for i in "${ids[@]}"; do
    configure "$dir" "$nodes" "$base" "$i"
    [ -e "$dir/data$i/meta.properties" ] ||
      (jvm 64m kafka.tools.StorageTool format -t "$(cat "$dir/cluster.id")" -c "$dir/b$i.properties") >"$dir/format$i.log" 2>&1 ||
      { cat "$dir/format$i.log" >&2; die "formatting the storage of node $i failed"; }
    launch "$dir" "$i"
  done
  follow_owner "$dir" "$dir"/b*.pid
  for i in "${ids[@]}"; do await "$dir" "$i" "${ids[@]}"; done
  echo "$servers"
}

restart() { # DIR NODE
  local dir
  fetch
  dir=$(cd "$1" && pwd)
  for _ in $(seq 50); do running "$(cat "$dir/b$2.pid")" || break; sleep 0.1; done # a kill takes a moment to show
  if running "$(cat "$dir/b$2.pid")"; then die "node $2 is still running"; fi
  launch "$dir" "$2"
  await "$dir" "$2" "$2"
}

stop() { # DIR
  local f pids=()
  for f in "$1"/b*.pid; do
    [ -e "$f" ] || continue
    pids+=("$(cat "$f")")
    rm -f "$f"
  done
  for f in "${pids[@]}"; do kill "$f" 2>/dev/null || true; done
  for f in "${pids[@]}"; do end "$f"; done
}

command=${1:-}
shift || true
case $command in
  fetch) fetch ;;
  start) start "$@" ;;
  kill) kill -s "${3:-KILL}" "$(cat "$1/b$2.pid")" ;;
  restart) restart "$@" ;;
  stop) stop "$@" ;;
  tool) fetch; jvm 256m "$@" ;;
  *) usage ;;
esac
