# Sourced by the suites in shell: a line per check, and the first that fails ends the program with its output.
# shellcheck shell=bash

BOOTSTRAP=${1:-${BOOTSTRAP:-127.0.0.1:9092}}
RUN=$(date +%s%N)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
passed=0

# check NAME FUNCTION ARGS...
check() {
    local name=$1 start
    shift
    start=$(date +%s%3N)
    # Not in a condition: that would switch errexit off inside the function.
    set +e
    (set -euo pipefail; "$@") >"$WORK/check.log" 2>&1
    local code=$?
    set -e
    if [ "$code" -ne 0 ]; then
        echo "FAIL $name"
        tail -n 40 "$WORK/check.log"
        echo "$passed passed, 1 failed"
        exit 1
    fi
    passed=$((passed + 1))
    echo "ok   $name ($(($(date +%s%3N) - start)) ms)"
}

# same EXPECTED_FILE GOT_FILE
same() {
    cmp "$1" "$2" && return
    echo "expected:"; head -c 1000 "$1"
    echo "got:"; head -c 1000 "$2"
    return 1
}

# contains TEXT FILE
contains() {
    grep -qF -- "$1" "$2" && return
    echo "'$1' is not in:"; head -c 3000 "$2"
    return 1
}

# Runs the command until it succeeds, for 20 s.
eventually() {
    local _
    for _ in $(seq 100); do
        "$@" && return
        sleep 0.2
    done
    echo "not in time: $*"
    return 1
}
