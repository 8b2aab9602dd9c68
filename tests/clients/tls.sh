#!/usr/bin/env bash
# Clients under TLS against a real server: docker, podman, skopeo and curl trust
# the certificate that `windlass tls self-signed` makes, and only that; they and oras are
# whom their own certificates name; testssl.sh looks on both listeners for what should not
# be offered.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/harness.sh"

# Made by tests/install.
PYTHON=$ROOT/target/clients-venv/bin/python
DOCKER=$(command -v /usr/bin/docker || command -v docker)
ENGINE=$SCRATCH/engine
ENGINE_PID=
CERTIFICATE=$SCRATCH/tls.pem
# Docker trusts whatever is on 127.0.0.0/8: an address of the script's own, of those
# kept for documentation.
LISTEN=192.0.2.$((RANDOM % 250 + 1))
HOST=registry.test
T=$HOST:$PORT
DOCKER_CERTIFICATES=/etc/docker/certs.d/$T
export DOCKER_HOST=unix://$ENGINE/docker.sock DOCKER_CONFIG=$SCRATCH/docker-config
export REGISTRY_AUTH_FILE=$SCRATCH/auth.json
# The address is this machine's own; nobody else reaches it.
export WINDLASS_AUTH__INSECURE=true
echo '{}' >"$REGISTRY_AUTH_FILE"
# What testssl.sh says of a certificate that vouches for itself, and of the host's DNS.
ABOUT_THE_TRIAL='cert_chain_of_trust|cert_revocation|cert_trust|DNS_CAArecord|engine_problem'
# Both at a time take two minutes on a busy machine of two CPUs. When both have to be done,
# in seconds of this script, which tests/run ends after 600.
TESTSSL_END_SECONDS=420
declare -A TESTSSL_PIDS=()
PODMAN=(podman --root "$SCRATCH/podman" --runroot "$SCRATCH/podman-run" --storage-driver vfs)
CERTS=$SCRATCH/certs

curl_tls() { curl -fsS --cacert "$CERTIFICATE" --resolve "$HOST:$PORT:$LISTEN" "$@"; }

# Address and name, for as long as the script runs.
name_host() {
    ip address add "$LISTEN/32" dev lo
    printf '%s %s # %s\n' "$LISTEN" "$HOST" "$SCRATCH" >>/etc/hosts
}

start_engine() {
    mkdir -p "$ENGINE"
    dockerd --data-root "$ENGINE/data" --exec-root "$ENGINE/exec" --pidfile "$ENGINE/pid" \
        -H "$DOCKER_HOST" --bridge=none --iptables=false --ip6tables=false \
        --storage-driver vfs >"$ENGINE/log" 2>&1 &
    ENGINE_PID=$!
    until_true 60 "$DOCKER" version || {
        tail -n 5 "$ENGINE/log" >&2
        die 'dockerd did not start within 60 s'
    }
}

end_client() {
    local hosts name
    for name in "${!TESTSSL_PIDS[@]}"; do
        [ -e "$SCRATCH/testssl.$name.code" ] || end_process "${TESTSSL_PIDS[$name]}" 10
    done
    [ -z "$ENGINE_PID" ] || end_process "$ENGINE_PID" 30
    rm -rf "$DOCKER_CERTIFICATES"
    ip address del "$LISTEN/32" dev lo
    # Not by a rename: in a container the file is mounted.
    hosts=$(grep -v -- "# $SCRATCH\$" /etc/hosts) && printf '%s\n' "$hosts" >/etc/hosts
}

make_certificate() {
    "$BINARY" tls self-signed "$HOST" "$LISTEN" --out "$SCRATCH" >"$SCRATCH/printed.toml"
    grep -q "^key_file = \"$SCRATCH/tls.key\"" "$SCRATCH/printed.toml"
    # It has no section but this.
    echo 'admin = true' >>"$SCRATCH/printed.toml"
    equal 600 "$(stat -c %a "$SCRATCH/tls.key")"
    fails_with 'is there already' "$BINARY" tls self-signed "$HOST" --out "$SCRATCH"
}

curl_trusts_it() {
    equal 200 "$(curl_tls -o "$SCRATCH/out" -w '%{http_code}' "https://$T/v2/")"
    curl_tls --tlsv1.2 --tls-max 1.2 "https://$T/v2/"
    fails_with 'certificate' curl -fsS --resolve "$HOST:$PORT:$LISTEN" "https://$T/v2/"
}

plain_http_is_told() {
    equal 400 "$(curl -s -o "$SCRATCH/out" -w '%{http_code}' "http://$LISTEN:$PORT/v2/")"
    grep -q 'use https' "$SCRATCH/out"
}

docker_image() {
    mkdir -p "$SCRATCH/tree"
    head -c 30000001 /dev/urandom >"$SCRATCH/tree/noise"
    tar -C "$SCRATCH/tree" -c . | "$DOCKER" import - "$T/tls/docker:v1"
}

nobody_trusts_it_unasked() {
    fails_with 'certificate' "$DOCKER" push -q "$T/tls/docker:v1"
    fails_with 'certificate' "${PODMAN[@]}" pull -q "docker://$T/tls/docker:v1"
    fails_with 'certificate' skopeo inspect "docker://$T/tls/docker:v1"
}

docker_pushes_and_pulls() {
    local id
    mkdir -p "$DOCKER_CERTIFICATES"
    cp "$CERTIFICATE" "$DOCKER_CERTIFICATES/ca.crt"
    "$DOCKER" push -q "$T/tls/docker:v1"
    id=$("$DOCKER" image inspect -f '{{.Id}}' "$T/tls/docker:v1")
    "$DOCKER" rmi -f "$T/tls/docker:v1"
    "$DOCKER" pull -q "$T/tls/docker:v1"
    equal "$id" "$("$DOCKER" image inspect -f '{{.Id}}' "$T/tls/docker:v1")"
}

podman_pulls_and_pushes() {
    "${PODMAN[@]}" pull -q --cert-dir "$CERTS" "docker://$T/tls/docker:v1"
    "${PODMAN[@]}" push -q --cert-dir "$CERTS" "$T/tls/docker:v1" "docker://$T/tls/podman:v1"
}

skopeo_copies() {
    skopeo copy -q --src-cert-dir "$CERTS" "docker://$T/tls/podman:v1" "oci:$SCRATCH/out-image:v1"
    skopeo copy -q --dest-cert-dir "$CERTS" "oci:$SCRATCH/out-image:v1" "docker://$T/tls/skopeo:v1"
    equal '["v1"]' "$(skopeo list-tags --cert-dir "$CERTS" "docker://$T/tls/skopeo" | jq -c .Tags)"
}

renewal_without_a_restart() {
    mkdir "$SCRATCH/next"
    "$BINARY" tls self-signed "$HOST" "$LISTEN" --out "$SCRATCH/next" >/dev/null
    cp "$CERTIFICATE" "$SCRATCH/before.pem"
    mv "$SCRATCH/next/tls.key" "$SCRATCH/next/tls.pem" "$SCRATCH"
    kill -HUP "$SERVER_PID"
    until_true 10 curl_tls "https://$T/v2/"
    fails_with 'certificate' curl -fsS --cacert "$SCRATCH/before.pem" \
        --resolve "$HOST:$PORT:$LISTEN" "https://$T/v2/"
}

# An authority of clients, a certificate that it made for `robot.example`, and a server
# that lets its owner push and pull, and nobody else.
clients_are_known() {
    local curve=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
    cd "$SCRATCH"
    openssl req -x509 "${curve[@]}" -days 2 -subj /CN=clients -keyout ca.key -out clients.pem
    openssl req "${curve[@]}" -subj /CN=robot -keyout client.key -out client.csr
    printf 'subjectAltName=DNS:robot.example\nextendedKeyUsage=clientAuth\n' >client.names
    openssl x509 -req -in client.csr -CA clients.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile client.names -out client.cert
    grep -E '^(\[tls\]|certificate_file|key_file)' printed.toml >clients.toml
    cat >>clients.toml <<END
client_ca_file = "$SCRATCH/clients.pem"
client_certificates = "requested"
client_identity = ["dns"]
[auth]
mode = "users"
[[auth.rules]]
subject.username = "robot.example"
resource.repository = { or = [{ starts = "tls/" }, { starts = "public/" }] }
actions = ["pull", "push"]
[[auth.rules]]
subject.anonymous = true
resource.repository.starts = "public/"
actions = ["pull"]
END
    cp tls.pem "$CERTS/ca.crt"
    cp tls.pem "$DOCKER_CERTIFICATES/ca.crt"
}

curl_shows_its_certificate() {
    local own=(--cert "$SCRATCH/client.cert" --key "$SCRATCH/client.key") code=(-w '%{http_code}')
    curl_tls "${own[@]}" "https://$T/v2/tls/docker/tags/list"
    fails_with '401' curl_tls "https://$T/v2/tls/docker/tags/list"
    equal 401 "$(curl_tls -f "${own[@]}" -u robot.example:x -o /dev/null "${code[@]}" "https://$T/v2/" || true)"
    equal 401 "$(curl_tls "${own[@]}" -o /dev/null "${code[@]}" "https://$T/v2/other/tags/list" || true)"
}

docker_shows_its_certificate() {
    fails_with 'denied\|unauthorized' "$DOCKER" push -q "$T/tls/docker:v1"
    cp "$SCRATCH/client.cert" "$SCRATCH/client.key" "$DOCKER_CERTIFICATES"
    "$DOCKER" tag "$T/tls/docker:v1" "$T/tls/certified:v1"
    "$DOCKER" push -q "$T/tls/certified:v1"
    "$DOCKER" rmi -f "$T/tls/certified:v1"
    "$DOCKER" pull -q "$T/tls/certified:v1"
    "$DOCKER" tag "$T/tls/certified:v1" "$T/other/app:v1"
    fails_with 'denied\|unauthorized' "$DOCKER" push -q "$T/other/app:v1"
    "$DOCKER" tag "$T/tls/certified:v1" "$T/public/app:v1"
    "$DOCKER" push -q "$T/public/app:v1"
}

podman_and_skopeo_show_theirs() {
    local list=(skopeo list-tags --cert-dir "$CERTS" "docker://$T/tls/certified")
    fails_with 'denied\|unauthorized' "${list[@]}"
    cp "$SCRATCH/client.cert" "$SCRATCH/client.key" "$CERTS"
    equal '["v1"]' "$("${list[@]}" | jq -c .Tags)"
    skopeo copy -q --dest-cert-dir "$CERTS" "oci:$SCRATCH/out-image:v1" "docker://$T/tls/own:v1"
    "${PODMAN[@]}" pull -q --cert-dir "$CERTS" "docker://$T/tls/own:v1"
    "${PODMAN[@]}" push -q --cert-dir "$CERTS" "$T/tls/own:v1" "docker://$T/tls/own:v2"
    fails_with 'denied\|unauthorized\|authentication' \
        "${PODMAN[@]}" push -q --cert-dir "$CERTS" "$T/tls/own:v1" "docker://$T/other/app:v1"
    fails_with 'denied\|unauthorized\|authentication' \
        skopeo copy -q --dest-cert-dir "$CERTS" "oci:$SCRATCH/out-image:v1" "docker://$T/other/app:v1"
}

oras_shows_its_certificate() {
    mkdir "$SCRATCH/oras"
    cd "$SCRATCH/oras"
    HOME=$SCRATCH/oras DOCKER_CONFIG=$SCRATCH/oras "$PYTHON" "$ROOT/tests/clients/oras_access.py" \
        "$T" tls/oras other/oras public/app \
        --certificate "$SCRATCH/client.cert" "$SCRATCH/client.key" "$CERTIFICATE"
}

# Without one, what is public and nothing else.
whoever_shows_none_pulls_what_is_public() {
    rm "$DOCKER_CERTIFICATES"/client.* "$CERTS"/client.*
    "$DOCKER" rmi -f "$T/public/app:v1"
    "$DOCKER" pull -q "$T/public/app:v1"
    "${PODMAN[@]}" pull -q --cert-dir "$CERTS" "docker://$T/public/app:v1"
    skopeo copy -q --src-cert-dir "$CERTS" "docker://$T/public/app:v1" "dir:$SCRATCH/public"
    fails_with 'denied\|unauthorized' "$DOCKER" push -q "$T/public/app:v1"
    fails_with 'denied\|unauthorized\|authentication' \
        skopeo copy -q --src-cert-dir "$CERTS" "docker://$T/tls/own:v1" "dir:$SCRATCH/stolen"
}

# begin_testssl NAME ADDRESS PORT — all that testssl.sh can do, beside the other checks.
begin_testssl() {
    (
        cd "$SCRATCH"
        ended=0
        # It passes TERM on to all that it has started.
        timeout -k 5 "$((TESTSSL_END_SECONDS - SECONDS))" testssl --quiet --color 0 --warnings off --ip "$2" \
            --jsonfile "$SCRATCH/testssl.$1.json" "https://$HOST:$3/" >"$SCRATCH/testssl.$1.log" 2>&1 &
        # shellcheck disable=SC2064
        trap "kill -TERM $!; wait $!; exit 143" TERM
        wait "$!" || ended=$?
        echo "$ended" >"$SCRATCH/testssl.$1.code"
    ) &
    TESTSSL_PIDS[$1]=$!
}

# nothing_bad_is_offered NAME
nothing_bad_is_offered() {
    local json=$SCRATCH/testssl.$1.json
    until_true "$((TESTSSL_END_SECONDS + 10 - SECONDS))" test -e "$SCRATCH/testssl.$1.code"
    [ "$(cat "$SCRATCH/testssl.$1.code")" -lt 120 ] || tail -n 20 "$SCRATCH/testssl.$1.log"
    # From its first part to its last.
    jq -e 'map(.id) | index("TLS1_3") and index("cipher_order") and index("heartbleed")
        and index("BREACH") and index("scanTime")' "$json"
    jq -r '.[] | select(.severity | IN("OK", "INFO", "LOW", "DEBUG") | not)
        | "\(.severity) \(.id): \(.finding)"' "$json" |
        grep -vE " ($ABOUT_THE_TRIAL)" >"$SCRATCH/findings" || true
    equal '' "$(cat "$SCRATCH/findings")"
}

check 'a pair for trials is made, and not replaced' make_certificate
mkdir "$CERTS"
cp "$CERTIFICATE" "$CERTS/ca.crt"
SERVER_OPTIONS=(--config "$SCRATCH/printed.toml")
# Read by the harness.
# shellcheck disable=SC2034
ADMIN_SCHEME=https
name_host
start_server
begin_testssl registry "$LISTEN" "$PORT"
begin_testssl operators 127.0.0.1 "$ADMIN_PORT"
start_engine
check 'curl trusts the certificate it is given' curl_trusts_it
check 'plain HTTP on this port is told to use https' plain_http_is_told
check 'docker imports an image' docker_image
check 'docker, podman and skopeo trust no unknown certificate' nobody_trusts_it_unasked
check 'docker pushes and pulls with certs.d' docker_pushes_and_pulls
check 'podman pulls and pushes with --cert-dir' podman_pulls_and_pushes
check 'skopeo copies both ways with --cert-dir' skopeo_copies
check 'testssl.sh finds nothing above LOW at the registry' nothing_bad_is_offered registry
check 'testssl.sh finds nothing above LOW at the operators'"'"' listener' nothing_bad_is_offered operators
check 'a new certificate is shown without a restart' renewal_without_a_restart
check 'an authority of clients is set up' clients_are_known
stop_server
SERVER_OPTIONS=(--config "$SCRATCH/clients.toml")
ADMIN_SCHEME=http
start_server
check 'curl is whom its certificate names' curl_shows_its_certificate
check 'docker pushes and pulls with a certificate in certs.d' docker_shows_its_certificate
check 'podman and skopeo work with one in --cert-dir' podman_and_skopeo_show_theirs
check 'oras pushes and pulls with a certificate' oras_shows_its_certificate
check 'without one there is what is public' whoever_shows_none_pulls_what_is_public
finish
