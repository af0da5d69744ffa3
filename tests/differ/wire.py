"""DNS messages, as much of them as the differential needs: one question out, a whole reply in.

In: a Question, or the octets of a reply. Out: octets, or a Reply whose names are whole (no pointers) and whose
records can be compared. Never guesses: octets that are no message raise Broken.
"""

import dataclasses
import struct

TYPES = {
    "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "HINFO": 13, "MX": 15, "TXT": 16, "RP": 17, "AFSDB": 18,
    "AAAA": 28, "LOC": 29, "SRV": 33, "NAPTR": 35, "KX": 36, "DNAME": 39, "OPT": 41, "DS": 43, "SSHFP": 44,
    "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "NSEC3": 50, "NSEC3PARAM": 51, "TLSA": 52, "OPENPGPKEY": 61, "SVCB": 64,
    "HTTPS": 65, "SPF": 99, "EUI48": 108, "ANY": 255, "URI": 256, "CAA": 257, "TYPE65280": 65280,
}  # fmt: skip
TYPE_NAMES = {number: name for name, number in TYPES.items()}
RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN")
# Where names stand in the data of a type: octets before the first name, and how many names.
NAMES_IN = {2: (0, 1), 5: (0, 1), 6: (0, 2), 12: (0, 1), 15: (2, 1), 17: (0, 2), 18: (2, 1), 33: (6, 1), 36: (2, 1), 39: (0, 1)}  # fmt: skip
HEADER_OCTETS = 12
POINTERS_MAX = 126


class Broken(Exception):
    """These octets are no reply."""


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked, and how."""

    name: bytes  # wire form
    kind: str
    tcp: bool = False
    rd: bool = True
    cd: bool = False
    ad: bool = False
    do: bool = False
    edns: int = 0  # the payload offered; 0: no OPT

    def octets(self, number):
        """The message."""
        flags = self.rd << 8 | self.ad << 5 | self.cd << 4
        head = struct.pack("!6H", number, flags, 1, 0, 0, int(self.edns > 0))
        opt = struct.pack("!BHHIH", 0, TYPES["OPT"], self.edns, self.do << 15, 0) if self.edns else b""
        return head + self.name + struct.pack("!2H", TYPES[self.kind], 1) + opt


@dataclasses.dataclass(frozen=True)
class Record:
    """One record; names in its data are whole."""

    owner: bytes
    kind: int
    klass: int
    ttl: int
    data: bytes

    def folded(self):
        """What it is but for its TTL and the case of its names."""
        return self.owner.lower(), self.kind, self.klass, fold(self.kind, self.data)

    def spelled(self):
        """The same with the letters as they came."""
        return self.owner, self.kind, self.klass, self.data


def fold(kind, data):
    """Data with its names in lower case."""
    if kind not in NAMES_IN:
        return data
    before, names = NAMES_IN[kind]
    end = before
    for _ in range(names):
        end = name_end(data, end)
    return data[:before] + data[before:end].lower() + data[end:]


def name_end(octets, at):
    """Where a whole name ends."""
    while octets[at]:
        at += 1 + octets[at]
    return at + 1


@dataclasses.dataclass(frozen=True)
class Reply:
    """A message that answers."""

    flags: int
    question: bytes
    answer: tuple
    authority: tuple
    additional: tuple
    opt: tuple | None  # payload, version, flags, {code: data}
    rcode: int
    octets: int

    def bit(self, name):
        """A flag of the header."""
        return self.flags >> {"qr": 15, "aa": 10, "tc": 9, "rd": 8, "ra": 7, "z": 6, "ad": 5, "cd": 4}[name] & 1

    def rcode_name(self):
        """The code in letters."""
        return RCODES[self.rcode] if self.rcode < len(RCODES) else f"RCODE{self.rcode}"


class Reader:
    """Walks through a message."""

    def __init__(self, octets):
        self.octets, self.at = octets, 0

    def take(self, count):
        """The next octets."""
        piece = self.octets[self.at : self.at + count]
        if len(piece) < count:
            raise Broken("cut short")
        self.at += count
        return piece

    def numbers(self, form):
        """The next numbers."""
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def name(self):
        """The next name, whole."""
        labels, after, jumps = [], None, 0
        while True:
            (length,) = self.take(1)
            if length == 0:
                break
            if length >= 0xC0:
                target = (length & 0x3F) << 8 | self.take(1)[0]
                after = after or self.at
                jumps += 1
                if jumps > POINTERS_MAX or target >= self.at - 2:
                    raise Broken("a pointer that does not lead backwards")
                self.at = target
                continue
            if length > 63:
                raise Broken("a void label")
            labels.append(bytes([length]) + self.take(length))
        self.at = after or self.at
        return b"".join(labels) + b"\0"

    def record(self):
        """The next record."""
        owner = self.name()
        kind, klass, ttl, length = self.numbers("!HHIH")
        end = self.at + length
        data = self.data(kind, end)
        if self.at != end:
            raise Broken("data of another length")
        return Record(owner, kind, klass, ttl, data)

    def data(self, kind, end):
        """A record's data; names in it are made whole."""
        if kind not in NAMES_IN or self.at == end:
            return self.take(end - self.at)
        before, names = NAMES_IN[kind]
        parts = [self.take(before)] + [self.name() for _ in range(names)]
        return b"".join(parts) + self.take(end - self.at)


def read_reply(octets):
    """A whole message."""
    reader = Reader(octets)
    _, flags, questions, *counts = reader.numbers("!6H")
    if questions > 1:
        raise Broken("more than one question")
    began = reader.at
    if questions:
        reader.name()
        reader.take(4)
    question = octets[began : reader.at]
    answer, authority, additional = (tuple(reader.record() for _ in range(count)) for count in counts)
    if reader.at != len(octets):
        raise Broken("octets behind the last record")
    opts = [record for record in additional if record.kind == TYPES["OPT"]]
    if len(opts) > 1:
        raise Broken("two OPT")
    opt = read_opt(opts[0]) if opts else None
    high = opts[0].ttl >> 24 if opts else 0
    rest = tuple(record for record in additional if record.kind != TYPES["OPT"])
    return Reply(flags, question, answer, authority, rest, opt, high << 4 | flags & 15, len(octets))


def read_opt(record):
    """Payload, version, flags, options."""
    options, reader = {}, Reader(record.data)
    while reader.at < len(record.data):
        code, length = reader.numbers("!2H")
        options[code] = reader.take(length)
    return record.klass, record.ttl >> 16 & 0xFF, record.ttl & 0xFFFF, options


def wire(text):
    """A name as zone files have it, in wire form."""
    labels, label, digits = [], bytearray(), iter(text.rstrip(".") + ".")
    for letter in digits:
        if letter == "\\":
            letter = next(digits)
            code = int(letter + next(digits) + next(digits)) if letter.isdigit() else ord(letter)
            label.append(code)
        elif letter == ".":
            labels.append(bytes(label))
            label.clear()
        else:
            label.append(ord(letter))
    return b"".join(bytes([len(it)]) + it for it in labels if it) + b"\0"


def text(name):
    """The reverse."""
    labels, at = [], 0
    while name[at]:
        end = at + 1 + name[at]
        labels.append("".join(map(letter, name[at + 1 : end])))
        at = end
    return ".".join(labels) + "."


def letter(octet):
    """An octet of a label in the manner of zone files."""
    if chr(octet) in '.\\"@;()$':
        return "\\" + chr(octet)
    return chr(octet) if 32 < octet < 127 else f"\\{octet:03}"


def type_name(number):
    """A type in letters."""
    return TYPE_NAMES.get(number, f"TYPE{number}")
