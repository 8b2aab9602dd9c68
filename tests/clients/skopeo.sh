#!/usr/bin/env bash
# skopeo against a real server: inspect, list, copy in every direction, sync
# both ways, delete.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/harness.sh"

export REGISTRY_AUTH_FILE=$SCRATCH/auth.json
echo '{}' >"$REGISTRY_AUTH_FILE"

inspect() { skopeo inspect --tls-verify=false "$@"; }
copy() { skopeo copy -q --src-tls-verify=false --dest-tls-verify=false "$@"; }
sync() { skopeo sync --src-tls-verify=false --dest-tls-verify=false "$@"; }
top_of() { jq -r '.manifests[0].digest' "$1/index.json"; }

copy_in() {
    copy "oci:$SCRATCH/single:v1" "docker://$R/sko/single:v1"
    equal "$(top_of "$SCRATCH/single")" "$(digest_of sko/single v1)"
}

copy_in_all() {
    copy --all "oci:$SCRATCH/multi:v1" "docker://$R/sko/multi:v1"
    equal "$(top_of "$SCRATCH/multi")" "$(digest_of sko/multi v1)"
}

inspect_agrees() {
    inspect "docker://$R/sko/single:v1" >"$SCRATCH/inspected"
    equal "$(top_of "$SCRATCH/single")" "$(jq -r .Digest "$SCRATCH/inspected")"
    equal '["v1"]' "$(jq -c .RepoTags "$SCRATCH/inspected")"
    inspect --config "docker://$R/sko/single:v1" | jq -e '.architecture == "amd64"'
    equal "$(top_of "$SCRATCH/multi")" \
        "sha256:$(inspect --raw "docker://$R/sko/multi:v1" | sha256sum | cut -d' ' -f1)"
}

lists_tags_in_order() {
    local tag
    for tag in b a10 a9; do
        copy "docker://$R/sko/single:v1" "docker://$R/sko/single:$tag"
    done
    equal '["a10","a9","b","v1"]' \
        "$(skopeo list-tags --tls-verify=false "docker://$R/sko/single" | jq -c .Tags)"
}

copy_within() {
    copy --all "docker://$R/sko/multi:v1" "docker://$R/sko/second:v1"
    equal "$(digest_of sko/multi v1)" "$(digest_of sko/second v1)"
}

copy_out_oci() {
    copy --all "docker://$R/sko/multi:v1" "oci:$SCRATCH/out:v1"
    equal "$(top_of "$SCRATCH/multi")" "$(top_of "$SCRATCH/out")"
    diff -r "$SCRATCH/multi/blobs" "$SCRATCH/out/blobs"
}

copy_by_folder() {
    copy "docker://$R/sko/single:v1" "dir:$SCRATCH/folder"
    copy "dir:$SCRATCH/folder" "docker://$R/sko/folder:v1"
    equal "$(digest_of sko/single v1)" "$(digest_of sko/folder v1)"
}

copy_converts() {
    copy --format v2s2 "docker://$R/sko/single:v1" "docker://$R/sko/v2s2:v1"
    manifest sko/v2s2 v1 | jq -e '.mediaType == "application/vnd.docker.distribution.manifest.v2+json"'
    copy --dest-compress --dest-compress-format zstd "docker://$R/sko/single:v1" "docker://$R/sko/zstd:v1"
    inspect "docker://$R/sko/zstd:v1"
}

sync_out_and_in() {
    mkdir "$SCRATCH/synced"
    sync --all --src docker --dest dir "$R/sko/multi" "$SCRATCH/synced"
    sync --all --src dir --dest docker "$SCRATCH/synced" "$R/mirror"
    equal "$(digest_of sko/multi v1)" "$(digest_of mirror/multi v1)"
}

sync_across() {
    sync --all --src docker --dest docker "$R/sko/single" "$R/across"
    equal 'a10 a9 b v1' \
        "$(skopeo list-tags --tls-verify=false "docker://$R/across/single" | jq -r '.Tags | join(" ")')"
    equal "$(digest_of sko/single a9)" "$(digest_of across/single a9)"
}

delete_then_unknown() {
    skopeo delete --tls-verify=false "docker://$R/sko/folder:v1"
    fails_with 'manifest unknown' skopeo inspect --tls-verify=false "docker://$R/sko/folder:v1"
    # The same bytes live on in the repository next to it.
    inspect "docker://$R/sko/single:v1"
}

start_server
python3 "$ROOT/tests/clients/layout.py" "$SCRATCH/single" v1 amd64 >/dev/null
python3 "$ROOT/tests/clients/layout.py" "$SCRATCH/multi" v1 amd64 arm64 s390x >/dev/null
check 'copy an OCI layout in' copy_in
check 'copy a layout of three architectures in' copy_in_all
check 'inspect shows digest, tags, config and raw bytes' inspect_agrees
check 'list-tags is complete and in order' lists_tags_in_order
check 'copy from repository to repository' copy_within
check 'copy out to an OCI layout, byte for byte' copy_out_oci
check 'copy out to a folder and in again' copy_by_folder
check 'copy converts format and compression' copy_converts
check 'sync out to a folder and in elsewhere' sync_out_and_in
check 'sync from repository to repository' sync_across
check 'delete, then the manifest is unknown' delete_then_unknown
finish
