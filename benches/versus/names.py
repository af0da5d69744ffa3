"""The names of every run, made up the same way each time.

In: how many entries a list has. Out: the list, half exact and half `*.x`, and the names to ask for. Each entry has a
registrable domain of its own, and blocked names end in the same top-level domains as allowed ones.
"""

import itertools

ENDS = ("com", "net", "org", "io", "dev")
CACHED = 1000
BLOCKED = 10_000
FRESH_UNDER = 1000
# Words from here on are in no list.
STRANGERS = 1 << 31


def word(number):
    """Seven letters, different for each number below 2**32."""
    rest, letters = number * 2_654_435_761 % 2**32, []
    for _ in range(7):
        rest, digit = divmod(rest, 26)
        letters.append(chr(ord("a") + digit))
    return "".join(letters)


def domain(number):
    """A registrable domain."""
    return f"{word(number)}.{ENDS[number // 4 % len(ENDS)]}"


def entry(number):
    """One line of an allow list: by turns `x`, `*.x`, `api.x`, `*.x`."""
    return ("", "*.", "api.", "*.")[number % 4] + domain(number)


def allow_list(size):
    """The whole list."""
    return [entry(number) for number in range(size)]


def cached(size):
    """Names that the list allows: half listed themselves if there are so many, the rest below wildcards."""
    exact = [entry(number) for number in range(0, size, 2)][: CACHED // 2]
    wildcards = itertools.cycle(range(1, size, 2))
    below = [f"host{i:03}.{domain(number)}" for i, number in zip(range(CACHED - len(exact)), wildcards)]
    return exact + below


def blocked():
    """Names that no list allows."""
    return [("www." if i % 2 else "") + domain(STRANGERS + i) for i in range(BLOCKED)]


def fresh(size):
    """Names below wildcards, whose first label the generator counts up."""
    return [f"00000000.{domain(number)}" for number in range(1, size, 2)][:FRESH_UNDER]
