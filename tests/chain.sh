#!/usr/bin/env bash
# Other resolvers in front of namegate and behind it: no cache in between loses an allowed name to a denied one, an edited
# policy is felt in time, and whatever stands behind gives right answers.
#
#   tests/chain.sh            the peers that a test may install: dnsmasq, unbound, NSD
#   tests/chain.sh --all      every peer, or those that are named behind it; a few minutes; prints the tables
#
# Needs nsd, dig, python3 and as many of the peers as there are; --all gets what is missing from Debian's packages
# (NAMEGATE_NO_INSTALL=1 forbids that), starts no service by it, and only unpacks those two that would take over the
# machine's own lookups. Everything runs in namespaces for network, mounts and processes, as in clients.sh: the machine's
# network and files stay as they are. Where it allows none, it says SKIPPED.
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh
# shellcheck source=lib/box.sh
source lib/box.sh
# shellcheck source=chain/peers.sh
source chain/peers.sh
# shellcheck source=chain/stories.sh
source chain/stories.sh

PATH=$PATH:/usr/sbin:/sbin
IN_FRONT=(dnsmasq unbound unbound_strict)
BEHIND=(nsd unbound unbound_recursive dnsmasq)
ALL_IN_FRONT=(dnsmasq unbound unbound_iterating unbound_strict unbound_recursive bind bind_relaxed bind_strict kresd kresd_iterating
    pdns pdns_iterating resolved resolved_caching nscd)
ALL_BEHIND=(nsd knot bind_authoritative bind_recursive unbound unbound_recursive dnsmasq kresd kresd_iterating pdns_iterating)
PEER_PACKAGES=(dnsmasq:dnsmasq-base unbound:unbound named:bind9 kresd:knot-resolver knotd:knot pdns_recursor:pdns-recursor)
# Installed, the one would take /etc/resolv.conf and the other every lookup of the machine.
UNPACKED_PACKAGES=(systemd-resolved nscd)
INTERNET=127.0.0.2
# The names that a policy allows before it is edited, and after.
ALLOWED=(www.example.com www.example.net www.example.edu '*.example.dev' www.example.io only4.example.biz)
REVOKED=(gone.example.info long.example.info)
GRANTED=(late.example.com fresh.example.xyz)
# NAME=FILE of the internet's zones; peers whose absence was told.
ZONES=()
declare -A ABSENT=()

main() {
    case ${1:-} in
    --inside) inside "${@:2}" ;;
    --all) campaign "${@:2}" ;;
    *) in_namespaces chain 'resolvers in front and behind' some /nowhere ;;
    esac
}

# campaign [PEER...]: with every peer that can be had, or these.
campaign() {
    UNPACKED=$(mktemp -d "${TMPDIR:-/tmp}/namegate-peers.XXXXXX") || exit 1
    trap 'rm -rf -- "$UNPACKED"' EXIT
    get_peers
    in_namespaces chain 'resolvers in front and behind' all "$UNPACKED" "$@"
}

# get_peers: a peer that cannot be had is told later, when it is missing.
get_peers() {
    # shellcheck source=../benches/versus/install.sh
    (source ../benches/versus/install.sh && install_missing "${PEER_PACKAGES[@]}")
    [[ ${NAMEGATE_NO_INSTALL:-0} == 0 ]] || return 0
    local package
    for package in "${UNPACKED_PACKAGES[@]}"; do
        (cd "$UNPACKED" && apt-get -q download "$package" && dpkg -x "$package"_*.deb .) >&2
    done
}

# inside some|all UNPACKED [PEER...]: all of it, in the namespaces.
inside() {
    UNPACKED=$2
    open_suite chain
    need nsd nsd
    need dig bind9-dnsutils
    need python3 python3
    if [[ $1 == all ]]; then IN_FRONT=("${ALL_IN_FRONT[@]}") BEHIND=("${ALL_BEHIND[@]}"); fi
    (($# < 3)) || choose "${@:3}"
    build_network
    build_internet
    if [[ $1 == some ]]; then
        side_by_side nxdomain nodata behind
    else
        # All at once would be too much for a small machine to measure by.
        for part in nxdomain nodata behind; do side_by_side "$part"; done
        report
    fi
}

# choose PEER...: these alone, in front and behind.
choose() {
    local only=" $* " peer front=("${IN_FRONT[@]}") behind=("${BEHIND[@]}")
    IN_FRONT=() BEHIND=()
    for peer in "${front[@]}"; do [[ $only != *" $peer "* ]] || IN_FRONT+=("$peer"); done
    for peer in "${behind[@]}"; do [[ $only != *" $peer "* ]] || BEHIND+=("$peer"); done
}

# build_network: loopback; and a link that leads nowhere, without which resolved takes itself to be offline.
build_network() {
    ip link set lo up || die 'no loopback in the namespace'
    ip link add link0 type veth peer name link1 && ip address add 198.51.100.1/24 dev link0 &&
        ip link set link0 up && ip link set link1 up
}

# build_internet: the root and a zone for every top-level domain, one of them signed where there are the tools; and NSD.
build_internet() {
    local text zone i
    echo 'nameserver 127.0.0.99' >"$T/nobody.conf"
    text=$(printf 'x%.0s' {1..200})
    {
        cat chain/internet.zone
        printf 'big.example.com. IN TXT'
        for i in {1..15}; do printf ' "%s"' "$text"; done
        echo
    } | awk -v into="$T" -f chain/zones.awk >"$T/zones"
    sign "$T" 2>"$T/sign.log" && mv -- "$T/org.zone.signed" "$T/org.zone" && echo yes >"$T/signed"
    while read -r zone; do ZONES+=("$zone=$T/${zone/#./root}.zone"); done <"$T/zones"
    start_internet "$INTERNET" 53 "${ZONES[@]}"
}

# sign DIRECTORY: org, with a key of the moment.
sign() {
    command -v dnssec-signzone >/dev/null || return 1
    (cd "$1" && dnssec-keygen -q -a ECDSAP256SHA256 org && dnssec-signzone -q -S -z -o org org.zone) >/dev/null
}

# serve NAME ADDRESS UPSTREAM CONFIG PATTERN...: a namegate that allows these.
serve() {
    printf "[metrics]\nlisten = 'off'\n[cache]\nmax_ttl = '4s'\n%s\n" "$4" >"$T/$1.toml"
    write_policy "$T/$1.json" chain "${@:5}"
    start "$1" "$NAMEGATE_BIN" run --config "$T/$1.toml" --policy "$T/$1.json" --zones "$T/no-zones" \
        --listen "$2:53" --upstream "udp://$3"
    within 10 answers "$2" 53 localhost A || die "namegate does not answer: $(tail -n 3 "$T/$1.err")"
}

# side_by_side nxdomain|nodata|behind...: the chains of these parts, each with its stories told by a process of its own.
side_by_side() {
    local part tellers=() values=()
    CHAINS=()
    rm -f -- "$T/ask" "$T/edited"
    for part in "$@"; do
        if [[ $part == behind ]]; then
            begin_behind
        else
            values+=("$part")
            begin_in_front "$part"
        fi
    done
    ((${#values[@]} == 0)) || edit_policies "${values[@]}"
    ((${#tellers[@]} == 0)) || wait "${tellers[@]}"
    for chain in "${CHAINS[@]}"; do judge "$chain"; done
}

# begin_in_front VALUE: with that `blocked.ancestors`, a namegate and every peer before it.
begin_in_front() {
    local peer
    serve "$1" "$(subnet "$1").1" "$INTERNET" "[blocked]
ancestors = '$1'" "${ALLOWED[@]}" "${REVOKED[@]}"
    for peer in "${IN_FRONT[@]}"; do
        is_here "$peer" || continue
        put_in_front "$peer" "$1"
        tell_in_front "$peer" "$AT" "${peer}_$1" >"$T/${peer}_$1/said" 2>"$T/${peer}_$1.said.err" &
        tellers+=($!)
        CHAINS+=("${peer}_$1")
    done
}

# tell_in_front PEER ADDRESS NAME: its stories; the others do not wait for one that has none to tell.
tell_in_front() {
    awaits "$1" "$2" && front "$@"
    : >"$T/$3/ready"
    : >"$T/$3/asked"
}

# begin_behind: every peer as the upstream of a namegate of its own.
begin_behind() {
    local peer n=10
    for peer in "${BEHIND[@]}"; do
        n=$((n + 1))
        is_here "$peer" || continue
        mkdir "$T/${peer}_behind"
        behind "$peer" "$INTERNET" "$n" >"$T/${peer}_behind/said" 2>"$T/${peer}_behind.said.err" &
        tellers+=($!)
        CHAINS+=("${peer}_behind")
    done
}

# edit_policies VALUE...: once all in front have asked what is to change.
edit_policies() {
    local value
    within 120 all_have ready || true
    : >"$T/ask"
    within 60 all_have asked || true
    for value in "$@"; do write_policy "$T/$value.json" chain "${ALLOWED[@]}" "${GRANTED[@]}"; done
    now_ms >"$T/edited.new"
    mv -- "$T/edited.new" "$T/edited"
}

# all_have FILE: every chain in front.
all_have() {
    local chain
    for chain in "${CHAINS[@]}"; do [[ $chain == *_behind || -e $T/$chain/$1 ]] || return 1; done
}

# subnet VALUE: where the chains of that value are.
subnet() { case $1 in nxdomain) echo 127.0.1 ;; nodata) echo 127.0.2 ;; esac; }

# is_here PEER: can it be started? If not, that is told, once.
is_here() {
    local why=
    command -v "$(program_of "$1")" >/dev/null || why="no $(basename "$(program_of "$1")") here"
    [[ $1 != resolved* ]] || has_users || why='it changes to another user, and this user namespace has no other'
    [[ -n $why ]] || return 0
    [[ -n ${ABSENT[$1]:-} ]] || skip "$1" "$why"
    ABSENT[$1]=yes
    return 1
}

has_users() { awk '{ users += $3 } END { exit users < 2 }' /proc/self/uid_map; }

# put_in_front PEER VALUE: it asks that namegate alone, and is to be asked at $AT.
put_in_front() {
    local name=$1_$2
    AT=$(subnet "$2").$((10 + $(place "$1")))
    [[ $1 != nscd ]] || AT=$T/$name.socket
    mkdir "$T/$name"
    "run_$1" "$AT" "$(subnet "$2").1" "$name"
}

# place PEER: its number among all.
place() {
    local i
    for i in "${!ALL_IN_FRONT[@]}"; do [[ ${ALL_IN_FRONT[i]} != "$1" ]] || echo "$i"; done
}

# awaits PEER ADDRESS: until it answers.
awaits() {
    if [[ $1 == nscd ]]; then within 20 test -S "$2/socket"; else within 20 answers "$2" 53 localhost A; fi && return
    printf 'start\tno answer from it\n'
    return 1
}

# judge CHAIN: each story that was told is a check; facts are noted.
judge() {
    local story said count=0 peer=${1%_*} part=${1##*_} label
    label="$peer in front, ancestors = $part"
    [[ $part != behind ]] || label="$peer behind"
    while IFS=$'\t' read -r story said; do
        count=$((count + 1))
        if [[ $story == above || $story == reason || $story == case ]]; then
            info "$label: $story: $said"
        elif [[ $said == ok ]]; then
            ok "$label: $story"
        elif [[ $said =~ ^[0-9]+$ ]]; then
            ok "$label: $story, after $said ms"
        elif is_known "$peer $part $story" "$said"; then
            info "$label: $story: as is known of this peer: $said"
        else
            fail "$label: $story" ok "$said"
        fi
    done <"$T/$1/said"
    ((count > 5)) || fail "$label" 'its stories' "$(tail -n 3 "$T/$1.said.err")"
}

# is_known CHAIN_AND_STORY SAID: with "nodata" nobody loses an allowed name, but two are content with no root or no empty answer.
is_known() {
    case $1 in
    # They take NXDOMAIN at a name above to hold for all below.
    'unbound_strict nxdomain '* | 'bind_strict nxdomain '* | 'pdns nxdomain '* | 'pdns_iterating nxdomain '*)
        all_are '[a-z0-9.]+ [A-Z]+ NXDOMAIN|not 192.*' "$2"
        ;;
    # Where it iterates, an empty answer that is not from an authority counts as lame.
    'pdns_iterating nodata families') all_are '[a-z0-9.]+ [A-Z]+ SERVFAIL' "$2" ;;
    # It wants a root that names its servers.
    'unbound_recursive nxdomain '* | 'unbound_recursive nodata '*) all_are '[a-z0-9.]+ [A-Z]+ SERVFAIL|not .*' "$2" ;;
    *) return 1 ;;
    esac
}

# all_are PATTERN FAULTS: separated by commas.
all_are() { ! tr ',' '\n' <<<"${2//, /,}" | grep -qvxE -- "$1"; }

# report: the tables of docs/PROOF.md.
report() {
    local peer value chain
    local front=(above neighbour ancestor child wildcard families own_zone expiry late fresh gone long reason)
    local behind=(data chains negatives sizes case letters signed refusals restart recovery back)
    row peer ancestors "${front[@]}"
    for peer in "${IN_FRONT[@]}"; do
        for value in nxdomain nodata; do row_of "$peer" "$value" "$value" "${front[@]}"; done
    done
    echo
    row peer "${behind[@]}"
    for peer in "${BEHIND[@]}"; do row_of "$peer" behind "${behind[@]}"; done
}

# row CELL...
row() {
    printf '| %s ' "$@"
    echo '|'
}

# row_of PEER PART WORD|STORY...: a word that is no story stands for itself.
row_of() {
    local chain=$T/${1}_$2/said story cells=()
    [[ -s $chain ]] || return 0
    for story in "${@:3}"; do
        if [[ $story == "$2" ]]; then cells+=("$story"); else cells+=("$(cell "$story")"); fi
    done
    row "$1 $(version_of "$1")" "${cells[@]}"
}

# cell STORY: what $chain told of it, short: milliseconds as seconds, faults as their number.
cell() {
    awk -F '\t' -v story="$1" '
        $1 != story { next }
        $2 ~ /^[0-9]+$/ { printf "%.1f", $2 / 1000; next }
        $2 ~ /^(not|[a-z0-9.]+ [A-Z]+) / { print "loses " split($2, faults, ", "); next }
        { print $2 }' "$chain"
}

main "$@"
