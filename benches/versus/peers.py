"""Each system's configuration for the same job, in the way its manual has it.

The job: the names of an allow list are forwarded to one upstream on loopback and cached; NXDOMAIN for all else. In: a
`Job`. Out: files in the job's directory, and the commands that serve it on its port. Starts nothing.
Settings are left at their defaults unless the job or the machine's peace asks for another.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be served, where, and by how many threads."""

    directory: pathlib.Path
    names: list[str]
    port: int
    upstream: int
    threads: int
    namegate: str
    reflector: str

    def write(self, name, text):
        """A file in the directory; its path."""
        path = self.directory / name
        path.write_text(text)
        return path

    def exact(self):
        """The entries that are one name."""
        return [name for name in self.names if not name.startswith("*.")]

    def parents(self):
        """The `x` of each `*.x`."""
        return [name[2:] for name in self.names if name.startswith("*.")]


@dataclasses.dataclass(frozen=True)
class Peer:
    """A system under test."""

    name: str
    package: str
    write: Callable[[Job], list[list[str]]]
    bears_a_million: bool = True


def policy_text(names):
    """A NetworkPolicy document that allows these names."""
    egress = {
        "allow_all": False,
        "allow_devbox_to_devbox": False,
        "allowed_hostnames": names,
        "allow_agent_gateway": False,
        "allow_mcp_gateway": False,
    }
    document = {"id": "npl_1", "name": "versus", "egress": egress, "create_time_ms": 1, "update_time_ms": 1}
    return json.dumps(document, indent=1)


def namegate_command(program, policy, port, upstream, *more):
    """How namegate is run; nothing of the machine's own configuration counts."""
    bare = pathlib.Path(policy).with_suffix(".toml")
    bare.touch()
    where = ["--listen", f"127.0.0.1:{port}", "--upstream", f"udp://127.0.0.1:{upstream}", "--metrics", "off"]
    return [program, "run", "--config", str(bare), "--policy", str(policy), *where, *more]


def namegate(job, *more):
    """Threads follow from the cores that it may run on."""
    policy = job.write("policy.json", policy_text(job.names))
    return [namegate_command(job.namegate, policy, job.port, job.upstream, *(more or ("--log-queries", "none")))]


def namegate_logging(job):
    """With the query log as it is by default; the harness sends it to /dev/null."""
    return namegate(job, "--log-queries", "blocked")


def reflector(job):
    """The limit."""
    return [[job.reflector, str(job.port), str(job.threads)]]


def unbound_server(job, more):
    """What both ways of unbound share."""
    return f"""\
server:
    interface: 127.0.0.1@{job.port}
    num-threads: {job.threads}
    so-reuseport: yes
    do-not-query-localhost: no
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "{job.directory}"
    pidfile: ""
    use-syslog: no
    {more}
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@{job.upstream}
"""


def unbound(job):
    """Local zones. They know no exact names: each opens all below it."""
    zones = "".join(f'local-zone: "{name}." always_transparent\n' for name in job.exact() + job.parents())
    allow = job.write("allow.conf", 'server:\nlocal-zone: "." always_nxdomain\n' + zones)
    config = job.write("unbound.conf", unbound_server(job, 'module-config: "iterator"') + f'include: "{allow}"\n')
    return [["unbound", "-d", "-c", str(config)]]


def rpz_text(names, guards):
    """A response policy zone; `guards` closes what RFC 4592 section 3.3.1 opens above and below listed names."""
    listed = set(names)
    lines = ["$TTL 300", "@ SOA localhost. root.localhost. 1 3600 600 86400 300", "@ NS localhost."]
    lines += [f"{name} CNAME rpz-passthru." for name in names]
    lines += [f"{name} CNAME ." for name in (sorted(guards_of(listed)) if guards else [])]
    return "\n".join([*lines, "* CNAME .", ""])


def guards_of(listed):
    """Every name above a listed one and everything below each of these, unless listed themselves."""
    guards = set()
    for name in listed:
        labels = name.removeprefix("*.").split(".")
        ancestors = {".".join(labels[i:]) for i in range(len(labels))}
        guards |= ancestors | {f"*.{ancestor}" for ancestor in ancestors}
    return guards - listed


def unbound_rpz(job):
    """A response policy zone."""
    zone = job.write("allow.rpz", rpz_text(job.names, guards=True))
    rpz = f'rpz:\n    name: "rpz"\n    zonefile: "{zone}"\n'
    config = job.write("unbound.conf", unbound_server(job, 'module-config: "respip iterator"') + rpz)
    return [["unbound", "-d", "-c", str(config)]]


def dnsdist(job):
    """A set of exact names, a tree of suffixes (which open their apex too), and the packet cache."""
    allow = job.write("allow.txt", "".join(f"{name}\n" for name in job.names))
    listeners = f'addLocal("127.0.0.1:{job.port}", {{reusePort=true}})\n' * job.threads
    config = job.write("dnsdist.conf", f"""\
setSecurityPollSuffix("")
{listeners}newServer({{address="127.0.0.1:{job.upstream}"}}):setUp()
getPool(""):setCache(newPacketCache(100000))
local exact, below = newDNSNameSet(), newSuffixMatchNode()
for line in io.lines("{allow}") do
  if line:sub(1, 2) == "*." then below:add(line:sub(3)) else exact:add(newDNSName(line)) end
end
addAction(AndRule({{NotRule(QNameSetRule(exact)), NotRule(SuffixMatchNodeRule(below))}}),
  NegativeAndSOAAction(true, ".", 60, "ns.invalid.", "host.invalid.", 1, 60, 60, 60, 60))
""")
    return [["dnsdist", "-C", str(config), "--supervised", "--disable-syslog"]]


def dnsmasq(job):
    """A server for each name; exact ones open all below. One thread is all there is."""
    lines = "".join(f"server=/{name}/127.0.0.1#{job.upstream}\n" for name in job.names)
    servers = job.write("allow.servers", lines)
    config = job.write("dnsmasq.conf", f"""\
port={job.port}
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
keep-in-foreground
pid-file=
user=
log-facility=/dev/null
cache-size=10000
servers-file={servers}
address=/#/
""")
    return [["dnsmasq", "-C", str(config)]]


def kresd(job):
    """Suffixes: exact names open all below, wildcards their apex; the exact `policy.domains` compares one by one.

    A process for each thread, as its manual says.
    """
    allow = job.write("allow.txt", "".join(f"{name}\n" for name in job.exact() + job.parents()))
    config = job.write("kresd.conf", f"""\
net.listen("127.0.0.1", {job.port}, {{kind = "dns"}})
trust_anchors.remove(".")
cache.open(100 * MB, "lmdb://{job.directory}/cache")
local allow = {{}}
for line in io.lines("{allow}") do table.insert(allow, line .. ".") end
policy.add(policy.suffix(policy.FORWARD({{"127.0.0.1@{job.upstream}"}}), policy.todnames(allow)))
policy.add(policy.all(policy.DENY_MSG("not on the allow list")))
""")
    (job.directory / "cache").mkdir(exist_ok=True)
    return [["kresd", "-n", "-q", "-c", str(config), str(job.directory)]] * job.threads


def named(job):
    """A response policy zone, so set that blocked names are not asked upstream."""
    zone = job.write("allow.rpz", rpz_text(job.names, guards=True))
    config = job.write("named.conf", f"""\
options {{
  directory "{job.directory}";
  listen-on port {job.port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  pid-file none;
  session-keyfile none;
  forwarders {{ 127.0.0.1 port {job.upstream}; }};
  forward only;
  dnssec-validation no;
  empty-zones-enable no;
  response-policy {{ zone "rpz"; }} qname-wait-recurse no recursive-only no break-dnssec yes;
}};
controls {{ }};
logging {{ category default {{ null; }}; }};
zone "rpz" {{ type primary; file "{zone}"; notify no; }};
""")
    return [["named", "-f", "-n", str(job.threads), "-c", str(config)]]


def recursor(job):
    """A response policy zone; here exact names and siblings need no guards."""
    zone = job.write("allow.rpz", rpz_text(job.names, guards=False))
    lua = job.write("rpz.lua", f'rpzFile("{zone}", {{policyName="allow"}})\n')
    job.write("recursor.conf", f"""\
local-address=127.0.0.1
local-port={job.port}
threads={job.threads}
pdns-distributes-queries=no
reuseport=yes
forward-zones-recurse=.=127.0.0.1:{job.upstream}
dont-query=
dnssec=off
lua-config-file={lua}
socket-dir={job.directory}
security-poll-suffix=
write-pid=no
disable-syslog=yes
""")
    return [["pdns_recursor", f"--config-dir={job.directory}"]]


PEERS = [
    Peer("namegate", "", namegate),
    Peer("namegate-logging", "", namegate_logging),
    Peer("unbound", "unbound", unbound),
    Peer("unbound-rpz", "unbound", unbound_rpz),
    Peer("dnsdist", "dnsdist", dnsdist),
    Peer("dnsmasq", "dnsmasq-base", dnsmasq, bears_a_million=False),
    Peer("knot-resolver", "knot-resolver", kresd, bears_a_million=False),
    Peer("bind9", "bind9", named),
    Peer("pdns-recursor", "pdns-recursor", recursor),
]
REFLECTOR = Peer("reflector", "", reflector)


def nsd(directory, port):
    """The upstream: every name there is has an address."""
    zone = directory / "internet.zone"
    soa = ". 3600 SOA ns.invalid. host.invalid. 1 60 60 60 60\n"
    zone.write_text(f"{soa}. 3600 NS ns.invalid.\n*. 3600 A 198.51.100.7\n")
    config = directory / "nsd.conf"
    config.write_text(f"""\
server:
  ip-address: 127.0.0.1@{port}
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "{directory}"
  database: ""
  pidfile: "{directory}/nsd.pid"
  xfrdfile: "{directory}/xfrd.state"
  xfrdir: "{directory}"
  zonelistfile: "{directory}/zone.list"
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: "."
  zonefile: "{zone}"
""")
    return [["nsd", "-d", "-c", str(config)]]
