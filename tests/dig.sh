#!/usr/bin/env bash
# The program as a user starts it, asked by dig on real sockets; NSD behind it stands for the internet.
#
#   tests/dig.sh [FILE.cases...]     only those files, without the stories of reloads, pages and exits
#
# Needs dig, nsd, python3, curl and a built namegate (NAMEGATE_BIN, or the debug build). Uses loopback and
# unprivileged ports alone; everything it starts and writes is gone when it ends.
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh

# What `allowed`, `denied` and `blocked` stand for in a case.
ALLOWED='NOERROR !aa ra !ad !tc udp=1232 !ede ttl<=300'
DENIED="NXDOMAIN aa ra !ad !tc an=0 ns=1 udp=1232 ede=15 ttl=5 serial=1 text~not_in_allowed_hostnames_of_policy_'dig'_generation_1;_this_is_deliberate,_retrying_will_not_help"
BLOCKED="$DENIED quiet"
# Reloads are to count within this; the time taken is told, not judged.
SOON_S=5

main() {
    open_suite dig
    for tool in dig:bind9-dnsutils nsd:nsd python3:python3 curl:curl; do need "${tool%:*}" "${tool#*:}"; done
    find_program
    read -r PORT RELAY_PORT NSD_PORT PAGES_PORT SPARE_PORT < <(free_ports 5)
    serve_the_internet
    serve_main
    if (($# > 0)); then
        for file in "$@"; do run_cases "$file"; done
        return
    fi
    run_every_way
    for file in blocked allowed special local-zone manners options; do run_cases "dig/$file.cases"; done
    run_hostnames
    transfers
    upstream_heard_nothing
    pages
    own_log_is_discreet
    port_taken
    ends_when_told
    reloads
    refuses_to_start
    commands
}

# serve_the_internet: NSD with a world in which everything resolves, and the relay that hears what reaches it.
serve_the_internet() {
    {
        cat dig/internet.zone
        hostnames zone
        big_records
    } >"$T/internet.zone"
    start_internet 127.0.0.1 "$NSD_PORT" ".=$T/internet.zone" "elsewhere.example=$PWD/dig/elsewhere.zone"
    : >"$T/heard"
    start relay python3 lib/relay.py "$RELAY_PORT" "$NSD_PORT" "$T/heard"
    within 10 answers 127.0.0.1 "$RELAY_PORT" . SOA || die "the relay does not answer"
    UPSTREAM=udp://127.0.0.1:$RELAY_PORT
}

# hostnames zone|patterns|cases: what hostnames.awk makes of the realistic list.
hostnames() { awk -F'\t' -v make="$1" -f dig/hostnames.awk data/hostnames.tsv; }

# big_records: a TXT of 3 KB, and sixty addresses that fit 1232 octets and not 512.
big_records() {
    local text i
    text=$(printf 'x%.0s' {1..200})
    printf 'big.gate.example. IN TXT'
    for i in {1..15}; do printf ' "%s"' "$text"; done
    printf '\n'
    for i in {1..60}; do printf 'many.gate.example. IN A 198.51.100.%d\n' "$i"; done
}

# serve_main: the namegate that the cases ask.
serve_main() {
    mkdir "$T/zones"
    cp dig/corp.zone "$T/zones/corp.internal.zone"
    printf '[listen]\nidentity = "box-7"\n[blocked]\ncontact = "#platform-net"\n' >"$T/main.toml"
    local patterns listen=(--listen "127.0.0.1:$PORT")
    ! has_ipv6 || listen+=(--listen "[::1]:$PORT")
    mapfile -t patterns < <(hostnames patterns)
    write_policy "$T/main.json" dig "${patterns[@]}" '*.gate.example'
    start main "$NAMEGATE_BIN" run --config "$T/main.toml" --policy "$T/main.json" --zones "$T/zones" \
        "${listen[@]}" --upstream "$UPSTREAM" --metrics "127.0.0.1:$PAGES_PORT"
    MAIN_PID=$STARTED_PID
    within 10 answers 127.0.0.1 "$PORT" localhost A || die "namegate does not answer: $(tail -n 3 "$T/main.err")"
}

# run_every_way: the base cases over both transports at each address.
run_every_way() {
    run_cases dig/every-way.cases 127.0.0.1
    run_cases dig/every-way.cases 127.0.0.1 +tcp
    if ! has_ipv6; then
        skip 'asked at ::1' 'this machine has no IPv6 loopback'
        return
    fi
    run_cases dig/every-way.cases ::1
    run_cases dig/every-way.cases ::1 +tcp
}

# run_hostnames: a hundred names of the realistic list resolve, and their neighbours do not.
run_hostnames() {
    hostnames cases >"$T/hostnames.cases"
    run_cases "$T/hostnames.cases"
}

# run_cases FILE [ADDRESS [OPTION]]: every case of a file.
run_cases() {
    local name type options want label=${1##*/}
    label="${label%.cases} @${2:-127.0.0.1}${3:+ $3}"
    while read -r name type options want; do
        [[ -n $name && $name != '#'* ]] || continue
        run_case "$label" "${2:-127.0.0.1}" "${3:-}" "$name" "$type" "$options" "$want"
    done <"$1"
}

# run_case LABEL ADDRESS OPTION NAME TYPE OPTIONS WANT: one question, one check.
run_case() {
    local label="$1 $4 $5 $6" words=() verdict want=" $7 "
    IFS=, read -ra words <<<"$6,$3"
    [[ ${words[0]} != - ]] || words=("${words[@]:1}")
    [[ ${words[0]:-} != -c ]] || words=(-c "${words[@]:1}")
    want=${want/ allowed / $ALLOWED }
    want=${want/ denied / $DENIED }
    want=${want/ blocked / $BLOCKED }
    note_name "$4" "$want"
    # A class has to stand behind the type, or dig takes the type for a name.
    verdict=$(ask "$2" "$PORT" "$4" "$5" "${words[@]}" | awk -v want="${want//\\/\\\\}" -f dig/judge.awk)
    if [[ -z $verdict ]]; then ok "$label"; else fail "$label" "${verdict%%$'\t'*}" "${verdict#*$'\t'}"; fi
}

# ask ADDRESS PORT WORD...: what dig says, in YAML. A lost datagram is asked for once more.
ask() {
    local address=$1 port=$2
    shift 2
    dig +yaml +tries=2 +time=5 -p "$port" "$@" "@$address" 2>&1
}

# note_name NAME WANT: whether upstream may hear of it.
note_name() {
    local name=${1,,} list=may
    [[ $2 != *' quiet '* ]] || list=never
    printf '%s.\n' "${name%.}" >>"$T/$list"
}

# transfers: AXFR and IXFR are refused, and bring nothing.
transfers() {
    local reply
    reply=$(dig "@127.0.0.1" -p "$PORT" +time=2 +tries=1 gate.example AXFR)
    holds 'AXFR is refused' "$reply" 'Transfer failed'
    reply=$(dig "@127.0.0.1" -p "$PORT" +time=2 +tries=1 gate.example IXFR=1)
    holds 'IXFR is refused' "$reply" 'Transfer failed'
}

# upstream_heard_nothing: of no blocked, special or local name; and of none that was not asked for or chained to.
upstream_heard_nothing() {
    local heard
    sed 's/^[a-z]* //' "$T/heard" | sort -u >"$T/heard.names"
    same 'upstream was asked at all' yes "$([[ $(wc -l <"$T/heard.names") -gt 100 ]] && echo yes)"
    sort -u "$T/never" -o "$T/never"
    heard=$(comm -12 "$T/heard.names" "$T/never")
    same "upstream heard of none of $(wc -l <"$T/never") blocked, special and local names" '' "$heard"
    printf '%s\n' . end.target.example. cdn.elsewhere.example. pool.gate.example. >>"$T/may"
    sort -u "$T/may" -o "$T/may"
    heard=$(comm -23 "$T/heard.names" "$T/may")
    same 'upstream heard of no name that nobody asked for' '' "$heard"
    same 'a TXT too long for UDP was fetched over TCP' 1 "$(grep -c '^tcp big\.gate\.example\.$' "$T/heard")"
}

# pages: health, metrics and state over HTTP.
pages() {
    local page
    within "$SOON_S" page_is_200 "$PAGES_PORT" /livez || true
    for page in /livez /readyz /metrics /status; do
        same "GET $page" 200 "$(page_code "$PAGES_PORT" "$page")"
    done
    same 'GET of another page' 404 "$(page_code "$PAGES_PORT" /other)"
    same 'the pages take no POST' 405 "$(page_code "$PAGES_PORT" /status -X POST)"
    holds '/metrics counts blocked queries' "$(page "$PAGES_PORT" /metrics)" \
        '^namegate_responses_total\{.*verdict="blocked".*rcode="NXDOMAIN".*\} [1-9]'
    same 'the generation is a metric' 1 "$(metric "$PAGES_PORT" namegate_policy_generation)"
    holds '/status names the policy' "$(page "$PAGES_PORT" /status)" '"name": ?"dig"'
    same '/status is JSON' ok "$(page "$PAGES_PORT" /status | python3 -c 'import json, sys; json.load(sys.stdin); print("ok")')"
}

# page PORT PATH: its body.
page() { curl -sS --max-time 5 "http://127.0.0.1:$1$2"; }

# page_code PORT PATH [OPTION...]: its status code.
page_code() { curl -s --max-time 5 -o "$T/page" -w '%{http_code}' "${@:3}" "http://127.0.0.1:$1$2"; }

page_is_200() { [[ $(page_code "$1" "$2") == 200 ]]; }

# metric PORT NAME: its value; NAME may hold labels.
metric() { page "$1" /metrics | awk -v name="$2" '$1 == name { print $2 }'; }

metric_is() { [[ $(metric "$1" "$2") == "$3" ]]; }

# own_log_is_discreet: the daemon's own log holds no name that was asked for (SPEC 9).
own_log_is_discreet() {
    same "the daemon's own log names no query" '' "$(grep -Ei 'gate\.example|evil|npmjs' "$T/main.err" | head -n 3)"
}

# port_taken: another namegate on our port ends with 71 and says who has it.
port_taken() {
    expect_exit 'a port that is taken' 71 "namegate \(pid $MAIN_PID\)" \
        run --config "$T/main.toml" --policy "$T/main.json" --listen "127.0.0.1:$PORT" --upstream "$UPSTREAM" --metrics off
    expect_exit 'a metrics port that is taken' 71 '.' \
        run --config "$T/main.toml" --policy "$T/main.json" --listen "127.0.0.1:$SPARE_PORT" --upstream "$UPSTREAM" --metrics "127.0.0.1:$PAGES_PORT"
}

# ends_when_told: SIGTERM ends it with 0, within three seconds, and the port is free again.
ends_when_told() {
    stop "$MAIN_PID"
    same 'SIGTERM: exit code 0 within 3 s' 0 "$STOPPED_CODE"
    if answers 127.0.0.1 "$PORT" localhost A; then
        fail 'SIGTERM: the port is free' 'no answer' 'an answer'
    else
        ok 'SIGTERM: the port is free'
    fi
}

# expect_exit LABEL CODE PATTERN WORD...: the program ends by itself with that code, and stderr says that.
expect_exit() {
    local label=$1 code=$2 pattern=$3 got=0
    shift 3
    timeout 10 "$NAMEGATE_BIN" "$@" >"$T/once.out" 2>"$T/once.txt" </dev/null || got=$?
    same "$label: exit code" "$code" "$got"
    holds "$label: what it says" "$(cat "$T/once.txt" "$T/once.out")" "$pattern"
}

# refuses_to_start: each fault of the operator's has its exit code and its sentence (SPEC 9).
refuses_to_start() {
    local base=(run --listen "127.0.0.1:$SPARE_PORT" --upstream "$UPSTREAM" --metrics off)
    local good=(--policy "$T/good.json") bare=(--config "$T/bare.toml")
    : >"$T/bare.toml"
    write_policy "$T/good.json" good github.com
    expect_exit 'a missing policy' 66 "$T/nowhere.json" "${base[@]}" "${bare[@]}" --policy "$T/nowhere.json"
    write_policy "$T/bad.json" bad github.com 'https://registry.npmjs.org/' '*' '10.0.0.1'
    expect_exit 'an invalid policy' 65 'NP012' "${base[@]}" "${bare[@]}" --policy "$T/bad.json"
    holds 'an invalid policy: all findings at once' "$(tr '\n' ' ' <"$T/once.txt")" 'NP012.*NP015.*NP013'
    : >"$T/empty.json"
    expect_exit 'an empty policy file' 65 'NP001' "${base[@]}" "${bare[@]}" --policy "$T/empty.json"
    printf '[listen]\nadresses = ["127.0.0.1:53"]\n' >"$T/typo.toml"
    expect_exit 'an unknown key' 78 'addresses' "${base[@]}" "${good[@]}" --config "$T/typo.toml"
    printf '[blocked\n' >"$T/broken.toml"
    expect_exit 'a configuration that is not TOML' 78 'broken.toml' "${base[@]}" "${good[@]}" --config "$T/broken.toml"
    expect_exit 'a named configuration that is missing' 66 'nowhere.toml' "${base[@]}" "${good[@]}" --config "$T/nowhere.toml"
    expect_exit 'an upstream that is namegate itself' 78 'itself' run --listen "127.0.0.1:$SPARE_PORT" \
        --upstream "udp://127.0.0.1:$SPARE_PORT" --metrics off "${bare[@]}" "${good[@]}"
    expect_exit 'an unknown flag' 2 '--frobnicate' run --frobnicate
    expect_exit 'an unknown command' 2 'frobnicate' frobnicate
    expect_exit 'no command' 2 'Usage' --color never
}

# commands: those that read, by their exit codes.
commands() {
    expect_exit 'check of a good policy' 0 '.*' check --config "$T/bare.toml" --policy "$T/good.json"
    expect_exit 'check of a bad policy' 65 'NP012' check --config "$T/bare.toml" --policy "$T/bad.json"
    expect_exit 'explain of an allowed name' 0 'ALLOWED +github\.com' explain --config "$T/bare.toml" --policy "$T/good.json" github.com
    expect_exit 'explain of a blocked name' 1 'BLOCKED +evil\.example' explain --config "$T/bare.toml" --policy "$T/good.json" evil.example
    expect_exit 'policy new' 0 '"allowed_hostnames"' policy new --name fresh --allow github.com '*.npmjs.org'
    cp "$T/once.out" "$T/fresh.json"
    expect_exit 'check of what policy new has written' 0 '.*' check --config "$T/bare.toml" --policy "$T/fresh.json"
    expect_exit 'the demo' 0 'live after' demo --once
}

# reloads: the ways in which a policy file comes to be another, and those in which nothing may change.
reloads() {
    printf '[policy]\npoll_every = "1h"\n' >"$T/events.toml"
    printf '[policy]\npoll_every = "500ms"\n' >"$T/polls.toml"
    changes 'by rename' events plain by_rename
    changes 'by a write in place' events plain in_place
    changes 'by deleting and writing' events plain by_deleting
    changes "by Kubernetes' swap of ..data" events mounted by_data_swap
    changes 'by SIGHUP alone' events hard_linked by_sighup
    changes 'by polling alone' polls hard_linked through_another_link
    refusals
}

# changes LABEL CONFIG LAYOUT WRITE: one name is newly allowed, another revoked though it is cached; twice over.
changes() {
    local label="reload $1" write=$4
    "$3" reload.example
    serve_reloading "$2"
    resolves old.gate.example || fail "$label: before" 'an address' 'none'
    follow "$label: first change" 2 "$write" new.gate.example old.gate.example
    follow "$label: second change" 3 "$write" old.gate.example new.gate.example
    stop "$RELOADING_PID"
}

# follow LABEL GENERATION WRITE GAINED LOST: writes, and waits for both names and the text to tell of it.
follow() {
    local label=$1 began
    began=$(now_ms)
    "$3" "$4"
    if within "$SOON_S" resolves "$4"; then
        info "$label: live after $(($(now_ms) - began)) ms"
        ok "$label: $4 resolves"
    else
        fail "$label: $4 resolves" "an address within $SOON_S s" 'none'
    fi
    same "$label: $5, cached, does not" NXDOMAIN "$(status_of "$5")"
    holds "$label: the denial tells generation $2" "$(ask 127.0.0.1 "$SPARE_PORT" evil.example A)" "policy '[a-z.]*' generation $2;"
}

# serve_reloading CONFIG: a namegate for the policy at $POLICY.
serve_reloading() {
    start reloading "$NAMEGATE_BIN" run --config "$T/$1.toml" --policy "$POLICY" --zones "$T/no-zones" \
        --listen "127.0.0.1:$SPARE_PORT" --upstream "$UPSTREAM" --metrics "127.0.0.1:$PAGES_PORT"
    RELOADING_PID=$STARTED_PID
    within 10 answers 127.0.0.1 "$SPARE_PORT" localhost A || die "namegate does not answer: $(tail -n 3 "$T/reloading.err")"
}

# status_of NAME: the RCODE for its A at the namegate that reloads.
status_of() { ask 127.0.0.1 "$SPARE_PORT" "$1" A | sed -n 's/^ *status: //p'; }

resolves() { [[ $(status_of "$1") == NOERROR ]]; }

# The layouts. Each makes a policy that allows old.gate.example at $POLICY.
plain() {
    rm -rf -- "$T/box" "$T/elsewhere"
    mkdir "$T/box" "$T/elsewhere"
    POLICY=$T/box/policy.json
    write_policy "$POLICY" reload old.gate.example
}

# A volume of Kubernetes: policy.json -> ..data/policy.json, ..data -> ..first.
mounted() {
    plain
    rm -- "$POLICY"
    mkdir "$T/box/..first"
    policy_text reload old.gate.example >"$T/box/..first/policy.json"
    ln -s ..first "$T/box/..data"
    ln -s ..data/policy.json "$POLICY"
}

# One file with two names, in two directories: who watches the one sees no event of a write through the other.
hard_linked() {
    plain
    ln -- "$POLICY" "$T/elsewhere/policy.json"
}

# The writes. Each allows one name and nothing else.
by_rename() { write_policy "$POLICY" reload "$1"; }

in_place() { policy_text reload "$1" >"$POLICY"; }

by_deleting() {
    rm -- "$POLICY"
    sleep 0.05
    policy_text reload "$1" >"$POLICY"
}

by_data_swap() {
    local fresh old
    fresh=$(mktemp -d "$T/box/..fresh.XXXXXX")
    old=$(readlink "$T/box/..data")
    policy_text reload "$1" >"$fresh/policy.json"
    ln -s "${fresh##*/}" "$T/box/..data_tmp"
    mv -T -- "$T/box/..data_tmp" "$T/box/..data"
    rm -r -- "${T:?}/box/$old"
}

through_another_link() { policy_text reload "$1" >"$T/elsewhere/policy.json"; }

by_sighup() {
    through_another_link "$1"
    kill -HUP "$RELOADING_PID"
}

# refusals: a file that is no policy, an emptied one, a vanished one and an unchanged one change nothing.
refusals() {
    local refused='namegate_policy_reloads_total{result="rejected"}' verdict=namegate_policy_last_reload_successful
    plain
    serve_reloading events
    resolves old.gate.example
    printf '{"id": "npl_broken", ' >"$POLICY"
    keeps 'a broken file' "$refused" 1
    in_place old.gate.example
    keeps 'the good file again' "$verdict" 1
    : >"$POLICY"
    keeps 'an emptied file' "$refused" 2
    write_policy "$POLICY" reload old.gate.example new.gate.example 'https://new.gate.example/'
    kill -HUP "$RELOADING_PID"
    keeps 'one bad pattern' "$refused" 3
    rm -- "$POLICY"
    kill -HUP "$RELOADING_PID"
    sleep 2
    keeps 'a vanished file' "$verdict" 0
    holds 'the log tells the refusal with its code' "$(cat "$T/reloading.err")" 'NP0'
    in_place new.gate.example
    recovers
    stop "$RELOADING_PID"
}

# recovers: after all this a good file counts, as the second generation.
recovers() {
    if within "$SOON_S" resolves new.gate.example; then
        ok 'after refusals a good file counts'
    else
        fail 'after refusals a good file counts' 'new.gate.example to resolve' "$(status_of new.gate.example)"
    fi
    same 'after refusals: the generation' 2 "$(metric "$PAGES_PORT" namegate_policy_generation)"
}

# keeps LABEL METRIC VALUE: once the metric says so, the old policy is in force, and nothing but it.
keeps() {
    if within "$SOON_S" metric_is "$PAGES_PORT" "$2" "$3"; then
        ok "reload, $1: $2 is $3"
    else
        fail "reload, $1: $2" "$3" "$(metric "$PAGES_PORT" "$2")"
    fi
    same "reload, $1: the old policy allows" NOERROR "$(status_of old.gate.example)"
    same "reload, $1: the old policy blocks" NXDOMAIN "$(status_of new.gate.example)"
    same "reload, $1: the generation stays" 1 "$(metric "$PAGES_PORT" namegate_policy_generation)"
}

main "$@"
