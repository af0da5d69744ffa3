# The other resolvers and servers of a chain: how each is started, at port 53 of an address of its own.
#
# To be sourced by bash, behind checks.sh. `run_PEER ADDRESS UPSTREAM NAME` keeps its files in $T/NAME, which is there, and
# starts one process; without an UPSTREAM (`none`) it refuses every question. Settings are the defaults but for where
# to listen and whom to ask, and the sorts of minimisation that the peer's name tells. UNPACKED is where packages lie
# that are not installed. Reads and writes nothing of the machine's own.
# shellcheck shell=bash
# shellcheck disable=SC2153

# program_of PEER: what has to be there for it.
program_of() {
    case $1 in
    unbound*) echo unbound ;;
    bind*) echo named ;;
    kresd*) echo kresd ;;
    pdns*) echo pdns_recursor ;;
    knot) echo knotd ;;
    resolved*) echo "$UNPACKED/lib/systemd/systemd-resolved" ;;
    nscd) echo "$UNPACKED/usr/sbin/nscd" ;;
    *) echo "$1" ;;
    esac
}

# version_of PEER: as it says itself.
version_of() {
    local program flag=--version
    program=$(program_of "$1")
    case $program in named | nsd) flag=-v ;; unbound) flag=-V ;; esac
    "$program" "$flag" 2>&1 | grep -oE '\<[0-9]+(\.[0-9]+)+|systemd [0-9]+' | head -n 1
}

# --- caches that forward to UPSTREAM, or iterate with it as the root ---

run_dnsmasq() {
    {
        printf '%s\n' "listen-address=$1" bind-interfaces no-resolv no-hosts
        [[ $2 == none ]] || echo "server=$2"
    } >"$T/$3/dnsmasq.conf"
    # Without a daemon it changes to no other user, for which a user namespace has no room.
    start "$3" dnsmasq --no-daemon -C "$T/$3/dnsmasq.conf"
}

run_unbound() { unbound_with "$@" "$(unbound_zone forward . "$2")"; }
run_unbound_recursive() { unbound_with "$@" "$(unbound_zone stub . "$2")"; }
run_unbound_iterating() { unbound_with "$@" "$(unbound_stubs "$2")"; }
run_unbound_strict() { unbound_with "$@" "$(printf 'server:\n  qname-minimisation-strict: yes\n'; unbound_stubs "$2")"; }

# unbound_zone forward|stub ZONE UPSTREAM
unbound_zone() { printf '%s-zone:\n  name: "%s"\n  %s-addr: %s\n' "$1" "$2" "$1" "$3"; }

# unbound_stubs UPSTREAM: as the server of every top-level domain. It could not be the root, which has to name its servers.
unbound_stubs() {
    local zone
    for zone in biz com dev edu info internal io net xyz; do unbound_zone stub "$zone" "$1"; done
}

# unbound_with ADDRESS UPSTREAM NAME REST
unbound_with() {
    local access=allow rest=$4
    [[ $2 != none ]] || access=refuse rest=
    cat >"$T/$3/unbound.conf" <<EOF
server:
  interface: $1
  access-control: 127.0.0.0/8 $access
  do-not-query-localhost: no
  qname-minimisation: yes
  aggressive-nsec: yes
  do-daemonize: no
  num-threads: 1
  username: ""
  chroot: ""
  directory: "$T/$3"
  pidfile: ""
  use-syslog: no
remote-control:
  control-enable: no
$rest
EOF
    start "$3" unbound -d -c "$T/$3/unbound.conf"
}

run_bind() { bind_with "$@" "forwarders { $2; }; forward only;"; }
run_bind_relaxed() { bind_with "$@" 'qname-minimization relaxed;' 'zone "." { type hint; file "hints"; };'; }
run_bind_strict() { bind_with "$@" 'qname-minimization strict;' 'zone "." { type hint; file "hints"; };'; }
run_bind_recursive() { run_bind_relaxed "$@"; }

# bind_with ADDRESS UPSTREAM NAME OPTIONS [ZONES]
bind_with() {
    local options=$4
    # It listens where there is an address.
    ip address add "$1/32" dev lo 2>/dev/null
    [[ $2 != none ]] || options='allow-query { none; };'
    hints "$2" >"$T/$3/hints"
    cat >"$T/$3/named.conf" <<EOF
options {
  directory "$T/$3"; pid-file none; session-keyfile none;
  listen-on { $1; }; listen-on-v6 { none; };
  dnssec-validation no; empty-zones-enable no;
  $options
};
controls { };
${5:-}
EOF
    start "$3" named -g -4 -n 1 -c "$T/$3/named.conf"
}

# hints UPSTREAM: the root's one name server.
hints() { printf '. 3600 IN NS root.example.\nroot.example. 3600 IN A %s\n' "${1/none/127.0.0.2}"; }

run_kresd() { kresd_with "$@" "policy.add(policy.all(policy.FORWARD('$2')))"; }
run_kresd_iterating() { kresd_with "$@" "modules.unload('priming') modules = {'hints > iterate'} option('ALLOW_LOCAL', true) hints.root({['root.example.'] = '$2'})"; }

# kresd_with ADDRESS UPSTREAM NAME LINE
kresd_with() {
    local line=$4
    [[ $2 != none ]] || line='policy.add(policy.all(policy.REFUSE))'
    cat >"$T/$3/kresd.conf" <<EOF
net.listen('$1', 53, {kind = 'dns'})
trust_anchors.remove('.')
cache.open(10 * MB, 'lmdb://$T/$3/cache')
$line
EOF
    start "$3" kresd -n -q -c "$T/$3/kresd.conf" "$T/$3"
}

run_pdns() { pdns_with "$@" "forward-zones-recurse=.=$2"; }
run_pdns_iterating() { pdns_with "$@" "hint-file=$T/$3/hints"; }

# pdns_with ADDRESS UPSTREAM NAME LINE
pdns_with() {
    local access=127.0.0.0/8
    [[ $2 != none ]] || access=192.0.2.1
    hints "$2" >"$T/$3/hints"
    cat >"$T/$3/recursor.conf" <<EOF
local-address=$1
allow-from=$access
$4
dont-query=
dnssec=process-no-validate
threads=1
socket-dir=$T/$3
security-poll-suffix=
write-pid=no
disable-syslog=yes
EOF
    start "$3" pdns_recursor --config-dir="$T/$3"
}

# --- caches of one machine, each with a /run and an /etc/resolv.conf of its own ---

# It keeps nothing that comes from this machine, unless it is told to.
run_resolved() { resolved_with "$@" CacheFromLocalhost=no; }
run_resolved_caching() { resolved_with "$@" CacheFromLocalhost=yes; }

# resolved_with ADDRESS UPSTREAM NAME LINE
resolved_with() {
    printf '%s\n' '[Resolve]' "DNS=$2" FallbackDNS= 'Domains=~.' LLMNR=no MulticastDNS=no \
        DNSStubListener=no "DNSStubListenerExtra=$1" "$4" >"$T/$3/chain.conf"
    accounts "$T/$3"
    # shellcheck disable=SC2016
    start "$3" unshare --mount sh -eu -c '
        mount --bind "$1/passwd" /etc/passwd
        mount --bind "$1/group" /etc/group
        mount -t tmpfs none /run
        mkdir -p /run/systemd/resolved.conf.d
        cp "$1/chain.conf" /run/systemd/resolved.conf.d/
        exec "$2"' sh "$T/$3" "$(program_of resolved)"
}

# accounts DIRECTORY: those of the machine, and the one that resolved changes to.
accounts() {
    { cat /etc/passwd; echo 'systemd-resolve:x:996:996::/:/usr/sbin/nologin'; } >"$1/passwd"
    { cat /etc/group; echo 'systemd-resolve:x:996:'; } >"$1/group"
}

# nscd as Debian sets it up; it asks UPSTREAM, and its ADDRESS is the directory of its socket.
run_nscd() {
    mkdir "$1"
    printf 'nameserver %s\n' "$2" >"$T/$3/resolv.conf"
    # shellcheck disable=SC2016
    start "$3" unshare --mount sh -eu -c '
        mount -t tmpfs none /run
        mkdir /run/nscd
        mount --bind "$4" /run/nscd
        mount --bind "$1/resolv.conf" /etc/resolv.conf
        mount -t tmpfs none /var/cache
        mkdir /var/cache/nscd
        exec "$2" --foreground --config-file="$3"' sh "$T/$3" "$(program_of nscd)" "$UNPACKED/etc/nscd.conf" "$1"
}

# --- authoritative servers; UPSTREAM only tells whether they have the zones ---

run_nsd() {
    local zones=("${ZONES[@]}")
    [[ $2 != none ]] || zones=()
    (T=$T/$3 nsd_config "$1" 53 "${zones[@]}") >"$T/$3/nsd.conf"
    start "$3" nsd -d -c "$T/$3/nsd.conf"
}

run_knot() {
    cat >"$T/$3/knot.conf" <<EOF
server:
  listen: $1@53
  rundir: "$T/$3"
database:
  storage: "$T/$3"
log:
  - target: stderr
    any: warning
template:
  - id: default
    zonefile-sync: -1
    journal-content: none
EOF
    [[ $2 == none ]] || each_zone '  - domain: "%s"\n    file: "%s"\n' zone: >>"$T/$3/knot.conf"
    start "$3" knotd -c "$T/$3/knot.conf"
}

run_bind_authoritative() { bind_with "$@" 'recursion no;' "$(each_zone 'zone "%s" { type primary; file "%s"; };\n')"; }

# each_zone FORMAT [FIRST_LINE]: the line for each zone of the internet.
each_zone() {
    local zone
    [[ -z ${2:-} ]] || echo "$2"
    # shellcheck disable=SC2059
    for zone in "${ZONES[@]}"; do printf "$1" "${zone%%=*}" "${zone#*=}"; done
}
