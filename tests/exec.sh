#!/usr/bin/env bash
# `namegate exec`: one command under a policy, as root and as nobody, and nothing of the machine touched.
#
#   tests/exec.sh
#
# Makes namespaces of its own for network, mounts and processes, with a copy of /etc in them, and starts NSD on port
# 53 there. The machine's own network and files stay as they are, and with the last program everything in there ends.
# Root, user namespaces or sudo are needed for that; where the machine allows none, it says SKIPPED. Needs nsd, dig,
# python3, ip; and asks with getent and curl where they are.
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh
# shellcheck source=lib/box.sh
source lib/box.sh

# What takes longer hangs.
HANG_S=30
NOBODY=65534
WEB=192.0.2.80
HELLO='hello from an allowed name'

main() {
    if [[ ${1:-} == --inside ]]; then
        inside
    else
        in_namespaces exec 'exec in a namespace'
    fi
}

# inside: all of it, in the namespaces.
inside() {
    open_suite exec
    unset SUDO_UID SUDO_GID SUDO_USER GITHUB_STEP_SUMMARY
    unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
    need ip iproute2
    need nsd nsd
    need dig bind9-dnsutils
    need python3 python3
    build_machine
    names
    advice
    machine_untouched
    ends
    signals
    users
    fail_fast
    audit
    reports
    policy_file
    resolver_settings
    settings_replaced
    several_at_once
    refuses_to_start
    without_root
    same 'nothing is left of all of it' '' "$(ls "$TMPDIR")"
}

# build_machine: loopback, an /etc that is ours to change, an internet, a web server.
build_machine() {
    { ip link set lo up && ip address add "$WEB/32" dev lo; } || die 'no loopback in the namespace'
    chmod 711 "$T"
    mkdir -m 1777 "$T/tmp"
    export TMPDIR=$T/tmp
    PYTHON=$(python3 -c 'import sys; print(sys.executable)')
    cp -a /etc "$T/etc" 2>/dev/null
    mount --bind "$T/etc" /etc || die 'cannot stand over /etc'
    mount -t tmpfs none /run || die 'cannot stand over /run'
    reset_settings
    start_internet 127.0.0.2 53 ".=$PWD/clients/internet.zone"
    mkdir "$T/web"
    echo "$HELLO" >"$T/web/index.html"
    start web "$PYTHON" -m http.server 80 --bind "$WEB" --directory "$T/web"
    within 10 web_is_up || die "the web server does not answer: $(tail -n 3 "$T/web.err")"
}

web_is_up() { (exec 3<>"/dev/tcp/$WEB/80") 2>/dev/null; }

# reset_settings: a machine that asks NSD and has a search list, by way of systemd-resolved's module too.
reset_settings() {
    rm -f /etc/resolv.conf /etc/nsswitch.conf
    printf 'nameserver 127.0.0.2\nsearch corp.example\n' >/etc/resolv.conf
    printf 'passwd: files\nhosts: files resolve [!UNAVAIL=return] dns\n' >/etc/nsswitch.conf
}

# exec_ ARG...: namegate exec with these arguments; what it says in $OUT and $ERR, its exit code in $CODE.
exec_() {
    CODE=0
    timeout "$HANG_S" "$NAMEGATE_BIN" exec "$@" >"$T/out" 2>"$T/err" </dev/null || CODE=$?
    OUT=$(<"$T/out")
    ERR=$(<"$T/err")
}

# allowing COMMAND...: with a policy of one name and its children.
allowing() { exec_ --allow 'allowed.example,*.allowed.example' -- "$@"; }

# start_ready NAME COMMAND...: start, as far as the word READY.
start_ready() {
    rm -f "$T/$1.out"
    start "$@"
    within 10 grep -qs READY "$T/$1.out" || die "$1 does not run: $(tail -n 3 "$T/$1.err")"
}

# absent LABEL FILE: it was not made.
absent() { if [[ -e $2 ]]; then fail "$1" 'no file' 'a file'; else ok "$1"; fi; }

# names: what is allowed resolves, what is blocked does not, and that is told when it is over.
names() {
    allowing getent ahosts allowed.example
    holds 'an allowed name resolves' "$OUT" "^$WEB +STREAM"
    same 'nothing blocked, nothing told' '' "$ERR"
    allowing getent ahosts git.allowed.example
    holds 'a name under a wildcard resolves' "$OUT" "^$WEB +STREAM"
    allowing getent ahosts blocked.example
    same 'a blocked name is not found' '2:' "$CODE:$OUT"
    holds 'a blocked name is told' "$ERR" '^namegate: 1 name was blocked while this ran \(exit 2\)$'
    holds 'with its types and how often' "$ERR" '^  blocked\.example  A( AAAA)?  x[1-9]'
    holds 'with the flag that allows it' "$ERR" '^allow with:  --allow blocked\.example$'
    allowing dig +tcp +short allowed.example A
    same 'over TCP too' "$WEB" "$OUT"
    allowing dig registry A
    holds 'a name that no policy can allow is told as such' "$ERR" '^  registry  A  x1  no policy can allow it$'
    holds 'and no flag is proposed' "$(tail -n 1 <<<"$ERR")" '^  registry'
    allowing dig -x 192.0.2.7
    same 'reverse lookups are no news' '' "$ERR"
    allowing sh -c 'dig github.com.corp.example; dig blocked.example'
    holds 'a search list is one line' "$ERR" '^  1 search-suffix lookup is not listed$'
    allowing dig SRV _http._tcp.deb.example
    holds 'a service counts for its host' "$ERR" '^  deb\.example  SRV  x1  REVIEW  .*; asked for as _http\._tcp\.deb\.example$'
    exec_ --allow allowed.example -q -- getent ahosts blocked.example
    same 'quiet' '2:' "$CODE:$ERR"
    with_curl
}

# advice: what each name is, as suggest has it; what should stay blocked is not in the flag.
advice() {
    allowing sh -c 'getent ahosts o1.ingest.sentry.io; getent ahosts pypi.org; getent ahosts elsewhere.net'
    holds 'a host of a bundle is told as such' "$ERR" '^  pypi\.org .* ADD +python: the index'
    holds 'with what it is never used without' "$ERR" '^  files\.pythonhosted\.org +ADD +python: the files'
    holds 'telemetry, too' "$ERR" '^  o1\.ingest\.sentry\.io .* KEEP BLOCKED +telemetry'
    holds 'and a name that nobody knows' "$ERR" '^  elsewhere\.net .* REVIEW +not a host of any known tool$'
    holds 'the flag has what is needed and what is to be looked at' "$ERR" \
        '^allow with:  --allow pypi\.org,elsewhere\.net,files\.pythonhosted\.org$'
    # The flag, typed beside the one that was there.
    exec_ --allow allowed.example --allow pypi.org,elsewhere.net -- sh -c 'getent ahosts pypi.org; getent ahosts elsewhere.net'
    same 'two flags add up' '' "$ERR"
    allowing getent ahosts o1.ingest.sentry.io
    same 'what should stay blocked needs no flag' '' "$(grep 'allow with' <<<"$ERR")"
    allowing sh -c 'getent ahosts registry.npmjs.org.elsewhere.net; getent ahosts githib.com; getent ahosts dns.google'
    holds 'an imitation is told as such' "$ERR" '^  registry\.npmjs\.org\.elsewhere\.net .* REVIEW .* made to look like it$'
    holds 'and a slip' "$ERR" '^  githib\.com .* REVIEW +typo of github\.com\?'
    same 'what is suspect is not offered to be typed' '' "$(grep 'allow with' <<<"$ERR")"
    exec_ --bundle python,npm -- sh -c 'getent ahosts pypi.org; getent ahosts registry.npmjs.org; getent ahosts npmjs.org'
    holds 'a bundle allows its hosts, and no other' "$ERR" '^namegate: 1 name was blocked'
    allowing sh -c 'getent ahosts blocked.example; sleep 6; exit 1'
    holds 'what went on in vain is told what would stop it' "$ERR" '^  it went on for [67] s after the first; --fail-fast stops it there$'
    exec_ --bundle npn -- touch "$T/ran"
    holds 'no such bundle: those that there are, and what is meant perhaps' "$CODE:$ERR" "^2:.*'npn'"
    holds 'no such bundle: those that there are' "$ERR" 'possible values: .*npm'
    absent 'no such bundle: not run' "$T/ran"
}

with_curl() {
    if ! command -v curl >/dev/null; then
        skip 'curl' 'no curl here'
        return
    fi
    allowing curl -sS http://allowed.example/
    same 'curl: an allowed name is fetched' "0:$HELLO" "$CODE:$OUT"
    allowing curl -sS http://blocked.example/
    holds 'curl: a blocked name' "$CODE:$ERR" '^6:curl: \(6\) Could not resolve host: blocked\.example'
}

# machine_untouched: the command sees its own settings, everybody else the machine's.
machine_untouched() {
    local before after
    before=$(settings)
    allowing sh -c 'cat /etc/resolv.conf; echo --; cat /etc/nsswitch.conf'
    after=$(settings)
    holds 'its resolv.conf names one resolver' "$(grep -c ^nameserver <<<"$OUT"):$OUT" '^nameserver 127\.0\.0\.153$'
    same 'and no other' 1 "$(grep -c ^nameserver <<<"$OUT")"
    same 'its nsswitch.conf asks nobody else' 'passwd: files
hosts: files dns' "${OUT#*--
}"
    same "the machine's own stay as they are" "$before" "$after"
    "$NAMEGATE_BIN" exec --allow allowed.example -- sh -c "touch '$T/runs'; sleep 30" &
    STARTED+=($!)
    within 10 test -e "$T/runs" || die 'the command does not run'
    same 'also while it runs' "$before" "$(settings)"
    holds 'and whoever else asks is not filtered' "$(getent ahosts blocked.example)" "^$WEB"
    stop $!
    allowing sh -c 'echo nameserver 127.0.0.2 >/etc/resolv.conf'
    holds 'it cannot write over its own' "$ERR" 'Read-only file system'
}

# settings: which files they are, and what they hold.
settings() {
    stat -c '%n %i %y' /etc/resolv.conf /etc/nsswitch.conf
    cat /etc/resolv.conf /etc/nsswitch.conf
    cat /proc/self/mountinfo
}

# ends: the exit code is the command's.
ends() {
    local code
    for code in 0 1 7 255; do
        allowing sh -c "exit $code"
        same "exit code $code" "$code" "$CODE"
    done
    # shellcheck disable=SC2016
    allowing sh -c 'kill -KILL $$'
    same 'ended by a signal' 137 "$CODE"
    PATH=/usr/bin:/bin allowing no-such-command
    holds 'no such command' "$CODE:$ERR" '^127:namegate: cannot run no-such-command: '
    allowing "$T/web/index.html"
    holds 'not a program' "$CODE:$ERR" '^126:namegate: cannot run '
    exec_ --allow allowed.example printf '%s,' --a 'b c' -- "$(printf '\xff')"
    same 'arguments pass as they are' "--a,b c,--,$(printf '\xff')," "$OUT"
    CODE=0
    OUT=$(printf 'from\nstdin\n' | "$NAMEGATE_BIN" exec --allow allowed.example -- tail -n 1) || CODE=$?
    same 'standard input is its own' '0:stdin' "$CODE:$OUT"
}

# signals: what is told to us reaches it; what a terminal tells all reaches it once.
# shellcheck disable=SC2016
signals() {
    local signal
    for signal in TERM HUP INT USR1; do
        # A shell that is no terminal's starts what is behind it deaf to SIGINT.
        start_ready told env --default-signal=INT "$NAMEGATE_BIN" exec --allow allowed.example -- \
            sh -c 'trap "echo told; exit 9" "$0"; echo READY; while :; do sleep 0.1; done' "$signal"
        kill -"$signal" "$STARTED_PID"
        same_end "SIG$signal is passed on" 9
        same "SIG$signal is heard once" 1 "$(grep -c told "$T/told.out")"
    done
    start_ready told sh -c 'trap "" HUP; exec "$@"' sh "$NAMEGATE_BIN" exec --allow allowed.example -- \
        sh -c 'echo READY; kill -HUP $$; kill -HUP $PPID; sleep 0.3; exit 8'
    same_end 'what was ignored stays ignored' 8
    terminal '^C' 'echo READY; exec sleep 60'
    holds 'Ctrl-C: the command ends' "$OUT" '^exit 130$'
    terminal '^C' "exec '$PYTHON' exec/heard.py"
    holds 'Ctrl-C is heard once' "$OUT" '^heard 1$'
    terminal '^Z' 'echo READY; read -r line; echo went on; exit 4'
    holds 'Ctrl-Z stops it all, and fg has it go on' "$(tr -d '\n' <<<"$OUT")" 'stopped.*went on.*exit 4$'
}

# same_end LABEL CODE: what was started last ends by itself, with this code.
same_end() {
    local code=0
    within "$HANG_S" gone "$STARTED_PID" || kill -KILL "$STARTED_PID"
    wait "$STARTED_PID" || code=$?
    same "$1" "$2" "$code"
}

# terminal KEY SCRIPT: exec with a shell script on a terminal where that key is typed.
terminal() {
    OUT=$(timeout "$HANG_S" "$PYTHON" exec/terminal.py "$1" "$NAMEGATE_BIN" exec --allow allowed.example -- sh -c "$2" 2>&1 | tr -d '\r' | sed 's/\^[CZ]//')
}

# users: the command is the caller's, also behind sudo.
users() {
    exec_ --allow allowed.example -- id -u
    same 'without sudo: who we are' 0 "$OUT"
    if ! can_change_user; then
        skip 'other users' 'nobody but root is known in the namespace'
        return
    fi
    as_sudo "$NOBODY" id
    holds 'behind sudo: who called' "$CODE:$OUT" "^0:uid=$NOBODY\(.*\) gid=$NOBODY\(.*\) groups=$NOBODY"
    same 'in no group of root' '' "$(grep -o '[=,]0(root)' <<<"$OUT")"
    # shellcheck disable=SC2016
    as_sudo "$NOBODY" sh -c 'echo "$HOME $USER"; grep -E "^Cap(Prm|Eff|Amb)" /proc/self/status'
    same 'with his home' "$(getent passwd "$NOBODY" | cut -d : -f 6) $(id -nu "$NOBODY")" "$(head -n 1 <<<"$OUT")"
    same 'without a capability' '0000000000000000' "$(tail -n +2 <<<"$OUT" | cut -f 2 | sort -u)"
    as_sudo "$NOBODY" getent ahosts allowed.example
    holds 'he resolves' "$OUT" "^$WEB"
    as_sudo 54321 id -u
    same 'a caller whom the machine does not know' 54321 "$OUT"
    exec_ --user "$NOBODY" --allow allowed.example -- id -u
    same '--user by number' "$NOBODY" "$OUT"
    exec_ --user "$(id -nu "$NOBODY")" --allow allowed.example -- id -u
    same '--user by name' "$NOBODY" "$OUT"
    SUDO_UID=$NOBODY SUDO_GID=$NOBODY exec_ --user root --allow allowed.example -- id -u
    same '--user root goes before sudo' 0 "$OUT"
    exec_ --user no-such-user --allow allowed.example -- touch "$T/ran"
    same '--user of nobody at all: exit code' 2 "$CODE"
    SUDO_UID=$NOBODY exec_ --allow allowed.example -- touch "$T/ran"
    same 'half of sudo: exit code' 2 "$CODE"
    absent 'neither ran the command' "$T/ran"
    as_sudo "$NOBODY" true
    SUDO_UID=$NOBODY SUDO_GID=$NOBODY exec_ --log "$T/tmp/log" --report json --report-file "$T/tmp/report" --allow x.example -- true
    same 'log and report are the caller'\''s' "$NOBODY $NOBODY" "$(stat -c %u "$T/tmp/log" "$T/tmp/report" | xargs)"
    rm -f "$T/tmp/log" "$T/tmp/report"
}

can_change_user() { setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups true 2>/dev/null; }

# as_sudo UID COMMAND...: allowing, as sudo would start it for that user.
as_sudo() { SUDO_UID=$1 SUDO_GID=$1 allowing "${@:2}"; }

# fail_fast: the command ends with the first blocked name, and with it what it has started.
# shellcheck disable=SC2016
fail_fast() {
    local fast=(--fail-fast --allow allowed.example --)
    exec_ "${fast[@]}" sh -c 'getent ahosts blocked.example; sleep 600; exit 3'
    same 'fail-fast: it is told to end' 143 "$CODE"
    holds 'fail-fast: and that is told' "$ERR" '^namegate: 1 name was blocked while this ran \(stopped at the first, exit 143\)$'
    exec_ "${fast[@]}" sh -c 'trap "" TERM; getent ahosts blocked.example; while :; do sleep 1; done'
    same 'fail-fast: one that is deaf is killed' 137 "$CODE"
    exec_ "${fast[@]}" sh -c 'trap "exit 0" TERM; getent ahosts blocked.example; while :; do sleep 0.1; done'
    same 'fail-fast: one that says all is well is not believed' 1 "$CODE"
    exec_ "${fast[@]}" sh -c 'sleep 611 & setsid sleep 612 & (trap "" TERM; setsid sleep 613 & ) ; getent ahosts blocked.example; sleep 614'
    same 'fail-fast: nothing of it is left' '' "$(pgrep -f 'sleep 61[1-4]')"
    exec_ "${fast[@]}" sh -c 'getent ahosts allowed.example; dig -x 192.0.2.7; dig github.com.corp.example; dig o1.ingest.sentry.io; dig registry; exit 5'
    same 'fail-fast: allowed names and noise stop nothing' 5 "$CODE"
}

# audit: everything resolves, and what would have been blocked is told.
audit() {
    exec_ --audit --allow allowed.example -- sh -c 'getent ahosts blocked.example; getent ahosts allowed.example; dig x.invalid'
    holds 'audit: a name that the policy does not allow resolves' "$OUT" "^$WEB +STREAM blocked\.example"
    holds 'audit: it is told' "$ERR" '^namegate: 1 name would have been blocked while this ran \(exit 0\)$'
    holds 'audit: with the flag' "$ERR" '^allow with:  --allow blocked\.example$'
    exec_ --audit --allow allowed.example -- dig github.com.corp.example
    same 'audit: a search list is no news' '' "$ERR"
    exec_ --audit --allow allowed.example --report json -- getent ahosts blocked.example
    same 'audit: in the report' 'audit blocked.example would_block not_listed' \
        "$(json "$ERR" 'it["mode"], b["name"], b["verdict"], b["reason"]')"
    exec_ --audit --allow allowed.example --log "$T/audit.log" -- sh -c 'getent ahosts allowed.example; getent ahosts blocked.example'
    same 'audit: in the log, name by name' 'allowed.example:allowed:NOERROR blocked.example:would_block:NOERROR' "$("$PYTHON" -c '
import json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
print(*sorted({":".join((r["name"], r["verdict"], r["rcode"])) for r in records if r["event"] == "dns.query"}))' "$T/audit.log")"
    NAMEGATE_MODE=audit NAMEGATE_POLICY_AUDIT_UNTIL=$(date -u -d +1hour +%Y-%m-%dT%H:%M:%SZ) allowing getent ahosts blocked.example
    same 'audit: only where exec is told' 2 "$CODE"
    holds 'audit: only where exec is told: blocked' "$ERR" '^namegate: 1 name was blocked while'
    exec_ --audit --fail-fast --allow allowed.example -- true
    same 'audit and fail-fast exclude each other' 2 "$CODE"
}

# json TEXT FIELDS: of one report `it`, whose first blocked name is `b`.
json() {
    "$PYTHON" -c '
import json, sys
it = json.loads(sys.argv[1])
b = it["blocked"][0] if it["blocked"] else {}
print(*eval(sys.argv[2]))' "$1" "$2,"
}

# reports: for programs and for a workflow's summary, to standard error or to a file.
reports() {
    exec_ --allow allowed.example --report json -- getent ahosts blocked.example
    same 'report json' "1 enforce 2 None None ['blocked.example'] {'reverse': 0, 'search_suffix': 0}" \
        "$(json "$ERR" 'it["v"], it["mode"], it["exit_code"], it["stopped"], it["policy"], it["allow"], it["hidden"]')"
    same 'report json: the name' "blocked.example A blocked not_listed" \
        "$(json "$ERR" 'b["name"], b["types"][0], b["verdict"], b["reason"]')"
    exec_ --allow allowed.example --report json -- true
    same 'report json: nothing blocked is said too' '0 []' "$(json "$ERR" 'it["exit_code"], it["blocked"]')"
    echo 'before' >"$T/summary"
    exec_ --allow allowed.example --report md --report-file "$T/summary" -- getent ahosts blocked.example
    same 'report md: appended' 'before' "$(head -n 1 "$T/summary")"
    holds 'report md: a heading' "$(<"$T/summary")" '^### namegate: 1 name was blocked while `getent` ran \(exit 2\)$'
    holds 'report md: a row' "$(<"$T/summary")" '^\| `blocked\.example` \| A( AAAA)? \| [0-9]+ \|'
    holds 'report md: and the text where it always is' "$ERR" '^allow with:'
    exec_ --allow allowed.example --report md --report-file "$T/no/such" -- touch "$T/ran"
    same 'a report that cannot be written is told before' '71' "$CODE"
    exec_ --allow allowed.example --log "$T/log" -- sh -c 'getent ahosts allowed.example; getent ahosts blocked.example'
    same 'log: a record for each query' 'allowed.example:allowed blocked.example:blocked' "$("$PYTHON" -c '
import json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
print(*sorted({r["name"] + ":" + r["verdict"] for r in records if r["event"] == "dns.query"}))' "$T/log")"
}

# policy_file: it is taken as it was at the start, and it is where the names go.
policy_file() {
    write_policy "$T/policy.json" ci allowed.example
    exec_ --policy "$T/policy.json" -- getent ahosts blocked.example
    holds 'a policy file: where the names go' "$ERR" "^allow with:  namegate policy add --policy $T/policy\.json blocked\.example\$"
    # shellcheck disable=SC2086
    "$NAMEGATE_BIN" ${ERR##*allow with:  namegate } >"$T/out" 2>&1
    exec_ --policy "$T/policy.json" -- getent ahosts blocked.example
    same 'a policy file: that command, typed, is all it takes' '0:' "$CODE:$ERR"
    write_policy "$T/policy.json" ci allowed.example
    # shellcheck disable=SC2016
    exec_ --policy "$T/policy.json" -- sh -c 'sed -i s/allowed.example/blocked.example/ "$0"; sleep 3; getent ahosts blocked.example' "$T/policy.json"
    same 'a policy file: the command cannot widen it' "2:1" "$CODE:$(grep -c '"blocked.example"' "$T/policy.json")"
    holds 'a policy file: what it wrote there is not in force' "$ERR" '^namegate: 1 name was blocked while'
    write_policy "$T/policy.json" ci allowed.example
    exec_ --audit --policy "$T/policy.json" -- dig elsewhere.example
    holds 'a policy file: audit' "$ERR" '^  elsewhere\.example'
    exec_ --policy "$T/no-such.json" -- touch "$T/ran"
    same 'no policy file: exit code' 66 "$CODE"
    echo '{}' >"$T/bad.json"
    exec_ --policy "$T/bad.json" -- touch "$T/ran"
    same 'a bad policy file: exit code' 65 "$CODE"
    exec_ --allow 'https://a.example/,*' -- touch "$T/ran"
    holds 'no pattern: exit code, and both are told' "$CODE:$(grep -c '^namegate: --allow' <<<"$ERR")" '^65:2$'
    NAMEGATE_POLICY_ID=npl_other NAMEGATE_LISTEN_CLIENTS=10.0.0.0/8 NAMEGATE_METRICS=127.0.0.2:53 allowing getent ahosts allowed.example
    holds "settings of the machine's resolver are not this one's" "$OUT" "^$WEB"
    exec_ -- touch "$T/ran"
    same 'no policy at all: exit code' 2 "$CODE"
    exec_ --allow '' -- getent ahosts allowed.example
    same 'an empty list allows nothing' 2 "$CODE"
    holds 'an empty list allows nothing, and that is told' "$ERR" '^namegate: 1 name was blocked while'
}

# resolver_settings: what kinds of files there are to stand over; what cannot be stood over is not run on.
resolver_settings() {
    mkdir -p /run/systemd/resolve /run/nscd
    mv /etc/resolv.conf /run/systemd/resolve/stub-resolv.conf
    ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
    allowing sh -c 'readlink /etc/resolv.conf; getent ahosts blocked.example; getent ahosts allowed.example'
    holds 'a symlink is followed' "$OUT" "^$WEB +STREAM allowed"
    same 'and filtered' '' "$(grep blocked <<<"$OUT")"
    : >/run/nscd/socket
    allowing ls /run/nscd
    same 'nscd is out of its sight' '0:' "$CODE:$OUT"
    mkdir -m 700 /run/secret
    cp /etc/resolv.conf /run/secret/
    ln -sf /run/secret/resolv.conf /etc/resolv.conf
    if can_change_user; then
        as_sudo "$NOBODY" touch "$T/tmp/ran"
        holds 'what it cannot read is not in force: not run' "$CODE:$ERR" "^71:namegate: /etc/resolv\.conf is not the command's own"
        absent 'and so it did not run' "$T/tmp/ran"
    fi
    ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
    rm /etc/nsswitch.conf
    allowing getent ahosts allowed.example
    holds 'no nsswitch.conf' "$OUT" "^$WEB"
    rm -f "$T/ran" /run/systemd/resolve/stub-resolv.conf
    exec_ --upstream udp://127.0.0.2 --allow allowed.example -- touch "$T/ran"
    holds 'a symlink to nothing: not run' "$CODE:$ERR" '^71:namegate: cannot stand over /etc/resolv\.conf'
    rm /etc/resolv.conf
    exec_ --upstream udp://127.0.0.2 --allow allowed.example -- touch "$T/ran"
    holds 'no resolv.conf: not run' "$CODE:$ERR" '^71:namegate: cannot stand over /etc/resolv\.conf'
    exec_ --allow allowed.example -- touch "$T/ran"
    same 'no resolver to ask: exit code' 69 "$CODE"
    absent 'it did not run' "$T/ran"
    reset_settings
}

# settings_replaced: a DHCP client renames a new file over the machine's while the command runs.
settings_replaced() {
    start replaced "$NAMEGATE_BIN" exec --allow allowed.example -- \
        sh -c 'while :; do getent ahosts blocked.example; sleep 0.05; done'
    within 10 covered "$STARTED_PID" || die 'the command does not run'
    replace_and_look "a file renamed over the machine's"
    mkdir -p /run/elsewhere
    cp /etc/resolv.conf /run/elsewhere/
    ln -s /run/elsewhere/resolv.conf /etc/resolv.conf.new
    mv /etc/resolv.conf.new /etc/resolv.conf
    covers_again "a symlink in the machine's place"
    holds 'it is told' "$(<"$T/replaced.err")" "^namegate: the machine's resolver settings were replaced"
    rm /etc/resolv.conf
    same_end 'none at all: the command is stopped' 143
    holds 'and that is told' "$(<"$T/replaced.err")" 'cannot be kept from the command; it is stopped'
    reset_settings
}

# replace_and_look LABEL: as DHCP clients do it.
replace_and_look() {
    echo 'nameserver 127.0.0.2 ' >/etc/resolv.conf.new
    mv /etc/resolv.conf.new /etc/resolv.conf
    covers_again "$1"
}

covers_again() {
    if within 10 covered "$STARTED_PID"; then ok "$1: covered again"; else fail "$1" 'covered again' 'bare'; fi
}

# covered PID: do the children of this exec see its settings?
covered() {
    local child
    child=$(pgrep -P "$1" | head -n 1)
    [[ -n $child ]] && nsenter --mount="/proc/$child/ns/mnt" cat /etc/resolv.conf 2>/dev/null | grep -q '^nameserver 127\.0\.0\.153'
}

# several_at_once: each has an address of its own; when all are taken, that is told.
several_at_once() {
    start_ready first "$NAMEGATE_BIN" exec --allow allowed.example -- sh -c 'echo READY; sleep 60'
    local first=$STARTED_PID
    exec_ --allow blocked.example -- sh -c 'grep ^nameserver /etc/resolv.conf; getent ahosts blocked.example; getent ahosts allowed.example'
    holds 'the second has the next address' "$OUT" '^nameserver 127\.0\.0\.154$'
    same 'and its own policy' "$WEB" "$(sed -n 's/ .*STREAM.*//p' <<<"$OUT" | sort -u)"
    stop "$first"
    allowing "$NAMEGATE_BIN" exec --allow '*.allowed.example,blocked.example' -- \
        sh -c 'getent ahosts blocked.example; getent ahosts git.allowed.example'
    same 'one inside the other: both have to allow' "$WEB" "$(sed -n 's/ .*STREAM.*//p' <<<"$OUT" | sort -u)"
    start_ready taker "$PYTHON" -c '
import socket, time
taken = []
for host in range(153, 170):
    it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    it.bind(("127.0.0.%d" % host, 53))
    taken.append(it)
print("READY", flush=True)
time.sleep(600)'
    allowing touch "$T/ran"
    holds 'all taken: exit code, and who has them' "$CODE:$ERR" 'are all taken, this one by python'
    holds 'all taken: exit code' "$CODE" '^71$'
    stop "$STARTED_PID"
}

# refuses_to_start: usage, and files that cannot be had.
refuses_to_start() {
    exec_ --allow allowed.example
    same 'no command: exit code' 2 "$CODE"
    exec_ --allow allowed.example --policy "$T/policy.json" -- true
    same 'two policies: exit code' 2 "$CODE"
    TMPDIR=$T/no-such-place exec_ --allow allowed.example -- touch "$T/ran"
    same 'no room for its files: exit code' 71 "$CODE"
    absent 'none of these ran the command' "$T/ran"
}

# without_root: a user namespace does what root would.
without_root() {
    if ! can_change_user || ! as_nobody unshare --user --mount true 2>/dev/null; then
        skip 'without root' 'no user namespaces for nobody here'
        return
    fi
    cp "$NAMEGATE_BIN" "$T/namegate" && chmod 755 "$T/namegate"
    nobody_execs touch "$T/tmp/ran"
    holds 'without root, port 53 is not ours: exit code' "$CODE" '^77$'
    holds 'it says what helps' "$ERR" 'ip_unprivileged_port_start=53'
    absent 'it did not run' "$T/tmp/ran"
    with_file_capability
    sysctl -qw net.ipv4.ip_unprivileged_port_start=53 2>/dev/null || {
        skip 'without root' 'the sysctl cannot be set in the namespace'
        return
    }
    nobody_execs sh -c 'id -u; getent ahosts allowed.example; getent ahosts blocked.example; exit 3'
    holds 'without root: an allowed name resolves' "$OUT" "^$WEB +STREAM allowed"
    same 'without root: a blocked one does not, and the code is passed on' '3:' "$CODE:$(grep blocked <<<"$OUT")"
    same 'without root: as who he is' "$NOBODY" "$(head -n 1 <<<"$OUT")"
    # shellcheck disable=SC2016
    nobody_execs sh -c 'find "$TMPDIR" -name "*.json"; ls "$TMPDIR"/namegate-exec-*; find /proc/$PPID/root/ -maxdepth 0 2>&1'
    same 'without root: the files it is judged by are out of its sight' "find: '/proc/1/root/': Permission denied" "$(sed "s|/proc/[0-9]*/|/proc/1/|; s|[‘’]|'|g" <<<"$OUT")"
    nobody_execs grep ^Cap /proc/self/status
    same 'without root: nothing is gained' '0000000000000000' "$(grep -E 'Cap(Prm|Eff|Amb)' <<<"$OUT" | cut -f 2 | sort -u)"
    CODE=0
    as_nobody "$T/namegate" exec --allow allowed.example --user root -- true 2>/dev/null || CODE=$?
    same 'without root, nobody becomes another' 77 "$CODE"
    start replaced setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups "$T/namegate" exec --allow allowed.example -- \
        sh -c 'while :; do getent ahosts blocked.example; sleep 0.05; done'
    within 10 covered "$STARTED_PID" || die 'the command does not run'
    replace_and_look "without root: a file renamed over the machine's"
    stop "$STARTED_PID"
}

as_nobody() { setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups "$@"; }

# nobody_execs COMMAND...: allowing, as nobody.
nobody_execs() {
    CODE=0
    as_nobody timeout "$HANG_S" "$T/namegate" exec --allow allowed.example -- "$@" >"$T/out" 2>"$T/err" </dev/null || CODE=$?
    OUT=$(<"$T/out")
    ERR=$(<"$T/err")
}

# with_file_capability: the program may listen on port 53, the command may nothing.
with_file_capability() {
    if ! command -v setcap >/dev/null || ! setcap cap_net_bind_service=+ep "$T/namegate" 2>/dev/null; then
        skip 'with a file capability' 'no setcap here, or not for this file system'
        return
    fi
    nobody_execs sh -c 'getent ahosts allowed.example; getent ahosts blocked.example; grep ^CapEff /proc/self/status'
    holds 'with a file capability: an allowed name resolves' "$OUT" "^$WEB +STREAM allowed"
    same 'a blocked one does not' '' "$(grep blocked <<<"$OUT")"
    holds 'and the command has none' "$OUT" '^CapEff:.0000000000000000$'
    setcap -r "$T/namegate"
}

main "$@"
