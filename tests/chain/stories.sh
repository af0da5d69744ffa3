# What each chain is asked, and what it has to say.
#
# To be sourced by bash, behind checks.sh. `front` and `behind` run in a process of their own; what they find
# goes to standard output, one line a story: its name, a tab, and `ok` or what was wrong. A line may hold a figure instead.
# Addresses are 127.0.N.x: N is the chain's, x says who in it (see chain.sh).
# shellcheck shell=bash

YES4=192.0.2.80 YES6=2001:db8::80
# An answer is awaited for longer than the five seconds that a no may be remembered, for machines are slow.
SOON_MS=15000

# look ADDRESS NAME TYPE...: one question after the other; for each a line: the first address or other datum (of texts the
# one with the verdict), or NODATA, NXDOMAIN, SERVFAIL, REFUSED, silence.
look() {
    dig +tries=2 +time=5 +noall +comments +answer "@$1" "${@:2}" 2>&1 | awk -v words="${*:2}" '
        function said() { if (asked++) print status != "NOERROR" ? status : found != "" ? found : "NODATA" }
        BEGIN { split(words, word, " ") }
        /status: / { said(); status = $6; sub(",", "", status); found = "" }
        /no servers could be reached/ { said(); status = "silence" }
        $4 == word[2 * asked] && (found == "" || $5 ~ /^"verdict=/) { found = $5 }
        END { said() }'
}

# look_nscd DIRECTORY NAME TYPE...: the same by the C library, with nobody to ask but the nscd whose socket is there.
# shellcheck disable=SC2016
look_nscd() {
    local i names=() types=()
    for ((i = 2; i < $#; i += 2)); do names+=("${!i}"); done
    for ((i = 3; i <= $#; i += 2)); do types+=("${!i}"); done
    unshare --mount sh -c '
        mount -t tmpfs none /run && mkdir /run/nscd && mount --bind "$1" /run/nscd && mount --bind "$2" /etc/resolv.conf
        shift 2
        exec python3 clients/lookup.py addresses "$@"' sh "$1" "$T/nobody.conf" "${names[@]}" 2>&1 | awk -v types="${types[*]}" '
        BEGIN { split(types, type, " ") }
        {
            found = "NODATA"
            for (i = NF; i > 1; i--) if (($i ~ /:/) == (type[NR] == "AAAA")) found = $i
            print $1 == "ok" ? found : $1 == "noname" ? "NXDOMAIN" : $1
        }'
}

# expect WANT NAME TYPE: a question for the next `tell`. WANT is a word of `look`, or `none` for anything but an address.
expect() {
    WANTS+=("$1")
    QUESTIONS+=("$2" "$3")
}

# tell STORY: asks the chain what is expected, and prints the story's line.
tell() {
    local got said i
    mapfile -t got < <($LOOK "$AT" "${QUESTIONS[@]}")
    for i in "${!WANTS[@]}"; do
        said=${got[i]:-nothing}
        [[ $said == "${WANTS[i]}" || (${WANTS[i]} == none && $said != *[.:]*) ]] ||
            FAULTS+=("${QUESTIONS[2 * i]} ${QUESTIONS[2 * i + 1]} $said")
    done
    said=$(printf '%s, ' "${FAULTS[@]}")
    if ((${#FAULTS[@]} == 0)); then said=ok; fi
    printf '%s\t%s\n' "$1" "${said%, }"
    FAULTS=() WANTS=() QUESTIONS=()
}

# front PEER ADDRESS NAME: the stories of a cache between the box and namegate.
front() {
    local AT=$2 LOOK=look FAULTS=() WANTS=() QUESTIONS=()
    [[ $1 != nscd ]] || LOOK=look_nscd
    neighbour
    ancestor
    child
    wildcard
    families
    # The C library asks for addresses alone.
    [[ $1 == nscd ]] || own_zone
    [[ $1 == nscd ]] || reason
    edit "$1" "$3"
}

# A name beside an allowed one, of every type, again and again.
neighbour() {
    local type
    for type in A AAAA TXT A; do
        [[ $LOOK == look || $type != TXT ]] || continue
        expect NXDOMAIN evil.example.com "$type"
    done
    expect "$YES4" www.example.com A
    expect "$YES6" www.example.com AAAA
    expect NXDOMAIN evil.example.com A
    tell neighbour
}

# The names above an allowed one, which an internet without a policy would resolve.
ancestor() {
    printf 'above\t%s\n' "$($LOOK "$AT" net A example.net A | paste -s -d /)"
    expect none net A
    expect none example.net A
    expect none example.net AAAA
    expect "$YES4" www.example.net A
    expect "$YES6" www.example.net AAAA
    tell ancestor
}

# A name below one that is allowed itself alone.
child() {
    expect NXDOMAIN below.www.example.edu A
    expect "$YES4" www.example.edu A
    expect NXDOMAIN below.www.example.edu A
    tell child
}

# The apex of a wildcard and what is beside it are denied; what is below, at any depth, is not.
wildcard() {
    expect none example.dev A
    expect NXDOMAIN evil.dev A
    expect none er.b.evil.dev A
    expect "$YES4" a.example.dev A
    expect "$YES4" deep.er.b.example.dev A
    tell wildcard
}

# A name with no IPv6 address keeps the other.
families() {
    expect NODATA only4.example.biz AAAA
    expect "$YES4" only4.example.biz A
    [[ $LOOK == look_nscd ]] || expect NODATA only4.example.biz MX
    expect "$YES4" only4.example.biz A
    tell families
}

# The resolver's own zone, where those in the box ask why, beside names that are denied.
own_zone() {
    expect NXDOMAIN evil.internal A
    expect none internal A
    expect '"verdict=blocked' evil.example.com.why.namegate.internal TXT
    expect NXDOMAIN evil.internal A
    expect '"verdict=blocked' other.example.com.why.namegate.internal TXT
    tell own_zone
}

# Does it pass on why a name is blocked, when it asks and when it remembers?
reason() {
    local said
    said=$(for _ in 1 2; do dig +tries=2 +time=5 "@$AT" reason.example.com A | grep -oE 'EDE: 15' || echo no; done)
    printf 'reason\t%s\n' "${said/$'\n'/, then }"
}

# edit PEER NAME: what was asked just before the policy is another, and how long it lives on; and what was allowed all the
# while, after its time in the cache.
edit() {
    local asked
    # Whoever is slow to ask does so before the others, for whom the edit is to come as soon as they have asked.
    [[ $1 != nscd ]] || before
    : >"$T/$2/ready"
    within 120 test -e "$T/ask" || return
    [[ $1 == nscd ]] || before
    asked=$(now_ms)
    : >"$T/$2/asked"
    within 60 test -s "$T/edited" || return
    follow "$(<"$T/edited")" "$1"
    until (($(now_ms) > asked + 4000)); do sleep 0.1; done
    expect "$YES4" www.example.io A
    expect NXDOMAIN evil.example.io A
    expect none example.io A
    expect "$YES4" www.example.io A
    expect NXDOMAIN gone.example.info A
    tell expiry
}

before() {
    expect "$YES4" www.example.io A
    expect NXDOMAIN evil.example.io A
    expect none example.io A
    expect none io A
    expect "$YES4" www.example.io A
    expect none xyz A
    expect "$YES4" gone.example.info A
    expect "$YES4" long.example.info A
    expect NXDOMAIN late.example.com A
    expect NXDOMAIN fresh.example.xyz A
    tell before
}

# follow SINCE_MS PEER: asks for what was newly allowed and what was revoked until each has its new answer.
follow() {
    local names=(late.example.com fresh.example.xyz gone.example.info long.example.info)
    local -A want=([late]=$YES4 [fresh]=$YES4 [gone]=NXDOMAIN [long]=NXDOMAIN)
    local i got questions patience=$SOON_MS
    # It remembers a no for a time of its own, which its configuration sets: 20 s.
    [[ $2 != nscd ]] || patience=$((SOON_MS + 30000))
    while ((${#names[@]} > 0 && $(now_ms) < $1 + patience)); do
        mapfile -t questions < <(printf '%s\nA\n' "${names[@]}")
        mapfile -t got < <($LOOK "$AT" "${questions[@]}")
        for i in "${!names[@]}"; do
            [[ ${got[i]:-} == "${want[${names[i]%%.*}]}" ]] || continue
            printf '%s\t%d\n' "${names[i]%%.*}" $(($(now_ms) - $1))
            unset "names[$i]"
        done
        names=("${names[@]}")
        if [[ $2 == nscd ]]; then sleep 1; else sleep 0.2; fi
    done
    for i in "${names[@]}"; do printf '%s\tnot %s within %d ms\n' "${i%%.*}" "${want[${i%%.*}]}" "$patience"; done
}

# behind PEER UPSTREAM N: the stories of a namegate that asks the peer; the peer itself asks UPSTREAM.
behind() {
    local AT=127.0.$3.1 LOOK=look FAULTS=() WANTS=() QUESTIONS=() name=behind_$1
    mkdir "$T/$name" "$T/$name.refusing"
    "run_$1" "127.0.$3.2" "$2" "$name"
    local peer=$STARTED_PID
    "run_$1" "127.0.$3.3" none "$name.refusing"
    serve "$name.namegate" "$AT" "127.0.$3.2" "[[forward]]
zone = 'refused.example.com'
servers = ['udp://127.0.$3.3']
[[forward]]
zone = 'second.example.com'
servers = ['udp://127.0.$3.3', 'udp://127.0.$3.2']" '*.example.com' '*.example.dev' cdn.example.org
    within 20 answers "127.0.$3.2" 53 root.example A || FAULTS+=('does not answer')
    # It has no way to refuse, and is silent instead.
    [[ $1 == pdns* ]] || within 20 answers "127.0.$3.3" 53 root.example A || FAULTS+=('does not refuse')
    data
    chains
    negatives
    sizes
    letters "127.0.$3.2"
    signed
    refusals
    restart "$1" "$2" "$3" "$peer"
}

data() {
    expect "$YES4" www.example.com A
    expect "$YES6" www.example.com AAAA
    expect 10 mail.example.com MX
    expect "$YES4" deep.er.b.example.dev A
    tell data
}

chains() {
    expect hop.example.com. alias.example.com CNAME
    expect "$YES4" alias.example.com A
    expect "$YES6" alias.example.com AAAA
    expect "$YES4" cut.example.com A
    tell chains
}

negatives() {
    expect NXDOMAIN missing.example.com A
    expect NXDOMAIN missing.example.com AAAA
    expect NODATA www.example.com MX
    expect NODATA alias.example.com TXT
    tell negatives
}

# sizes: a text of 3 KB is whole over TCP, and truncated where that is not asked for.
sizes() {
    local said
    said=$(dig +tries=2 +time=5 +short "@$AT" big.example.com TXT | tr -cd x | wc -c)
    ((said == 3000)) || FAULTS+=("3000 octets of text: $said")
    said=$(dig +tries=2 +time=5 +ignore "@$AT" big.example.com TXT)
    [[ $said == *'flags: qr tc'* ]] || FAULTS+=('no TC')
    [[ $said == *'udp: 1232'* ]] || FAULTS+=('no OPT')
    tell sizes
}

# letters PEER_ADDRESS: the question comes back as it was written, whatever the peer does with our own mixture.
letters() {
    local began said
    printf 'case\t%s\n' "$(dig +tries=2 +time=5 "@$1" wWw.eXample.cOm A | grep -q '^;wWw.eXample.cOm' && echo keeps || echo folds)"
    began=$(now_ms)
    said=$(dig +tries=1 +time=5 "@$AT" lEtteRs.eXamplE.deV A)
    [[ $said == *';lEtteRs.eXamplE.deV.'* && $said == *"$YES4"* ]] || FAULTS+=('another question, or no answer')
    (($(now_ms) < began + 2000)) || FAULTS+=("only after $(($(now_ms) - began)) ms")
    tell letters
}

# signed: signatures for those who ask for them, and for no others.
signed() {
    [[ -s $T/signed ]] || return 0
    local said
    said=$(dig +tries=2 +time=5 +dnssec "@$AT" cdn.example.org A)
    [[ $said == *RRSIG* && $said == *'flags: do'* ]] || FAULTS+=('no RRSIG with DO')
    said=$(dig +tries=2 +time=5 "@$AT" cdn.example.org A)
    [[ $said != *RRSIG* && $said == *"$YES4"* ]] || FAULTS+=('RRSIG without DO')
    tell signed
}

# refusals: one server that refuses is a failure, and no answer while there is another.
refusals() {
    expect SERVFAIL here.refused.example.com A
    expect "$YES4" here.second.example.com A
    tell refusals
}

# restart PEER UPSTREAM N PID: while it is away, what is new fails in time, and what is known is answered; afterwards all is.
restart() {
    look "$AT" kept.example.com A >/dev/null
    stop "$4"
    expect SERVFAIL after.example.com A
    expect "$YES4" kept.example.com A
    tell restart
    "run_$1" "127.0.$3.2" "$2" "behind_$1"
    within 20 answers "127.0.$3.2" 53 root.example A
    local began
    began=$(now_ms)
    within 15 resolves again.example.com || FAULTS+=('again.example.com is not answered')
    printf 'back\t%d\n' $(($(now_ms) - began))
    # A failure of a name is remembered for five seconds.
    within 15 resolves after.example.com || FAULTS+=('after.example.com is not answered')
    tell recovery
}

# resolves NAME: if not, the next question comes a little later.
resolves() { [[ $(look "$AT" "$1" A) == "$YES4" ]] || { sleep 0.2 && false; }; }
