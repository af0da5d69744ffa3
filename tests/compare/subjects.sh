# How each subject of the comparison is given a list, started, and told of a change. docs/COMPARE.md shows the lines
# that matter.
#
# To be sourced by bash, behind lib/checks.sh. Reads SUBJECT, D (a directory of its own), PORT and RELAY.
# shellcheck shell=bash

# need_subject: its program.
need_subject() {
    case $SUBJECT in
    namegate) find_program ;;
    unbound | unbound-rpz) need unbound unbound ;;
    dnsdist) need dnsdist dnsdist ;;
    knot) need kresd knot-resolver ;;
    bind) need named bind9 ;;
    dnsmasq) need dnsmasq dnsmasq-base ;;
    *) die "no subject is called $SUBJECT" ;;
    esac
}

version_of() {
    case $SUBJECT in
    namegate) "$NAMEGATE_BIN" --version | awk '{ print $2 }' ;;
    unbound | unbound-rpz) unbound -V | awk 'NR == 1 { print $2 }' ;;
    dnsdist) dnsdist --version | awk 'NR == 1 { print $2 }' ;;
    knot) kresd --version | awk '{ print $NF }' ;;
    bind) named -v | awk '{ print $2 }' | sed 's/-.*//' ;;
    dnsmasq) dnsmasq -v | awk 'NR == 1 { print $3 }' ;;
    esac
}

# list_file: where it stands.
list_file() {
    case $SUBJECT in
    namegate) echo "$D/policy.json" ;;
    *) echo "$D/list" ;;
    esac
}

# say_list PATTERN...: in the subject's own words; moved into place.
say_list() {
    case $SUBJECT in
    namegate) policy_text compare "$@" ;;
    unbound) unbound_zones "$@" ;;
    unbound-rpz | bind) PYTHONPATH=$ROOT/benches/versus python3 -B -c \
        'import sys, peers; print(peers.rpz_text(sys.argv[1:], guards=True), end="")' "$@" ;;
    dnsdist | knot) printf '%s\n' "$@" ;;
    dnsmasq) printf "server=/%s/127.0.0.1#$RELAY\n" "$@" ;;
    esac >"$(list_file).new"
    mv -f -- "$(list_file).new" "$(list_file)"
}

unbound_zones() {
    local it
    printf 'server:\nlocal-zone: "." always_nxdomain\n'
    for it in "$@"; do printf 'local-zone: "%s." always_transparent\n' "${it#\*.}"; done
}

edit_counts_by() {
    case $SUBJECT in
    namegate) echo 'the edit' ;;
    dnsdist | knot) echo 'a restart' ;;
    *) echo SIGHUP ;;
    esac
}

# reload_subject: has the list read again.
reload_subject() {
    case $SUBJECT in
    namegate) ;;
    dnsdist | knot)
        take_down
        start_subject
        PID=$STARTED_PID
        ;;
    *) kill -HUP "$PID" 2>/dev/null ;;
    esac
}

start_subject() {
    case $SUBJECT in
    namegate) start_namegate ;;
    unbound) unbound_config iterator "include: \"$D/list\"" && start unbound unbound -d -c "$D/unbound.conf" ;;
    unbound-rpz) unbound_config 'respip iterator' "$(printf 'rpz:\n    name: "rpz"\n    zonefile: "%s/list"' "$D")" &&
        start unbound-rpz unbound -d -c "$D/unbound.conf" ;;
    dnsdist) start_dnsdist ;;
    knot) start_knot ;;
    bind) start_bind ;;
    dnsmasq) start dnsmasq dnsmasq -C /dev/null --port=$PORT --listen-address=127.0.0.1 --bind-interfaces --no-resolv \
        --no-hosts --keep-in-foreground --pid-file= --user= --log-facility=- "--servers-file=$D/list" '--address=/#/' \
        --stop-dns-rebind ;;
    esac
}

start_namegate() {
    printf '[blocked]\nfile = ""\n' >"$D/config.toml"
    start namegate "$NAMEGATE_BIN" run --config "$D/config.toml" --policy "$D/policy.json" --zones "$D/none" \
        --listen 127.0.0.1:$PORT --upstream udp://127.0.0.1:$RELAY --metrics off --log-queries none
}

# unbound_config MODULES POLICY
unbound_config() {
    cat >"$D/unbound.conf" <<END
server:
    interface: 127.0.0.1@$PORT
    do-not-query-localhost: no
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "$D"
    pidfile: ""
    use-syslog: no
    private-address: 10.0.0.0/8
    module-config: "$1"
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@$RELAY
$2
END
}

start_dnsdist() {
    cat >"$D/dnsdist.conf" <<END
setSecurityPollSuffix("")
addLocal("127.0.0.1:$PORT")
newServer({address="127.0.0.1:$RELAY"}):setUp()
getPool(""):setCache(newPacketCache(1000))
local exact, below, apex = newDNSNameSet(), newSuffixMatchNode(), newDNSNameSet()
for line in io.lines("$D/list") do
  if line:sub(1, 2) == "*." then
    below:add(line:sub(3))
    apex:add(newDNSName(line:sub(3)))
  else
    exact:add(newDNSName(line))
  end
end
local listed = OrRule({QNameSetRule(exact), AndRule({SuffixMatchNodeRule(below), NotRule(QNameSetRule(apex))})})
addAction(NotRule(listed), NegativeAndSOAAction(true, ".", 5, "ns.invalid.", "host.invalid.", 1, 60, 60, 60, 5))
END
    start dnsdist dnsdist -C "$D/dnsdist.conf" --supervised --disable-syslog
}

start_knot() {
    mkdir -p "$D/cache"
    cat >"$D/kresd.conf" <<END
net.listen('127.0.0.1', $PORT, { kind = 'dns' })
trust_anchors.remove('.')
modules.unload('priming')
modules.load('rebinding < iterate')
cache.open(10 * MB, 'lmdb://$D/cache')
local exact, below, apex = {}, {}, {}
for line in io.lines('$D/list') do
  if line:sub(1, 2) == '*.' then
    table.insert(below, line:sub(3) .. '.')
    table.insert(apex, line:sub(3) .. '.')
  else
    table.insert(exact, line .. '.')
  end
end
local up = policy.FORWARD({ '127.0.0.1@$RELAY' })
policy.add(policy.domains(policy.DENY_MSG('not on the allow list'), policy.todnames(apex)))
policy.add(policy.domains(up, policy.todnames(exact)))
policy.add(policy.suffix(up, policy.todnames(below)))
policy.add(policy.all(policy.DENY_MSG('not on the allow list')))
END
    start knot kresd -n -q -c "$D/kresd.conf" "$D"
}

start_bind() {
    cat >"$D/named.conf" <<END
options {
  directory "$D";
  listen-on port $PORT { 127.0.0.1; };
  listen-on-v6 { none; };
  pid-file none;
  session-keyfile none;
  forwarders { 127.0.0.1 port $RELAY; };
  forward only;
  dnssec-validation no;
  deny-answer-addresses { 10.0.0.0/8; };
  response-policy { zone "rpz"; } qname-wait-recurse no recursive-only no break-dnssec yes;
};
controls { };
zone "rpz" { type primary; file "$D/list"; notify no; };
END
    start bind named -g -n 1 -c "$D/named.conf"
}
