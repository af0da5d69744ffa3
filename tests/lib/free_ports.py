"""Prints as many ports as asked for that nobody has now, over UDP or TCP, on either loopback.

They lie below the range from which the kernel takes the ports of clients. What is free now may be
taken a moment later: whoever starts a server there watches it come up.
"""

import random
import socket
import sys

CANDIDATES = range(20000, 30000)
TRIES = 500


def is_free(port, family, address):
    """Can the port be had there, over both transports?"""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def has_ipv6():
    """Is there an IPv6 loopback?"""
    try:
        return is_free(0, socket.AF_INET6, "::1")
    except OSError:
        return False


def main():
    """Draws ports until there are enough."""
    wanted = int(sys.argv[1])
    loopbacks = [(socket.AF_INET, "127.0.0.1")]
    if has_ipv6():
        loopbacks.append((socket.AF_INET6, "::1"))
    drawn = random.sample(CANDIDATES, TRIES)
    free = (port for port in drawn if all(is_free(port, *where) for where in loopbacks))
    ports = [port for port, _ in zip(free, range(wanted))]
    if len(ports) < wanted:
        sys.exit("no free ports")
    print(*ports)


main()
