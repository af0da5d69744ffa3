"""A resolver that is not namegate, for the suite that looks for such.

    resolver.py ADDRESS [RELAYED]

Answers NXDOMAIN to every question that comes to UDP port 53 of ADDRESS. With RELAYED, it passes each question on to
port 53 there and drops from the answer what a stub drops: AA and the OPT. The OPT is taken to stand last.
"""

import socket
import sys

OPT = b"\x00\x00\x29"
AUTHORITATIVE = 0x04


def nowhere(question: bytes) -> bytes:
    """NXDOMAIN, with no more than the question."""
    end = question.index(0, 12) + 5
    return question[:2] + b"\x81\x83\x00\x01" + bytes(6) + question[12:end]


def relayed(question: bytes, server: str) -> bytes:
    """What the server says, as a stub hands it on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
        upstream.settimeout(2)
        upstream.connect((server, 53))
        upstream.send(question)
        reply = bytearray(upstream.recv(4096))
    reply[2] &= ~AUTHORITATIVE
    if reply[11]:
        reply[11] = 0
        del reply[reply.rindex(OPT) :]
    return bytes(reply)


def main() -> None:
    address, servers = sys.argv[1], sys.argv[2:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind((address, 53))
        while True:
            question, client = here.recvfrom(4096)
            answer = relayed(question, servers[0]) if servers else nowhere(question)
            here.sendto(answer, client)


main()
