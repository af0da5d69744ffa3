"""Asks as a Python program does.

    lookup.py addresses NAME... | fetch URL...

For each prints `ok ...`, or `noname`, `again` or another failure in a word.
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


def said(verb, what):
    """The line for one of them."""
    try:
        return f"ok {verb(what)}"
    except socket.gaierror as error:
        return WORDS.get(error.errno, error)


for word in sys.argv[2:]:
    print(said({"addresses": addresses, "fetch": fetch}[sys.argv[1]], word))
