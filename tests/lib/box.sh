# For the suites that need a machine of their own: namespaces for network, mounts and processes.
#
# To be sourced by bash, behind checks.sh. With the last program everything in there ends, and the machine's own
# network and files stay as they are.
# shellcheck shell=bash

NAMESPACES=(--net --mount --pid --fork --kill-child=TERM --mount-proc)

# in_namespaces SUITE WHAT [ARGUMENT...]: runs tests/SUITE.sh --inside ARGUMENT... in there; where the machine allows no namespaces, it says
# SKIPPED of WHAT.
in_namespaces() {
    find_program
    export NAMEGATE_BIN
    local by
    if ! by=$(way_in); then
        open_suite "$1"
        skip "$2" 'no namespaces of our own: neither as we are, nor with sudo'
        return
    fi
    # shellcheck disable=SC2086
    $by "${NAMESPACES[@]}" -- "$BASH" "$TESTS/$1.sh" --inside "${@:3}" </dev/null &
    # unshare itself is deaf to these; when it is gone, the kernel tells those inside to end.
    trap 'kill -KILL $!' INT TERM
    wait $!
}

# way_in: the command that makes namespaces here, if there is one.
way_in() {
    local by
    for by in 'unshare' 'unshare --user --map-root-user' \
        'sudo -n --preserve-env=NAMEGATE_BIN,NAMEGATE_TALLY,TMPDIR,PATH unshare'; do
        # shellcheck disable=SC2086
        if $by "${NAMESPACES[@]}" -- sh -c 'ip link set lo up' 2>/dev/null; then
            echo "$by"
            return
        fi
    done
    return 1
}
