#!/usr/bin/env bash
# docker, skopeo and podman push and pull without a break while the nodes of a
# cluster are restarted one after another: no command of theirs fails. They talk to a
# proxy that takes the next node when one is not there, as any load balancer does.
#
# RESTARTS    restarts in all (default 12)
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/harness.sh"

NODES=3
RESTARTS=${RESTARTS:-12}
# A node that is ended has ended, is back, and has caught up within so many seconds.
SETTLED_SECONDS=60
# Each client gets through at least so many rounds.
ROUNDS_MIN=3
LISTEN=() ADMIN=() PEER=() PIDS=()
PROXY_PID=
ENGINE_PID=
LOOPS=()

DOCKER=$(command -v /usr/bin/docker || command -v docker)
ENGINE=$SCRATCH/engine
export DOCKER_HOST=unix://$ENGINE/docker.sock DOCKER_CONFIG=$SCRATCH/docker-config
PODMAN=(podman --root "$SCRATCH/storage" --runroot "$SCRATCH/runroot" --storage-driver vfs)
export REGISTRY_AUTH_FILE=$SCRATCH/auth.json
echo '{}' >"$REGISTRY_AUTH_FILE"

# node NUMBER COMMAND… — runs the program with a node's addresses and folder.
node() {
    local number=$1
    shift
    "$BINARY" "$@" --listen "127.0.0.1:${LISTEN[number]}" --data-dir "$SCRATCH/node$number" \
        --admin-listen "127.0.0.1:${ADMIN[number]}" --cluster-listen "127.0.0.1:${PEER[number]}"
}

is_ready() { curl -fsS -m 2 "http://127.0.0.1:${ADMIN[$1]}/readyz"; }

start_node() {
    "$BINARY" serve --listen "127.0.0.1:${LISTEN[$1]}" --data-dir "$SCRATCH/node$1" \
        --admin-listen "127.0.0.1:${ADMIN[$1]}" --cluster-listen "127.0.0.1:${PEER[$1]}" \
        >>"$SCRATCH/node$1.log" 2>&1 &
    PIDS[$1]=$!
    until_true "$SETTLED_SECONDS" is_ready "$1"
}

# Whether so many nodes vote and nobody lacks anything that matters.
is_settled() {
    curl -fsS -m 5 "http://127.0.0.1:${ADMIN[0]}/cluster" | jq -e --argjson nodes "$NODES" '
        .is_confirmed and (.is_changing | not) and (.nodes | length) == $nodes
        and ([.nodes[] | select(.role != "learner" and .report != null and .lag != null
             and .lag < 64 and .report.blobs_missing == 0)] | length) == $nodes'
}

start_cluster() {
    local number
    for ((number = 0; number < NODES; number++)); do
        LISTEN[number]=$(free_port) ADMIN[number]=$(free_port) PEER[number]=$(free_port)
    done
    node 0 init
    start_node 0
    for ((number = 1; number < NODES; number++)); do
        (umask 077 && "$BINARY" cluster add --admin-listen "127.0.0.1:${ADMIN[0]}" >"$SCRATCH/token")
        node "$number" join "127.0.0.1:${PEER[0]}" --token-file "$SCRATCH/token"
        start_node "$number"
    done
    until_true "$SETTLED_SECONDS" is_settled
    python3 "$ROOT/tests/clients/proxy.py" "$PORT" "${LISTEN[@]}" >"$SCRATCH/proxy.log" 2>&1 &
    PROXY_PID=$!
    until_true 10 curl -fsS -m 2 "$URL/v2/"
}

start_engine() {
    local driver=overlay2
    [ "$(stat -f -c %T "$SCRATCH")" != overlayfs ] || driver=vfs
    mkdir -p "$ENGINE"
    dockerd --data-root "$ENGINE/data" --exec-root "$ENGINE/exec" --pidfile "$ENGINE/pid" \
        -H "$DOCKER_HOST" --bridge=none --iptables=false --ip6tables=false \
        --storage-driver "$driver" --insecure-registry 127.0.0.0/8 >"$ENGINE/log" 2>&1 &
    ENGINE_PID=$!
    until_true 60 "$DOCKER" version
}

end_client() {
    local pid
    for pid in "${LOOPS[@]}" $PROXY_PID "${PIDS[@]}"; do end_process "$pid" 20; done
    [ -z "$ENGINE_PID" ] || end_process "$ENGINE_PID" 30
}

# A tar stream of one file that nobody has seen before.
noise() {
    mkdir -p "$SCRATCH/$1-tree"
    head -c 3000001 /dev/urandom >"$SCRATCH/$1-tree/noise"
    tar -C "$SCRATCH/$1-tree" -c .
}

docker_round() {
    local image=$R/roll/docker:v$1 id
    noise docker | "$DOCKER" import - "$image"
    id=$("$DOCKER" image inspect -f '{{.Id}}' "$image")
    "$DOCKER" push -q "$image"
    "$DOCKER" rmi -f "$image"
    "$DOCKER" pull -q "$image"
    equal "$id" "$("$DOCKER" image inspect -f '{{.Id}}' "$image")"
    "$DOCKER" rmi -f "$image"
}

podman_round() {
    local image=$R/roll/podman:v$1 id
    noise podman | "${PODMAN[@]}" import -q - "$image"
    id=$("${PODMAN[@]}" image inspect -f '{{.Id}}' "$image")
    "${PODMAN[@]}" push -q --tls-verify=false "$image"
    "${PODMAN[@]}" rmi -f "$image"
    "${PODMAN[@]}" pull -q --tls-verify=false "$image"
    equal "$id" "$("${PODMAN[@]}" image inspect -f '{{.Id}}' "$image")"
    "${PODMAN[@]}" rmi -f "$image"
}

skopeo_round() {
    local folder=$SCRATCH/skopeo
    rm -rf "$folder"
    python3 "$ROOT/tests/clients/layout.py" "$folder/in" "v$1" amd64 "arm$1" >/dev/null
    skopeo copy -q --all --dest-tls-verify=false "oci:$folder/in:v$1" "docker://$R/roll/skopeo:v$1"
    skopeo copy -q --all --src-tls-verify=false "docker://$R/roll/skopeo:v$1" "oci:$folder/out:v$1"
    diff -r "$folder/in/blobs" "$folder/out/blobs"
    skopeo inspect --tls-verify=false "docker://$R/roll/skopeo:v$1" >/dev/null
}

# go_on CLIENT — rounds of a client until told to stop; each failure is written down.
go_on() {
    local round=0 code
    set +e
    until [ -e "$SCRATCH/stop" ]; do
        round=$((round + 1))
        (
            set -ex
            "$1_round" "$round"
        ) >"$SCRATCH/$1.round" 2>&1
        code=$?
        [ "$code" -eq 0 ] || {
            printf 'round %s at %s:\n' "$round" "$(date +%T.%N)"
            tail -n 12 "$SCRATCH/$1.round"
        } >>"$SCRATCH/$1.failures"
        echo "$round" >"$SCRATCH/$1.rounds"
    done
}

restart_node() {
    local number=$1 code=0
    kill -TERM "${PIDS[number]}"
    until_true "$SETTLED_SECONDS" is_gone "${PIDS[number]}"
    wait "${PIDS[number]}" || code=$?
    equal 0 "$code"
    start_node "$number"
    until_true "$SETTLED_SECONDS" is_settled
}

all_work() {
    local name
    for name in docker podman skopeo; do
        [ -e "$SCRATCH/$name.rounds" ] || return 1
    done
}

no_failure() {
    [ ! -e "$SCRATCH/$1.failures" ] || {
        head -n 60 "$SCRATCH/$1.failures"
        return 1
    }
    [ "$(cat "$SCRATCH/$1.rounds")" -ge "$ROUNDS_MIN" ]
}

start_cluster
start_engine
for name in docker podman skopeo; do
    go_on "$name" &
    LOOPS+=($!)
done
until_true 60 all_work || die 'the clients do not get on'
for ((restart = 0; restart < RESTARTS; restart++)); do
    begin=$SECONDS code=0
    restart_node $((restart % NODES)) >"$SCRATCH/check.log" 2>&1 || code=$?
    record "$code" "$CLIENT: node $((restart % NODES)) goes and comes back" $((SECONDS - begin))
    [ "$code" -eq 0 ] || tail -n 5 "$SCRATCH/check.log"
done
touch "$SCRATCH/stop"
for pid in "${LOOPS[@]}"; do wait "$pid" || true; done
for name in docker podman skopeo; do
    note "$name: $(cat "$SCRATCH/$name.rounds") rounds"
    check "$name sees nothing of $RESTARTS restarts" no_failure "$name"
done
printf '%s: %s passed, %s failed\n' "$CLIENT" "$PASSED" "$FAILED"
[ "$FAILED" -eq 0 ]
