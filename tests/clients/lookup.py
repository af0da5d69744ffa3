"""Asks as a Python program does.

    lookup.py addresses NAME | fetch URL

Prints `ok ...`, or `noname`, `again` or another failure in a word.
"""

import socket
import sys
import urllib.error
import urllib.request

WORDS = {socket.EAI_NONAME: "noname", socket.EAI_AGAIN: "again"}


def addresses(name):
    """Every address of the name."""
    return " ".join(sorted({entry[4][0] for entry in socket.getaddrinfo(name, 80)}))


def fetch(url):
    """The page."""
    try:
        with urllib.request.urlopen(url, timeout=4) as page:
            return page.read().decode().strip()
    except urllib.error.URLError as error:
        raise error.reason from error


try:
    print("ok", {"addresses": addresses, "fetch": fetch}[sys.argv[1]](sys.argv[2]))
except socket.gaierror as error:
    print(WORDS.get(error.errno, error))
