#!/usr/bin/env bash
# What it takes from an install that fails for a blocked name to one that succeeds, for each client: seconds and steps.
#
#   tests/blocked.sh [CLIENT...]        npm pip git release
#
# In namespaces of its own with an internet of its own (lib/internet.sh), each client runs under a policy that allows
# example.com alone: with namegate as the box's resolver; under `exec --fail-fast`, typing the command that it prints
# until the client succeeds; under `exec` without it, for the seconds to the first end. Prints the table of
# docs/DEVELOPER.md. It measures, and asserts only that the right lines are found; so it is not part of all.sh. Takes
# some minutes: npm tries for more than one. Needs root or user namespaces, nsd, dig, python3, openssl, the clients.
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh
# shellcheck source=lib/box.sh
source lib/box.sh
# shellcheck source=lib/internet.sh
source lib/internet.sh

CLIENTS=(npm pip git release)
ROUNDS_MAX=5

main() {
    if [[ ${1:-} == --inside ]]; then
        inside
    else
        export BLOCKED_CLIENTS="$*"
        in_namespaces blocked 'installs that fail'
    fi
}

inside() {
    open_suite blocked
    build_internet
    CLIENT_S=200
    export T PYTHON CLIENT_S CLIENT_HOME
    local clients=() it
    read -ra clients <<<"${BLOCKED_CLIENTS:-}"
    ((${#clients[@]} > 0)) || clients=("${CLIENTS[@]}")
    : >"$T/table"
    for it in "${clients[@]}"; do measure "$it"; done
    printf '\n| command | says the name | fails after | under `exec` | `--fail-fast` | commands typed | then, in all |\n|---|---|---|---|---|---|---|\n'
    cat "$T/table"
    [[ -z ${BLOCKED_SAID:-} ]] || tail -n 12 "$T"/*.fast "$T"/*.exec "$T/edits"
}

# measure CLIENT: a row.
measure() {
    local client=$1 plain exec_s fast_s rounds=0 all_s named=no
    CLIENT_HOME=$T/home-$client
    box "$client"
    plain=$(seconds "$T/$client.said" run_here "$client")
    grep -Eq 'registry\.npmjs\.org|pypi\.org|pythonhosted|github' "$T/$client.said" && named=yes
    stop "$STARTED_PID"
    info "$client: without exec it says: $(grep -v '^$' "$T/$client.said" | tail -n 1 | cut -c 1-160)"
    echo 'nameserver 127.0.0.2' >"$T/resolv.conf"
    write_policy "$T/$client.json" "$client" example.com
    exec_s=$(seconds "$T/$client.exec" under "$client")
    all_s=0
    while ((rounds < ROUNDS_MAX)); do
        fast_s=$(seconds "$T/$client.fast" under "$client" --fail-fast)
        all_s=$(awk "BEGIN { printf \"%.1f\", $all_s + $fast_s }")
        ((rounds > 0)) || FIRST_S=$fast_s
        remedy "$T/$client.fast" || break
        rounds=$((rounds + 1))
    done
    info "$client: the policy has then: $(grep -o 'allowed_hostnames.*' "$T/$client.json")"
    if [[ $(cat "$T/code") == 0 ]]; then ok "$client: succeeds after $rounds"; else fail "$client" 'success' "$(tail -n 3 "$T/$client.fast")"; fi
    echo "| \`$client\` | $named | $plain s | $exec_s s | $FIRST_S s | $rounds | $all_s s |" >>"$T/table"
}

# box CLIENT: namegate as the only resolver, as in a devbox.
box() {
    write_policy "$T/$1.json" "$1" example.com
    start namegate "$NAMEGATE_BIN" run --policy "$T/$1.json" --listen 127.0.0.1:53 --upstream udp://127.0.0.2 --metrics off
    within 10 answers 127.0.0.1 53 example.com A || die "namegate does not start: $(tail -n 3 "$T/namegate.err")"
    echo 'nameserver 127.0.0.1' >"$T/resolv.conf"
}

# run_here CLIENT: in a home of its own.
run_here() {
    rm -rf "$CLIENT_HOME" && mkdir -p "$CLIENT_HOME"
    (export HOME=$CLIENT_HOME && cd "$HOME" && "run_$1")
}

# under CLIENT FLAG...: the same as a command of exec's.
under() {
    local client=$1
    shift
    "$NAMEGATE_BIN" exec "$@" --policy "$T/$client.json" -- "$BASH" -c "$(declare -f run_here quick "run_$client"); run_here $client"
}

# seconds FILE COMMAND...: how long it takes; what it says goes to the file, its exit code to $T/code.
seconds() {
    local file=$1 began code=0
    shift
    began=$(now_ms)
    "$@" >"$file" 2>&1 || code=$?
    echo "$code" >"$T/code"
    awk "BEGIN { printf \"%.1f\", ($(now_ms) - $began) / 1000 }"
}

# remedy FILE: types the command that exec printed, if it did.
remedy() {
    local command
    command=$(sed -n 's/^allow with:  namegate //p' "$1")
    [[ -n $command ]] || return 1
    info "typed: namegate $command"
    eval "$NAMEGATE_BIN $command" >>"$T/edits" 2>&1
}

main "$@"
