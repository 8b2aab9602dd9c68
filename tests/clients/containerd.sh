#!/usr/bin/env bash
# containerd and ctr against a real server: import, push, pull, all platforms.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/harness.sh"

DAEMON=$SCRATCH/containerd
DAEMON_PID=
CTR=(ctr -a "$DAEMON/containerd.sock" -n windlass)

start_daemon() {
    mkdir -p "$DAEMON"
    cat >"$DAEMON/config.toml" <<TOML
version = 2
root = "$DAEMON/root"
state = "$DAEMON/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$DAEMON/containerd.sock"
[ttrpc]
  address = "$DAEMON/containerd.sock.ttrpc"
TOML
    containerd --config "$DAEMON/config.toml" >"$DAEMON/log" 2>&1 &
    DAEMON_PID=$!
    until_true 60 "${CTR[@]}" version || {
        tail -n 5 "$DAEMON/log" >&2
        die 'containerd did not start within 60 s'
    }
}

end_client() { [ -z "$DAEMON_PID" ] || end_process "$DAEMON_PID" 30; }

# import NAME LAYOUT — takes an OCI layout in as an image of that name.
import() {
    tar -C "$2" -cf "$SCRATCH/layout.tar" .
    "${CTR[@]}" images import --no-unpack --all-platforms --index-name "$1" "$SCRATCH/layout.tar"
}

# The digest containerd holds under a name.
held_digest() { "${CTR[@]}" images list "name==$1" | awk 'NR == 2 { print $3 }'; }

push_single() {
    import "$R/ctr/imported:v1" "$SCRATCH/single"
    "${CTR[@]}" images tag "$R/ctr/imported:v1" "$R/ctr/single:v1"
    "${CTR[@]}" images push --plain-http "$R/ctr/single:v1"
    equal "$(held_digest "$R/ctr/single:v1")" "$(digest_of ctr/single v1)"
}

pull_single() {
    local digest
    digest=$(digest_of ctr/single v1)
    forget
    "${CTR[@]}" images pull --plain-http --local --snapshotter native "$R/ctr/single:v1" ||
        "${CTR[@]}" images pull --plain-http --snapshotter native "$R/ctr/single:v1"
    equal "$digest" "$(held_digest "$R/ctr/single:v1")"
    "${CTR[@]}" images check "name==$R/ctr/single:v1" | grep -q 'complete'
}

push_all_platforms() {
    import "$R/ctr/multi:v1" "$SCRATCH/multi"
    "${CTR[@]}" images push --plain-http "$R/ctr/multi:v1"
    equal "$(held_digest "$R/ctr/multi:v1")" "$(digest_of ctr/multi v1)"
}

fetch_all_platforms() {
    local digest blob
    digest=$(digest_of ctr/multi v1)
    forget
    "${CTR[@]}" content fetch --plain-http --all-platforms "$R/ctr/multi:v1"
    for blob in "$SCRATCH"/multi/blobs/sha256/*; do
        "${CTR[@]}" content get "sha256:$(basename "$blob")" | cmp "$blob" -
    done
    equal "$digest" "$(held_digest "$R/ctr/multi:v1")"
}

# Drops every image and, with them, the content.
forget() {
    "${CTR[@]}" images list -q | xargs -r "${CTR[@]}" images remove --sync
    equal '' "$("${CTR[@]}" content list -q)"
}

start_server
start_daemon
python3 "$ROOT/tests/clients/layout.py" "$SCRATCH/single" v1 amd64 >/dev/null
python3 "$ROOT/tests/clients/layout.py" "$SCRATCH/multi" v1 amd64 arm64 >/dev/null
check 'import and push one image' push_single
check 'pull it back complete' pull_single
check 'push an index of two platforms' push_all_platforms
check 'fetch all platforms, byte for byte' fetch_all_platforms
check 'a missing tag is not found' fails_with 'not found' \
    "${CTR[@]}" images pull --plain-http "$R/ctr/single:none"
finish
