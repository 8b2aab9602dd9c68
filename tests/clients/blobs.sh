#!/usr/bin/env bash
# Blobs by curl alone: 5 GiB streamed in and out, uploads continued after the
# client and after the server were killed, ranges that run to the end.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/harness.sh"

GIB=$((1024 * 1024 * 1024))
MIB=$((1024 * 1024))

# header NAME FILE — a header's value in a saved head, the last one if several.
header() {
    tr -d '\r' <"$2" | awk -v name="$1:" 'tolower($1) == tolower(name) { print $2 }' | tail -n 1
}

# ask WANTED-STATUS CURL-ARGUMENT… — one request; its head goes to $SCRATCH/head.
ask() {
    local wanted=$1 status
    shift
    status=$(curl -sS -o "$SCRATCH/body" -D "$SCRATCH/head" -w '%{http_code}' "$@")
    equal "$wanted" "$status" || {
        head -c 500 "$SCRATCH/body"
        return 1
    }
}

# Where the session of the last answer goes on.
session() {
    local location
    location=$(header Location "$SCRATCH/head")
    case $location in
    http*) printf '%s\n' "$location" ;;
    *) printf '%s%s\n' "$URL" "$location" ;;
    esac
}

# with_digest SESSION DIGEST — the address that closes it.
with_digest() {
    case $1 in
    *\?*) printf '%s&digest=%s\n' "$1" "$2" ;;
    *) printf '%s?digest=%s\n' "$1" "$2" ;;
    esac
}

digest_of_file() { printf 'sha256:%s\n' "$(openssl dgst -sha256 -r "$1" | cut -d' ' -f1)"; }
digest_of_blob() {
    printf 'sha256:%s\n' "$(curl -fsS "$@" | openssl dgst -sha256 -r | cut -d' ' -f1)"
}

begin_upload() {
    ask 202 -X POST -H 'Content-Length: 0' "$URL/v2/$1/blobs/uploads/"
    session
}

# held SESSION — how many bytes the server says it has.
held() {
    local range
    ask 204 "$1"
    range=$(header Range "$SCRATCH/head")
    [ -n "$range" ]
    # An empty session says 0-0, as does one of a single byte; none here is that small.
    if [ "${range#*-}" -eq 0 ]; then echo 0; else echo $((${range#*-} + 1)); fi
}

# slice FILE BEGIN END — those bytes on standard output.
slice() { dd if="$1" bs=$MIB iflag=skip_bytes,count_bytes skip="$2" count=$(($3 - $2)) status=none; }

# send_rest REPOSITORY SESSION FILE — goes on where the server stands, closes, compares.
send_rest() {
    local address=$2 begin size digest
    size=$(stat -c %s "$3")
    digest=$(digest_of_file "$3")
    begin=$(held "$address")
    address=$(session)
    echo "the server holds $begin of $size bytes"
    slice "$3" "$begin" "$size" >"$SCRATCH/rest"
    ask 202 -X PATCH -H "Content-Range: $begin-$((size - 1))" \
        -H 'Content-Type: application/octet-stream' --data-binary "@$SCRATCH/rest" "$address"
    address=$(session)
    ask 201 -X PUT -H 'Content-Length: 0' "$(with_digest "$address" "$digest")"
    equal "$digest" "$(header Docker-Content-Digest "$SCRATCH/head")"
    equal "$digest" "$(digest_of_blob "$URL/v2/$1/blobs/$digest")"
}

# A file of 5 GiB that takes little room here: holes, with islands of noise, and
# an odd end. To the server it is 5 GiB like any other.
push_five_gib() {
    local island address digest file=$SCRATCH/five
    truncate -s $((5 * GIB + 12345)) "$file"
    for island in 0 1023 2048 4095 4096 5119; do
        dd if=/dev/urandom of="$file" bs=$MIB seek=$island count=1 conv=notrunc status=none
    done
    digest=$(digest_of_file "$file")
    echo "$digest" >"$SCRATCH/five.digest"
    address=$(begin_upload big/sparse)
    # Chunked, of unknown length, as docker sends a layer.
    ask 202 -X PATCH -H 'Transfer-Encoding: chunked' -H 'Expect:' -T - "$address" <"$file"
    equal $((5 * GIB + 12344)) "$(header Range "$SCRATCH/head" | cut -d- -f2)"
    address=$(session)
    ask 201 -X PUT -H 'Content-Length: 0' "$(with_digest "$address" "$digest")"
}

pull_five_gib() {
    local digest
    digest=$(cat "$SCRATCH/five.digest")
    ask 200 -I "$URL/v2/big/sparse/blobs/$digest"
    equal $((5 * GIB + 12345)) "$(header Content-Length "$SCRATCH/head")"
    equal "$digest" "$(digest_of_blob "$URL/v2/big/sparse/blobs/$digest")"
}

# One of the ranges crosses the 4 GiB line.
ranges_of_five_gib() {
    local range begin end digest size=$((5 * GIB + 12345))
    digest=$(cat "$SCRATCH/five.digest")
    for range in "0-99" "$((4 * GIB - 70000))-$((4 * GIB + 70000))" "$((5 * GIB))-" "-777" "$((size - 1))-$((size + 99))"; do
        ask 206 -H "Range: bytes=$range" "$URL/v2/big/sparse/blobs/$digest"
        case $range in
        -*) begin=$((size - ${range#-})) end=$size ;;
        *-) begin=${range%-} end=$size ;;
        *) begin=${range%-*} end=$((${range#*-} + 1)) ;;
        esac
        [ "$end" -le "$size" ] || end=$size
        equal "$begin-$((end - 1))/$size" "$(tr -d '\r' <"$SCRATCH/head" | awk 'tolower($1) == "content-range:" { print $3 }')"
        slice "$SCRATCH/five" "$begin" "$end" | cmp - "$SCRATCH/body"
    done
    ask 416 -H "Range: bytes=$size-" "$URL/v2/big/sparse/blobs/$digest"
}

# Breaks off a download and takes the rest with `bytes=N-`, as containerd does.
resume_a_download() {
    local digest size=$((200 * MIB)) begin
    digest=$(digest_of_file "$SCRATCH/noise")
    ask 201 -X POST -H 'Content-Type: application/octet-stream' --data-binary "@$SCRATCH/noise" \
        "$URL/v2/big/noise/blobs/uploads/?digest=$digest"
    # head ends the pipe early, so curl fails by design.
    curl -sS "$URL/v2/big/noise/blobs/$digest" 2>/dev/null | head -c $((33 * MIB + 17)) >"$SCRATCH/part" || true
    begin=$(stat -c %s "$SCRATCH/part")
    ask 206 -H "Range: bytes=$begin-" "$URL/v2/big/noise/blobs/$digest"
    equal $((size - begin)) "$(header Content-Length "$SCRATCH/head")"
    cat "$SCRATCH/body" >>"$SCRATCH/part"
    cmp "$SCRATCH/noise" "$SCRATCH/part"
}

# slow_patch SESSION FILE BEGIN — starts a PATCH that takes long; sets PATCH_PID.
slow_patch() {
    slice "$2" "$3" "$(stat -c %s "$2")" >"$SCRATCH/slow"
    curl -sS -o /dev/null --limit-rate 40M -X PATCH -H 'Content-Type: application/octet-stream' \
        -H 'Expect:' -T "$SCRATCH/slow" "$1" >"$SCRATCH/slow.log" 2>&1 &
    PATCH_PID=$!
}

# has_sent PID BYTES — the process has read that much of its file.
has_sent() {
    local position
    position=$(cat "/proc/$1"/fdinfo/* 2>/dev/null | awk '$1 == "pos:" && $2 > most { most = $2 } END { print most + 0 }')
    [ "$position" -ge "$2" ]
}

resume_after_client_kill() {
    local address
    address=$(begin_upload resume/client)
    slow_patch "$address" "$SCRATCH/noise" 0
    until_true 30 has_sent "$PATCH_PID" $((20 * MIB))
    kill -KILL "$PATCH_PID"
    wait "$PATCH_PID" || true
    # The server notices the hang-up by itself; until then the session is in use.
    until_true 30 ask 204 "$address"
    send_rest resume/client "$address" "$SCRATCH/noise"
}

# The first 64 MiB are acknowledged; the PATCH after them is cut off with the server.
acknowledged_part() {
    local address
    address=$(begin_upload resume/server)
    head -c $((64 * MIB)) "$SCRATCH/noise" >"$SCRATCH/first"
    ask 202 -X PATCH -H "Content-Range: 0-$((64 * MIB - 1))" -H 'Content-Type: application/octet-stream' \
        -H 'Expect:' --data-binary "@$SCRATCH/first" "$address"
    session >"$SCRATCH/address"
}

resume_after_server_kill() {
    local address begin
    address=$(cat "$SCRATCH/address")
    begin=$(held "$address")
    [ "$begin" -ge $((64 * MIB)) ]
    send_rest resume/server "$address" "$SCRATCH/noise"
}

wrong_start_keeps_the_session() {
    local address
    address=$(begin_upload resume/order)
    head -c 1000000 "$SCRATCH/noise" >"$SCRATCH/first"
    ask 202 -X PATCH -H 'Content-Range: 0-999999' -H 'Content-Type: application/octet-stream' \
        --data-binary "@$SCRATCH/first" "$address"
    address=$(session)
    ask 416 -X PATCH -H 'Content-Range: 2000000-2999999' -H 'Content-Type: application/octet-stream' \
        --data-binary "@$SCRATCH/first" "$address"
    equal 1000000 "$(held "$address")"
    send_rest resume/order "$address" "$SCRATCH/noise"
}

empty_blob() {
    local digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 address
    address=$(begin_upload big/empty)
    ask 201 -X PUT -H 'Content-Length: 0' "$(with_digest "$address" "$digest")"
    ask 200 "$URL/v2/big/empty/blobs/$digest"
    equal 0 "$(header Content-Length "$SCRATCH/head")"
}

start_server
head -c $((200 * MIB)) /dev/urandom >"$SCRATCH/noise"
check '5 GiB in one chunked stream' push_five_gib
check '5 GiB back with the same digest' pull_five_gib
check 'ranges, also across 4 GiB and to the end' ranges_of_five_gib
rm -f "$SCRATCH/five"
check 'a broken download goes on with bytes=N-' resume_a_download
check 'an upload goes on after the client was killed' resume_after_client_kill
check 'an upload goes on after a chunk in the wrong place' wrong_start_keeps_the_session
check 'the empty blob' empty_blob
check 'a first part is acknowledged' acknowledged_part
slow_patch "$(cat "$SCRATCH/address")" "$SCRATCH/noise" $((64 * MIB))
until_true 30 has_sent "$PATCH_PID" $((20 * MIB)) || note 'the second part was not under way'
kill_server
wait "$PATCH_PID" || true
start_server
check 'the upload goes on after kill -9 of the server' resume_after_server_kill
finish
