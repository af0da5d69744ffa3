"""Listens and never answers: TCP `ADDRESS PORT`, or a unix socket `PATH`."""

import socket
import sys
import time

if len(sys.argv) == 3:
    listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
else:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
time.sleep(3600)
