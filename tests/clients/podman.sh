#!/usr/bin/env bash
# podman against a real server: push, pull, search and run.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/harness.sh"

PODMAN=(podman --root "$SCRATCH/storage" --runroot "$SCRATCH/runroot" --storage-driver vfs)
export REGISTRY_AUTH_FILE=$SCRATCH/auth.json
echo '{}' >"$REGISTRY_AUTH_FILE"

image_id() { "${PODMAN[@]}" image inspect -f '{{.Id}}' "$1"; }

build_and_push() {
    mkdir -p "$SCRATCH/build"
    hello_program "$SCRATCH/build/hello"
    printf 'FROM scratch\nCOPY hello /hello\nENTRYPOINT ["/hello"]\n' >"$SCRATCH/build/Containerfile"
    "${PODMAN[@]}" build --isolation chroot -q -t "$R/pod/hello:v1" "$SCRATCH/build"
    image_id "$R/pod/hello:v1" >"$SCRATCH/hello.id"
    "${PODMAN[@]}" push -q --tls-verify=false --digestfile "$SCRATCH/pushed" "$R/pod/hello:v1"
    equal "$(cat "$SCRATCH/pushed")" "$(digest_of pod/hello v1)"
}

pull_by_tag() {
    "${PODMAN[@]}" rmi -f "$R/pod/hello:v1"
    "${PODMAN[@]}" pull -q --tls-verify=false "$R/pod/hello:v1"
    equal "$(cat "$SCRATCH/hello.id")" "$(image_id "$R/pod/hello:v1")"
}

pull_by_digest() {
    local reference
    reference=$R/pod/hello@$(cat "$SCRATCH/pushed")
    "${PODMAN[@]}" rmi -f "$R/pod/hello:v1"
    "${PODMAN[@]}" pull -q --tls-verify=false "$reference"
    equal "$(cat "$SCRATCH/hello.id")" "$(image_id "$reference")"
    "${PODMAN[@]}" rmi -f "$reference"
}

# runc, because crun refuses mixed cgroup hierarchies; modest limits, because
# the defaults ask for more than a confined root may have.
run_pulls_and_runs() {
    local output
    output=$("${PODMAN[@]}" --runtime "$(command -v runc)" run --rm --tls-verify=false --network none \
        --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$R/pod/hello:v1")
    grep -q 'hello from image' <<<"$output"
}

formats_round_trip() {
    local format
    for format in oci v2s2; do
        "${PODMAN[@]}" push -q --tls-verify=false --format "$format" \
            --digestfile "$SCRATCH/pushed" "$R/pod/hello:v1" "$R/pod/hello:$format"
        equal "$(cat "$SCRATCH/pushed")" "$(digest_of pod/hello "$format")"
    done
    [ "$(digest_of pod/hello oci)" != "$(digest_of pod/hello v2s2)" ]
}

search_finds_repositories() {
    "${PODMAN[@]}" search --tls-verify=false --format '{{.Name}}' "$R/" | tee "$SCRATCH/search.log"
    grep -qx "$R/pod/hello" "$SCRATCH/search.log"
}

search_lists_tags() {
    local tags
    tags=$("${PODMAN[@]}" search --tls-verify=false --list-tags "$R/pod/hello" | awk 'NR > 1 { print $2 }')
    equal 'oci v1 v2s2' "$(sort <<<"$tags" | xargs)"
}

survives_a_restart() {
    "${PODMAN[@]}" rmi -f "$R/pod/hello:v1"
    "${PODMAN[@]}" pull -q --tls-verify=false "$R/pod/hello:v1"
    equal "$(cat "$SCRATCH/hello.id")" "$(image_id "$R/pod/hello:v1")"
}

start_server
check 'build FROM scratch and push' build_and_push
check 'pull by tag gives the same image' pull_by_tag
check 'pull by digest gives the same image' pull_by_digest
check 'run pulls the image and prints its line' run_pulls_and_runs
check 'both manifest formats are stored as sent' formats_round_trip
check 'search finds the repository' search_finds_repositories
check 'search lists the tags' search_lists_tags
check 'a missing tag is said to be unknown' fails_with 'manifest unknown' \
    "${PODMAN[@]}" pull --tls-verify=false "$R/pod/hello:none"
kill_server
start_server
check 'after kill -9 and restart the image pulls' survives_a_restart
finish
