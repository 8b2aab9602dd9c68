#!/usr/bin/env bash
# Real clients and access: docker, podman, skopeo and oras log in, push and pull what
# they may, are refused the rest, and pull what is public without a login; where nobody
# is asked, with users of the registry's own, tokens of machines and identities of a
# pipeline, and with a token server. With certificates: `tls.sh`.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/harness.sh"

DOCKER=$(command -v /usr/bin/docker || command -v docker)
ENGINE=$SCRATCH/engine
ENGINE_PID=
TOKENS_PID=
ISSUER_PID=
ISSUER_PORT=
# Made by tests/install.
PYTHON=$ROOT/target/clients-venv/bin/python
PODMAN=(podman --root "$SCRATCH/podman" --runroot "$SCRATCH/podman-run" --storage-driver vfs)
export DOCKER_HOST=unix://$ENGINE/docker.sock DOCKER_CONFIG=$SCRATCH/docker-config
export REGISTRY_AUTH_FILE=$SCRATCH/auth.json WINDLASS_CONFIG=$SCRATCH/windlass.toml

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

end_client() {
    [ -z "$ENGINE_PID" ] || end_process "$ENGINE_PID" 30
    [ -z "$TOKENS_PID" ] || end_process "$TOKENS_PID" 5
    [ -z "$ISSUER_PID" ] || end_process "$ISSUER_PID" 5
}

# Users of the registry's own; public/ is for everybody, eve pushes there.
with_users() {
    (umask 077 && {
        echo sesame | "$BINARY" hash-password bob
        echo open | "$BINARY" hash-password eve
    } >"$SCRATCH/users")
    secret login bob:sesame
    secret login eve:open
    secret 'hash of a password' "$(sed -n 's/^bob://p' "$SCRATCH/users")"
    secret 'hash of a password' "$(sed -n 's/^eve://p' "$SCRATCH/users")"
    cat >"$WINDLASS_CONFIG" <<END
[auth]
mode = "users"
users_file = "$SCRATCH/users"
[[auth.rules]]
subject.username = "bob"
resource.repository.starts = "bob/"
actions = ["pull", "push", "delete"]
[[auth.rules]]
subject.username = "eve"
resource.repository = { or = [{ starts = "eve/" }, { starts = "public/" }] }
actions = ["pull", "push", "delete"]
[[auth.rules]]
subject.anonymous = true
resource.repository.starts = "public/"
actions = ["pull"]
END
}

# Jobs of a pipeline, whose issuer publishes its keys over HTTPS.
with_issuer() {
    local tls=$SCRATCH/issuer.pem
    ISSUER_PORT=$(free_port)
    openssl ecparam -genkey -name prime256v1 -noout -out "$SCRATCH/issuer.key"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=issuer \
        -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
        -keyout "$tls.key" -out "$tls.crt" 2>"$SCRATCH/issuer.log"
    cat "$tls.crt" "$tls.key" >"$tls"
    issuer serve "$tls" &
    ISSUER_PID=$!
    until_true 20 curl -fsS --cacert "$tls.crt" "https://127.0.0.1:$ISSUER_PORT/keys"
    cat >"$WINDLASS_CONFIG" <<END
[auth]
mode = "users"
identities = [{ name = "gitlab", issuer = "https://127.0.0.1:$ISSUER_PORT", audiences = ["registry"], jwks_ca_file = "$tls.crt" }]
[[auth.rules]]
subject.username = "gitlab"
subject.claims = [{ pointer = "/project_path", match = "team/app" }, { pointer = "/ref", match = "main" }]
resource.repository.starts = "team/"
actions = ["pull", "push"]
END
}

# issuer serve|token ARGUMENT…
issuer() {
    local word=$1
    shift
    exec python3 "$ROOT/tests/clients/issuer.py" "$word" "$ISSUER_PORT" "$SCRATCH/issuer.key" "$@"
}

# The same rights from a server that makes tokens, with a key as operators make one.
with_token_server() {
    local port
    port=$(free_port)
    openssl ecparam -genkey -name prime256v1 -noout -out "$SCRATCH/tokens.key"
    openssl req -x509 -new -key "$SCRATCH/tokens.key" -subj /CN=tokens -days 2 -out "$SCRATCH/tokens.crt"
    python3 "$ROOT/tests/clients/token-server.py" "$port" "$SCRATCH/tokens.key" windlass &
    TOKENS_PID=$!
    until_true 20 curl -fsS "http://127.0.0.1:$port/token"
    cat >"$WINDLASS_CONFIG" <<END
[auth]
mode = "token"
realm = "http://127.0.0.1:$port/token"
issuer = "tests"
key_files = ["$SCRATCH/tokens.crt"]
END
}

login() { skopeo login --tls-verify=false -u "$1" -p "$2" "$R"; }
copy() { skopeo copy -q --src-tls-verify=false --dest-tls-verify=false "$@"; }
forget() { echo '{}' >"$REGISTRY_AUTH_FILE"; }

make_image() {
    forget
    mkdir -p "$SCRATCH/tree"
    head -c 300001 /dev/urandom >"$SCRATCH/tree/noise"
    tar -C "$SCRATCH/tree" -c . | "$DOCKER" import - local/image:v1
    "$DOCKER" save local/image:v1 -o "$SCRATCH/image.tar"
    "${PODMAN[@]}" pull -q "docker-archive:$SCRATCH/image.tar" | tail -n 1 >"$SCRATCH/image.id"
}

# podman_pushes_and_pulls USER SECRET OWN OTHER
podman_pushes_and_pulls() {
    local id own=$R/$3:podman
    id=$(cat "$SCRATCH/image.id")
    # It reads docker's file, too.
    rm -rf "$DOCKER_CONFIG"
    forget
    fails_with 'denied\|unauthorized\|authentication' "${PODMAN[@]}" push -q --tls-verify=false "$id" "$own"
    podman login --tls-verify=false -u "$1" --password-stdin "$R" <<<"$2"
    "${PODMAN[@]}" push -q --tls-verify=false "$id" "$own"
    "${PODMAN[@]}" pull -q --tls-verify=false "$own"
    "${PODMAN[@]}" untag "$id" "$own"
    fails_with 'denied\|unauthorized\|authentication' \
        "${PODMAN[@]}" push -q --tls-verify=false "$id" "$R/$4:podman"
    podman logout "$R"
    fails_with 'denied\|unauthorized\|authentication' "${PODMAN[@]}" pull -q --tls-verify=false "$own"
}

wrong_password_is_refused() {
    forget
    fails_with 'invalid username/password\|unauthorized\|401' login bob wrong
    fails_with 'invalid username/password\|unauthorized\|401' login nobody sesame
}

skopeo_pushes_and_pulls_its_own() {
    login bob sesame
    copy "docker-archive:$SCRATCH/image.tar" "docker://$R/bob/app:v1"
    copy "docker://$R/bob/app:v1" "dir:$SCRATCH/own.$1"
    skopeo inspect --tls-verify=false "docker://$R/bob/app:v1" >/dev/null
    copy "docker://$R/bob/app:v1" "docker://$R/bob/second:v1"
}

skopeo_is_refused_what_is_others() {
    fails_with 'denied\|unauthorized\|authentication' \
        copy "docker-archive:$SCRATCH/image.tar" "docker://$R/eve/app:v1"
    fails_with 'denied\|unauthorized\|authentication' \
        copy "docker-archive:$SCRATCH/image.tar" "docker://$R/public/app:v2"
    forget
    fails_with 'denied\|unauthorized\|authentication' copy "docker://$R/bob/app:v1" "dir:$SCRATCH/stolen.$1"
}

skopeo_deletes_its_own() {
    login bob sesame
    skopeo delete --tls-verify=false "docker://$R/bob/second:v1"
    fails_with 'unknown\|not found' skopeo inspect --tls-verify=false "docker://$R/bob/second:v1"
}

everybody_pulls_what_is_public() {
    # skopeo reads docker's file, too, and takes no login beside its token.
    rm -rf "$DOCKER_CONFIG"
    login eve open
    copy "docker-archive:$SCRATCH/image.tar" "docker://$R/public/app:v1"
    forget
    copy "docker://$R/public/app:v1" "dir:$SCRATCH/public.$1"
    "$DOCKER" pull -q "$R/public/app:v1"
    "$DOCKER" rmi -f "$R/public/app:v1"
    "${PODMAN[@]}" pull -q --tls-verify=false "$R/public/app:v1"
    "${PODMAN[@]}" untag "$(cat "$SCRATCH/image.id")" "$R/public/app:v1"
    # What is public to read is nobody's to write.
    fails_with 'denied\|unauthorized\|authentication' \
        copy "docker-archive:$SCRATCH/image.tar" "docker://$R/public/app:v2"
}

podman_logs_in() {
    forget
    podman login --tls-verify=false -u bob -p sesame "$R"
    podman login --get-login "$R" | grep -qx bob
    podman search --tls-verify=false --list-tags "$R/bob/app" | grep -q v1
    podman logout "$R"
}

docker_pushes_and_pulls() {
    fails_with 'denied\|unauthorized\|no basic auth' "$DOCKER" pull -q "$R/bob/app:v1"
    echo wrong | fails_with 'unauthorized\|401' "$DOCKER" login -u bob --password-stdin "$R"
    echo sesame | "$DOCKER" login -u bob --password-stdin "$R"
    "$DOCKER" pull -q "$R/bob/app:v1"
    "$DOCKER" tag local/image:v1 "$R/bob/docker:v1"
    "$DOCKER" push -q "$R/bob/docker:v1"
    "$DOCKER" tag local/image:v1 "$R/eve/docker:v1"
    fails_with 'denied\|unauthorized' "$DOCKER" push -q "$R/eve/docker:v1"
    "$DOCKER" rmi -f "$R/bob/docker:v1" "$R/bob/app:v1" "$R/eve/docker:v1"
    "$DOCKER" pull -q "$R/bob/docker:v1"
}

# The client holds what it was given instead of the password, where it was given that.
docker_keeps_no_password() {
    jq -e '.auths[] | has("identitytoken")' "$DOCKER_CONFIG/config.json"
    secret 'refresh token' "$(jq -r '.auths[].identitytoken' "$DOCKER_CONFIG/config.json")"
    ! grep -q "$(printf 'bob:sesame' | base64)" "$DOCKER_CONFIG/config.json"
}

token() { "$BINARY" token "$@" --admin-listen "127.0.0.1:$ADMIN_PORT"; }

# A machine with a token works like a user until the token is revoked, also with what
# it got for the token before.
robots_log_in() {
    local secret
    rm -rf "$DOCKER_CONFIG"
    secret=$(token create ci --scope 'robots/*:pull,push' --expires 1h)
    secret 'token of a robot' "$secret"
    "$DOCKER" login -u ci --password-stdin "$R" <<<"$secret"
    "$DOCKER" tag local/image:v1 "$R/robots/app:v1"
    "$DOCKER" push -q "$R/robots/app:v1"
    "$DOCKER" tag local/image:v1 "$R/bob/robot:v1"
    fails_with 'denied\|unauthorized' "$DOCKER" push -q "$R/bob/robot:v1"
    "$DOCKER" rmi -f "$R/robots/app:v1" "$R/bob/robot:v1"
    "$DOCKER" pull -q "$R/robots/app:v1"
    forget
    login ci "$secret"
    copy "docker://$R/robots/app:v1" "docker://$R/robots/second:v1"
    fails_with 'denied\|unauthorized\|authentication' \
        copy "docker://$R/robots/app:v1" "docker://$R/bob/robot:v1"
    podman_pushes_and_pulls ci "$secret" robots/podman bob/podman
    oras_in robots robots/oras bob/oras public/app --login ci "$secret"
    forget
    login ci "$secret"
    "$DOCKER" login -u ci --password-stdin "$R" <<<"$secret"
    token list | grep -q ' ci .*active'
    token revoke ci
    fails_with 'denied\|unauthorized' "$DOCKER" pull -q "$R/robots/second:v1"
    fails_with 'denied\|unauthorized\|authentication' \
        skopeo inspect --tls-verify=false "docker://$R/robots/app:v1"
    ! grep -rqF "${secret:21:64}" "$SCRATCH/server.log" "$SCRATCH/registry"
}

no_secret_is_logged() {
    local secret
    for secret in sesame 'argon2id' "$(printf 'bob:sesame' | base64)" 'eyJ'; do
        ! grep -q -- "$secret" "$SCRATCH/server.log" || {
            printf 'the log shows %s\n' "$secret"
            return 1
        }
    done
}

# oras_in NAME OWN OTHER PUBLIC OPTION… — in a home of its own.
oras_in() {
    local home=$SCRATCH/oras.$1
    shift
    mkdir -p "$home"
    (cd "$home" && HOME=$home DOCKER_CONFIG=$home "$PYTHON" "$ROOT/tests/clients/oras_access.py" "$R" "$@")
}

# Without a token: the password itself shows who it is, with every request.
passwords_do_without_tokens() {
    local code=(-sS -o "$SCRATCH/out" -w '%{http_code}')
    oras_in basic bob/basic eve/basic public/app --login bob sesame --basic
    equal 200 "$(curl "${code[@]}" -u bob:sesame "$URL/v2/bob/app/tags/list")"
    equal 403 "$(curl "${code[@]}" -u eve:open "$URL/v2/bob/app/tags/list")"
    equal 401 "$(curl "${code[@]}" -u bob:wrong "$URL/v2/bob/app/tags/list")"
    equal 401 "$(curl "${code[@]}" "$URL/v2/bob/app/tags/list")"
    equal 200 "$(curl "${code[@]}" "$URL/v2/public/app/tags/list")"
}

# Where nobody is asked, whoever logs in is let in as well, and nobody is refused.
logins_go_through_where_nobody_is_asked() {
    "$DOCKER" login -u anybody --password-stdin "$R" <<<anything
    login anybody anything
    podman login --tls-verify=false -u anybody -p anything "$R"
    copy "docker-archive:$SCRATCH/image.tar" "docker://$R/any/skopeo:v1"
    "$DOCKER" tag local/image:v1 "$R/any/docker:v1"
    "$DOCKER" push -q "$R/any/docker:v1"
    "$DOCKER" rmi -f "$R/any/docker:v1"
    "$DOCKER" logout "$R"
    forget
    "$DOCKER" pull -q "$R/any/docker:v1"
    copy "docker://$R/any/skopeo:v1" "dir:$SCRATCH/any"
    "${PODMAN[@]}" push -q --tls-verify=false "$(cat "$SCRATCH/image.id")" "$R/any/podman:v1"
    "${PODMAN[@]}" pull -q --tls-verify=false "$R/any/podman:v1"
    oras_in none any/oras - any/docker
}

skopeo_shows_the_identity_of_a_job() {
    local job
    job=$(issuer token registry main)
    secret token "$job"
    forget
    copy --dest-creds "gitlab:$job" "docker-archive:$SCRATCH/image.tar" "docker://$R/team/app:v1"
    copy --src-creds "gitlab:$job" "docker://$R/team/app:v1" "dir:$SCRATCH/job"
    fails_with 'denied\|unauthorized\|authentication' \
        copy --dest-creds "gitlab:$job" "docker-archive:$SCRATCH/image.tar" "docker://$R/other/app:v1"
}

docker_shows_the_identity_of_a_job() {
    issuer token registry main | "$DOCKER" login -u gitlab --password-stdin "$R"
    "$DOCKER" tag local/image:v1 "$R/team/docker:v1"
    "$DOCKER" push -q "$R/team/docker:v1"
    "$DOCKER" rmi -f "$R/team/docker:v1"
    "$DOCKER" pull -q "$R/team/docker:v1"
    "$DOCKER" logout "$R"
}

jobs_of_others_are_refused() {
    local job
    for job in "$(issuer token registry feature-1)" "$(issuer token elsewhere main)" sesame; do
        fails_with 'denied\|unauthorized\|authentication\|invalid' \
            copy --dest-creds "gitlab:$job" "docker-archive:$SCRATCH/image.tar" "docker://$R/team/stolen:v1"
    done
}

walk() {
    check "$1: a wrong password is refused" wrong_password_is_refused
    check "$1: skopeo pushes and pulls its own" skopeo_pushes_and_pulls_its_own "$2"
    check "$1: skopeo is refused what is others'" skopeo_is_refused_what_is_others "$2"
    check "$1: skopeo deletes its own" skopeo_deletes_its_own
    check "$1: podman logs in and lists" podman_logs_in
    check "$1: docker logs in, pushes and pulls" docker_pushes_and_pulls
    check "$1: podman pushes and pulls" podman_pushes_and_pulls bob sesame bob/podman eve/podman
    check "$1: everybody pulls what is public" everybody_pulls_what_is_public "$2"
    check "$1: oras logs in, pushes and pulls" \
        oras_in "$2" bob/artifact eve/artifact public/app --login bob sesame
}

"$PYTHON" -c 'import oras' || die "no oras in $ROOT/target/clients-venv; run tests/install"
start_engine
check 'an image is made' make_image
: >"$WINDLASS_CONFIG"
start_server
check 'none: whoever logs in is let in, and nobody has to' logins_go_through_where_nobody_is_asked
stop_server
rm -rf "$DOCKER_CONFIG" "$SCRATCH/registry"
with_users
start_server
walk users users
check 'users: oras and curl show the password itself' passwords_do_without_tokens
rm -rf "$DOCKER_CONFIG"
check 'users: docker logs in anew' docker_pushes_and_pulls
check 'users: docker keeps a refresh token, no password' docker_keeps_no_password
check 'users: docker and skopeo log in with the token of a machine' robots_log_in
stop_server
rm -rf "$DOCKER_CONFIG" "$SCRATCH/registry"
with_issuer
start_server
check 'identities: skopeo shows that of a job' skopeo_shows_the_identity_of_a_job
check 'identities: docker shows that of a job' docker_shows_the_identity_of_a_job
check 'identities: jobs of others are refused' jobs_of_others_are_refused
stop_server
rm -rf "$DOCKER_CONFIG" "$SCRATCH/registry"
with_token_server
start_server
walk 'token server' tokens
check 'no secret is logged' no_secret_is_logged
finish
