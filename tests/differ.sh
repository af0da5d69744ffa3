#!/usr/bin/env bash
# Our answers for allowed names beside those of unbound and knot-resolver, field by field.
#
#   tests/differ.sh [--seed N] [--questions N]
#
# In namespaces of its own, NSD serves the zones of differ/world.py, and namegate, unbound and kresd forward to it. Ten
# thousand questions (name, type, flags, EDNS, transport) made from the seed go to all three; differ/differ.py compares the
# replies. Every difference has its reason in differ/expected.tsv; one without fails. Takes half a minute; not part of
# all.sh, for it needs unbound and kresd, whose services it does not start, and dnssec-signzone. Needs root or user
# namespaces, nsd, dig, python3.
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh
# shellcheck source=lib/box.sh
source lib/box.sh

OURS=5301 UNBOUND=5302 KRESD=5303 NSD=5300

main() {
    if [[ ${1:-} == --inside ]]; then
        inside
        return
    fi
    export DIFFER_SEED=1 DIFFER_QUESTIONS=10000
    while (($# > 1)); do
        case $1 in
        --seed) DIFFER_SEED=$2 ;;
        --questions) DIFFER_QUESTIONS=$2 ;;
        *) break ;;
        esac
        shift 2
    done
    (($# == 0)) || { echo 'usage: tests/differ.sh [--seed N] [--questions N]' >&2; exit 2; }
    in_namespaces differ 'three resolvers on a loopback of their own'
}

inside() {
    open_suite differ
    PATH=$PATH:/usr/sbin:/sbin
    local pair
    for pair in nsd:nsd dig:bind9-dnsutils python3:python3 ip:iproute2 unbound:unbound kresd:knot-resolver \
        dnssec-signzone:bind9-utils; do need "${pair%:*}" "${pair#*:}"; done
    ip link set lo up
    serve_the_world
    start_namegate
    start_unbound
    start_kresd
    info "seed $DIFFER_SEED, $DIFFER_QUESTIONS questions"
    python3 -B differ/differ.py differ/expected.tsv "$DIFFER_SEED" "$DIFFER_QUESTIONS" \
        namegate=$OURS unbound=$UNBOUND kresd=$KRESD >"$T/report"
    local code=$?
    cat "$T/report"
    same 'every difference has its reason' 0 "$code"
}

# serve_the_world: NSD with all zones, two of them signed, one with NSEC and one with NSEC3.
serve_the_world() {
    local zones
    python3 -B differ/world.py "$T" >"$T/zones" || die 'the zones cannot be written'
    sign signed.example
    sign signed3.example -3 AB
    mapfile -t zones <"$T/zones"
    start_internet 127.0.0.1 $NSD "${zones[@]}"
}

# sign ZONE [OPTION...]: in place.
sign() {
    local zone=$1
    shift
    (cd "$T" && dnssec-keygen -q -a ECDSAP256SHA256 -f KSK "$zone" && dnssec-keygen -q -a ECDSAP256SHA256 "$zone" &&
        dnssec-signzone -q -S -x "$@" -o "$zone" -f "$zone.zone" "$zone.zone") >"$T/sign.out" 2>"$T/sign.err" ||
        die "$zone cannot be signed: $(tail -n 2 "$T/sign.err")"
}

# Each keeps answers as long as the others, and no longer than a day; none asks before it is asked.

start_namegate() {
    local names
    names=$(sed 's/=.*//; /^\.$/d; s/.*/"&","*.&"/' "$T/zones" | paste -sd,)
    policy_text differ x.example | sed "s/\"x.example\"/$names/" >"$T/policy.json"
    cat >"$T/namegate.toml" <<END
[cache]
max_ttl = "1d"
max_negative_ttl = "1d"
prefetch = false
[guard]
types = ["all"]
[blocked]
file = ""
END
    start namegate "$NAMEGATE_BIN" run --config "$T/namegate.toml" --policy "$T/policy.json" --zones "$T/none" \
        --listen 127.0.0.1:$OURS --upstream udp://127.0.0.1:$NSD --metrics off --log-queries none
    within 10 answers 127.0.0.1 $OURS localhost A || die "namegate does not answer: $(tail -n 3 "$T/namegate.err")"
}

start_unbound() {
    cat >"$T/unbound.conf" <<END
server:
    interface: 127.0.0.1@$UNBOUND
    access-control: 127.0.0.0/8 allow_setrd
    do-not-query-localhost: no
    do-daemonize: no
    incoming-num-tcp: 100
    username: ""
    chroot: ""
    directory: "$T"
    pidfile: ""
    use-syslog: no
    module-config: "iterator"
    cache-max-ttl: 86400
    cache-max-negative-ttl: 86400
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@$NSD
END
    start unbound unbound -d -c "$T/unbound.conf"
    within 10 answers 127.0.0.1 $UNBOUND . SOA || die "unbound does not answer: $(tail -n 3 "$T/unbound.err")"
}

start_kresd() {
    mkdir -p "$T/kresd"
    cat >"$T/kresd.conf" <<END
net.listen('127.0.0.1', $KRESD, { kind = 'dns' })
trust_anchors.remove('.')
modules.unload('priming')
modules.unload('refuse_nord')
cache.open(100 * MB, 'lmdb://$T/kresd')
cache.min_ttl(0)
cache.max_ttl(86400)
policy.add(policy.all(policy.FORWARD({ '127.0.0.1@$NSD' })))
END
    start kresd kresd -n -q -c "$T/kresd.conf" "$T/kresd"
    within 10 answers 127.0.0.1 $KRESD . SOA || die "kresd does not answer: $(tail -n 3 "$T/kresd.err")"
}

main "$@"
