#!/usr/bin/env bash
# Every test there is: style, lints, documentation, cargo's tests, interleavings, dig on real sockets, real clients, other resolvers and
# `exec` in namespaces, doctor on machines with each fault, the program on machines that fail under it, the page in a
# browser where there is one.
#
#   tests/all.sh
#
# Installs what is missing from Debian's packages, as root or with sudo, and starts no service by it;
# NAMEGATE_NO_INSTALL=1 forbids that, and then it ends with the command to type. NAMEGATE_BIN is the program that dig
# and the clients ask; unset, it is the debug build made here. CARGO_TARGET_DIR counts as everywhere. Traffic stays on
# loopback, files under TMPDIR. The last line is `N passed, N failed`, and the exit code follows it.
set -eu -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

# What the tests call, and where Debian has it. The header is libc's for the static lookups.
TOOLS=(dig:bind9-dnsutils nsd:nsd dnsmasq:dnsmasq-base unbound:unbound ip:iproute2 curl:curl git:git python3:python3
    node:nodejs busybox:busybox musl-gcc:musl-tools getent:libc-bin unshare:util-linux setpriv:util-linux pgrep:procps
    setcap:libcap2-bin nft:nftables faketime:faketime strace:strace)

main() {
    PATH=$PATH:/usr/sbin:/sbin
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/namegate-all.XXXXXX")
    trap 'rm -rf -- "$WORK"' EXIT
    TALLY=$WORK/tally
    : >"$TALLY"
    install_missing
    step 'style' cargo fmt --check
    step 'lints' cargo clippy --all-targets --locked -- -D warnings
    step 'documentation' env RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --locked
    step 'program' cargo build --locked
    dependencies
    cargo_tests
    step 'interleavings' tests/interleave.sh
    suite dig
    suite clients
    suite chain
    suite exec
    suite doctor
    suite machine
    suite page
    sum_up
}

# heading TEXT: where we are.
heading() { printf '\n== %s\n' "$1"; }

# tally NAME PASSED FAILED SKIPPED: adds to the sums.
tally() { echo "$*" >>"$TALLY"; }

# step NAME COMMAND...: one check, by its exit code.
step() {
    local name=$1
    shift
    heading "$name: $*"
    if "$@"; then
        echo "ok   $name"
        tally "$name" 1 0 0
    else
        echo "FAIL $name: expected exit code 0, got another from: $*"
        tally "$name" 0 1 0
    fi
}

# dependencies: licences, sources and doubles, by .cargo/deny.toml; known faults are looked up by those who have the list.
dependencies() {
    if cargo deny --version >/dev/null 2>&1; then
        step 'dependencies' cargo deny --offline check bans licenses sources
    else
        heading 'dependencies: skipped, for there is no cargo-deny'
        tally dependencies 0 0 1
    fi
}

# cargo_tests: each test counts, by the sums that cargo prints; a build that fails is a failure too.
cargo_tests() {
    heading 'cargo test --locked --no-fail-fast'
    local code=0
    cargo test --locked --no-fail-fast 2>&1 | tee "$WORK/cargo" || code=$?
    awk -v code="$code" '
        /^test result:/ { passed += $4; failed += $6; ignored += $8 }
        END {
            if (code != 0 && failed == 0) failed = 1
            if (passed + failed == 0) failed = 1
            print "cargo", passed + 0, failed + 0, ignored + 0
        }' "$WORK/cargo" >>"$TALLY"
}

# suite NAME: a script of ours, which adds to the sums itself; one that did not counts as failed.
suite() {
    heading "tests/$1.sh"
    NAMEGATE_TALLY=$TALLY "tests/$1.sh" || true
    grep -q "^$1 " "$TALLY" || tally "$1" 0 1 0
}

# sum_up: the last line.
sum_up() {
    heading 'all'
    awk '
        { passed += $2; failed += $3; skipped += $4 }
        END {
            line = passed + 0 " passed, " failed + 0 " failed"
            if (skipped > 0) line = line ", " skipped " skipped"
            print line
            exit failed > 0
        }' "$TALLY"
}

# install_missing: makes sure of every tool, once.
install_missing() {
    local missing=() tool
    for tool in "${TOOLS[@]}"; do
        command -v "${tool%%:*}" >/dev/null || missing+=("${tool#*:}")
    done
    ((${#missing[@]} > 0)) || return 0
    local get="apt-get install -y --no-install-recommends ${missing[*]}"
    heading "missing: ${missing[*]}"
    if [[ -n ${NAMEGATE_NO_INSTALL:-} && ${NAMEGATE_NO_INSTALL} != 0 ]] || ! command -v apt-get >/dev/null; then
        give_up "these are missing, and nothing is installed here. Type: apt-get update && $get"
    fi
    as_root true || give_up "root is needed to install them. Type: sudo sh -c 'apt-get update && $get'"
    install_quietly "$get" || give_up "they cannot be installed by: $get"
}

# give_up WHY: the sums are those of one failure.
give_up() {
    echo "FAIL tools: $1"
    echo '0 passed, 1 failed'
    exit 1
}

# as_root COMMAND...: as we are, or by sudo.
as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

# install_quietly COMMAND: installs, while a policy-rc.d lets no package start its service; one that was there before
# is put back. NSD and unbound, if they are new here, are not started by the next boot either.
# shellcheck disable=SC2016
install_quietly() {
    as_root sh -eu -c '
        policy=/usr/sbin/policy-rc.d
        put_back() {
            rm -f "$policy"
            [ ! -e "$policy.namegate" ] || mv "$policy.namegate" "$policy"
        }
        trap put_back EXIT
        trap "exit 1" INT TERM
        [ ! -e "$policy" ] || [ -e "$policy.namegate" ] || mv "$policy" "$policy.namegate"
        printf "#!/bin/sh\nexit 101\n" >"$policy"
        chmod 755 "$policy"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q
        fresh=
        for server in nsd unbound; do command -v $server >/dev/null || fresh="$fresh $server"; done
        $1
        for server in $fresh; do ! command -v $server >/dev/null || update-rc.d $server disable; done
    ' sh "$1"
}

main "$@"
