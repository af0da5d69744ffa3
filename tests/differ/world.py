"""The zones that the differential asks about: every edge that a forwarder can be cut at.

    world.py DIRECTORY

Writes DIRECTORY/NAME.zone for each zone and prints `NAME=FILE` for each. Zones below signed.example and
signed3.example are signed afterwards by whoever calls, if he can. The data is the same on every run.
"""

import functools
import pathlib
import sys

LABEL_63 = "l" * 63
# Owner and the target of an alias, with as many octets as a name may have: 255 in wire form.
LONG_HEAD = ".".join(["a" * 63, "b" * 63, "c" * 63])
TOP = """\
@ SOA ns.example. host.example. 1 3600 600 86400 300
@ NS ns.example.
ns.example. A 192.0.2.53
"""


def soa(minimum=60, ttl=300):
    """The apex of a zone."""
    return f"@ {ttl} IN SOA ns.example. host.example. 7 3600 600 86400 {minimum}\n@ IN NS ns.example.\n"


KINDS = r"""
@       A       192.0.2.1
@       MX      10 mail
@       TXT     "apex"
www     A       192.0.2.2
www     AAAA    2001:db8::2
mail    A       192.0.2.3
mx      MX      10 mail
mx      MX      20 mail.target.example.
mx      MX      0 .
srv     SRV     1 2 443 www
srv     SRV     1 2 443 www.target.example.
_x._tcp SRV     0 0 0 .
naptr   NAPTR   10 20 "u" "E2U+sip" "!^.*$!sip:x@kinds.example!" .
naptr   NAPTR   10 30 "s" "" "" _x._tcp
txt     TXT     "one" "two" "" "three \"quoted\" \\ \000\255"
txt     TXT     "another"
empty   TXT     ""
caa     CAA     0 issue "ca.example"
caa     CAA     128 iodef "mailto:x@kinds.example"
https   HTTPS   1 . alpn="h2,h3" ipv4hint=192.0.2.7 ipv6hint=2001:db8::7
alias   HTTPS   0 www.target.example.
svcb    SVCB    2 www port=8443 mandatory=port
tlsa    TLSA    3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
sshfp   SSHFP   4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ptr     PTR     www.target.example.
hinfo   HINFO   "cpu" "os"
rp      RP      host.example. txt
afsdb   AFSDB   1 www
loc     LOC     52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
uri     URI     10 1 "https://kinds.example/"
spf     SPF     "v=spf1 -all"
eui     EUI48   00-00-5e-00-53-2a
odd     TYPE65280 \# 4 0A0B0C0D
none    TYPE65280 \# 0
ds      DS      60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118
kx      KX      10 www
"""

ALIASES = r"""
end     A       192.0.2.10
end     AAAA    2001:db8::10
end     TXT     "the end"
one     CNAME   end
two     CNAME   one
three   CNAME   two
four    CNAME   three
eight   CNAME   seven
seven   CNAME   six
six     CNAME   five
five    CNAME   four
across  CNAME   www.target.example.
twice   CNAME   back.target.example.
thrice  CNAME   hop.target.example.
nothing CNAME   absent
void    CNAME   end.alias.example.
gone    CNAME   absent.target.example.
hollow  CNAME   hollow.target.example.
wild    CNAME   any.thing.wild.example.
long    CNAME   LONG.names.example.
escaped CNAME   a\.b\032c.names.example.
signed  CNAME   www.signed.example.
unsigned CNAME  absent.signed.example.
ding    CNAME   dong
dong    CNAME   ding
self    CNAME   self
brief   0 CNAME end
slow    7000 CNAME brief
moved   CNAME   www.old.dname.example.
child   CNAME   www.child.parent.example.
MiXeD   CNAME   EnD
"""

TARGET = r"""
www     A       192.0.2.20
www     AAAA    2001:db8::20
mail    A       192.0.2.21
back    CNAME   end.alias.example.
hop     CNAME   two.alias.example.
hollow  TXT     "no address"
"""

WILD = r"""
@       A       192.0.2.30
*       A       192.0.2.31
*       TXT     "any"
*.sub   MX      5 mail.target.example.
a.ent   A       192.0.2.32
b.c.deep.ent TXT "below several that are empty"
host    AAAA    2001:db8::33
*.alias CNAME   www.target.example.
*.lost  CNAME   absent.target.example.
*.in    CNAME   host
under   NS      ns.nowhere.example.
*.*.two A       192.0.2.34
"""

DNAMES = r"""
old     DNAME   new
www.new A       192.0.2.40
a.b.new TXT     "moved"
out     DNAME   target.example.
void    DNAME   absent.example.
chain   DNAME   old
longer  DNAME   LONG63.LONG63.LONG63.new
loop    DNAME   loop.loop
apex    A       192.0.2.41
apex    DNAME   new
"""

TIMES = r"""
zero    0       A       192.0.2.50
one     1       A       192.0.2.51
week    604800  A       192.0.2.52
day     86400   A       192.0.2.53
year    31536000 A      192.0.2.54
most    2147483647 A    192.0.2.55
hour    3600    A       192.0.2.56
chain0  0       CNAME   hour
chain1  3600    CNAME   zero
chain2  5       CNAME   hour
chain3  31536000 CNAME  year
zero    0       TXT     "zero"
"""

MIXED = r"""
WwW         A       192.0.2.60
UPPER.Case  TXT     "Letters"
lower       CNAME   WwW.MIXED.example.
MAIL        MX      10 WwW.Mixed.Example.
PTR         PTR     Host.Target.EXAMPLE.
sRv         SRV     1 1 1 WWW
SoA         NS      NS.Nowhere.Example.
"""

NAMES = r"""
LABEL63             A       192.0.2.70
x.LABEL63           TXT     "below a long label"
LONG                A       192.0.2.71
a\.b\032c           A       192.0.2.72
a\000b              A       192.0.2.73
\255                TXT     "high"
under_score         A       192.0.2.74
-dash-              A       192.0.2.75
1                   A       192.0.2.76
1.2.3.4.5.6.7.8.9.a.b.c.d.e.f.g.h.i.j.k.l.m.n A 192.0.2.77
xn--mnchen-3ya      A       192.0.2.78
tolong              CNAME   LONG
toescaped           CNAME   a\.b\032c
tonul               CNAME   a\000b
mxescaped           MX      1 a\.b\032c
"""

SIGNED = r"""
@       A       192.0.2.80
www     A       192.0.2.81
www     AAAA    2001:db8::81
txt     TXT     "signed"
one     CNAME   www
out     CNAME   www.target.example.
*.wild  A       192.0.2.82
*.wc    CNAME   www
a.ent   A       192.0.2.83
moved   DNAME   wild
lost    CNAME   absent
void    CNAME   txt
sub     NS      ns.nowhere.example.
secure  NS      ns.nowhere.example.
secure  DS      60485 8 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
"""

PARENT = r"""
www     A       192.0.2.90
child   NS      ns.child
ns.child A      192.0.2.91
child   DS      60485 8 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
lame    NS      ns.nowhere.example.
"""

CHILD = r"""
@       A       192.0.2.92
ns      A       192.0.2.91
www     A       192.0.2.93
up      CNAME   www.parent.example.
"""


def large():
    """Sets around and over every size that counts: 512, 1232, 4096, and a datagram."""
    lines = [f"a{count} A 198.51.{i // 250}.{i % 250 + 1}" for count in (20, 28, 29, 30, 31, 70, 74, 75, 76, 250, 2000) for i in range(count)]  # fmt: skip
    lines += [f"aaaa{count} AAAA 2001:db8::{i + 1:x}" for count in (16, 17, 42, 43, 44) for i in range(count)]
    lines += [f"mx{count} MX {i} host{i}.target.example." for count in (10, 40) for i in range(count)]
    lines += [f"txt{count} TXT " + " ".join(['"' + "t" * 250 + '"'] * count) for count in (1, 2, 4, 5, 16, 60, 200)]
    lines += [f"ns{count} NS ns{i}.nowhere.example." for count in (13,) for i in range(count)]
    lines += ["tobig CNAME a250", "tohuge CNAME a2000", "totxt CNAME txt5"]
    return "\n".join(lines) + "\n"


@functools.cache
def zones():
    """Every zone and its text."""
    whole = soa()
    rest = 253 - len(LONG_HEAD) - 1 - len("names.example") - 1
    long_name = f"{LONG_HEAD}.{'d' * rest}"
    put = lambda text: text.replace("LABEL63", LABEL_63).replace("LONG63", LABEL_63).replace("LONG", long_name)
    return {
        ".": TOP,
        "kinds.example": whole + KINDS,
        "alias.example": whole + put(ALIASES),
        "target.example": whole + TARGET,
        "wild.example": whole + WILD,
        "dname.example": whole + put(DNAMES),
        "times.example": whole + TIMES,
        "mixed.example": whole + MIXED,
        "names.example": whole + put(NAMES),
        "large.example": whole + large(),
        "parent.example": whole + PARENT,
        "child.parent.example": whole + CHILD,
        "min0.example": soa(minimum=0) + "www A 192.0.2.100\n",
        "ttl0.example": soa(ttl=0) + "www A 192.0.2.101\n",
        "minday.example": soa(minimum=86400, ttl=100) + "www A 192.0.2.102\n",
        "ttlday.example": soa(minimum=7200, ttl=86400) + "www A 192.0.2.103\n",
        "signed.example": whole + SIGNED,
        "signed3.example": whole + SIGNED,
    }


def main():
    """Writes them."""
    directory = pathlib.Path(sys.argv[1])
    for name, text in zones().items():
        file = directory / (name.strip(".") or "root")
        file = file.with_name(file.name + ".zone")
        file.write_text(f"$ORIGIN {name.rstrip('.')}.\n$TTL 300\n{text}")
        print(f"{name}={file}")


if __name__ == "__main__":
    main()
