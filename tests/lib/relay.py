"""Stands between namegate and the internet's name servers, and writes down every name that passes.

    relay.py PORT UPSTREAM_PORT LOG

UDP and TCP on 127.0.0.1. Each question becomes one line of LOG, `TRANSPORT NAME`, lower-cased and with a
final dot, before it is passed on. Messages are passed unchanged. Serves until it is killed.
"""

import socket
import socketserver
import sys
import threading

HEADER_OCTETS = 12
PATIENCE_S = 4


def question_name(message):
    """The name asked for, as text."""
    labels, at = [], HEADER_OCTETS
    while at < len(message) and message[at]:
        end = at + 1 + message[at]
        labels.append("".join(map(escaped, message[at + 1 : end].lower())))
        at = end
    return ".".join(labels) + "."


def escaped(octet):
    """An octet of a label in the manner of zone files."""
    if chr(octet) in ".\\":
        return "\\" + chr(octet)
    return chr(octet) if 32 < octet < 127 else f"\\{octet:03}"


class Udp(socketserver.BaseRequestHandler):
    """One datagram, there and back."""

    def handle(self):
        message, client = self.request
        self.server.note("udp", message)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
            upstream.settimeout(PATIENCE_S)
            upstream.connect(self.server.upstream)
            try:
                upstream.send(message)
                client.sendto(upstream.recv(65535), self.client_address)
            except OSError:
                pass  # as if it were lost


class Tcp(socketserver.StreamRequestHandler):
    """One connection, message by message."""

    def handle(self):
        with socket.create_connection(self.server.upstream, PATIENCE_S) as upstream:
            replies = upstream.makefile("rb")
            while message := read_message(self.rfile):
                self.server.note("tcp", message)
                upstream.sendall(len(message).to_bytes(2, "big") + message)
                reply = read_message(replies)
                self.wfile.write(len(reply).to_bytes(2, "big") + reply)


def read_message(stream):
    """The next message of a TCP stream; empty at its end."""
    return stream.read(int.from_bytes(stream.read(2), "big"))


class UdpServer(socketserver.ThreadingUDPServer):
    """Reads datagrams."""

    daemon_threads = True


class TcpServer(socketserver.ThreadingTCPServer):
    """Accepts connections."""

    daemon_threads = True
    allow_reuse_address = True


def main():
    """Serves both transports."""
    port, upstream_port, log_file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    log = open(log_file, "a", buffering=1, encoding="utf-8")
    lock = threading.Lock()

    def note(transport, message):
        with lock:
            log.write(f"{transport} {question_name(message)}\n")

    servers = [UdpServer(("127.0.0.1", port), Udp), TcpServer(("127.0.0.1", port), Tcp)]
    for server in servers:
        server.upstream = ("127.0.0.1", upstream_port)
        server.note = note
    threading.Thread(target=servers[1].serve_forever, daemon=True).start()
    servers[0].serve_forever()


main()
