"""Asks what dig cannot, on 127.0.0.1.

    ask.py PORT two NAME NAME        one message with two questions; prints the code of the reply, or silence
    ask.py PORT steady NAME SECONDS  a question every 2 ms; prints how many were asked and how many got no NOERROR
"""

import socket
import struct
import sys
import time

RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
PATIENCE_S = 2
EVERY_S = 0.002


def question(name):
    """One question for its address."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return labels + b"\0\0\1\0\1"


def message(number, names):
    """A query for all of them."""
    return struct.pack("!6H", number, 0x0100, len(names), 0, 0, 0) + b"".join(map(question, names))


def two(sock, *names):
    """The code of the reply to both."""
    sock.settimeout(PATIENCE_S)
    sock.send(message(1, names))
    try:
        return RCODES[sock.recv(65535)[3] & 15]
    except OSError:
        return "silence"


def steady(sock, name, seconds):
    """How many are asked, and how many of them are not answered with NOERROR within the patience."""
    sock.setblocking(False)
    open_ones, asked, end = set(), 0, time.monotonic() + float(seconds)
    while time.monotonic() < end + PATIENCE_S and (open_ones or time.monotonic() < end):
        if time.monotonic() < end:
            asked += 1
            open_ones.add(asked)
            try:
                sock.send(message(asked, [name]))
            except OSError:
                pass  # the port is closed just now: nobody hears it
        hear(sock, open_ones)
        time.sleep(EVERY_S)
    return f"{asked} {len(open_ones)}"


def hear(sock, open_ones):
    """Takes the replies that have come."""
    while True:
        try:
            reply = sock.recv(65535)
        except OSError:
            return
        if reply[3] & 15 == 0:
            open_ones.discard(int.from_bytes(reply[:2], "big"))


def main():
    """Does what it is told."""
    port, what, *words = sys.argv[1:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", int(port)))
        print({"two": two, "steady": steady}[what](sock, *words))


main()
