#!/usr/bin/env bash
# `namegate doctor` on machines that have one fault each: it names the fault by its id, and nothing else fails.
#
#   tests/doctor.sh
#
# Makes namespaces of its own for network, mounts and processes, with a copy of /etc and an empty /run in them; starts
# NSD, namegate by its defaults, and what goes around it. Root, user namespaces or sudo are needed for that; where the
# machine allows none, it says SKIPPED. Needs nsd, dig, python3, ip.
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh
# shellcheck source=lib/box.sh
source lib/box.sh

# Everything waits side by side; what takes longer than this waits for ever.
BOUND_S=10
POLICY=/etc/namegate/policy.json
ONE='nameserver 127.0.0.1'

main() {
    if [[ ${1:-} == --inside ]]; then
        inside
    else
        in_namespaces doctor 'doctor on machines with a fault'
    fi
}

# inside: all of it, in the namespaces.
inside() {
    open_suite doctor
    need ip iproute2
    need nsd nsd
    need dig bind9-dnsutils
    need python3 python3
    PYTHON=$(python3 -c 'import sys; print(sys.executable)')
    build_box
    start_internet 127.0.0.2 53 ".=$PWD/clients/internet.zone"
    run_namegate
    healthy
    other_resolvers
    resolv_confs
    nsswitches
    policy_files
    limits
    public_resolvers
    as_another_user
    allow_all
    in_between
    stop "$NAMEGATE_PID"
    without_namegate
}

# build_box: a loopback, a copy of /etc that may be changed, and an empty /run.
build_box() {
    ip link set lo up || die 'no loopback in the namespace'
    ip address add 192.0.2.7/32 dev lo
    mkdir "$T/etc"
    # What another user alone may read is not missed.
    cp -a /etc/. "$T/etc/" 2>/dev/null
    rm -rf -- "$T/etc/namegate" "$T/etc/resolv.conf" "$T/etc/nsswitch.conf"
    mkdir "$T/etc/namegate"
    chmod 755 "$T" "$T/etc" "$T/etc/namegate"
    mount --bind "$T/etc" /etc || die 'cannot stand over /etc'
    mount -t tmpfs -o mode=755 none /run || die 'cannot stand over /run'
    put_back
}

# put_back: the machine without a fault.
put_back() {
    resolv_conf "$ONE"
    hosts 'files dns'
    write_policy "$POLICY" box allowed.example
    chmod 644 "$POLICY"
}

# resolv_conf LINE...: a file, whatever stood there.
resolv_conf() {
    rm -f /etc/resolv.conf
    printf '%s\n' "$@" >/etc/resolv.conf
}

# hosts SERVICES: the line of nsswitch.conf.
hosts() { printf 'passwd: files\nhosts: %s\n' "$1" >/etc/nsswitch.conf; }

# run_namegate: by its defaults, but for whom it asks.
run_namegate() {
    printf '[upstream]\nservers = ["udp://127.0.0.2"]\n' >/etc/namegate/config.toml
    start namegate "$NAMEGATE_BIN" run
    NAMEGATE_PID=$STARTED_PID
    within 10 answers 127.0.0.1 53 localhost A || die "namegate does not answer: $(tail -n 3 "$T/namegate.err")"
}

# examine [OPTION...]: what doctor finds, one `LEVEL ID` a line in $FOUND, and its exit code in $CODE. BY is a command
# that runs it.
BY=()
examine() {
    CODE=0
    timeout "$BOUND_S" "${BY[@]}" "$NAMEGATE_BIN" doctor --format json "$@" >"$T/report" 2>"$T/doctor.err" </dev/null || CODE=$?
    FOUND=$("$PYTHON" -c 'import json, sys
for it in json.load(sys.stdin)["findings"]: print(it["level"], it["id"])' <"$T/report") ||
        fail 'doctor' 'a report in JSON' "exit code $CODE: $(cat "$T/report" "$T/doctor.err")"
}

# finds LABEL 'LEVEL ID' [OPTION...]: doctor finds it; its exit code is 1 if this is a failure, and nothing else fails.
finds() {
    local label=$1 expected=$2 others
    examine "${@:3}"
    others=$(grep '^fail ' <<<"$FOUND" | grep -vxF -- "$expected")
    if ! grep -qxF -- "$expected" <<<"$FOUND"; then
        fail "$label" "'$expected'" "$FOUND"
    elif [[ -n $others ]]; then
        fail "$label" "nothing but '$expected' to fail" "$others"
    else
        same "$label" "$([[ $expected == fail* ]] && echo 1 || echo 0)" "$CODE"
    fi
}

# reads LABEL PATTERN [OPTION...]: what a person reads has a match.
reads() {
    holds "$1" "$(timeout "$BOUND_S" "${BY[@]}" "$NAMEGATE_BIN" doctor "${@:3}" 2>&1 </dev/null)" "$2"
}

# beside NAME COMMAND...: runs it until `stop "$BESIDE"`.
beside() {
    start "$@"
    BESIDE=$STARTED_PID
}

# other_at ADDRESS [RELAYED]: a resolver that is not namegate.
other_at() {
    beside "other-$1" "$PYTHON" doctor/resolver.py "$@"
    within 5 answers "$1" 53 anything A || die "the other resolver does not answer: $(tail -n 3 "$T/other-$1.err")"
}

healthy() {
    local began
    began=$(now_ms)
    finds 'a machine that uses namegate alone' 'ok nameserver.namegate'
    info "doctor took $(($(now_ms) - began)) ms"
    local id
    for id in resolv_conf.one nsswitch.dns_only nscd.absent nameserver.ede resolver.none upstream.answers policy.served bypass.closed; do
        holds "healthy: $id" "$FOUND" "^ok $id\$"
    done
    reads 'a person reads which generation answers' '^ok    port 53 on 127\.0\.0\.1 answers and is namegate .* \(generation 1\), held by namegate \(pid [0-9]+\)$'
    same 'nothing was changed' "$ONE" "$(cat /etc/resolv.conf)"
}

other_resolvers() {
    other_at 127.0.0.11
    finds "Docker's resolver answers" 'warn resolver.docker'
    resolv_conf "$ONE" 'nameserver 127.0.0.11'
    finds 'a second nameserver that is not namegate' 'fail resolv_conf.many'
    reads 'the line to keep' "^      fix: .*: $ONE\$"
    stop "$BESIDE"
    resolv_conf "$ONE"
    other_at 127.0.0.53
    finds "systemd-resolved's stub answers" 'warn resolver.resolved'
    stop "$BESIDE"
    other_at 127.0.0.77
    finds 'another resolver holds port 53 of another address' 'warn resolver.local'
    reads 'it is named' '^warn  127\.0\.0\.77 also answers in this namespace \(python[^ ]* \(pid [0-9]+\)\)'
    stop "$BESIDE"
    other_at 192.0.2.7
    mkdir -p /run/NetworkManager
    echo 'nameserver 192.0.2.7' >/run/NetworkManager/no-stub-resolv.conf
    finds 'a server that NetworkManager keeps in a file' 'warn resolver.hidden'
    stop "$BESIDE"
    rm -r /run/NetworkManager
}

resolv_confs() {
    rm /etc/resolv.conf
    finds 'no resolv.conf' 'warn resolv_conf.missing'
    ln -s ../run/nowhere /etc/resolv.conf
    finds 'a resolv.conf that leads nowhere' 'warn resolv_conf.dangling'
    resolv_conf '# nobody'
    finds 'a resolv.conf without a nameserver' 'warn resolv_conf.none'
    resolv_conf "$ONE" 'search .'
    finds 'a search list that breaks musl' 'warn resolv_conf.search_dot'
    resolv_conf "$ONE" 'search default.svc.cluster.local svc.cluster.local cluster.local' 'options ndots:5'
    finds 'the search list of a pod' 'info resolv_conf.ndots'
    resolv_conf "$ONE"
}

nsswitches() {
    hosts 'files resolve [!UNAVAIL=return] dns'
    finds 'nss-resolve without systemd-resolved' 'warn nsswitch.resolve'
    mkdir -p /run/systemd/resolve
    : >/run/systemd/resolve/io.systemd.Resolve
    finds 'nss-resolve goes past resolv.conf' 'fail nsswitch.resolve'
    hosts 'files dns resolve'
    finds 'nss-resolve behind dns gets what is blocked' 'fail nsswitch.resolve'
    rm -r /run/systemd
    hosts 'files mdns4_minimal [NOTFOUND=return] dns'
    finds 'mDNS before dns' 'warn nsswitch.mdns'
    hosts 'files'
    finds 'no dns at all' 'fail nsswitch.no_dns'
    hosts 'files dns'
    mkdir /run/nscd
    beside nscd "$PYTHON" doctor/listen.py /run/nscd/socket
    within 5 test -S /run/nscd/socket
    finds 'nscd keeps answers' 'warn nscd.running'
    stop "$BESIDE"
    rm -r /run/nscd
}

policy_files() {
    chmod o+w "$POLICY"
    finds 'a policy that anybody may write' 'fail policy.writable'
    chmod o-w "$POLICY"
    chmod o+w /etc/namegate
    finds 'a directory that anybody may write' 'fail policy.directory_writable'
    chmod o-w /etc/namegate
    write_policy /etc/namegate/other.json other elsewhere.example
    finds 'another file than the one that is served' 'fail policy.differs' --policy /etc/namegate/other.json
    mv "$POLICY" /etc/namegate/real.json
    ln -s real.json "$POLICY"
    finds 'a policy behind a link' 'info policy.link'
    rm "$POLICY"
    finds 'no policy' 'fail policy.missing'
    echo '{}' >"$POLICY"
    finds 'a policy that is refused' 'fail policy.refused'
    put_back
    finds 'a policy that has just come is waited for' 'ok policy.served'
    single_file
}

# single_file: the policy as a mount of its own, and what becomes of it when it is replaced outside.
single_file() {
    write_policy "$T/mounted.json" box allowed.example
    mount --bind "$T/mounted.json" "$POLICY" || die 'cannot mount a file'
    finds 'a policy that is mounted as a single file' 'warn policy.bind_mount'
    write_policy "$T/mounted.json" box allowed.example new.example
    finds 'it was replaced where nobody in here sees it' 'fail policy.replaced'
    umount "$POLICY"
    finds 'a directory that is mounted is well' 'ok policy.served'
}

# limits: with a limit of a user namespace, which is nobody else's.
# shellcheck disable=SC2016
limits() {
    local fewer='
        [ "$(readlink /proc/self/ns/user)" != "$0" ] || exit 1
        echo 0 >/proc/sys/user/max_inotify_instances || exit 1
        exec "$@"'
    BY=(unshare --user --map-root-user sh -c "$fewer" "$(readlink /proc/self/ns/user)")
    if "${BY[@]}" true 2>/dev/null; then
        finds 'no inotify instance is left' 'warn inotify.exhausted'
    else
        skip 'no inotify instance is left' 'no user namespace in here'
    fi
    BY=(sh -c 'ulimit -n 512; exec "$@"' sh)
    finds 'few descriptors' 'warn descriptors.few'
    BY=()
}

# public_resolvers: an address that everybody knows, on our own loopback.
public_resolvers() {
    ip address add 1.1.1.1/32 dev lo
    beside doh "$PYTHON" doctor/listen.py 1.1.1.1 443
    within 5 takes_connections 1.1.1.1 443
    finds 'DNS over HTTPS can be reached' 'info bypass.doh'
    holds 'DNS over TLS cannot' "$(grep -c bypass.dns <<<"$FOUND")" '^0$'
    finds 'no network, no try' 'info bypass.skipped' --no-network
    stop "$BESIDE"
    ip address delete 1.1.1.1/32 dev lo
}

takes_connections() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# as_another_user: what nobody cannot see is said, and not guessed.
as_another_user() {
    : >/run/namegate
    mount --bind "$NAMEGATE_BIN" /run/namegate
    local program=$NAMEGATE_BIN
    NAMEGATE_BIN=/run/namegate BY=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    if "${BY[@]}" "$NAMEGATE_BIN" --version >/dev/null 2>&1; then
        finds 'another user' 'ok nameserver.namegate'
        chmod 600 "$POLICY"
        finds 'a policy that another user cannot read' 'info policy.unreadable'
        chmod 644 "$POLICY"
        resolv_conf 'nameserver 127.0.0.11'
        other_at 127.0.0.11
        finds 'a nameserver that is not namegate' 'fail nameserver.other'
        reads 'whose it is cannot be seen' 'who holds the port is not visible without root'
        stop "$BESIDE"
        resolv_conf "$ONE"
    else
        skip 'doctor as another user' 'no other user in here'
    fi
    NAMEGATE_BIN=$program BY=()
}

# allow_all: nothing is denied, and it is namegate all the same.
allow_all() {
    policy_text box | sed 's/"allow_all": false/"allow_all": true/; s/\[""\]/[]/' >"$POLICY.new"
    mv "$POLICY.new" "$POLICY"
    finds 'a policy that allows everything' 'ok nameserver.namegate'
    reads 'which is told' 'it denies nothing'
    put_back
}

# in_between: a stub that asks namegate.
in_between() {
    other_at 127.0.0.53 127.0.0.1
    resolv_conf 'nameserver 127.0.0.53'
    finds 'a stub that drops the reason' 'warn nameserver.ede'
    holds 'it stands in between' "$FOUND" '^info nameserver.between$'
    stop "$BESIDE"
    other_at 127.0.0.53
    finds 'a stub that hides whom it asks' 'fail nameserver.other'
    mkdir -p /run/systemd/resolve
    echo "$ONE" >/run/systemd/resolve/resolv.conf
    finds "systemd-resolved's stub in front of namegate" 'warn nameserver.stub'
    stop "$BESIDE"
    rm -r /run/systemd
    resolv_conf "$ONE"
}

# without_namegate: nothing runs, or another program has the port.
without_namegate() {
    finds 'nobody at port 53' 'fail nameserver.silent'
    other_at 127.0.0.1
    finds 'another program has the port' 'fail nameserver.other'
    reads 'it is named with a remedy' 'and is not namegate; the port is held by python[^ ]* \(pid [0-9]+\)$'
    stop "$BESIDE"
    : >/etc/namegate/config.toml
    examine
    holds 'the only resolver would be namegate itself' "$FOUND" '^fail upstream.loop$'
    printf '[upstream]\nservers = ["udp://192.0.2.7"]\n' >/etc/namegate/config.toml
    examine
    holds 'an upstream that is silent' "$FOUND" '^fail upstream.silent$'
    examine --no-network
    holds 'an upstream that is not asked' "$FOUND" '^info upstream.skipped$'
}

main "$@"
