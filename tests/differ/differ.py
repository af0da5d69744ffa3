"""Asks several resolvers the same questions and compares their answers field by field.

    differ.py RULES SEED COUNT NAME=PORT NAME=PORT...

The first resolver is the one that is judged, the others are its peers; all are on 127.0.0.1 and forward to one and the
same authority. Questions about the zones of world.py are made from SEED. Every difference has to have a rule in RULES
that says why it is there; prints each rule with how often it was needed, and every difference without one. Exit code
1 if there is such a one.
"""

import collections
import concurrent.futures
import dataclasses
import fnmatch
import functools
import random
import re
import socket
import sys
import threading
import time

import wire
import world

WORKERS = 8
# All three give up before that.
PATIENCE_S = 12
# Clocks of whole seconds, and three asked one after the other.
TTL_SLACK_S = 2
EXAMPLES = 3
FLAGS = ("qr", "aa", "tc", "rd", "ra", "z", "ad", "cd")
OPTION_EDE = 15
COMMON_KINDS = ("A", "AAAA", "TXT", "MX", "NS", "SOA", "CNAME", "HTTPS", "SRV", "DS")
ALL_KINDS = tuple(kind for kind in wire.TYPES if kind not in ("OPT",))


@dataclasses.dataclass(frozen=True)
class Difference:
    """Two words for one field of the replies to one question."""

    peer: str
    field: str
    ours: str
    theirs: str
    tags: str


# ---- questions


def names():
    """Every name there is in the zones, and some that are not, in wire form; with the zone of each."""
    found = []
    for zone, text in world.zones().items():
        below = "" if zone == "." else "." + zone
        owners = {line.split()[0] for line in text.splitlines() if line[:1] not in ("", " ", "$")}
        for owner in sorted(owners):
            found += [(zone, it) for it in spellings("" if owner == "@" else owner, below)]
        found.append((zone, "absent" + below))
    return [(zone, wire.wire(name)) for zone, name in found if zone != "." and len(wire.wire(name)) <= 255]


def spellings(owner, below):
    """A name; what a wildcard makes of it; one below it; the empty one above it."""
    name = (owner + below).lstrip(".")
    if "*" in owner:
        return [name.replace("*", "any"), name.replace("*", "x.y"), name]
    above = [name.split(".", 1)[1]] if owner.count(".") and "\\" not in owner else []
    return [name, name, "below." + name, *above]


def questions(seed, count):
    """As many as asked for."""
    dice, every = random.Random(seed), names()
    return [question(dice, *dice.choice(every)) for _ in range(count)]


def question(dice, zone, name):
    """One of them; most are plain."""
    kind = likely_kind(dice, zone)
    edns = dice.choice((0, 512, 1232, 1232, 1232, 4096))
    return wire.Question(
        name=mixed(dice, name) if dice.random() < 0.2 else name,
        kind=kind,
        tcp=dice.random() < 0.15,
        rd=dice.random() >= 0.05,
        cd=dice.random() < 0.15,
        ad=dice.random() < 0.15,
        do=edns > 0 and dice.random() < (0.7 if zone.startswith("signed") else 0.25),
        edns=edns,
    )


def likely_kind(dice, zone):
    """A type that the zone is about, more often than not."""
    if dice.random() < 0.5:
        return dice.choice(kinds_of(zone))
    return dice.choice(COMMON_KINDS if dice.random() < 0.6 else ALL_KINDS)


@functools.cache
def kinds_of(zone):
    """The types that stand in a zone's file."""
    text = world.zones()[zone]
    return [kind for kind in ALL_KINDS if re.search(rf"\s{kind}\s", text)]


def mixed(dice, name):
    """Some letters in upper case."""
    out, at = bytearray(name), 0
    while out[at]:
        for i in range(at + 1, at + 1 + out[at]):
            letter = chr(out[i])
            if letter.isascii() and letter.isalpha() and dice.random() < 0.5:
                out[i] ^= 0x20
        at += 1 + out[at]
    return bytes(out)


# ---- asking


class Asker:
    """Puts questions to every resolver at once; a thread has sockets of its own."""

    def __init__(self, ports):
        self.ports, self.mine = ports, threading.local()

    def ask(self, asked):
        """What each says: a Reply, or a word."""
        number = random.getrandbits(16)
        octets = asked.octets(number)
        sent = [self.send(port, asked.tcp, octets) for port in self.ports]
        return [self.hear(it, asked.tcp, number) for it in sent]

    def send(self, port, tcp, octets):
        """A socket on which the reply will come."""
        if tcp:
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
            sock.sendall(len(octets).to_bytes(2, "big") + octets)
            return sock
        socks = self.mine.__dict__.setdefault("socks", {})
        if port not in socks:
            socks[port] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            socks[port].connect(("127.0.0.1", port))
            socks[port].settimeout(PATIENCE_S)
        socks[port].send(octets)
        return socks[port]

    def hear(self, sock, tcp, number):
        """The reply to that number."""
        try:
            octets = hear_stream(sock) if tcp else hear_datagram(sock, number)
            return wire.read_reply(octets)
        except OSError:
            return "silence"
        except wire.Broken as why:
            return f"broken: {why}"


def hear_stream(sock):
    """The one message of a connection."""
    with sock, sock.makefile("rb") as stream:
        octets = stream.read(int.from_bytes(stream.read(2), "big"))
    if not octets:
        raise OSError("closed without a word")
    return octets


def hear_datagram(sock, number):
    """The next datagram with this number; those before it came too late."""
    while True:
        octets = sock.recv(65535)
        if octets[:2] == number.to_bytes(2, "big"):
            return octets


# ---- comparing


def compare(asked, ours, theirs, age_s):
    """Pairs of words for each field, whether they differ or not."""
    if isinstance(ours, str) or isinstance(theirs, str):
        yield "reply", *(it if isinstance(it, str) else "a reply" for it in (ours, theirs))
        return
    yield "rcode", ours.rcode_name(), theirs.rcode_name()
    for flag in FLAGS:
        yield flag, str(ours.bit(flag)), str(theirs.bit(flag))
    sent = asked.name + wire.TYPES[asked.kind].to_bytes(2, "big") + b"\0\1"
    yield "question", *(echo(sent, it.question) for it in (ours, theirs))
    for section in ("answer", "authority", "additional"):
        pair = getattr(ours, section), getattr(theirs, section)
        yield section, *beside(*pair)
        yield f"{section} case", *letters(*pair)
        yield f"{section} doubles", *(str(len(it) - len({r.folded() for r in it})) for it in pair)
        yield f"{section} ttl", *times(*pair, age_s)
    yield "chain order", in_order(asked, ours.answer), in_order(asked, theirs.answer)
    yield from compare_opt(ours.opt, theirs.opt)


def compare_opt(ours, theirs):
    """The same for the OPT."""
    yield "opt", *("opt" if it else "none" for it in (ours, theirs))
    if ours and theirs:
        yield "opt payload", str(ours[0]), str(theirs[0])
        yield "opt version", str(ours[1]), str(theirs[1])
        yield "opt flags", f"{ours[2]:04x}", f"{theirs[2]:04x}"
        yield "opt options", options(ours[3]), options(theirs[3])


def echo(sent, question):
    """How a question came back."""
    if question == sent:
        return "as sent"
    return "in other letters" if question.lower() == sent.lower() else "another"


def beside(ours, theirs):
    """The types that only one of them has."""
    sets = [{record.folded() for record in it} for it in (ours, theirs)]
    return types(sets[0] - sets[1]), types(sets[1] - sets[0])


def types(records):
    """Types in letters, each once; signatures with what they cover."""
    return " ".join(sorted({type_word(kind, data) for _, kind, _, data in records})) or "-"


def type_word(kind, data):
    """A type in letters."""
    covered = f"({wire.type_name(int.from_bytes(data[:2], 'big'))})" if kind == wire.TYPES["RRSIG"] else ""
    return wire.type_name(kind) + covered


def letters(ours, theirs):
    """The types whose names came in other letters."""
    spelled = [{record.folded(): record.spelled() for record in it} for it in (ours, theirs)]
    other = {it for it in spelled[0].keys() & spelled[1].keys() if spelled[0][it] != spelled[1][it]}
    return types(other), types(set())


def times(ours, theirs, age_s):
    """The TTLs of what both have, where they are further apart than two seconds."""
    by = [{record.folded(): record.ttl for record in it} for it in (ours, theirs)]
    pairs = [(by[0][it], by[1][it]) for it in by[0].keys() & by[1].keys()]
    worst = max(pairs, key=lambda pair: abs(pair[0] - pair[1]), default=(0, 0))
    apart = worst[0] - worst[1]
    if abs(apart) <= TTL_SLACK_S:
        return "same", "same"
    if abs(apart) <= age_s + TTL_SLACK_S:
        return ("older", "newer") if apart < 0 else ("newer", "older")
    return str(worst[0]), str(worst[1])


def in_order(asked, answer):
    """Does the chain go from owner to target?"""
    here = asked.name.lower()
    for record in answer:
        if record.kind == wire.TYPES["CNAME"] and asked.kind != "CNAME":
            if record.owner.lower() != here:
                return "mixed"
            here = record.data.lower()
    return "in order"


def options(found):
    """The options of an OPT; an extended error by its code."""
    word = lambda code, data: f"EDE{int.from_bytes(data[:2], 'big')}" if code == OPTION_EDE else f"option{code}"
    return " ".join(word(*it) for it in sorted(found.items())) or "-"


def tags(zone_of, asked, ours, theirs):
    """Words about a question and its replies that a rule can ask for."""
    words = [f"name={wire.text(asked.name).lower()}", f"type={asked.kind}", "tcp" if asked.tcp else "udp"]
    words += [word for word in ("cd", "ad", "do") if getattr(asked, word)] + ([] if asked.rd else ["rd=0"])
    words += [f"edns={asked.edns}", f"zone={zone_of.get(asked.name.lower())}"]
    for who, reply in (("ours", ours), ("theirs", theirs)):
        if not isinstance(reply, str):
            words += [f"{who}={reply.rcode_name()}", f"{who}.answers={'some' if reply.answer else 'none'}"]
            words += [f"{who}.{flag}" for flag in FLAGS if reply.bit(flag)]
    return " " + " ".join(words) + " "


# ---- the report


class Rules:
    """What is known to differ, and why."""

    def __init__(self, file):
        with open(file, encoding="utf-8") as lines:
            rows = [line.rstrip("\n").split("\t") for line in lines if line.strip() and line[0] != "#"]
        self.rows = [tuple(row) for row in rows]
        assert all(len(row) == 6 for row in self.rows), "a rule has six columns"
        self.used, self.examples = collections.Counter(), {}

    def explain(self, difference):
        """The rule for it, counted."""
        for row in self.rows:
            if fits(row, difference):
                self.used[row] += 1
                self.examples.setdefault(row, difference)
                return row
        return None


def fits(row, it):
    """Peer, field, our word, their word, then tags that have to be there, `!` before one that must not."""
    peers, field, ours, theirs, when, _ = row
    words = zip((peers, field, ours, theirs), (it.peer, it.field, it.ours, it.theirs))
    return all(any(fnmatch.fnmatchcase(word, one) for one in pattern.split("|")) for pattern, word in words) and all(
        tag_fits(it.tags, tag) for tag in when.split() if tag != "-"
    )


def tag_fits(tags, wanted):
    """Is one of the alternatives there, or with `!` none?"""
    absent, wanted = wanted[0] == "!", wanted.lstrip("!")
    return absent != any(fnmatch.fnmatchcase(tags, f"* {one} *") for one in wanted.split("|"))


def report(rules, compared, unexplained, took_s):
    """What was found, in lines."""
    differing = sum(rules.used.values()) + sum(len(it) for it in unexplained.values())
    for row in rules.rows:
        it = rules.examples.get(row)
        example = f"{it.ours} / {it.theirs}:{it.tags}" if it else "not seen"
        print(f"rule\t{rules.used[row]}\t" + "\t".join(row) + f"\t{example}")
    for key, found in sorted(unexplained.items(), key=lambda it: -len(it[1])):
        print(f"UNEXPLAINED\t{len(found)}\t" + "\t".join(key))
        for it in found[:EXAMPLES]:
            print(f"\t{it.tags}")
    without = sum(len(it) for it in unexplained.values())
    fields = ", ".join(f"{count} with {peer}" for peer, count in compared.items())
    print(f"fields compared in {took_s:.0f} s: {fields}")
    print(f"{differing} differ, in {len(rules.examples)} of {len(rules.rows)} classes that have a rule; {without} without a rule")


def main():
    """Asks, compares, reports."""
    rules = Rules(sys.argv[1])
    seed, count = int(sys.argv[2]), int(sys.argv[3])
    resolvers = [it.split("=") for it in sys.argv[4:]]
    asker = Asker([int(port) for _, port in resolvers])
    every = questions(seed, count)
    zone_of = {name.lower(): zone for zone, name in names()}
    began = time.monotonic()
    compared, unexplained = collections.Counter(), collections.defaultdict(list)
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for asked, (ours, *others) in zip(every, pool.map(asker.ask, every)):
            age_s = time.monotonic() - began
            for (peer, _), theirs in zip(resolvers[1:], others):
                about = tags(zone_of, asked, ours, theirs)
                for field, *words in compare(asked, ours, theirs, age_s):
                    compared[peer] += 1
                    it = Difference(peer, field, *words, about)
                    if it.ours != it.theirs and not rules.explain(it):
                        unexplained[it.peer, it.field, it.ours, it.theirs].append(it)
    report(rules, compared, unexplained, time.monotonic() - began)
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
