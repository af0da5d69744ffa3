#!/usr/bin/env bash
# The stories about the gate, asked of namegate and of other servers with the same list in their configuration.
#
#   tests/compare.sh SUBJECT...      namegate unbound unbound-rpz dnsdist knot bind dnsmasq
#   tests/compare.sh --write         all of them; the table of docs/COMPARE.md is written anew
#
# Prints `subject TAB story TAB result`. In namespaces of its own, NSD stands for an internet in which every name has an
# address, lib/relay.py writes down each name that is asked of it, and dig asks the subject. It measures and asserts
# nothing, so it is not part of all.sh. Takes about a minute a subject. Needs root or user namespaces, nsd, dig,
# python3, and the subjects' programs, whose services it does not start.
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh
# shellcheck source=lib/box.sh
source lib/box.sh
# shellcheck source=compare/subjects.sh
source compare/subjects.sh

SUBJECTS=(namegate unbound unbound-rpz dnsdist knot bind dnsmasq)
LIST=(github.com api.openai.com alias.example '*.npmjs.org')
PORT=5301 RELAY=5302 NSD=5300
# An edit is waited for this long.
SOON_S=5

main() {
    if [[ ${1:-} == --inside ]]; then
        inside
        return
    fi
    local write=
    [[ ${1:-} != --write ]] || { write=yes && shift && set -- "${SUBJECTS[@]}"; }
    (($# > 0)) || { sed -n '4,5s/^# *//p' compare.sh >&2; exit 2; }
    export COMPARE_SUBJECTS="$*"
    if [[ -n $write ]]; then
        in_namespaces compare 'seven servers' | tee /dev/stderr | python3 -B compare/table.py ../docs/COMPARE.md
    else
        in_namespaces compare 'servers with an allow list'
    fi
}

inside() {
    open_suite compare
    PATH=$PATH:/usr/sbin:/sbin
    local tool
    for tool in nsd:nsd dig:bind9-dnsutils python3:python3 ip:iproute2; do need "${tool%:*}" "${tool#*:}"; done
    ip link set lo up
    start_internet 127.0.0.1 $NSD ".=$PWD/compare/internet.zone"
    : >"$T/heard"
    start relay python3 -B lib/relay.py $RELAY $NSD "$T/heard"
    within 10 answers 127.0.0.1 $RELAY . SOA || die 'the relay does not answer'
    for SUBJECT in $COMPARE_SUBJECTS; do stories; done
}

# tell STORY RESULT: a line of the report.
tell() { printf '%s\t%s\t%s\n' "$SUBJECT" "$1" "$2"; }

# stories: all of them, of one subject.
stories() {
    need_subject
    D=$T/$SUBJECT
    mkdir -p "$D"
    tell 'version' "$(version_of)"
    say_list "${LIST[@]}"
    bring_up || die "$SUBJECT does not start: $(tail -n 3 "$T/$SUBJECT.err")"
    names
    ways
    explanations
    tell_special
    edits
    starts
    take_down
}

# bring_up: the subject, until it answers.
bring_up() {
    start_subject
    PID=$STARTED_PID
    within 10 is_up
}

# is_up: a listed name has an address. What it takes to know is none of the stories' business.
is_up() { dig_for github.com A | grep -q 'status: NOERROR' || gone "$PID"; }

take_down() { stop "$PID"; }

dig_for() { dig +time=3 +tries=1 +nocookie -p $PORT @127.0.0.1 "$@" 2>&1; }

# result NAME TYPE [OPTION...]: what the client is told, and whether the name went upstream.
result() {
    local before reply name=${1%.}
    before=$(wc -l <"$T/heard")
    reply=$(dig_for "$@")
    sleep 0.1
    printf '%s' "$(word "$reply")"
    if tail -n "+$((before + 1))" "$T/heard" | grep -qxiF -e "udp $name." -e "tcp $name."; then printf ', name upstream'; fi
}

# word REPLY: in one word.
word() {
    local status answers
    status=$(sed -n 's/.*status: \([A-Z0-9]*\),.*/\1/p' <<<"$1" | head -n 1)
    answers=$(sed -n 's/.*ANSWER: \([0-9]*\),.*/\1/p' <<<"$1" | head -n 1)
    case $status:${answers:-0} in
    :*) echo silence ;;
    NOERROR:0) echo NODATA ;;
    NOERROR:*) echo answers ;;
    *) echo "$status" ;;
    esac
}

# allowed STORY NAME TYPE [OPTION...]: it is the client's side that counts; of course the name goes upstream.
allowed() {
    local said
    said=$(result "${@:2}")
    tell "$1" "${said%, name upstream}"
}

denied() { tell "$1" "$(result "${@:2}")"; }

# names: which of them the list opens.
names() {
    allowed 'listed name' github.com A
    allowed 'listed name, in other letters' GiTHuB.cOm A
    denied 'unlisted name' evil.example A
    denied 'child of a listed name' www.github.com A
    denied 'grandchild of a listed name' a.b.api.openai.com A
    denied 'parent of a listed name' openai.com A
    denied 'sibling of a listed name' evil.openai.com A
    denied 'top-level domain of listed names' com A
    denied 'root' . A
    allowed 'below a wildcard' registry.npmjs.org A
    allowed 'two labels below a wildcard' a.b.npmjs.org A
    denied 'apex of a wildcard' npmjs.org A
    denied 'ending without the edge of a label' evilgithub.com A
    denied 'the same of a wildcard' evilnpmjs.org A
    denied 'dot inside a label, github\.com' 'github\.com.' A
    denied 'dot inside a label, x\.npmjs.org' 'x\.npmjs.org.' A
    denied 'NUL inside a label below a wildcard' 'a\000b.npmjs.org.' A
    allowed 'alias that is listed' alias.example A
    denied 'its target, asked directly' target.cdn.example A
}

# ways: how an unlisted name may be asked for.
ways() {
    denied 'unlisted, TXT' w1.evil.example TXT
    denied 'unlisted, HTTPS' w2.evil.example HTTPS
    denied 'unlisted, TYPE65280' w3.evil.example TYPE65280
    denied 'unlisted, ANY' w4.evil.example ANY
    denied 'unlisted, over TCP' w5.evil.example A +tcp
    denied 'unlisted, DO' w6.evil.example A +dnssec
    denied 'unlisted, CD' w7.evil.example A +cdflag
    denied 'unlisted, RD=0' w8.evil.example A +norecurse
    denied 'unlisted, without EDNS' w9.evil.example A +noedns
    denied 'unlisted, class CH' w10.evil.example A -c CH
    denied 'unlisted, opcode 15' w11.evil.example A +opcode=15 +norecurse
    two_questions
    allowed 'listed name, ANY' github.com ANY
    transfer
    rebinding
}

# two_questions: a listed name first, an unlisted one behind it.
two_questions() {
    local before said
    before=$(wc -l <"$T/heard")
    said=$(python3 -B compare/ask.py $PORT two github.com w12.evil.example)
    sleep 0.1
    # The relay writes down the first question only: that anything came is what counts.
    ! tail -n "+$((before + 1))" "$T/heard" | grep -q . || said+=', both upstream'
    tell 'listed and unlisted name in one message' "$said"
}

transfer() {
    local reply
    reply=$(dig_for npmjs.org AXFR)
    tell 'transfer of a wildcard'\''s zone' "$(if grep -q 'XFR size' <<<"$reply"; then echo transfers; else echo none; fi)"
}

rebinding() {
    local reply
    reply=$(dig_for rebind.npmjs.org A +short)
    tell 'private address for a listed name' "$([[ $reply == 10.0.0.5 ]] && echo passed on || echo "$(result rebind.npmjs.org A)" | sed 's/, name upstream//')"
}

# explanations: what comes with a denial.
explanations() {
    local reply soa ede
    reply=$(dig_for e1.evil.example A)
    soa=$(awk '/SECTION/ { section = $2 } $4 == "SOA" { print tolower(section) ", TTL " $2 }' <<<"$reply" | head -n 1)
    tell 'SOA of a denial (RFC 2308)' "${soa:-none}"
    ede=$(sed -n 's/^; EDE: \([0-9]*\).*/\1/p' <<<"$reply" | head -n 1)
    tell 'extended error of a denial (RFC 8914)' "${ede:-none}"
    tell 'what a person is told with it' "$(told "$reply")"
}

# told REPLY: the texts of an extended error and of TXT records.
told() {
    local texts
    texts=$(
        sed -n 's/^; EDE: [0-9]* *\(([^)]*)\)*:* *//p' <<<"$1" | sed 's/^(\(.*\))$/\1/'
        awk '$4 == "TXT" && !/^;/ { sub(/^[^"]*/, ""); print }' <<<"$1" | tr -d '"'
    )
    paste -sd'|' <<<"${texts:-nothing}" | sed 's/|/ · /g'
}

# tell_special: names that are nobody's on the internet.
tell_special() {
    denied 'localhost' localhost A
    denied 'hidden.onion' hidden.onion A
    denied '1.1.168.192.in-addr.arpa PTR' 1.1.168.192.in-addr.arpa PTR
}

# edits: the list changes under a subject that has answered.
edits() {
    tell 'what makes an edit count' "$(edit_counts_by)"
    dig_for api.openai.com A >/dev/null
    dig_for later.example A >/dev/null
    say_list github.com alias.example '*.npmjs.org' later.example
    reload_subject
    tell 'name taken off the list, answered before' "$(settled api.openai.com answers)"
    tell 'name put on the list, denied before' "$(settled later.example NXDOMAIN)"
    say_list "${LIST[@]}"
    reload_subject
    within $SOON_S is_up
    under_load
    spoil 'list cut in the middle of a line' halve_list
    spoil 'list emptied' empty_list
    spoil 'list gone' rm -f "$(list_file)"
}

# settled NAME FORMER: what it is once it is no longer that, or after the time.
settled() {
    local said=$2 end=$(($(now_ms) + SOON_S * 1000))
    while [[ $said == "$2" ]] && (($(now_ms) < end)); do
        sleep 0.1
        said=$(word "$(dig_for "$1" A)")
    done
    echo "$said"
}

# under_load: questions for a listed name all the while, and a change in the middle.
under_load() {
    local asker
    python3 -B compare/ask.py $PORT steady github.com 4 >"$T/steady" &
    asker=$!
    sleep 1
    say_list "${LIST[@]}" more.example
    reload_subject
    wait "$asker"
    tell 'lost while the list changes' "$(awk '{ print ($2 == 0 ? "none" : $2 " of " $1) }' "$T/steady")"
    say_list "${LIST[@]}"
}

# spoil STORY COMMAND...: what becomes of a running subject whose list is spoilt.
spoil() {
    local story=$1
    shift
    gone "$PID" || take_down
    say_list "${LIST[@]}"
    bring_up || { tell "$story, at a change" 'cannot be tried'; return; }
    "$@"
    reload_subject
    sleep 3
    tell "$story, at a change" "$(state)"
}

# state: of a subject, by one name of each kind.
state() {
    if gone "$PID"; then
        echo 'the server ends'
        return
    fi
    printf 'listed: %s, unlisted: %s' "$(result github.com A | sed 's/, name upstream//')" "$(result "s$RANDOM.evil.example" A)"
}

# halve_list: it ends within the second name.
halve_list() {
    local text
    text=$(cat "$(list_file)")
    printf '%s' "${text%%openai*}ope" >"$(list_file)"
}

empty_list() { : >"$(list_file)"; }

# starts: with a list that is none.
starts() {
    start_with 'list cut in the middle of a line' halve_list
    start_with 'list emptied' empty_list
    start_with 'list gone' rm -f "$(list_file)"
}

start_with() {
    local story=$1
    shift
    gone "$PID" || take_down
    say_list "${LIST[@]}"
    "$@"
    start_subject
    PID=$STARTED_PID
    within 3 gone "$PID"
    tell "$story, at the start" "$(if gone "$PID"; then echo 'the server does not start'; else state; fi)"
}

main "$@"
