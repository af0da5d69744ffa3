#!/usr/bin/env bash
# Records what real clients ask a resolver: tests/data/suggest/*.jsonl, from which `namegate suggest` is tested.
#
#   tests/record.sh [RECORDING...]
#
# Runs each client in namespaces of its own (network, mounts, processes), where namegate is the only resolver, its policy
# allows all and its log records all. Behind it NSD stands for the internet's DNS (record/internet.zone) and record/web.py
# for its web servers. Nothing goes out; the machine's own files stay as they are, but for tests/data/suggest. Needs root
# or user namespaces, nsd, dig, python3, openssl, and the clients: one that is missing is told and its log left as it is.
# shellcheck disable=SC2034
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh
# shellcheck source=lib/internet.sh
source lib/internet.sh

RECORDINGS=(apt apt-blocked pip pip-pod pip-office pip-blocked npm cargo git release go maven browser tunnel)

main() {
    if [[ ${1:-} == --inside ]]; then
        shift
        inside "$@"
        return
    fi
    find_program
    export NAMEGATE_BIN
    local spaces=(--net --mount --pid --fork --kill-child=TERM --mount-proc) by=(unshare)
    unshare "${spaces[@]}" -- true 2>/dev/null || by=(unshare --user --map-root-user)
    "${by[@]}" "${spaces[@]}" -- "$BASH" "$PWD/record.sh" --inside "$@" </dev/null
}

inside() {
    open_suite record
    build_internet
    local recordings=("$@") it
    ((${#recordings[@]} > 0)) || recordings=("${RECORDINGS[@]}")
    for it in "${recordings[@]}"; do record "$it"; done
}

# record NAME: one client against a fresh namegate; its log becomes the test data.
record() {
    local name=$1 client=${1%%-*}
    case $client in
    release) client=curl ;; maven) client=mvn ;; browser) client=chromium ;; tunnel) client=dig ;; apt) client=apt-get ;;
    esac
    if ! command -v "$client" >/dev/null; then
        skip "$name" "no $client here"
        return
    fi
    resolv_conf "${name#*-}"
    start_namegate "$name"
    local pid=$STARTED_PID
    HOME=$T/home-$name
    export HOME
    mkdir -p "$HOME"
    (cd "$HOME" && "run_${name//-/_}") >"$T/$name.said" 2>&1
    info "$name: the client ended with $?; $(grep -c '"dns.query"' "$T/$name.jsonl") queries so far"
    sleep 0.3
    stop "$pid"
    [[ -z ${RECORD_SAID:-} ]] || tail -n 8 "$T/$name.said"
    cp -- "$T/$name.jsonl" "data/suggest/$name.jsonl" && ok "$name: recorded"
}

# resolv_conf SITE: of a plain box, of a pod, of an office.
resolv_conf() {
    {
        echo 'nameserver 127.0.0.1'
        case $1 in
        pod) printf 'search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n' ;;
        office) printf 'search corp.example.net\noptions ndots:4\n' ;;
        esac
    } >"$T/resolv.conf"
}

# start_namegate NAME: its policy allows all, or for a recording of what is blocked, one name that no client asks.
start_namegate() {
    local allow_all=true
    [[ $1 != *-blocked ]] || allow_all=false
    policy_text recording example.com | sed "s/\"allow_all\": false/\"allow_all\": $allow_all/" >"$T/policy.json"
    printf '[log]\nqueries = "all"\nsink = "file:%s"\n[metrics]\nlisten = "off"\n' "$T/$1.jsonl" >"$T/config.toml"
    start namegate "$NAMEGATE_BIN" run --config "$T/config.toml" --policy "$T/policy.json" --zones "$T/no-zones" \
        --listen 127.0.0.1:53 --upstream udp://127.0.0.2
    within 10 grep -qs '"start"' "$T/$1.jsonl" || die "namegate does not start: $(tail -n 3 "$T/namegate.err")"
}

run_browser() {
    CLIENT_S=45 quick chromium --headless=new --no-sandbox --disable-gpu --user-data-dir="$PWD/profile" --dump-dom http://example.com/
    CLIENT_S=30 quick chromium --headless=new --no-sandbox --disable-gpu --user-data-dir="$PWD/profile" \
        --virtual-time-budget=20000 --remote-debugging-port=0 http://example.com/
}

# run_tunnel: a file that leaves in names, 30 octets a label, two labels a name, as tunnelling programs send it; asked by dig.
run_tunnel() {
    head -c 9000 /dev/urandom | base32 -w 48 | tr -d = | tr A-Z a-z |
        awk 'NR % 2 { first = $1; next } { printf "%s.%s.%d.k.dnsm.example TXT\n", first, $1, NR / 2 }' >names
    quick dig +tries=1 +time=2 +noall -f names
    quick dig +noall www.dnsm.example A
}

main "$@"
