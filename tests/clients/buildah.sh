#!/usr/bin/env bash
# buildah against a real server: images built from files, pushed in both
# manifest formats, with zstd layers, and as a manifest list.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/harness.sh"

BUILDAH=(buildah --root "$SCRATCH/storage" --runroot "$SCRATCH/runroot" --storage-driver vfs)
export REGISTRY_AUTH_FILE=$SCRATCH/auth.json
echo '{}' >"$REGISTRY_AUTH_FILE"

media_type() { manifest "$1" "$2" | jq -r .mediaType; }

# push SOURCE TARGET [OPTION…] — pushes and compares digests at both ends.
push() {
    local source=$1 repository=${2%:*} tag=${2##*:}
    shift 2
    "${BUILDAH[@]}" push -q --tls-verify=false --digestfile "$SCRATCH/pushed" "$@" \
        "$source" "docker://$R/$repository:$tag"
    equal "$(cat "$SCRATCH/pushed")" "$(digest_of "$repository" "$tag")"
}

build_and_push_oci() {
    mkdir -p "$SCRATCH/build"
    head -c 2500000 /dev/urandom >"$SCRATCH/build/noise"
    printf 'FROM scratch\nCOPY noise /noise\n' >"$SCRATCH/build/Containerfile"
    "${BUILDAH[@]}" bud -q --isolation chroot -t "$R/bah/image:v1" "$SCRATCH/build"
    push "$R/bah/image:v1" bah/image:v1
    equal application/vnd.oci.image.manifest.v1+json "$(media_type bah/image v1)"
}

push_docker_format() {
    push "$R/bah/image:v1" bah/image:v2s2 --format v2s2
    equal application/vnd.docker.distribution.manifest.v2+json "$(media_type bah/image v2s2)"
}

# `from` by name, when the registry is the only place that has the image.
pull_and_extend() {
    local container mounted
    "${BUILDAH[@]}" rmi -f "$R/bah/image:v1"
    container=$("${BUILDAH[@]}" from -q --tls-verify=false "$R/bah/image:v1")
    mounted=$("${BUILDAH[@]}" mount "$container")
    cmp "$SCRATCH/build/noise" "$mounted/noise"
    "${BUILDAH[@]}" umount "$container"
    "${BUILDAH[@]}" copy -q "$container" "$SCRATCH/build/Containerfile" /second
    "${BUILDAH[@]}" commit -q --format oci "$container" "$R/bah/image:v2"
    "${BUILDAH[@]}" rm "$container"
    push "$R/bah/image:v2" bah/image:v2
}

# Fresh content: of a layer that was ever pushed, buildah takes the gzip copy.
push_zstd() {
    head -c 2500000 /dev/urandom >"$SCRATCH/build/noise"
    printf 'FROM scratch\nCOPY noise /noise\n' >"$SCRATCH/build/Containerfile"
    "${BUILDAH[@]}" bud -q --isolation chroot -t "$R/bah/zstd:v1" "$SCRATCH/build"
    push "$R/bah/zstd:v1" bah/zstd:v1 --compression-format zstd --format oci
    manifest bah/zstd v1 | jq -e '.layers | all(.mediaType | endswith("tar+zstd"))'
}

build_for() {
    printf 'FROM scratch\nLABEL for=%s\nCOPY noise /noise\n' "$1" >"$SCRATCH/build/Containerfile"
    "${BUILDAH[@]}" bud -q --isolation chroot --os linux --arch "$1" -t "$R/bah/part:$1" "$SCRATCH/build"
    push "$R/bah/part:$1" "bah/part:$1"
}

push_manifest_list() {
    local architecture
    "${BUILDAH[@]}" manifest create both
    for architecture in amd64 arm64; do
        build_for "$architecture"
        "${BUILDAH[@]}" manifest add --os linux --arch "$architecture" --tls-verify=false \
            both "docker://$R/bah/part:$architecture"
    done
    "${BUILDAH[@]}" manifest push -q --all --tls-verify=false --digestfile "$SCRATCH/pushed" \
        both "docker://$R/bah/both:v1"
    equal "$(cat "$SCRATCH/pushed")" "$(digest_of bah/both v1)"
    equal 'amd64 arm64' "$(manifest bah/both v1 | jq -r '.manifests[].platform.architecture' | sort | xargs)"
}

pull_one_of_the_list() {
    "${BUILDAH[@]}" rmi -a -f >/dev/null
    "${BUILDAH[@]}" pull -q --tls-verify=false --arch arm64 "$R/bah/both:v1"
    equal arm64 "$("${BUILDAH[@]}" inspect --type image "$R/bah/both:v1" | jq -r .OCIv1.architecture)"
}

start_server
check 'build and push in the OCI format' build_and_push_oci
check 'push in the Docker format' push_docker_format
check 'pull, compare, add a layer, push' pull_and_extend
check 'push zstd layers' push_zstd
check 'push a manifest list of two architectures' push_manifest_list
check 'pull one architecture of the list' pull_one_of_the_list
finish
