"""What a policy costs by its size: memory, time to the first answer, time to a new verdict, and what is lost meanwhile.

In: the flags of `policy.sh`. Out: two tables on standard output and, with --report, in a Markdown file. namegate runs
on the first core, everybody else on the second; the second table has it on both cores too.
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time

import measure
import names
import peers

NXDOMAIN, NOERROR = 3, 0
PACE = 20_000
REPLACE_EVERY_S = 2
PATIENCE_S = 60
SETTLED_S = 1
# Each policy allows one of these beside the list: who resolves says which policy is in force.
MARKERS = ("one.marker.example", "two.marker.example")


class Box:
    """namegate with a list of one size, in a directory of its own, on these cores."""

    def __init__(self, options, directory, upstream, size, cores):
        self.options, self.directory, self.upstream, self.size, self.cores = options, directory, upstream, size, cores
        self.file = directory / "policy.json"
        listed = names.allow_list(size - 1)
        self.texts = [peers.policy_text([*listed, marker]) for marker in MARKERS]
        self.file.write_text(self.texts[0])

    @contextlib.contextmanager
    def serving(self):
        """namegate for as long as the `with`, and how long it took from exec to the first answer."""
        [self.port] = measure.free_ports(1)
        command = peers.namegate_command(
            self.options.namegate, self.file, self.port, self.upstream, "--log-queries", "none"
        )
        begin = time.monotonic()
        with measure.running([command], self.cores, self.directory / "log") as self.processes:
            answered = measure.wait_for(self.port, MARKERS[0], NOERROR, PATIENCE_S, 0.0005)
            if answered is None:
                sys.exit(f"no answer: {(self.directory / 'log').read_text()[-500:]}")
            yield answered - begin

    def ask(self, questions, **options):
        """One run of the generator."""
        file = pathlib.Path(self.options.work) / f"{questions}.names"
        return measure.generate(self.options.generate, "udp", self.port, file, {1}, **options)

    def rewrite(self, which):
        """Puts the other policy into the same file, a while after all else; seconds from closing it to the new verdict."""
        time.sleep(SETTLED_S)
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(self.texts[which])
        closed = time.monotonic()
        answered = measure.wait_for(self.port, MARKERS[which], NOERROR, PATIENCE_S, 0.0005)
        if answered is None:
            sys.exit(f"no new verdict: {(self.directory / 'log').read_text()[-500:]}")
        return answered - closed


def measure_size(box):
    """One line of the first table."""
    starts, verdicts, memory = [], [], {}
    for _ in range(box.options.rounds):
        with box.serving() as start:
            starts.append(start)
            time.sleep(SETTLED_S)
            memory["at start"] = measure.memory_mb(box.processes, "VmHWM")
            memory["loaded"] = measure.memory_mb(box.processes)
            measure.forget_peak(box.processes)
            verdicts += [box.rewrite(which) for which in (1, 0, 1, 0)]
            memory["replacing"] = measure.memory_mb(box.processes, "VmHWM")
            time.sleep(SETTLED_S)
            memory["after"] = measure.memory_mb(box.processes)
    return [
        f"{box.size:,}",
        *(f"{memory[when]:.1f}" for when in ("at start", "loaded", "replacing", "after")),
        f"{statistics.median(starts) * 1e3:.1f}",
        f"{statistics.median(verdicts) * 1e3:.1f}",
        f"{max(verdicts) * 1e3:.1f}",
    ]


def measure_losses(box):
    """One line of the second table: the policy is renamed into place every so often under a steady pace."""
    times = int(box.options.seconds / REPLACE_EVERY_S)
    ready = [box.directory / f"next.{i}" for i in range(times)]
    for i, file in enumerate(ready):
        file.write_text(box.texts[(i + 1) % 2])
    os.sync()
    with box.serving():
        box.ask("cached", o=50, n=2 * names.CACHED, t=10)
        replacer = threading.Thread(target=replace_in_turn, args=(box, ready), daemon=True)
        replacer.start()
        got = box.ask("mixed", r=PACE, t=box.options.seconds)
        replacer.join()
        last = measure.wait_for(box.port, MARKERS[times % 2], NOERROR, PATIENCE_S)
        marker = "yes" if last is not None else "no"
    return [
        f"{box.size:,}",
        str(len(box.cores)),
        f"{got['sent']:,.0f}",
        f"{got['lost']:,.0f}",
        f"{got['silence_us'] / 1e3:.1f}",
        *(f"{got[key] / 1e3:.2f}" for key in ("p50_us", "p99_us", "max_us")),
        marker,
    ]


def replace_in_turn(box, ready):
    """Renames one file after the other into place."""
    for file in ready:
        time.sleep(REPLACE_EVERY_S)
        file.rename(box.file)


MEMORY = ["MB at start (peak)", "loaded", "while replaced (peak)", "after"]
FIRST = ["names", *MEMORY, "exec to answer ms", "closed to verdict ms", "longest"]
SECOND = ["names", "cores", "sent", "lost", "longest silence ms", "p50 ms", "p99 ms", "max ms", "last in force"]


def line(texts):
    """A row of a Markdown table."""
    return "| " + " | ".join(texts) + " |"


def parse(words):
    """The flags."""
    parser = argparse.ArgumentParser(prog="benches/versus/policy.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="10,10000,1000000", metavar="N,...")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="N")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="of queries while policies are replaced")
    parser.add_argument("--report", metavar="FILE", help="the tables go here too, as Markdown")
    for given in ("work", "namegate", "generate"):
        parser.add_argument(f"--{given}", required=True, help=argparse.SUPPRESS)
    hidden = words.index("--")
    options = parser.parse_args(words[:hidden] + words[hidden + 1 :])
    options.said = words[hidden + 1 :]
    options.sizes = [int(size) for size in options.sizes.split(",")]
    return options


def write_questions(directory, size):
    """Cached names, and those by turns with blocked ones."""
    cached = names.cached(size)
    mixed = [name for pair in zip(cached, names.blocked()) for name in pair]
    for name, lines in (("cached", cached), ("mixed", mixed)):
        (directory / f"{name}.names").write_text("".join(f"{line}\n" for line in lines))


def report_lines(options, work, upstream):
    """Both tables, line by line, as they come to be known."""
    yield from measure.circumstances("policy.sh", options.said)
    yield f"Medians of {options.rounds} rounds; namegate on one core."
    yield from ("", line(FIRST), line(["---:"] * len(FIRST)))
    for size in options.sizes:
        with tempfile.TemporaryDirectory(dir=work) as directory:
            yield line(measure_size(Box(options, pathlib.Path(directory), upstream, size, {0})))
    pace = f"{PACE:,} queries a second, half cached and half blocked"
    yield f"\nA policy renamed into place every {REPLACE_EVERY_S} s for {options.seconds:g} s, at {pace}:\n"
    yield from (line(SECOND), line(["---:"] * len(SECOND)))
    largest = options.sizes[-1]
    write_questions(work, largest - 1)
    for cores in ({0}, {0, 1}):
        with tempfile.TemporaryDirectory(dir=work) as directory:
            yield line(measure_losses(Box(options, pathlib.Path(directory), upstream, largest, cores)))


def main():
    """Measures and prints."""
    measure.end_with_signals()
    options = parse(sys.argv[1:])
    os.sched_setaffinity(0, {1})
    work = pathlib.Path(options.work)
    [upstream] = measure.free_ports(1)
    report = open(options.report, "w", encoding="utf-8") if options.report else None
    with measure.running(peers.nsd(work, upstream), {1}, work / "nsd.log"):
        if measure.wait_for(upstream, "a.example", NOERROR, 10) is None:
            sys.exit("NSD does not answer")
        for text in report_lines(options, work, upstream):
            print(text, flush=True)
            if report:
                print(text, file=report, flush=True)


if __name__ == "__main__":
    main()
