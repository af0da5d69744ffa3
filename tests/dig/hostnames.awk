# From data/hostnames.tsv: a hundred allowed names with their neighbours, as zone lines, patterns or cases.
#
#   awk -F'\t' -v make=zone|patterns|cases -f hostnames.awk hostnames.tsv
#
# `patterns` are all of the file. `zone` gives every name that a case asks for an address, the blocked ones too:
# nothing but the policy stands between a case and an answer. A name stands for a wildcard by `deep.er.` before it.
# A hundred patterns are taken: the 33 wildcards, and exact names from the top.

BEGIN { WANTED = 100; WILDCARDS = 33 }

/^#/ || NF == 0 { next }
make == "patterns" { print $1; next }
{ listed[$1] = 1; pattern[++count] = $1 }

END {
    exact_left = WANTED - WILDCARDS
    for (i = 1; i <= count; i++) {
        is_wildcard = pattern[i] ~ /^\*\./
        if (!is_wildcard && exact_left-- <= 0) continue
        if (is_wildcard) wildcard(substr(pattern[i], 3)); else exact(pattern[i])
    }
}

function exact(name) {
    allowed(name)
    blocked("not-" name)
    blocked("below." name)
    blocked(parent(name))
}

function wildcard(apex) {
    allowed("one." apex)
    allowed("deep.er." apex)
    blocked(apex)
    blocked("not" apex)
}

function parent(name) { sub(/^[^.]*\./, "", name); return name }

# The rule in its simplest form: listed itself, or something above it is with a star.
function is_allowed(name,    above) {
    if (name in listed) return 1
    for (above = parent(name); above ~ /\./; above = parent(above))
        if (("*." above) in listed) return 1
    return ("*." above) in listed
}

function allowed(name) {
    if (name in told) return
    told[name] = 1
    tell(name, "192.0.2." ++given, "2001:db8::" given)
}

function blocked(name) {
    if (name in told || is_allowed(name)) return
    told[name] = 1
    if (make == "cases") {
        owner = name ~ /\./ ? parent(name) "." : "."
        print name, "A", "-", "blocked", "soa=" owner
        print name, "AAAA", "-", "blocked", "soa=" owner
    } else tell(name, "203.0.113.66", "2001:db8:bad::66")
}

function tell(name, ipv4, ipv6) {
    if (make == "zone") {
        print name ". 300 IN A " ipv4
        print name ". 300 IN AAAA " ipv6
        return
    }
    print name, "A", "-", "allowed", "A=" ipv4
    print name, "AAAA", "-", "allowed", "AAAA=" ipv6
}
