#!/usr/bin/env bash
# Real programs on a box whose only resolver is namegate: what is allowed resolves and is fetched, what is blocked
# fails at once and for good ("no such host", never "try again").
#
#   tests/clients.sh
#
# Makes namespaces of its own for network, mounts and processes, with its own resolv.conf and nsswitch.conf in them,
# starts NSD and namegate on port 53 there, and a web server. The machine's own network and files stay as they are,
# and with the last program everything in there ends. Root, user namespaces or sudo are needed for that; where the
# machine allows none, it says SKIPPED. Needs nsd, dig, python3, ip; and asks with whichever clients there are.
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh
# shellcheck source=lib/box.sh
source lib/box.sh

# A client that takes longer hangs. Real ones need two seconds on a busy machine; a resolver that is silent costs them more.
HANG_S=20
WEB4=192.0.2.80
WEB6=2001:db8::80
HELLO='hello from an allowed name'

main() {
    if [[ ${1:-} == --inside ]]; then
        inside
    else
        in_namespaces clients 'real clients in a namespace'
    fi
}

# inside: all of it, in the namespaces.
inside() {
    open_suite clients
    unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
    need ip iproute2
    need nsd nsd
    need dig bind9-dnsutils
    need python3 python3
    PYTHON=$(python3 -c 'import sys; print(sys.executable)')
    build_network
    take_over_etc
    serve
    build_lookups
    plain_box
    pod
    short_names
    without_ipv6
    starts_that_fail
}

# build_network: a loopback with a web server's addresses on it, and nothing else.
build_network() {
    { ip link set lo up && ip address add "$WEB4/32" dev lo; } || die 'no loopback in the namespace'
    ip address add "$WEB6/128" dev lo nodad 2>/dev/null || skip 'IPv6 clients' 'no IPv6 in the namespace'
}

# take_over_etc: our own resolv.conf and nsswitch.conf, seen in here alone; and no nscd of the machine's.
take_over_etc() {
    : >"$T/resolv.conf"
    echo 'hosts: files dns' >"$T/nsswitch.conf"
    chmod 644 "$T/resolv.conf" "$T/nsswitch.conf"
    mount --bind "$T/resolv.conf" /etc/resolv.conf || die 'cannot stand over /etc/resolv.conf'
    mount --bind "$T/nsswitch.conf" /etc/nsswitch.conf || die 'cannot stand over /etc/nsswitch.conf'
    [[ ! -d /run/nscd ]] || mount -t tmpfs none /run/nscd
}

# resolv_conf LINE...: what it says from now on.
resolv_conf() { printf '%s\n' "$@" >"$T/resolv.conf"; }

# serve: the internet, namegate with every default but the policy's place, and the web server.
serve() {
    start_internet 127.0.0.2 53 ".=$PWD/clients/internet.zone"
    write_policy "$T/policy.json" box allowed.example '*.allowed.example'
    : >"$T/config.toml"
    # By default it asks the machine's resolvers, less itself.
    resolv_conf 'nameserver 127.0.0.1' 'nameserver 127.0.0.2'
    start namegate "$NAMEGATE_BIN" run --config "$T/config.toml" --policy "$T/policy.json" --zones "$T/no-zones"
    within 10 answers 127.0.0.1 53 localhost A || die "namegate does not answer: $(tail -n 3 "$T/namegate.err")"
    ok 'namegate answers on port 53, by its defaults'
    publish
    start web "$PYTHON" -m http.server 80 --bind "$(web_bind)" --directory "$T/web"
    within 10 web_is_up || die "the web server does not answer: $(tail -n 3 "$T/web.err")"
}

# web_bind: any address, of both families where there are both.
web_bind() { if has_ipv6; then echo ::; else echo 0.0.0.0; fi; }

web_is_up() { (exec 3<>"/dev/tcp/$WEB4/80") 2>/dev/null; }

# publish: a page, a git repository and an apt repository.
publish() {
    mkdir -p "$T/web/deb"
    echo "$HELLO" >"$T/web/index.html"
    : >"$T/web/deb/Packages"
    printf 'Date: Thu, 01 Jan 2026 00:00:00 UTC\nSuite: test\nSHA256:\n %s 0 Packages\n' "$(sha256sum <"$T/web/deb/Packages" | cut -d ' ' -f 1)" >"$T/web/deb/Release"
    publish_git
}

publish_git() {
    command -v git >/dev/null || return 0
    local tree commit
    git init -q --bare "$T/web/repo.git"
    tree=$(git -C "$T/web/repo.git" mktree </dev/null)
    commit=$(git -C "$T/web/repo.git" -c user.name=a -c user.email=a@b commit-tree -m first "$tree")
    git -C "$T/web/repo.git" update-ref refs/heads/main "$commit"
    git -C "$T/web/repo.git" update-server-info
}

# build_lookups: the same few lines against two C libraries.
build_lookups() {
    LOOKUPS=()
    build_lookup glibc cc && LOOKUPS+=(glibc)
    build_lookup musl musl-gcc -static && LOOKUPS+=(musl)
}

# build_lookup LABEL COMPILER [OPTION...]: $T/lookup-LABEL.
build_lookup() {
    if ! command -v "$2" >/dev/null; then
        skip "getaddrinfo of $1" "no $2 here"
        return 1
    fi
    "${@:2}" -O -Wall -o "$T/lookup-$1" clients/lookup.c && return
    fail "getaddrinfo of $1" 'a program' 'a compiler error'
    return 1
}

# plain_box: one name server, no search list.
plain_box() {
    resolv_conf 'nameserver 127.0.0.1' 'options edns0 ndots:1 timeout:1 attempts:2'
    local libc
    for libc in "${LOOKUPS[@]}"; do
        says "$libc: an allowed name" "^ok .*$WEB4" "$T/lookup-$libc" allowed.example
        says "$libc: a name under a wildcard" "^ok $WEB4\$" "$T/lookup-$libc" only4.allowed.example
        says "$libc: an alias under a wildcard" "^ok .*$WEB4" "$T/lookup-$libc" git.allowed.example
        says "$libc: localhost" '^ok .*127\.0\.0\.1' "$T/lookup-$libc" localhost
        says "$libc: a blocked name" '^noname$' "$T/lookup-$libc" blocked.example
        says "$libc: a private name" '^noname$' "$T/lookup-$libc" printer.local
        ! has_ipv6 || says "$libc: an allowed name's IPv6 address" "$WEB6" "$T/lookup-$libc" allowed.example
    done
    with_getent
    with_curl
    with_python
    with_node
    with_git
    with_apt
    explained
}

# says LABEL PATTERN COMMAND...: the client ends before it counts as hanging, and what it says has a match.
says() {
    local label=$1 pattern=$2 said code=0
    shift 2
    said=$(timeout "$HANG_S" "$@" 2>&1 </dev/null) || code=$?
    if ((code == 124)); then
        fail "$label" "an end within $HANG_S s" "a hang: $said"
    else
        holds "$label" "$said" "$pattern"
    fi
}

# exits LABEL CODE COMMAND...: the client's exit code.
exits() {
    local code=0
    timeout "$HANG_S" "${@:3}" >/dev/null 2>&1 </dev/null || code=$?
    same "$1" "$2" "$code"
}

# have COMMAND LABEL: is this client here? Its absence is told.
have() {
    command -v "$1" >/dev/null && return
    skip "$2" "no $1 here"
    return 1
}

with_getent() {
    have getent getent || return 0
    says 'getent ahosts: an allowed name' "^$WEB4 +STREAM" getent ahosts allowed.example
    exits 'getent ahosts: a blocked name is not found' 2 getent ahosts blocked.example
}

with_curl() {
    have curl curl || return 0
    says 'curl: an allowed name is fetched' "^$HELLO\$" curl -sS http://allowed.example/
    says 'curl -4' "^$HELLO\$" curl -4 -sS http://allowed.example/
    ! has_ipv6 || says 'curl -6' "^$HELLO\$" curl -6 -sS http://allowed.example/
    says 'curl: a blocked name' 'Could not resolve host: blocked\.example' curl -sS http://blocked.example/
    exits 'curl: the exit code for a blocked name' 6 curl -sS http://blocked.example/
}

with_python() {
    says 'python getaddrinfo: an allowed name' "^ok .*$WEB4" "$PYTHON" clients/lookup.py addresses allowed.example
    says 'python getaddrinfo: a blocked name' '^noname$' "$PYTHON" clients/lookup.py addresses blocked.example
    says 'python urllib: an allowed name is fetched' "^ok $HELLO\$" "$PYTHON" clients/lookup.py fetch http://allowed.example/
    says 'python urllib: a blocked name' '^noname$' "$PYTHON" clients/lookup.py fetch http://blocked.example/
}

with_node() {
    have node node || return 0
    says 'node dns.lookup: an allowed name' "^ok .*$WEB4" node clients/lookup.js addresses allowed.example
    says 'node dns.lookup: a blocked name' '^ENOTFOUND$' node clients/lookup.js addresses blocked.example
    says 'node fetch: an allowed name is fetched' "^ok $HELLO\$" node clients/lookup.js fetch http://allowed.example/
    says 'node fetch: a blocked name' '^ENOTFOUND$' node clients/lookup.js fetch http://blocked.example/
}

# explained: why a name is blocked, what was blocked lately, and by which policy, asked for with what there is in a box.
explained() {
    local zone=namegate.internal verdict="verdict=blocked reason=not_listed policy='box' generation=1"
    local help='exactly this name: blocked\.example' lately='blocked\.example x[0-9]+ not_listed' digest
    digest=$(sha256sum <"$T/policy.json" | cut -d ' ' -f 1)
    says 'dig +short: why a name is blocked' "^\"$verdict\"\$" dig +short TXT "blocked.example.why.$zone"
    says 'dig +short: what to ask for' "$help\"\$" dig +short TXT "blocked.example.why.$zone"
    says 'dig +short: what was blocked lately' "^\"$lately" dig +short TXT "last.$zone"
    says 'dig +short: which policy' "policy='box' generation=1 mode=enforce sha256=$digest\"\$" dig +short TXT "$zone"
    says 'nslookup: why a name is blocked' "text = \"$verdict\"\$" nslookup -type=txt "blocked.example.why.$zone"
    if have busybox 'busybox nslookup'; then
        local ask=(busybox nslookup -type=txt)
        says 'busybox nslookup: why a name is blocked' "text = \"$verdict\"\$" "${ask[@]}" "blocked.example.why.$zone"
        says 'busybox nslookup: what to ask for' "$help\"\$" "${ask[@]}" "blocked.example.why.$zone"
        says 'busybox nslookup: what was blocked lately' "text = \"$lately" "${ask[@]}" "last.$zone"
        says 'busybox nslookup: which policy' "sha256=$digest\"\$" "${ask[@]}" "$zone"
    fi
    have node 'node resolveTxt' || return 0
    says 'node resolveTxt: why a name is blocked' "^ok $verdict\$" node clients/lookup.js texts "blocked.example.why.$zone"
    says 'node resolveTxt: what to ask for' "$help\$" node clients/lookup.js texts "blocked.example.why.$zone"
    says 'node resolveTxt: what was blocked lately' "^$lately" node clients/lookup.js texts "last.$zone"
}

with_git() {
    have git git || return 0
    says 'git ls-remote: an allowed name' 'refs/heads/main' git ls-remote http://git.allowed.example/repo.git
    says 'git ls-remote: a blocked name' 'Could not resolve host: blocked\.example' git ls-remote http://blocked.example/repo.git
}

with_apt() {
    have apt-get apt || return 0
    apt_in_a_box
    says 'apt-get update: an allowed name' '^Get:.* http://deb\.allowed\.example/deb ./ Release ' "${APT[@]}" -o "Dir::Etc::sourcelist=$T/apt/allowed.list"
    says 'apt-get update: a blocked name' "Could not resolve 'blocked\.example'" "${APT[@]}" -o "Dir::Etc::sourcelist=$T/apt/blocked.list"
}

# apt_in_a_box: in APT, an update with none of the machine's own lists, settings and files.
apt_in_a_box() {
    mkdir -p "$T/apt/lists/partial" "$T/apt/cache/archives/partial"
    echo 'deb [trusted=yes] http://deb.allowed.example/deb ./' >"$T/apt/allowed.list"
    echo 'deb [trusted=yes] http://blocked.example/deb ./' >"$T/apt/blocked.list"
    : >"$T/apt/status"
    APT=(env LC_ALL=C apt-get update -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$T/apt/lists"
        -o "Dir::State::status=$T/apt/status" -o "Dir::Cache=$T/apt/cache" -o APT::Sandbox::User=root
        -o Acquire::Retries=0 -o Acquire::Languages=none -o Acquire::http::Proxy=false)
}

# pod: the search list and ndots of Kubernetes. Every suffixed name is denied before the real one is asked for.
pod() {
    resolv_conf 'nameserver 127.0.0.1' 'search default.svc.cluster.local svc.cluster.local cluster.local' \
        'options ndots:5 timeout:1 attempts:2'
    local libc
    for libc in "${LOOKUPS[@]}"; do
        says "in a pod, $libc: an allowed name" "^ok .*$WEB4" "$T/lookup-$libc" allowed.example
        says "in a pod, $libc: a name under a wildcard" "^ok $WEB4\$" "$T/lookup-$libc" only4.allowed.example
        says "in a pod, $libc: a blocked name" '^noname$' "$T/lookup-$libc" blocked.example
    done
    says 'in a pod, nslookup: why a name is blocked' 'verdict=blocked' nslookup -type=txt blocked.example.why.namegate.internal
    says 'in a pod, python: an allowed name' "^ok .*$WEB4" "$PYTHON" clients/lookup.py addresses allowed.example
    says 'in a pod, python: a blocked name' '^noname$' "$PYTHON" clients/lookup.py addresses blocked.example
}

# short_names: a search list that makes an allowed name of a single label, after one that makes a blocked one.
short_names() {
    resolv_conf 'nameserver 127.0.0.1' 'search corp.example example' 'options timeout:1 attempts:2'
    local libc
    for libc in "${LOOKUPS[@]}"; do
        says "a search list, $libc: a single label that becomes allowed" "^ok .*$WEB4" "$T/lookup-$libc" allowed
        says "a search list, $libc: a single label that becomes blocked" '^noname$' "$T/lookup-$libc" blocked
    done
}

# without_ipv6: a machine that has no ::1 is served by the defaults all the same.
# shellcheck disable=SC2016
without_ipv6() {
    local there='ip link set lo up && echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6' asked='
        "$@" 2>&1 & pid=$!
        for try in 1 2 3 4 5 6 7 8 9 10; do
            sleep 0.3
            dig +time=1 +tries=1 @127.0.0.1 blocked.example && break
        done
        kill "$pid"
        wait "$pid"'
    if ! unshare --net sh -c "$there" 2>/dev/null; then
        skip 'a machine without IPv6' 'IPv6 cannot be switched off in here'
        return
    fi
    says 'a machine without IPv6: the defaults serve' 'status: NXDOMAIN' unshare --net sh -c "$there; $asked" sh \
        "$NAMEGATE_BIN" run --config "$T/config.toml" --policy "$T/policy.json" --zones "$T/no-zones" --upstream udp://127.0.0.2
}

# starts_that_fail: what only a machine of our own can show: no resolver to ask, a port that is not for us.
starts_that_fail() {
    local run=(run --config "$T/config.toml" --policy "$T/policy.json" --zones "$T/no-zones" --metrics off)
    resolv_conf '# nobody'
    exits 'no resolver in resolv.conf: exit code' 69 "$NAMEGATE_BIN" "${run[@]}" --listen 127.0.0.1:1053
    says 'no resolver in resolv.conf: what it says' 'no upstream' "$NAMEGATE_BIN" "${run[@]}" --listen 127.0.0.1:1053
    local powerless=(setpriv --inh-caps=-all --bounding-set=-all "$NAMEGATE_BIN" "${run[@]}" --listen 127.0.0.3:53 --upstream udp://127.0.0.2)
    have setpriv 'a privileged port' || return 0
    exits 'a privileged port: exit code' 77 "${powerless[@]}"
    says 'a privileged port: the remedy' 'CAP_NET_BIND_SERVICE' "${powerless[@]}"
}

main "$@"
