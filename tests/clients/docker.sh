#!/usr/bin/env bash
# The docker engine and command line against a real server: images made without
# the network, pushed, removed, pulled, run, mounted across repositories.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/harness.sh"

# Debian's own command line first: it drives the engine's BuildKit by itself.
DOCKER=$(command -v /usr/bin/docker || command -v docker)
ENGINE=$SCRATCH/engine
ENGINE_PID=
export DOCKER_HOST=unix://$ENGINE/docker.sock DOCKER_CONFIG=$SCRATCH/docker-config
# The classic builder; BuildKit is asked for where it is meant.
export DOCKER_BUILDKIT=0

start_engine() {
    local driver=overlay2
    [ "$(stat -f -c %T "$SCRATCH")" != overlayfs ] || driver=vfs
    mkdir -p "$ENGINE"
    dockerd --data-root "$ENGINE/data" --exec-root "$ENGINE/exec" --pidfile "$ENGINE/pid" \
        -H "$DOCKER_HOST" --bridge=none --iptables=false --ip6tables=false \
        --storage-driver "$driver" --insecure-registry 127.0.0.0/8 >"$ENGINE/log" 2>&1 &
    ENGINE_PID=$!
    until_true 60 "$DOCKER" version || {
        tail -n 5 "$ENGINE/log" >&2
        die 'dockerd did not start within 60 s'
    }
}

end_client() { [ -z "$ENGINE_PID" ] || end_process "$ENGINE_PID" 30; }

image_id() { "$DOCKER" image inspect -f '{{.Id}}' "$1"; }
pushed_digest() { "$DOCKER" image inspect -f '{{index .RepoDigests 0}}' "$1" | cut -d@ -f2; }

import_and_push() {
    mkdir -p "$SCRATCH/tree/etc"
    date >"$SCRATCH/tree/etc/built"
    head -c 3000001 /dev/urandom >"$SCRATCH/tree/noise"
    tar -C "$SCRATCH/tree" -c . | "$DOCKER" import - "$R/library/imported:v1"
    "$DOCKER" push -q "$R/library/imported:v1"
    equal "$(pushed_digest "$R/library/imported:v1")" "$(digest_of library/imported v1)"
}

build_and_push() {
    mkdir -p "$SCRATCH/build"
    hello_program "$SCRATCH/build/hello"
    printf 'FROM scratch\nCOPY hello /hello\nENTRYPOINT ["/hello"]\n' >"$SCRATCH/build/Dockerfile"
    "$DOCKER" build -q -t "$R/end/hello:v1" "$SCRATCH/build"
    image_id "$R/end/hello:v1" >"$SCRATCH/hello.id"
    "$DOCKER" push -q "$R/end/hello:v1"
    equal "$(pushed_digest "$R/end/hello:v1")" "$(digest_of end/hello v1)"
}

pull_by_tag() {
    "$DOCKER" rmi -f "$R/end/hello:v1"
    "$DOCKER" pull -q "$R/end/hello:v1"
    equal "$(cat "$SCRATCH/hello.id")" "$(image_id "$R/end/hello:v1")"
}

pull_by_digest() {
    local reference
    reference=$R/end/hello@$(digest_of end/hello v1)
    "$DOCKER" rmi -f "$R/end/hello:v1"
    "$DOCKER" pull -q "$reference"
    equal "$(cat "$SCRATCH/hello.id")" "$(image_id "$reference")"
    "$DOCKER" rmi -f "$reference"
}

run_pulls_and_runs() {
    equal 'hello from image' "$("$DOCKER" run --rm --network none "$R/end/hello:v1" 2>"$SCRATCH/run.log")"
    grep -q 'Pulling from end/hello' "$SCRATCH/run.log"
}

mount_across_repositories() {
    "$DOCKER" tag "$R/end/hello:v1" "$R/other/copy:v1"
    # Not -q: the word "Mounted" stands in the progress lines.
    "$DOCKER" push "$R/other/copy:v1" | tee "$SCRATCH/mount.log"
    grep -q 'Mounted from end/hello' "$SCRATCH/mount.log"
    equal "$(digest_of end/hello v1)" "$(digest_of other/copy v1)"
}

push_again_sends_nothing() {
    "$DOCKER" push "$R/end/hello:v1" | tee "$SCRATCH/again.log"
    grep -q 'Layer already exists' "$SCRATCH/again.log"
}

buildkit_push() {
    printf 'FROM scratch\nCOPY hello /hello\nLABEL by=buildkit\nENTRYPOINT ["/hello"]\n' >"$SCRATCH/build/Dockerfile"
    DOCKER_BUILDKIT=1 "$DOCKER" build -q -t "$R/end/kit:v1" "$SCRATCH/build"
    "$DOCKER" push -q "$R/end/kit:v1"
    "$DOCKER" rmi -f "$R/end/kit:v1"
    equal 'hello from image' "$("$DOCKER" run --rm --network none "$R/end/kit:v1" 2>/dev/null)"
}

# Six images on one base, built as imports of growing folders would not share
# layers; so each is a build on top of the base.
parallel_pushes_share_layers() {
    local pids=() index pid
    mkdir -p "$SCRATCH/shared"
    head -c 20000000 /dev/urandom >"$SCRATCH/shared/base"
    printf 'FROM scratch\nCOPY base /base\n' >"$SCRATCH/shared/Dockerfile"
    "$DOCKER" build -q -t base:v1 "$SCRATCH/shared"
    for index in 1 2 3 4 5 6; do
        mkdir "$SCRATCH/shared/$index"
        head -c 2000000 /dev/urandom >"$SCRATCH/shared/$index/own"
        printf 'FROM base:v1\nCOPY own /own\n' >"$SCRATCH/shared/$index/Dockerfile"
        "$DOCKER" build -q -t "$R/shared/image$index:v1" "$SCRATCH/shared/$index"
        image_id "$R/shared/image$index:v1" >"$SCRATCH/shared/$index.id"
    done
    for index in 1 2 3 4 5 6; do
        "$DOCKER" push -q "$R/shared/image$index:v1" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    for index in 1 2 3 4 5 6; do "$DOCKER" rmi -f "$R/shared/image$index:v1"; done
    "$DOCKER" rmi -f base:v1
    pids=()
    for index in 1 2 3 4 5 6; do
        "$DOCKER" pull -q "$R/shared/image$index:v1" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    for index in 1 2 3 4 5 6; do
        equal "$(cat "$SCRATCH/shared/$index.id")" "$(image_id "$R/shared/image$index:v1")"
    done
}

survives_a_restart() {
    "$DOCKER" rmi -f "$R/library/imported:v1"
    "$DOCKER" pull -q "$R/library/imported:v1"
    equal "$(pushed_digest "$R/library/imported:v1")" "$(digest_of library/imported v1)"
}

start_server
start_engine
check 'import an image and push it' import_and_push
check 'build FROM scratch and push' build_and_push
check 'pull by tag gives the same image' pull_by_tag
check 'pull by digest gives the same image' pull_by_digest
check 'run pulls the image and prints its line' run_pulls_and_runs
check 'a push to another repository mounts the layer' mount_across_repositories
check 'a second push finds every layer there' push_again_sends_nothing
check 'build with BuildKit, push, run' buildkit_push
check 'manifest inspect reads the manifest' "$DOCKER" manifest inspect --insecure "$R/end/hello:v1"
check 'six parallel pushes share a base layer' parallel_pushes_share_layers
check 'a missing tag is said to be unknown' fails_with 'manifest unknown' "$DOCKER" pull "$R/end/hello:none"
check 'a missing repository is said to be unknown' fails_with 'unknown' "$DOCKER" pull "$R/no/such:v1"
kill_server
start_server
check 'after kill -9 and restart everything pulls' survives_a_restart
finish
