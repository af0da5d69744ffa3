# What the suites share: checks that are told and counted, processes that always end, waits that are bounded.
#
# To be sourced by bash. Reads NAMEGATE_TALLY (a file that gets one line `SUITE PASSED FAILED SKIPPED`) and
# NAMEGATE_BIN (the program under test). Makes one directory under TMPDIR and removes it at the end.
# Touches nothing else, and ends only what `start` has started.
# shellcheck shell=bash

PASSED=0 FAILED=0 SKIPPED=0
STARTED=()
LIB=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
TESTS=$(dirname -- "$LIB")
ROOT=$(dirname -- "$TESTS")

# ok NAME: a check that held.
ok() {
    PASSED=$((PASSED + 1))
    printf 'ok   %s\n' "$1"
}

# fail NAME EXPECTED GOT: a check that did not.
fail() {
    FAILED=$((FAILED + 1))
    printf 'FAIL %s: expected %s, got %.600s\n' "$1" "$2" "$3"
}

# skip NAME WHY: a check that could not be made; never silent, never a pass.
skip() {
    SKIPPED=$((SKIPPED + 1))
    printf '\n**** SKIPPED **** %s: %s\n\n' "$1" "$2"
}

# info TEXT: a figure for the reader; nothing is asserted.
info() { printf 'info %s\n' "$1"; }

# die WHY: the suite cannot go on, which is a failure.
die() {
    fail "$SUITE" 'to be able to run' "$1"
    exit 1
}

# same NAME EXPECTED GOT: a check of equality.
same() {
    if [[ $2 == "$3" ]]; then ok "$1"; else fail "$1" "'$2'" "'$3'"; fi
}

# holds NAME TEXT PATTERN: TEXT has a match of the extended regular expression PATTERN.
holds() {
    if grep -Eq -- "$3" <<<"$2"; then ok "$1"; else fail "$1" "a match of /$3/" "'$2'"; fi
}

# open_suite NAME: a fresh directory in $T, and an end that comes whatever happens.
open_suite() {
    SUITE=$1
    keep_settings_out
    T=$(mktemp -d "${TMPDIR:-/tmp}/namegate-$1.XXXXXX") || exit 1
    trap close_suite EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# keep_settings_out: the program under test reads NAMEGATE_ variables; it sees none of ours, and none of the caller's.
keep_settings_out() {
    local name
    for name in "${!NAMEGATE_@}"; do
        case $name in
        NAMEGATE_BIN | NAMEGATE_TALLY) export -n "${name?}" ;;
        *) unset "$name" ;;
        esac
    done
    # This machine may have a namegate of its own, which keeps its socket.
    export NAMEGATE_ADMIN_SOCKET=
}

# close_suite: ends every process, tells the sums, and exits 1 if a check failed.
close_suite() {
    local code=$?
    trap - EXIT
    local pid
    for pid in "${STARTED[@]}"; do stop "$pid"; done
    ((code == 0 || FAILED > 0)) || fail "$SUITE" 'to come to its end' "exit code $code"
    ((FAILED == 0)) || show_logs
    rm -rf -- "$T"
    [[ -z ${NAMEGATE_TALLY:-} ]] || echo "$SUITE $PASSED $FAILED $SKIPPED" >>"$NAMEGATE_TALLY"
    printf '%s: %d passed, %d failed, %d skipped\n' "$SUITE" "$PASSED" "$FAILED" "$SKIPPED"
    ((FAILED == 0)) || exit 1
    exit 0
}

# show_logs: the ends of what the processes said, for whoever has to find the fault.
show_logs() {
    local log
    for log in "$T"/*.err; do
        [[ -s $log ]] || continue
        printf -- '---- %s\n' "${log##*/}"
        tail -n 15 "$log"
    done
}

# start NAME COMMAND...: runs it behind us, its words in $T/NAME.out and .err, its id in $STARTED_PID.
start() {
    local name=$1
    shift
    "$@" >"$T/$name.out" 2>"$T/$name.err" </dev/null &
    STARTED_PID=$!
    STARTED+=("$STARTED_PID")
}

# stop PID: TERM, three seconds, KILL; its exit code in $STOPPED_CODE.
# shellcheck disable=SC2034
stop() {
    STOPPED_CODE=0
    kill -TERM "$1" 2>/dev/null || return 0
    within 3 gone "$1" || kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
    STOPPED_CODE=$?
}

# gone PID: has this child of ours ended?
gone() { ! kill -0 "$1" 2>/dev/null; }

# within SECONDS COMMAND...: does it succeed before they are over? Tried every 20 ms.
within() {
    local end=$(($(now_ms) + $1 * 1000))
    shift
    until "$@"; do
        (($(now_ms) < end)) || return 1
        sleep 0.02
    done
}

# now_ms: the clock in milliseconds.
now_ms() {
    local now=${EPOCHREALTIME/[.,]/}
    echo "${now%???}"
}

# free_ports N: that many ports which nobody has now, over UDP or TCP, on either loopback. Needs python3.
free_ports() { python3 "$LIB/free_ports.py" "$1"; }

# has_ipv6: is there an IPv6 loopback?
has_ipv6() { grep -q '^0\{31\}1 ' /proc/net/if_inet6 2>/dev/null; }

# find_program: sets NAMEGATE_BIN to the debug build unless it is set, and insists on it. A relative path is taken
# from where the suite was called.
find_program() {
    local target
    if [[ -n ${NAMEGATE_BIN:-} ]]; then
        [[ $NAMEGATE_BIN == /* ]] || NAMEGATE_BIN=$OLDPWD/$NAMEGATE_BIN
    else
        target=$(cd "$ROOT" && cargo metadata --locked --no-deps --format-version 1 |
            sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
        NAMEGATE_BIN=$target/debug/namegate
    fi
    [[ -x $NAMEGATE_BIN ]] || die "no program at $NAMEGATE_BIN: run cargo build, or set NAMEGATE_BIN"
}

# need COMMAND PACKAGE: insists on a tool.
need() { command -v "$1" >/dev/null || die "no $1: install the package $2"; }

# write_policy FILE NAME PATTERN...: a policy document, written to another file and moved into place.
write_policy() {
    local file=$1 name=$2
    shift 2
    policy_text "$name" "$@" >"$file.new"
    mv -f -- "$file.new" "$file"
}

# policy_text NAME PATTERN...: the document itself.
policy_text() {
    local name=$1 list
    shift
    list=$(printf '"%s",' "$@")
    cat <<EOF
{"id": "npl_$name", "name": "$name", "description": null,
 "egress": {"allow_all": false, "allow_devbox_to_devbox": false, "allow_agent_gateway": false,
            "allow_mcp_gateway": false, "allowed_hostnames": [${list%,}]},
 "create_time_ms": 1, "update_time_ms": 1}
EOF
}

# start_internet ADDRESS PORT ZONE...: NSD as all the name servers of the world; each ZONE is NAME=FILE.
start_internet() {
    local address=$1 port=$2
    shift 2
    nsd_config "$address" "$port" "$@" >"$T/nsd.conf"
    start nsd "$(command -v nsd || echo /usr/sbin/nsd)" -d -c "$T/nsd.conf"
    within 30 answers "$address" "$port" . SOA || die "NSD does not answer: $(tail -n 3 "$T/nsd.err")"
}

# nsd_config ADDRESS PORT ZONE...: everything in $T, nothing of the machine's own, no limit on queries.
nsd_config() {
    local address=$1 port=$2 zone
    shift 2
    cat <<EOF
server:
  ip-address: $address@$port
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "$T"
  database: ""
  pidfile: "$T/nsd.pid"
  xfrdfile: "$T/xfrd.state"
  xfrdir: "$T"
  zonelistfile: "$T/zone.list"
  rrl-ratelimit: 0
remote-control:
  control-enable: no
EOF
    for zone in "$@"; do
        printf 'zone:\n  name: "%s"\n  zonefile: "%s"\n' "${zone%%=*}" "${zone#*=}"
    done
}

# answers ADDRESS PORT NAME TYPE: does a server there say anything to this question?
answers() { dig +time=1 +tries=1 "@$1" -p "$2" "$3" "$4" >/dev/null 2>&1; }
