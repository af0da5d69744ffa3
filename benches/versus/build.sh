# Sourced: a directory of our own in WORK, and in it and in NAMEGATE the programs to be measured.
#
# In: HERE and ROOT; NAMEGATE_BIN says which namegate, else the release build is made. The directory goes, and what was
# started ends, when the script does.
# shellcheck shell=bash

WORK=$(mktemp -d "${TMPDIR:-/tmp}/namegate-versus.XXXXXX")
trap 'rm -rf -- "$WORK"' EXIT

# build: the generator, the reflector and namegate.
build() {
    cc -O2 -Wall -Wextra -o "$WORK/generate" "$HERE/generate.c"
    cc -O2 -Wall -Wextra -pthread -o "$WORK/reflector" "$HERE/reflector.c"
    NAMEGATE=${NAMEGATE_BIN:-}
    [[ -z $NAMEGATE ]] || return 0
    (cd "$ROOT" && cargo build --release --locked >&2)
    NAMEGATE=${CARGO_TARGET_DIR:-$ROOT/target}/release/namegate
}

# await PID: ends with what it ends with; a signal to us is one to it.
await() {
    # shellcheck disable=SC2064
    trap "kill -TERM $1 2>/dev/null || true" INT TERM HUP
    local code=0
    wait "$1" || code=$?
    while kill -0 "$1" 2>/dev/null; do wait "$1" || code=$?; done
    return "$code"
}
