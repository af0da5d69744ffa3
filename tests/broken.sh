#!/usr/bin/env bash
# Breaks each promise on purpose and tells which tests notice.
#
#   tests/broken.sh [PATCH...]
#
# Each of tests/broken/*.patch, or those that are named, says in its first line which of SPEC's ten promises it breaks
# and how. It is applied to a copy of the tree, `cargo test` is run there, and a row of the table in docs/PROOF.md is
# printed with the tests that failed; those that fail without any patch are told first and do not count. The exit code
# is 1 when a break goes unnoticed or cannot be made. Some minutes a patch: a broken program lets tests wait. The copy
# and what is built in it stand under TMPDIR and are removed. This is a campaign, and no part of tests/all.sh.
set -eu -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
ROOT=$PWD

# Tests told by name in a row.
NAMED=6
# One that a break has made hang ends after so many seconds.
PATIENCE=600

main() {
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/namegate-broken.XXXXXX")
    trap 'rm -rf -- "$WORK"' EXIT
    mkdir "$WORK/tree"
    git ls-files -z | tar --create --null --files-from=- | tar --extract --directory="$WORK/tree"
    export CARGO_TARGET_DIR=$WORK/target CARGO_INCREMENTAL=1 GIT_CEILING_DIRECTORIES=$WORK
    cd "$WORK/tree"
    run_tests whole || true
    failed whole >"$WORK/always"
    [[ -s $WORK/always ]] && printf 'fail without any patch: %s\n' "$(paste -sd' ' "$WORK/always")"
    (($# > 0)) || set -- "$ROOT"/tests/broken/*.patch
    echo '| promise | broken on purpose | tests that fail | among them |'
    echo '|---|---|---|---|'
    local patch unnoticed=0
    for patch in "$@"; do
        try "$patch" || unnoticed=$((unnoticed + 1))
    done
    echo
    echo "$# breaks, $unnoticed unnoticed"
    ((unnoticed == 0))
}

# try PATCH: one row.
try() {
    local patch=$1 name=${1##*/} noticed
    if ! git apply "$patch"; then
        echo "| | $name does not apply: make it anew | | |"
        return 1
    fi
    run_tests "$name" || true
    git apply --reverse "$patch"
    if ! grep -q '^running ' "$WORK/$name.out"; then
        echo "| | $name does not build: make it anew | | |"
        return 1
    fi
    failed "$name" | grep -vxFf "$WORK/always" >"$WORK/noticed" || true
    noticed=$(wc -l <"$WORK/noticed")
    echo "| $(promise_of "$patch") | $(what_of "$patch") | $noticed | $(some_of "$WORK/noticed") |"
    ((noticed > 0))
}

# run_tests NAME: the tests' output goes to a file.
run_tests() {
    timeout "$PATIENCE" cargo test --locked --no-fail-fast >"$WORK/$1.out" 2>&1
}

# failed NAME: the tests that failed there, and an end of all before its time.
failed() {
    sed -n 's/^test \([^ ]*\) .*FAILED$/\1/p' "$WORK/$1.out" | sort -u
    if grep -q 'signal: \|SIGABRT\|SIGSEGV' "$WORK/$1.out"; then
        echo 'the-process-ended'
    fi
}

# promise_of PATCH, what_of PATCH: of its first line, `Promise N. What is broken.`
promise_of() { sed -n '1s/^Promise \([0-9]*\)\. .*/\1/p' "$1"; }
what_of() { sed -n '1s/^Promise [0-9]*\. //p' "$1"; }

# some_of FILE: the first names, in the table's manner: a story by its file.
some_of() {
    sed 's/^script::\(.*\)/\1.dns/; s/.*:://' "$1" | sort -u | head -n "$NAMED" | sed 's/.*/`&`/' | paste -sd' '
}

main "$@"
