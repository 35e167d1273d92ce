#!/usr/bin/env bash
# kcat against the broker at the first argument or $BOOTSTRAP.
set -euo pipefail
cd "$(dirname "$0")"
source ../checks.sh

K=(timeout 25 kcat -b "$BOOTSTRAP" -X broker.address.family=v4 -q)

topic() { echo "kcat-$1-$RUN"; }

metadata() {
    "${K[@]}" -L -J >"$WORK/meta.json"
    grep -q '"brokers":\[{"id":[0-9]*,"name":"' "$WORK/meta.json"
}

# produce CODEC ACKS: keys, values and two batches, then all of it back in order
round_trip() {
    local t file=$WORK/$1-$2 codec=$1
    t=$(topic "$1-$2-$3")
    seq -f "key-%g:a value of the run with $codec" 1 500 >"$file.in"
    # The first record makes the topic; with acks=0 it would be lost before there is a leader.
    head -n 1 "$file.in" | "${K[@]}" -P -t "$t" -K: -X acks=all
    sed -n 2,251p "$file.in" | "${K[@]}" -P -t "$t" -K: -z "$codec" -X acks="$2" -X enable.idempotence="$3"
    tail -n +252 "$file.in" | "${K[@]}" -P -t "$t" -K: -z "$codec" -X acks="$2" -X enable.idempotence="$3"
    consumed() { "${K[@]}" -C -t "$t" -p 0 -o beginning -e -f '%k:%s\n' >"$file.out" && [ "$(wc -l <"$file.out")" -ge 500 ]; }
    eventually consumed
    same "$file.in" "$file.out"
    "${K[@]}" -C -t "$t" -p 0 -o beginning -e -f '%o\n' >"$file.offsets"
    seq 0 499 | same - "$file.offsets"
}

headers_and_nulls() {
    local t
    t=$(topic headers)
    echo "a:1" | "${K[@]}" -P -t "$t" -K: -H one=1 -H two=zwei
    # -Z turns an empty value into null.
    echo "b:" | "${K[@]}" -P -t "$t" -K: -Z
    echo "c:" | "${K[@]}" -P -t "$t" -K:
    "${K[@]}" -C -t "$t" -o beginning -e -f '%k|%S|%s|%h\n' >"$WORK/headers"
    printf 'a|1|1|one=1,two=zwei\nb|-1||\nc|0||\n' | same - "$WORK/headers"
}

large() {
    local t
    t=$(topic "large-$1")
    head -c 900000 /dev/urandom >"$WORK/large"
    "${K[@]}" -P -t "$t" -z "$1" "$WORK/large" "$WORK/large"
    "${K[@]}" -C -t "$t" -o beginning -e -D '' >"$WORK/large.out"
    cat "$WORK/large" "$WORK/large" | same - "$WORK/large.out"
}

oversized() {
    local t
    t=$(topic oversized)
    head -c 2000000 /dev/urandom >"$WORK/oversized"
    echo first | "${K[@]}" -P -t "$t"
    ! "${K[@]}" -P -t "$t" -X message.max.bytes=8000000 "$WORK/oversized" || return 1
    "${K[@]}" -C -t "$t" -o beginning -e >"$WORK/oversized.out"
    echo first | same - "$WORK/oversized.out"
}

by_offset_and_time() {
    local t middle
    t=$(topic seek)
    seq 1 50 | "${K[@]}" -P -t "$t"
    sleep 0.05
    middle=$(date +%s%3N)
    sleep 0.05
    seq 51 100 | "${K[@]}" -P -t "$t"
    "${K[@]}" -C -t "$t" -p 0 -o 90 -e | same <(seq 91 100) -
    "${K[@]}" -C -t "$t" -p 0 -o -5 -e | same <(seq 96 100) -
    "${K[@]}" -C -t "$t" -p 0 -o s@"$middle" -e | same <(seq 51 100) -
    "${K[@]}" -C -t "$t" -p 0 -o beginning -c 10 | same <(seq 1 10) -
    "${K[@]}" -Q -t "$t:0:$middle" >"$WORK/query"
    contains "offset 50" "$WORK/query"
}

# A group reads to the end and commits on leaving; the next member of the group gets only what is new.
group() {
    local t g
    t=$(topic group)
    g=kcat-group-$RUN
    seq 1 60 | "${K[@]}" -P -t "$t"
    "${K[@]}" -G "$g" -X auto.offset.reset=earliest -X session.timeout.ms=6000 -c 40 "$t" >"$WORK/group.1"
    seq 1 40 | same - "$WORK/group.1"
    seq 61 70 | "${K[@]}" -P -t "$t"
    "${K[@]}" -G "$g" -X auto.offset.reset=earliest -X session.timeout.ms=6000 -c 30 "$t" >"$WORK/group.2"
    seq 41 70 | same - "$WORK/group.2"
}

unknown_topic() {
    ! "${K[@]}" -C -t "$(topic never)" -X allow.auto.create.topics=false -e 2>"$WORK/unknown" || return 1
    contains "Unknown topic" "$WORK/unknown"
}

check "metadata" metadata
for codec in none gzip snappy lz4 zstd; do
    for acks in 0 1 all; do
        check "produce $codec acks=$acks" round_trip "$codec" "$acks" false
    done
    check "produce $codec idempotent" round_trip "$codec" all true
    check "produce $codec 900 KB records" large "$codec"
done
check "headers, null and empty values" headers_and_nulls
check "record over max.message.bytes is refused" oversized
check "consume by offset and by time" by_offset_and_time
check "a group resumes after its commit" group
check "an unknown topic is unknown" unknown_topic
echo "$passed passed, 0 failed"
