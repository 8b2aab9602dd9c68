# Shared ground of the client scripts: a scratch folder, a real windlass process
# in it, numbered checks, and an end that leaves nothing behind.
#
# A script sources this file, calls `start_server`, then `check NAME COMMAND…`
# for every promise, and ends with `finish`. It may define `end_client`, which
# runs before the scratch folder goes, to stop what it started itself.
#
# TESTED_BINARY    the program under test (default: target/ci/windlass)
# CHECKS_FILE      where `ok NAME` and `FAIL NAME` lines are appended as well
# SERVER_OPTIONS   array of further options of the program
# ADMIN_SCHEME     https where operators are spoken to in TLS
# LISTEN           address that it listens on, when that is not loopback
# GATHERED         folder for what the whole run looks through; see tests/secrets
# KEEP_SCRATCH     when set, the scratch folder stays for a look afterwards
# shellcheck shell=bash

set -euo pipefail
shopt -s inherit_errexit

CLIENT=$(basename "$0" .sh)
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BINARY=${TESTED_BINARY:-${CARGO_TARGET_DIR:-$ROOT/target}/ci/windlass}
# Not /tmp: it may live in memory, and the server wants O_DIRECT. Short, because
# a Unix socket's path holds 107 bytes.
SCRATCH=$(mktemp -d /var/tmp/windlass-XXXXXX)
SERVER_PID=
PASSED=0
FAILED=0
SERVER_OPTIONS=()
LISTEN=127.0.0.1
ADMIN_SCHEME=http

# A port nobody listens on now, another one each time. Below those that the kernel gives
# connections of its own: a server that comes back finds it free.
free_port() {
    python3 - "$SCRATCH" <<'END'
import os, random, socket, sys
while True:
    port = random.randrange(10000, 32000)
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
        os.close(os.open(f"{sys.argv[1]}/.port-{port}", os.O_CREAT | os.O_EXCL))
        print(port)
        break
    except OSError:
        continue
END
}

PORT=$(free_port)
ADMIN_PORT=$(free_port)
# Used by the scripts that source this file.
# shellcheck disable=SC2034
R=127.0.0.1:$PORT
# shellcheck disable=SC2034
URL=http://127.0.0.1:$PORT

note() { printf '   %s\n' "$*"; }

die() {
    printf '%s: %s\n' "$CLIENT" "$*" >&2
    exit 1
}

# until_true SECONDS COMMAND… — asks every 0.1 s, fails after SECONDS.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

# A child that has ended stays visible as a zombie until `wait` collects it.
is_gone() {
    case $(ps -o state= -p "$1" 2>/dev/null) in '' | Z*) return 0 ;; esac
    return 1
}

# end_process PID SECONDS — TERM, then KILL when it does not go in time.
end_process() {
    kill -TERM "$1" 2>/dev/null || return 0
    until_true "$2" is_gone "$1" || kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# admin PATH — what operators are told.
admin() { curl -fsSk -m 2 "$ADMIN_SCHEME://127.0.0.1:$ADMIN_PORT$1"; }

# Also true when it has ended, so that nobody waits for a dead server.
is_ready_or_gone() {
    is_gone "$SERVER_PID" || admin /readyz
}

# Starts windlass on this script's ports and data folder; also after a kill.
start_server() {
    [ -x "$BINARY" ] || die "no program at $BINARY; run: cargo build --profile ci"
    (
        # Whether a crash leaves a core file is then the server's own doing.
        ulimit -c unlimited 2>/dev/null || true
        exec "$BINARY" serve --listen "$LISTEN:$PORT" --admin-listen "127.0.0.1:$ADMIN_PORT" \
            --data-dir "$SCRATCH/registry" "${SERVER_OPTIONS[@]}"
    ) >>"$SCRATCH/server.log" 2>&1 &
    SERVER_PID=$!
    if ! until_true 60 is_ready_or_gone || is_gone "$SERVER_PID"; then
        tail -n 20 "$SCRATCH/server.log" >&2
        die 'the server did not become ready within 60 s'
    fi
}

# The way a power button does it: no chance to finish anything.
kill_server() {
    kill -KILL "$SERVER_PID" 2>/dev/null || true
    wait "$SERVER_PID" 2>/dev/null || true
    SERVER_PID=
}

# Asks the server to stop and demands a clean exit.
stop_server() {
    local code=0
    admin /metrics >>"$SCRATCH/server.metrics" 2>/dev/null || true
    kill -TERM "$SERVER_PID" || return 1
    until_true 30 is_gone "$SERVER_PID" || return 1
    wait "$SERVER_PID" || code=$?
    SERVER_PID=
    return "$code"
}

# check NAME COMMAND… — runs the command in a subshell where any failing line
# ends it, and prints its output only when it failed.
check() {
    local name="$CLIENT: $1" code=0 begin=$SECONDS
    shift
    set +e
    (
        set -e
        "$@"
    ) >"$SCRATCH/check.log" 2>&1
    code=$?
    set -e
    record "$code" "$name" "$((SECONDS - begin))"
    if [ "$code" -ne 0 ]; then
        tail -n 25 "$SCRATCH/check.log" | sed 's/^/      | /'
        show_server_log
    fi
    [ -z "$SERVER_PID" ] || ! is_gone "$SERVER_PID" || {
        show_server_log
        die 'the server is gone; nothing after this can pass'
    }
}

# The last lines of the log, cut to what one can read.
show_server_log() {
    [ ! -f "$SCRATCH/server.log" ] || tail -n 6 "$SCRATCH/server.log" | cut -c1-240 | sed 's/^/      server | /'
}

# record CODE NAME SECONDS — counts one result and says it.
record() {
    local word=ok
    if [ "$1" -eq 0 ]; then PASSED=$((PASSED + 1)); else
        FAILED=$((FAILED + 1))
        word=FAIL
    fi
    printf '   %-4s %s (%s s)\n' "$word" "$2" "$3"
    [ -z "${CHECKS_FILE:-}" ] || printf '%s %s\n' "$word" "$2" >>"$CHECKS_FILE"
}

# secret KIND SECRET — says what no server may show; see tests/secrets.
secret() {
    [ -z "${GATHERED:-}" ] || printf %s "$2" | "$ROOT/tests/secrets" add "$GATHERED" "$1"
}

# equal WANT GOT — says both when they differ.
equal() {
    [ "$1" = "$2" ] || {
        printf 'wanted: %s\ngot:    %s\n' "$1" "$2"
        return 1
    }
}

# fails_with TEXT COMMAND… — the command must fail and say TEXT.
fails_with() {
    local text=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf 'succeeded, though it had to fail: %s\n%s\n' "$*" "$output"
        return 1
    fi
    grep -qi -- "$text" <<<"$output" || {
        printf 'failed, but without the words "%s":\n%s\n' "$text" "$output"
        return 1
    }
}

# manifest REPOSITORY REFERENCE [CURL OPTION…] — the bytes as any client gets them.
manifest() {
    local repository=$1 reference=$2 type accept=()
    shift 2
    for type in oci.image.manifest.v1 oci.image.index.v1 \
        docker.distribution.manifest.v2 docker.distribution.manifest.list.v2; do
        accept+=(-H "Accept: application/vnd.$type+json")
    done
    curl -fsS "${accept[@]}" "$@" "$URL/v2/$repository/manifests/$reference"
}

# digest_of REPOSITORY REFERENCE — what the server says a manifest's digest is,
# after comparing it with the bytes it sends.
digest_of() {
    local said bytes
    said=$(manifest "$1" "$2" -I | tr -d '\r' |
        awk 'tolower($1) == "docker-content-digest:" { print $2 }')
    bytes=sha256:$(manifest "$1" "$2" | sha256sum | cut -d' ' -f1)
    equal "$bytes" "$said" >&2
    printf '%s\n' "$said"
}

# hello_program FILE — a static program without dependencies, for FROM scratch.
hello_program() {
    printf '#include <stdio.h>\nint main(void) { puts("hello from image"); return 0; }\n' >"$SCRATCH/hello.c"
    gcc -static -Os -o "$1" "$SCRATCH/hello.c"
}

# The last check of every script, and its summary.
finish() {
    local code=0 begin=$SECONDS
    stop_server || code=$?
    record "$code" "$CLIENT: the server ends cleanly on SIGTERM" "$((SECONDS - begin))"
    [ "$code" -eq 0 ] || show_server_log
    printf '%s: %s passed, %s failed\n' "$CLIENT" "$PASSED" "$FAILED"
    [ "$FAILED" -eq 0 ]
}

end_client() { :; }

clean_up() {
    local code=$? mount
    trap - EXIT INT TERM
    set +e
    end_client
    [ -z "$SERVER_PID" ] || end_process "$SERVER_PID" 20
    [ -z "${GATHERED:-}" ] || "$ROOT/tests/secrets" keep "$GATHERED" "$CLIENT" "$SCRATCH" || code=1
    # What a container engine left mounted, innermost first.
    awk -v top="$SCRATCH/" 'index($2, top) == 1 { print $2 }' /proc/mounts | sort -r |
        while read -r mount; do umount "$mount" || umount -l "$mount"; done
    if [ -n "${KEEP_SCRATCH:-}" ]; then
        note "kept $SCRATCH"
    else
        rm -rf --one-file-system "$SCRATCH"
    fi
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
