"""Holds a port over one transport until it is ended: `udp` or `tcp`, an address, a port."""

import socket
import sys
import time

KIND = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[sys.argv[1]]
holder = socket.socket(socket.AF_INET, KIND)
holder.bind((sys.argv[2], int(sys.argv[3])))
if KIND == socket.SOCK_STREAM:
    holder.listen()
print("held", flush=True)
time.sleep(60)
