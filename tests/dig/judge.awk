# Holds what `dig +yaml` printed against what a case expects.
#
#   awk -v want='NOERROR !aa A=192.0.2.1' -f judge.awk
#
# Prints nothing when everything is as expected; else one line: the words that do not hold, a tab, and what came.
# A word of a case (`_` stands for a space in it):
#   NOERROR, NXDOMAIN, ...   the RCODE; `silence`: no reply at all
#   aa ra rd tc ad cd do, !aa  a flag of the header or of EDNS, or its absence
#   an=2 ns=1                records in the answer, in the authority section
#   A=192.0.2.1              a record of that type with that data in the answer, as often as wanted
#   a-owner=www.x.           an owner name in the answer; question=GitHub.COM. is the question as it came back
#   soa=com. serial=1        the owner and the serial of the SOA in the authority section
#   ttl=5 ttl<=300           of every record in answer and authority
#   ede=15 !ede text~policy  the EDE code or its absence; a part of its text
#   opt !opt udp=1232        the OPT record, and the payload size in it
#   cookie !cookie          a cookie with dig's own half, or none; keepalive=10.0 (seconds), !keepalive; nsid=box-7, !nsid
#   via=TCP size<=512        how the reply came, and how long it is in octets
#   quiet                    for the runner: this name must never be seen upstream

/^      opcode:/ { opcode = $2 }
/^      status:/ { status = $2 }
/^      flags:/ { flags = flags " " $0 " " }
/^          flags:/ { flags = flags " " $0 " " }
/^      ANSWER:/ { an = $2 }
/^      AUTHORITY:/ { ns = $2 }
/^    socket_protocol:/ { via = $2 }
/^    message_size:/ { size = $2 + 0 }
/^      [A-Z_]+SECTION:/ { section = $1 }
/^          udp:/ { has_opt = 1; udp = $2 }
/^          COOKIE:/ { cookie = $3 }
/^          TCP-KEEPALIVE:/ { keepalive = $2 }
/^          NSID:/ { nsid = $0; gsub(/^[^"]*"|".*$/, "", nsid) }
/^            INFO-CODE:/ { ede = $2 }
/^            EXTRA-TEXT:/ { text = $0; sub(/^ *EXTRA-TEXT: */, "", text); gsub(/ /, "_", text) }
/^        - / { record(unquoted($0)) }

END {
    count = split(want, words, " ")
    for (i = 1; i <= count; i++)
        if (!holds(words[i])) missed = missed " " words[i]
    if (missed != "") print substr(missed, 2) "\t" summary()
}

function unquoted(line) {
    sub(/^        - /, "", line)
    if (line ~ /^'.*'$/) line = substr(line, 2, length(line) - 2)
    return line
}

# A record, or the question, by the section it stands in.
function record(line,    field, type, data) {
    split(line, field, " ")
    if (section == "QUESTION_SECTION:") { question = field[1]; return }
    if (section != "ANSWER_SECTION:" && section != "AUTHORITY_SECTION:") return
    type = field[4]
    data = line
    sub(/^[^ ]+ [0-9]+ [A-Z]+ [^ ]+ */, "", data)
    gsub(/ /, "_", data)
    ttls[++records] = field[2] + 0
    seen = seen " [" line "]"
    if (section == "ANSWER_SECTION:") { answer[type "=" data] = 1; owners[field[1]] = 1 }
    else if (type == "SOA") { soa = field[1]; serial = field[7] }
}

function holds(word,    key, value) {
    if (word == "quiet") return 1
    if (word == "silence") return status == ""
    if (word == "!ede") return ede == ""
    if (word == "cookie") return cookie == "(good)"
    if (word == "!cookie") return cookie == ""
    if (word == "!keepalive") return keepalive == ""
    if (word == "!nsid") return nsid == ""
    if (word == "opt") return has_opt
    if (word == "!opt") return !has_opt
    if (word ~ /^![a-z]+$/) return status != "" && index(flags, " " substr(word, 2) " ") == 0
    if (word ~ /^[a-z][a-z]$/) return index(flags, " " word " ") > 0
    if (word ~ /^[A-Z]+$/) return status == word
    if (word ~ /^ttl<=/) return no_ttl_above(substr(word, 6) + 0)
    if (word ~ /^ttl>=/) return no_ttl_below(substr(word, 6) + 0)
    if (word ~ /^size<=/) return size <= substr(word, 7) + 0
    if (word ~ /^size>=/) return size >= substr(word, 7) + 0
    if (word ~ /^text~/) return index(text, substr(word, 6)) > 0
    key = word; sub(/=.*/, "", key)
    value = word; sub(/^[^=]*=/, "", value)
    if (key == "a-owner") return value in owners
    if (key == "question") return question == value
    if (key == "soa") return soa == value
    if (key == "serial") return serial == value
    if (key == "opcode") return opcode == value
    if (key == "an") return an == value
    if (key == "ns") return ns == value
    if (key == "ttl") return no_ttl_above(value + 0) && no_ttl_below(value + 0)
    if (key == "ede") return ede == value
    if (key == "udp") return udp == value
    if (key == "via") return via == value
    if (key == "keepalive") return keepalive == value
    if (key == "nsid") return nsid == value
    return word in answer
}

function no_ttl_above(bound,    i) {
    for (i = 1; i <= records; i++) if (ttls[i] > bound) return 0
    return records > 0
}

function no_ttl_below(bound,    i) {
    for (i = 1; i <= records; i++) if (ttls[i] < bound) return 0
    return records > 0
}

function summary() {
    if (status == "") return "no reply"
    gsub(/ *flags: */, " ", flags)
    return status flags "via " via " " size "b" seen " ede=" ede " " text " cookie=" cookie " keepalive=" keepalive " nsid=" nsid
}
