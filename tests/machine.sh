#!/usr/bin/env bash
# The program on a machine that turns on it: no descriptors, no network, no disk, no reader, no events, another time,
# stopped, killed. It goes on or says why not; nothing opens, and nothing spins.
#
#   tests/machine.sh [CASE...]     all of them, side by side, or only those
#
# Each case has namespaces of its own for network, mounts and processes, with NSD as the internet and an empty /run in
# them; limits are set on what it has started alone, and disks that fill are small ones in memory. Root, user
# namespaces or sudo are needed for that; where the machine allows none, it says SKIPPED. Needs nsd, dig, ip, python3,
# curl, util-linux, and for two cases nft and libfaketime.
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh
# shellcheck source=lib/box.sh
source lib/box.sh

CASES=(no_more_threads the_clock_steps no_descriptors many_connections nothing_can_be_sent the_interface_goes another_address
    a_full_disk files_have_a_limit nobody_reads_the_query_log nobody_reads_the_own_log no_inotify odd_places another_user
    stopped_and_continued killed_at_any_time too_little_memory the_port_is_lost
    no_ipv6 resolv_conf_changes)
# What is felt is felt within this; the time taken is told, not judged.
SOON_S=15
# A program starts within this, also where many others do.
START_S=30
# Half of a processor: a loop that spins takes a whole one.
CALM_PERCENT=50
# Questions in a row.
MANY=100

main() {
    if [[ ${1:-} == --inside ]]; then
        inside "$2"
        return
    fi
    open_suite machine
    find_program
    side_by_side "$@"
}

# side_by_side [CASE...]: each in namespaces of its own; their words and sums in their order.
side_by_side() {
    local case
    (($# > 0)) || set -- "${CASES[@]}"
    declare -A running
    for case in "$@"; do
        : >"$T/$case.tally"
        NAMEGATE_TALLY=$T/$case.tally in_namespaces machine "$case" "$case" >"$T/$case.said" 2>&1 &
        running[$case]=$!
        STARTED+=("$!")
    done
    for case in "$@"; do
        wait "${running[$case]}"
        cat "$T/$case.said"
        add_up "$T/$case.tally" || fail "$case" 'to come to its end' 'no sums'
    done
}

# add_up FILE: a case's sums to ours.
add_up() {
    local name passed failed skipped
    read -r name passed failed skipped <"$1" || return 1
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
    [[ -n $name ]]
}

# inside CASE: one case, in its namespaces.
inside() {
    open_suite "machine-$1"
    for tool in ip:iproute2 nsd:nsd dig:bind9-dnsutils python3:python3 curl:curl prlimit:util-linux; do
        need "${tool%:*}" "${tool#*:}"
    done
    { ip link set lo up && mount -t tmpfs -o mode=755 none /run; } || die 'no loopback or no /run of our own'
    mkdir /run/namegate "$T/policy"
    export NAMEGATE_ADMIN_SOCKET=/run/namegate/admin.sock
    cat >"$T/internet.zone" <<'ZONE'
$ORIGIN .
$TTL 300
@               IN SOA root.example. hostmaster.example. 1 3600 600 86400 60
@               IN NS  root.example.
root.example.   IN A   127.0.0.2
*.gate.example. IN A   192.0.2.80
listed.nowhere.example. IN A 192.0.2.81
ZONE
    start_internet 127.0.0.2 53 ".=$T/internet.zone"
    POLICY=$T/policy/policy.json
    allow '*.gate.example'
    configure
    "$1"
}

# configure [LINE...]: the configuration, with the upstream unless the lines have another.
UPSTREAM=(--upstream udp://127.0.0.2)
configure() { printf '%s\n' "$@" >"$T/config.toml"; }

# allow PATTERN...: the policy, replaced whole.
allow() { write_policy "$POLICY" machine "$@"; }

# begin [COMMAND...]: starts namegate by a command, and does not wait for it.
begin() {
    start namegate "$@" "$NAMEGATE_BIN" run --config "$T/config.toml" --policy "$POLICY" --zones "$T/zones" "${UPSTREAM[@]}"
    PID=$STARTED_PID
}

# serve [COMMAND...]: the same, and it answers.
serve() {
    begin "$@"
    within "$START_S" answers 127.0.0.1 53 localhost A || die "namegate does not answer: $(tail -n 3 "$T/namegate.err")"
}

# ends LABEL CODE PATTERN: namegate does not start, and says why.
ends() {
    local code=0
    begin
    within "$SOON_S" gone "$PID" || kill -KILL "$PID"
    wait "$PID" || code=$?
    same "$1: the exit code" "$2" "$code"
    holds "$1: it says why" "$(cat "$T/namegate.err")" "$3"
}

# status_of NAME [OPTION...]: the RCODE for its A; empty when there is no reply.
status_of() { dig +time=3 +tries=1 +noall +comments "${@:2}" @127.0.0.1 "$1" A 2>/dev/null | sed -n 's/.*status: \([A-Z]*\),.*/\1/p'; }

resolves() { [[ $(status_of "$@") == NOERROR ]]; }
is_blocked() { [[ $(status_of "$@") == NXDOMAIN ]]; }

# a_row PREFIX [SUFFIX STATUS]: of how many among many fresh names this is the RCODE; by default they resolve.
a_row() {
    local i
    for ((i = 0; i < MANY; i++)); do echo "$1$i.${2:-gate.example} A"; done >"$T/row"
    dig +time=3 +tries=1 +noall +comments @127.0.0.1 -f "$T/row" 2>/dev/null | grep -c "status: ${3:-NOERROR}"
}

# metric NAME: its value; of several, the sum.
metric() { curl -s -m 3 http://127.0.0.1:9953/metrics | awk -v name="$1" '$1 == name || index($1, name "{") == 1 { sum += $2 } END { print sum + 0 }'; }

metric_is() { [[ $(metric "$1") == "$2" ]]; }
metric_passes() { (($(metric "$1") > $2)); }

says() { grep -Eq -- "$1" "$T/namegate.err"; }

# soon LABEL COMMAND...: it comes to be so, and we tell after how long.
soon() {
    local label=$1 began
    began=$(now_ms)
    shift
    if within "$SOON_S" "$@"; then
        info "$label: after $(($(now_ms) - began)) ms"
        ok "$label"
    else
        fail "$label" "'$*' within $SOON_S s" "not so: $(tail -n 3 "$T/namegate.err")"
    fi
}

# is_so LABEL COMMAND...: it is so now.
is_so() { if "${@:2}" >/dev/null; then ok "$1"; else fail "$1" "'${*:2}'" "not so: $(tail -n 3 "$T/namegate.err")"; fi; }

# a_change LABEL NEW OLD: a policy with another name comes into force, and the name before it is blocked.
a_change() {
    allow "$2"
    soon "$1: the name that is new resolves" resolves "$2"
    is_so "$1: the name that was taken out is blocked" is_blocked "$3"
}

# it_is_calm LABEL: no processor is burnt for nothing, over one second.
it_is_calm() {
    local before percent
    if gone "$PID"; then
        fail "$1: it does not spin" 'namegate to run' 'it has ended'
        return
    fi
    before=$(ticks)
    sleep 1
    percent=$((($(ticks) - before) * 100 / $(getconf CLK_TCK)))
    info "$1: $percent % of a processor"
    if ((percent < CALM_PERCENT)); then ok "$1: it does not spin"; else fail "$1: it does not spin" "less than $CALM_PERCENT %" "$percent %"; fi
}

# ticks: the processor time that namegate has used.
ticks() { awk '{ print $14 + $15 }' "/proc/$PID/stat"; }

descriptors() { find "/proc/$PID/fd" -mindepth 1 | wc -l; }

# no_descriptors: not one can be opened any more.
no_descriptors() {
    serve
    a_row before >/dev/null
    prlimit --pid "$PID" --nofile="$(descriptors):"
    same 'without a descriptor: names are still asked for upstream' "$MANY" "$(a_row without)"
    is_so 'without a descriptor: other names are still blocked' is_blocked evil.example
    allow other.gate.example
    soon 'without a descriptor: it says that the policy cannot be read' says 'cannot be read.*Too many open files'
    timeout 1 dig +tcp +time=1 +tries=1 @127.0.0.1 localhost >/dev/null
    it_is_calm 'without a descriptor'
    prlimit --pid "$PID" --nofile=1024:
    soon 'with descriptors again: the policy counts' is_blocked without1.gate.example
    soon 'with descriptors again: TCP' resolves localhost +tcp
}

# no_more_threads: somebody else has taken them all, and those of ours that were idle would have ended by now.
no_more_threads() {
    if ! as_user 64999; then
        skip 'no more threads' 'no other user in here'
        return
    fi
    serve "${BY[@]}"
    "${BY[@]}" prlimit --pid "$PID" --nproc=1: || die 'no limit of threads'
    sleep 11
    a_change 'no more threads' other.gate.example before.gate.example
    same 'no more threads: names are asked for upstream' NOERROR "$(status_of other.gate.example +tcp)"
    it_is_calm 'no more threads'
}

# as_user ID: what is started by "${BY[@]}" runs as a user whom nobody else here is.
as_user() {
    BY=(setpriv "--reuid=$1" "--regid=$1" --clear-groups)
    echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
    chmod 755 "$T" "$T/policy"
    : >/run/program
    mount --bind "$NAMEGATE_BIN" /run/program || die 'no mount of the program'
    NAMEGATE_BIN=/run/program
    unset NAMEGATE_ADMIN_SOCKET
    configure '[policy]' 'poll_every = "300ms"' '[admin]' 'socket = ""'
    "${BY[@]}" "$NAMEGATE_BIN" --version >/dev/null 2>&1
}

# many_connections: more clients than there are descriptors.
many_connections() {
    local fd room
    serve
    room=$(($(descriptors) + 12))
    stop "$PID"
    serve prlimit --nofile="$room:$room"
    for ((fd = 0; fd < 2 * room; fd++)); do exec {_}<>/dev/tcp/127.0.0.1/53; done
    soon 'more clients than descriptors: it says how many it takes' says 'descriptors are enough for [0-9]+ TCP clients'
    it_is_calm 'more clients than descriptors'
    same 'more clients than descriptors: names are asked for upstream' "$MANY" "$(a_row many)"
    soon 'more clients than descriptors: TCP' resolves localhost +tcp
    a_change 'more clients than descriptors' other.gate.example many1.gate.example
    is_so 'more clients than descriptors: it lives' curl -sf -m 3 -o "$T/livez" http://127.0.0.1:9953/livez
}

# nothing_can_be_sent: the kernel refuses to send, to clients or to upstreams (EPERM, ENETUNREACH).
nothing_can_be_sent() {
    UPSTREAM=(--upstream udp://203.0.113.1 --upstream udp://127.0.0.2)
    serve
    is_so 'no route to the first upstream: the second' resolves route.gate.example
    stop "$PID"
    UPSTREAM=(--upstream udp://127.0.0.2)
    if ! command -v nft >/dev/null || ! nft 'add table inet wall; add chain inet wall out { type filter hook output priority 0; }' 2>/dev/null; then
        skip 'a packet filter that refuses' 'no nft (package nftables), or not allowed'
        return
    fi
    serve
    resolves before.gate.example
    nft add rule inet wall out ip saddr 127.0.0.1 udp sport 53 drop
    same 'a filter before the replies: silence' '' "$(status_of localhost +time=1)"
    it_is_calm 'a filter before the replies'
    nft flush chain inet wall out
    is_so 'without it: the next query is answered' resolves localhost
    nft add rule inet wall out ip daddr 127.0.0.2 drop
    same 'a filter before the upstream: SERVFAIL' SERVFAIL "$(status_of filtered.gate.example +time=5)"
    is_so 'a filter before the upstream: other names are blocked' is_blocked evil.example
    nft flush chain inet wall out
    is_so 'without it: the next query is answered upstream' resolves unfiltered.gate.example
}

# the_interface_goes: and comes back.
the_interface_goes() {
    serve
    resolves before.gate.example
    ip link set lo down
    same 'the interface is down: silence' '' "$(status_of localhost +time=1)"
    it_is_calm 'the interface is down'
    ip link set lo up
    is_so 'the interface is back: the next query is answered' resolves localhost
    is_so 'the interface is back: and upstream' resolves back.gate.example
    soon 'the interface is back: it lives' curl -sf -m 3 -o "$T/livez" http://127.0.0.1:9953/livez
}

# another_address: the way to the upstream has another address of ours from now on.
another_address() {
    if ! { ip netns add far && ip link add near type veth peer name far netns far; }; then
        skip 'another address of ours' 'no veth'
        return
    fi
    ip netns exec far ip address add 198.51.100.1/24 dev far
    ip netns exec far ip link set far up
    ip address add 198.51.100.2/24 dev near
    ip link set near up
    nsd_config 198.51.100.1 53 ".=$T/internet.zone" | sed 's/nsd\.pid/far.pid/; s/xfrd\.state/far.state/; s/zone\.list/far.list/' >"$T/far.conf"
    start far ip netns exec far "$(command -v nsd || echo /usr/sbin/nsd)" -d -c "$T/far.conf"
    within 10 answers 198.51.100.1 53 . SOA || die 'the upstream behind the interface does not answer'
    UPSTREAM=(--upstream udp://198.51.100.1)
    serve
    same 'before' "$MANY" "$(a_row before)"
    ip address flush dev near
    same 'no address: SERVFAIL' SERVFAIL "$(status_of without.gate.example +time=5)"
    it_is_calm 'no address'
    ip address add 198.51.100.3/24 dev near
    same 'another address: all that is asked next is answered' "$MANY" "$(a_row after)"
}

# a_full_disk: under the query log, the text for the box, and the policy.
a_full_disk() {
    local disk=/run/disk log=/run/disk/query.jsonl
    mkdir "$disk"
    mount -t tmpfs -o size=128k none "$disk" || die 'no small disk'
    configure '[policy]' 'poll_every = "200ms"' '[blocked]' "file = \"$disk/blocked\"" '[log]' 'queries = "all"' "sink = \"file:$log\""
    POLICY=$disk/policy.json
    allow one.gate.example
    serve
    resolves one.gate.example
    dd if=/dev/zero of="$disk/filler" bs=4k 2>/dev/null
    same 'a full disk: blocked names are answered' "$MANY" "$(a_row full example NXDOMAIN)"
    soon 'a full disk: lost records are counted' metric_passes namegate_querylog_dropped_total 0
    is_so 'a full disk: it is told' says 'query log cannot be written.*No space left'
    allow_by_command
    python3 machine/many.py 500 >"$POLICY" 2>/dev/null
    soon 'a full disk: half a policy is refused' says 'the policy file is refused'
    is_so 'a full disk: the policy before it stays' resolves one.gate.example
    is_so 'a full disk: half a policy allows nothing' is_blocked name1.gate.example
    rm "$disk/filler"
    allow two.gate.example
    soon 'there is room again: the policy counts' resolves two.gate.example
    status_of room.example >/dev/null
    soon 'there is room again: the log goes on' grep -q '"name":"room\.example"' "$log"
    soon 'there is room again: the text for the box too' grep -q 'room\.example' "$disk/blocked"
    same 'every line is a record, but for one that was cut off at most' yes "$(python3 machine/torn.py 1 <"$log")"
}

# allow_by_command: a change that has no room leaves the file as it was, and nothing beside it.
allow_by_command() {
    local before code=0
    before=$(ls -A /run/disk && sha256sum "$POLICY")
    "$NAMEGATE_BIN" policy add --policy "$POLICY" more.gate.example >"$T/add" 2>&1 || code=$?
    same "a full disk: policy add: $(tail -n 1 "$T/add")" 71 "$code"
    same 'a full disk: policy add leaves all as it was' "$before" "$(ls -A /run/disk && sha256sum "$POLICY")"
}

# files_have_a_limit: RLIMIT_FSIZE, whose signal ends those who do not expect it.
files_have_a_limit() {
    configure '[log]' 'queries = "all"' "sink = \"file:$T/query.jsonl\""
    serve prlimit --fsize=16384
    same 'a log as large as a file may be: blocked names are answered' "$MANY" "$(a_row limit example NXDOMAIN)"
    soon 'a log as large as a file may be: lost records are counted' metric_passes namegate_querylog_dropped_total 0
    is_so 'a log as large as a file may be: it is told' says 'query log cannot be written.*File too large'
    mv "$T/query.jsonl" "$T/query.old"
    kill -HUP "$PID"
    soon 'another file: the log goes on' record_in "$T/query.jsonl"
}

# record_in FILE: a query of now is logged there.
record_in() {
    status_of "again$EPOCHSECONDS.example" >/dev/null
    grep -aq '"name":"again[0-9]*\.example"' "$1" 2>/dev/null
}

# a_stuck_pipe NAME: a pipe that is full, its end for writing in $PIPE, for reading in $UNREAD.
a_stuck_pipe() {
    PIPE=$T/$1
    mkfifo "$PIPE"
    exec {UNREAD}<>"$PIPE"
    dd if=/dev/zero of="$PIPE" bs=4k oflag=nonblock 2>/dev/null
}

# nobody_reads_the_query_log: on standard output, and in a pipe with a name.
# shellcheck disable=SC2016
nobody_reads_the_query_log() {
    mkfifo "$T/unread"
    configure '[log]' "sink = \"file:$T/unread\""
    ends 'a pipe that nobody has open' 78 'unread.*(No such device|nobody)'
    a_stuck_pipe stuck
    configure
    serve sh -c 'exec "$@" >"$0"' "$PIPE"
    same 'nobody reads standard output: queries are answered' "$MANY" "$(a_row unread example NXDOMAIN)"
    soon 'nobody reads standard output: lost records are counted' metric_passes namegate_querylog_dropped_total 50
    holds 'nobody reads standard output: what was blocked is remembered' "$("$NAMEGATE_BIN" blocked 2>&1)" "unread$((MANY - 1))\.example"
    a_change 'nobody reads standard output' other.gate.example unread.gate.example
    it_is_calm 'nobody reads standard output'
    timeout 10 cat <&"$UNREAD" >"$T/read" &
    STARTED+=("$!")
    soon 'he reads again: records come' record_in "$T/read"
}

# nobody_reads_the_own_log: standard error, which is a pipe.
# shellcheck disable=SC2016
nobody_reads_the_own_log() {
    a_stuck_pipe stuck
    start namegate sh -c 'exec "$@" 2>"$0"' "$PIPE" "$NAMEGATE_BIN" run --config "$T/config.toml" --policy "$POLICY" "${UPSTREAM[@]}"
    PID=$STARTED_PID
    soon 'nobody reads standard error: it starts' resolves first.gate.example
    a_change 'nobody reads standard error' second.gate.example first.gate.example
    a_change 'nobody reads standard error, again' third.gate.example second.gate.example
    it_is_calm 'nobody reads standard error'
    timeout 10 cat <&"$UNREAD" >"$T/read" &
    STARTED+=("$!")
    soon 'he reads again: it is said how many lines are lost' is_told
    dd if=/dev/zero of="$PIPE" bs=4k count=64 oflag=nonblock 2>/dev/null
    kill -TERM "$PID"
    soon 'nobody reads standard error: it ends when it is told to' gone "$PID"
}

# is_told: whenever there is something to say.
is_told() {
    kill -HUP "$PID"
    grep -aq 'lines of this log are lost.*lines=[0-9]' "$T/read"
}

# no_inotify: with a limit of a user namespace, which is nobody else's.
# shellcheck disable=SC2016
no_inotify() {
    local outer file
    outer=$(readlink /proc/self/ns/user)
    echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
    for file in instances watches; do
        local fewer='
            [ "$(readlink /proc/self/ns/user)" != "$0" ] || exit 1
            echo 0 >/proc/sys/user/max_inotify_'$file' || exit 1
            exec "$@"'
        local by=(unshare --user --map-root-user sh -c "$fewer" "$outer")
        if ! "${by[@]}" true 2>/dev/null; then
            skip "no inotify $file" 'no user namespace in here'
            continue
        fi
        allow first.gate.example
        serve "${by[@]}"
        is_so "no inotify $file: the log says so" says 'cannot be watched; it is polled'
        holds "no inotify $file: /status says so" "$(curl -s -m 3 http://127.0.0.1:9953/status | tr -d ' \n')" '"inotify":null,"poll":true'
        a_change "no inotify $file" second.gate.example first.gate.example
        stop "$PID"
    done
}

# odd_places: what can become of the place where the policy lies.
odd_places() {
    local dir=$T/policy
    configure '[policy]' 'poll_every = "300ms"'
    mkdir /run/seen
    { mount --bind "$dir" /run/seen && mount -o remount,bind,ro /run/seen; } || die 'no read-only mount'
    allow first.gate.example
    POLICY=/run/seen/policy.json
    serve
    POLICY=$dir/policy.json
    a_change 'a read-only mount' second.gate.example first.gate.example
    stop "$PID"
    serve
    refused_for 'a pipe in its place' 'not a regular file' mkfifo "$POLICY"
    refused_for 'a directory in its place' 'not a regular file' mkdir "$POLICY"
    refused_for 'a link to itself' 'symbolic links' ln -s policy.json "$POLICY"
    mv "$dir" "$T/away"
    soon 'the directory is away: it says so' says 'policy file is gone'
    is_so 'the directory is away: the policy stays' resolves second.gate.example
    mv "$T/away" "$dir"
    a_change 'the directory is back' third.gate.example second.gate.example
    stop "$PID"
    no_events
    one_file
    mkdir "$T/zones"
    serve
    mkfifo "$T/zones/pipe.zone"
    soon 'a pipe among the zone files: it says so' says 'zone files cannot be read; the old ones stay.*pipe\.zone'
    stop "$PID"
    ends 'a pipe among the zone files' 78 'pipe\.zone.*not a regular file'
}

# refused_for LABEL PATTERN COMMAND...: what the command puts there is no policy, and the one in force stays.
refused_for() {
    local label=$1 pattern=$2
    shift 2
    rm -rf -- "$POLICY"
    "$@"
    soon "$label: it says so" says "$pattern"
    is_so "$label: the policy stays" resolves second.gate.example
    rm -rf -- "$POLICY"
    allow second.gate.example
}

# no_events: a file system that tells nothing: an overlay, whose lower layer is written to.
no_events() {
    mkdir /run/upper /run/work /run/merged
    if ! mount -t overlay -o "lowerdir=$T/policy,upperdir=/run/upper,workdir=/run/work" none /run/merged 2>/dev/null; then
        skip 'a file system without events' 'no overlay in here'
        return
    fi
    allow first.gate.example
    POLICY=/run/merged/policy.json
    serve
    policy_text machine second.gate.example >"$T/policy/policy.json"
    soon 'a file system without events: the change is seen' resolves second.gate.example
    is_so 'a file system without events: the name that was taken out is blocked' is_blocked first.gate.example
    stop "$PID"
    POLICY=$T/policy/policy.json
}

# one_file: a mount of the file alone, which is replaced where nobody in here sees it.
one_file() {
    : >/run/one.json
    allow first.gate.example
    mount --bind "$POLICY" /run/one.json || die 'no mount of a file'
    POLICY=/run/one.json
    serve
    POLICY=$T/policy/policy.json
    allow second.gate.example
    soon 'one file, replaced under its mount: it says so' says 'replaced under a mount of this one file'
    is_so 'one file, replaced under its mount: the policy stays' resolves first.gate.example
    is_so 'one file, replaced under its mount: an alarm' metric_is namegate_policy_watch_healthy 0
    stop "$PID"
}

# another_user: one who loses the permission to read the policy.
another_user() {
    if ! as_user 65534; then
        skip 'a policy that may not be read any more' 'no other user in here'
        return
    fi
    allow first.gate.example
    serve "${BY[@]}"
    chmod 700 "$T/policy"
    soon 'a directory that may not be entered: it says so' says 'cannot be read.*Permission denied'
    is_so 'a directory that may not be entered: the policy stays' resolves first.gate.example
    chmod 755 "$T/policy"
    umask 077
    allow second.gate.example
    is_so 'a file that may not be read: the policy stays' resolves first.gate.example
    chmod 644 "$POLICY"
    soon 'it may be read: it counts' resolves second.gate.example
    is_so 'it may be read: the name that was taken out is blocked' is_blocked first.gate.example
}

# the_clock_steps: a day ahead, and two days back, while an audit and cached answers count their time.
the_clock_steps() {
    local fake
    fake=$(find /usr/lib /usr/local/lib -name libfaketime.so.1 2>/dev/null | head -n 1)
    if [[ -z $fake ]]; then
        skip 'the clock steps' 'no libfaketime.so.1 (package faketime)'
        return
    fi
    echo '+0' >"$T/time"
    local by=(env "LD_PRELOAD=$fake" "FAKETIME_TIMESTAMP_FILE=$T/time" FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1)
    if ! "${by[@]}" "$NAMEGATE_BIN" --version >/dev/null 2>&1 || [[ $(env "LD_PRELOAD=$fake" FAKETIME=-400d date +%Y) == "$(date +%Y)" ]]; then
        skip 'the clock steps' 'the program does not take another clock'
        return
    fi
    serve "${by[@]}"
    resolves cached.gate.example
    steps ahead +86400
    steps back -86400
    stop "$PID"
    an_audit "${by[@]}"
}

# steps WAY SECONDS: the clock is so far from the true time.
steps() {
    local label="the clock, a day $1" asked
    asked=$(metric namegate_upstream_requests_total)
    echo "$2" >"$T/time"
    is_so "$label: status" "$NAMEGATE_BIN" status
    soon "$label: blocked names are shown with it" shows_the_day "$2"
    holds "$label: a cached answer has its TTL" "$(dig +noall +answer @127.0.0.1 cached.gate.example)" '^cached\.gate\.example\.\s+(300|2[5-9][0-9])\s'
    same "$label: upstream was not asked again" "$asked" "$(metric namegate_upstream_requests_total)"
    is_so "$label: names are blocked" is_blocked evil.example
    a_change "$label" "$1.gate.example" evil.gate.example
    it_is_calm "$label"
    allow '*.gate.example'
    soon "$label: another change" resolves "all-$1.gate.example"
}

# shows_the_day STEP: does the text of blocked names have the date that the clock shows now?
shows_the_day() { status_of evil.example >/dev/null; "$NAMEGATE_BIN" blocked | grep -q "as of $(date -u -d "$1 seconds" +%F)"; }

# an_audit COMMAND...: it ends by the clock that ends it first, and no step lengthens it.
an_audit() {
    local until
    echo '+0' >"$T/time"
    until=$(date -u -d '+1 hour' +%FT%TZ)
    configure '[policy]' 'mode = "audit"' "audit_until = \"$until\""
    serve "$@"
    is_so 'an audit: what is not allowed resolves' resolves listed.nowhere.example
    echo '-86400' >"$T/time"
    is_so 'an audit, the clock a day back: it has no more than its hour' audit_has_at_most 3600
    echo '+86400' >"$T/time"
    soon 'an audit, the clock a day ahead: it is over' metric_is namegate_audit_seconds_remaining 0
    is_so 'an audit that is over: it is blocked' is_blocked listed.nowhere.example
    echo '+0' >"$T/time"
    is_so 'an audit, the clock set back: it stays over' is_blocked listed.nowhere.example
}

audit_has_at_most() { local left; left=$(metric namegate_audit_seconds_remaining) && awk -v left="$left" -v most="$1" 'BEGIN { exit !(left > 0 && left <= most) }'; }

# stopped_and_continued: for three seconds, while queries come in and the policy is replaced.
stopped_and_continued() {
    local i began
    serve
    resolves first.gate.example
    kill -STOP "$PID"
    for ((i = 0; i < 20; i++)); do
        dig +time=10 +tries=1 +noall +comments @127.0.0.1 first.gate.example >"$T/asked.$i" 2>&1 &
    done
    sleep 1
    allow second.gate.example
    sleep 2
    began=$(now_ms)
    kill -CONT "$PID"
    if within "$SOON_S" is_blocked first.gate.example; then
        info "stopped and continued: the policy that was replaced meanwhile counts after $(($(now_ms) - began)) ms"
        ok 'stopped and continued: the policy counts'
    else
        fail 'stopped and continued: the policy counts' 'first.gate.example to be blocked' 'it resolves'
    fi
    soon 'stopped and continued: every query that came meanwhile is answered' all_answered
    info "stopped and continued: $(cat "$T"/asked.* | grep -c 'status: NOERROR') of 20 by the policy before, $(cat "$T"/asked.* | grep -c 'status: NXDOMAIN') by the new one"
    is_so 'stopped and continued: the name that is new resolves' resolves second.gate.example
    soon 'stopped and continued: it lives' curl -sf -m 3 -o "$T/livez" http://127.0.0.1:9953/livez
    it_is_calm 'stopped and continued'
}

all_answered() { (($(cat "$T"/asked.* | grep -c 'status: ') == 20)); }

# killed_at_any_time: under load, while the policy is replaced and the log is renamed; what is left lets it start again.
killed_at_any_time() {
    local round i load log=$T/query.jsonl began took slowest=0
    configure '[log]' 'queries = "all"' "sink = \"file:$log\""
    for ((i = 0; i < 2000; i++)); do echo "load$((i % 50)).gate.example A"; done >"$T/load"
    for round in 1 2 3 4; do
        began=$(now_ms)
        serve
        took=$(($(now_ms) - began))
        ((took <= slowest)) || slowest=$took
        dig +time=1 +tries=1 +short @127.0.0.1 -f "$T/load" >/dev/null 2>&1 &
        load=$!
        for ((i = 0; i < 10; i++)); do
            allow '*.gate.example' "round$round-$i.gate.example"
            status_of "blocked$round-$i.example" >/dev/null
            mv "$log" "$log.$round-$i" 2>/dev/null && kill -HUP "$PID"
            ((i < 1 + round)) || break
        done
        kill -KILL "$PID" "$load"
        wait "$PID" "$load" 2>/dev/null
    done
    info "killed four times: the slowest first answer was after $slowest ms"
    printf '{"v":1,"ts":"2026-01-01T00:00:00.000Z","event":"dns.qu' >>"$log"
    serve
    is_so 'killed: it starts again, at the same port and socket' "$NAMEGATE_BIN" status
    is_so 'killed: the policy counts' is_blocked evil.example
    soon 'killed: the text for the box is whole' whole_text
    holds 'killed: a line that was cut off stays by itself' "$(grep -A 1 'dns\.qu' "$log")" '^\{"event":"start"'
    cat "$log".*-* "$log" >"$T/all.jsonl"
    same 'killed: of all logs no more lines are torn than it was killed' yes "$(python3 machine/torn.py 5 <"$T/all.jsonl")"
    is_so 'killed: suggest reads them' "$NAMEGATE_BIN" suggest --log "$T/all.jsonl" --format json
    is_so 'killed: nothing half-made lies about' test -z "$(find "$T/policy" /run/namegate -name '*.new')"
}

whole_text() { tail -n 1 /run/namegate/blocked | grep -q 'evil\.example'; }

# too_little_memory: for the policy that comes next.
too_little_memory() {
    local code=0 size i
    serve
    size=$(awk '/^VmSize/ { print $2 * 1024 }' "/proc/$PID/status")
    prlimit --pid "$PID" --as="$((size + (8 << 20))):"
    python3 machine/many.py 60000 >"$T/many.json"
    mv "$T/many.json" "$POLICY"
    for ((i = 0; i < 400; i++)); do
        gone "$PID" && break
        is_blocked evil.example || break
        metric_is namegate_policy_generation 2 && break
        sleep 0.02
    done
    if gone "$PID"; then
        wait "$PID" 2>/dev/null || code=$?
        same 'a policy without memory for it: it ends, and nothing opens' 134 "$code"
    else
        is_so 'a policy without memory for it: it goes on' is_blocked evil.example
    fi
    serve
    soon 'with memory: the policy counts' resolves name7.gate.example
    is_so 'with memory: other names are blocked' is_blocked evil.example
}

# the_port_is_lost: taken over one transport, or at an address that is not there yet.
the_port_is_lost() {
    local transport holder
    for transport in udp tcp; do
        rm -f "$T/holder.out"
        start holder python3 machine/hold.py "$transport" 127.0.0.1 53
        holder=$STARTED_PID
        within "$START_S" test -s "$T/holder.out" || die 'the port is not held'
        ends "$transport alone is taken" 71 "127\.0\.0\.1:53 over ${transport^^}: Address already in use"
        is_so "$transport alone is taken: by whom" says "held by python.*pid $holder"
        stop "$holder"
    done
    configure '[listen]' 'addresses = ["127.0.0.1:53", "192.0.2.99:53"]' 'clients = ["127.0.0.0/8", "192.0.2.0/24"]'
    ends 'an address that is not there yet' 71 '192\.0\.2\.99:53 over TCP'
    ip address add 192.0.2.99/32 dev lo
    serve
    is_so 'the address is there' resolves there.gate.example
    ip address delete 192.0.2.99/32 dev lo
    is_so 'the address is gone: the other is served' resolves gone.gate.example
    it_is_calm 'the address is gone'
    ip address add 192.0.2.99/32 dev lo
    soon 'the address is back: it is served' answers 192.0.2.99 53 back.gate.example A
}

# no_ipv6: in this network, which is nobody else's.
no_ipv6() {
    echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 || die 'no such setting'
    UPSTREAM=(--upstream 'udp://[2001:db8::53]' --upstream udp://127.0.0.2)
    serve
    is_so 'without IPv6: it says so' says 'no IPv6 here: \[::1\]:53 is left out'
    is_so 'without IPv6: an upstream that has one is passed over' resolves without.gate.example
    is_so 'without IPv6: names are blocked' is_blocked evil.example
    stop "$PID"
    configure '[listen]' 'addresses = ["[::1]:53"]'
    ends 'without IPv6, and nowhere else to listen' 71 '\[::1\]:53'
}

# resolv_conf_changes: which is read at start.
resolv_conf_changes() {
    echo 'nameserver 127.0.0.2' >"$T/resolv.conf"
    mount --bind "$T/resolv.conf" /etc/resolv.conf || die 'cannot stand over resolv.conf'
    UPSTREAM=(--upstream system)
    serve
    is_so 'the resolver that resolv.conf names' resolves before.gate.example
    echo 'nameserver 127.0.0.3' >"$T/resolv.conf"
    is_so 'resolv.conf names another: a reload of the policy is well' "$NAMEGATE_BIN" reload
    is_so 'resolv.conf names another: it asks the one that it has read' resolves after.gate.example
    echo 'nameserver 127.0.0.1' >"$T/resolv.conf"
    is_so 'resolv.conf names namegate: it goes on' resolves itself.gate.example
    stop "$PID"
    ends 'a start with a resolv.conf that names namegate' 78 'points to namegate itself'
    echo 'nameserver 127.0.0.2' >"$T/resolv.conf"
    serve
    is_so 'a restart reads it' resolves again.gate.example
}

main "$@"
