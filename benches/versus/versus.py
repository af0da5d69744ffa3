"""namegate and its peers at the same job, one after the other, each beside the reflector: one table.

In: the flags of `run.sh`. Out: a table on standard output and, with --report, in a Markdown file. A figure is the
median of the rounds; whoever did not answer as the job asks has none.
"""

import argparse
import contextlib
import dataclasses
import datetime
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import measure
import names
import peers

LOAD_S = 60
NXDOMAIN, NOERROR = 3, 0
PACE = 20_000
MILLION = 1_000_000
# A round in which others were at work is taken again, so often and after so long.
TRIES = 10
PAUSE_S = 3
# Of the replies, so many must be what the job asks for.
RIGHT = 0.99


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is asked, and how."""

    name: str
    file: str
    transport: str
    expected: str
    paced: bool = False
    warm: bool = False
    fresh: bool = False
    options: dict = dataclasses.field(default_factory=lambda: {"o": 200, "s": 8})


TCP = {"o": 32, "s": 4}
WORKLOADS = [
    Workload("UDP blocked", "blocked", "udp", "nxdomain", paced=True),
    Workload("UDP cached", "cached", "udp", "answered", paced=True, warm=True),
    Workload("TCP blocked", "blocked", "tcp", "nxdomain", options=TCP),
    Workload("TCP cached", "cached", "tcp", "answered", warm=True, options=TCP),
    # Last, for it fills every cache. dnsmasq forwards 150 at once, the least of all.
    Workload("UDP uncached", "fresh", "udp", "answered", fresh=True, options={"o": 100, "s": 8}),
]
UDP_ANSWERED_IN_PLACE = {"UDP blocked", "UDP cached"}


@dataclasses.dataclass(frozen=True)
class Plan:
    """One block of the table."""

    size: int
    cores: int
    workloads: list
    paced: bool = False


@dataclasses.dataclass
class Row:
    """What the rounds of one system at one workload came to."""

    name: str
    rounds: list = dataclasses.field(default_factory=list)
    paced: list = dataclasses.field(default_factory=list)
    ratios: list = dataclasses.field(default_factory=list)
    fault: str = ""


class Stage:
    """A directory, the programs, an upstream and a reflector: what every measurement needs."""

    def __init__(self, options, directory, cores):
        self.options, self.directory, self.cores = options, directory, cores
        self.server_cores = set(range(cores))
        self.other_cores = {1}
        self.fresh = 0
        self.upstream, self.mirror_port = measure.free_ports(2)

    @contextlib.contextmanager
    def open(self):
        """NSD and the reflector run for as long as the `with`."""
        log = self.directory / "stage.log"
        mirror = peers.reflector(self.job([], self.mirror_port))
        with (
            measure.running(peers.nsd(self.directory, self.upstream), self.other_cores, log) as self.nsd,
            measure.running(mirror, self.server_cores, log) as self.mirror,
        ):
            if measure.wait_for(self.upstream, "a.example", NOERROR, 10) is None:
                sys.exit(f"NSD does not answer: {log.read_text()[-500:]}")
            yield self

    def job(self, listed, port, directory=None):
        """The same job for everybody."""
        programs = {"namegate": self.options.namegate, "reflector": self.options.reflector}
        return peers.Job(directory or self.directory, listed, port, self.upstream, self.cores, **programs)

    def round(self, processes, port, workload, **more):
        """One run of the generator; another if somebody else was at work here meanwhile."""
        for _ in range(TRIES):
            others = measure.Others({*processes, *self.mirror, *self.nsd})
            got = self.run(processes, port, workload, **more)
            got["others"] = others.share()
            if got["others"] < measure.OTHERS_CORES:
                break
            time.sleep(PAUSE_S)
        return got

    def run(self, processes, port, workload, **more):
        """One run of the generator, and what it cost the server."""
        options = {**workload.options, "t": self.options.seconds, **more}
        if workload.fresh:
            options["f"] = self.fresh
        file = self.directory / f"{workload.file}.names"
        before = measure.cpu_ns(processes)
        got = measure.generate(self.options.generate, workload.transport, port, file, self.other_cores, **options)
        got["cpu_us"] = (measure.cpu_ns(processes) - before) / 1e3 / max(got["received"], 1)
        got["rate"] = got["received"] / max(got["seconds"], 1e-9)
        if workload.fresh:
            self.fresh += int(got["sent"])
        return got

    def write_questions(self, size):
        """The files that the generator reads."""
        for name, lines in (("blocked", names.blocked()), ("cached", names.cached(size)), ("fresh", names.fresh(size))):
            (self.directory / f"{name}.names").write_text("".join(f"{line}\n" for line in lines))


def measure_workload(stage, plan, peer_name, processes, port, workload, mirror_rows):
    """The rounds of one system at one workload, each beside one of the reflector."""
    row = Row(peer_name)
    mirror_row = mirror_rows.setdefault(workload.name, Row("reflector"))
    for _ in range(stage.options.rounds):
        if workload.warm:
            stage.run(processes, port, workload, n=2 * names.CACHED, t=10)
        got = stage.round(processes, port, workload)
        mirror = stage.round(stage.mirror, stage.mirror_port, WORKLOADS[0])
        row.rounds.append(got)
        row.ratios.append(got["cpu_us"] / mirror["cpu_us"])
        mirror_row.rounds.append(mirror)
        mirror_row.ratios.append(1)
        if workload.paced and plan.paced:
            row.paced.append(stage.round(processes, port, workload, r=PACE))
            mirror_row.paced.append(stage.round(stage.mirror, stage.mirror_port, WORKLOADS[0], r=PACE))
        if not got["received"] or got[workload.expected] < RIGHT * got["received"]:
            row.fault = fault_of(got)
            break
    return row


def fault_of(got):
    """What came instead of what the job asks for."""
    kinds = ("sent", "answered", "nxdomain", "other", "lost")
    return ", ".join(f"{int(got[kind])} {kind}" for kind in kinds)


def measure_peer(stage, plan, listed, peer, mirror_rows):
    """One system, started for this and ended after it."""
    [port] = measure.free_ports(1)
    directory = stage.directory / peer.name
    directory.mkdir()
    commands = peer.write(stage.job(listed, port, directory))
    log = directory / "log"
    with measure.running(commands, stage.server_cores, log) as processes:
        if not is_ready(port, plan.size):
            say(f"{peer.name} did not answer within {LOAD_S} s: {log.read_text(errors='replace')[-300:]}")
            return {work.name: Row(peer.name, fault=f"no answer within {LOAD_S} s") for work in plan.workloads}
        return {
            work.name: measure_workload(stage, plan, peer.name, processes, port, work, mirror_rows)
            for work in plan.workloads
        }


def is_ready(port, size):
    """Both kinds of names are answered as they should be: some servers answer before they know their list."""
    allowed = measure.wait_for(port, names.cached(size)[0], NOERROR, LOAD_S, 0.05)
    return allowed is not None and measure.wait_for(port, names.blocked()[0], NXDOMAIN, LOAD_S, 0.05) is not None


def measure_plan(options, plan):
    """The block of one size and number of cores: rows by workload."""
    listed = names.allow_list(plan.size)
    with tempfile.TemporaryDirectory(prefix="plan.", dir=options.work) as directory:
        stage = Stage(options, pathlib.Path(directory), plan.cores)
        stage.write_questions(plan.size)
        mirror_rows, found = {}, {work.name: [] for work in plan.workloads}
        with stage.open():
            for peer in options.peers:
                if plan.size >= MILLION and not peer.bears_a_million:
                    continue
                say(f"{plan.size:,} names, {plan.cores} core(s): {peer.name}")
                for name, row in measure_peer(stage, plan, listed, peer, mirror_rows).items():
                    found[name].append(row)
    return {name: [*([mirror_rows[name]] if name in mirror_rows else []), *rows] for name, rows in found.items()}


def say(text):
    """Progress goes to standard error."""
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


# ---- the table ----

HEAD = ["system", "CPU µs/query", "x reflector", "queries/s", "p50 µs", "p99 µs", "lost"]


def table(plan, rows_by_workload):
    """The lines of one block."""
    for name, rows in rows_by_workload.items():
        yield f"\n### {name}, {plan.size:,} names, {'one core' if plan.cores == 1 else f'{plan.cores} cores'}\n"
        yield line(HEAD)
        yield line(["---", *["---:"] * (len(HEAD) - 1)])
        yield from map(line, map(cells, sorted(rows, key=order)))


def order(row):
    """The cheapest first, faults last."""
    return (bool(row.fault), median(row.rounds, "cpu_us") if row.rounds else 0)


def line(texts):
    """A row of a Markdown table, aligned for those who read it as it is."""
    widths = [20, *[13] * (len(HEAD) - 1)]
    return "| " + " | ".join(text.ljust(width) for text, width in zip(texts, widths)) + " |"


def cells(row):
    """A row's figures."""
    if row.fault:
        return [row.name, f"not the job: {row.fault}", *[""] * (len(HEAD) - 2)]
    lost = sum(got["lost"] for got in row.rounds + row.paced)
    paced = [f"{median(row.paced, key):.0f}" if row.paced else "-" for key in ("p50_us", "p99_us")]
    figures = [f"{median(row.rounds, 'cpu_us'):.2f}", f"{statistics.median(row.ratios):.2f}"]
    is_disturbed = any(got["others"] >= measure.OTHERS_CORES for got in row.rounds + row.paced)
    return [row.name + " (*)" * is_disturbed, *figures, f"{median(row.rounds, 'rate'):,.0f}", *paced, f"{lost:,.0f}"]


def median(rounds, key):
    """Of one figure."""
    return statistics.median(got[key] for got in rounds)


def preamble(options):
    """When, where, of what and by which command."""
    yield from measure.circumstances("run.sh", options.said)
    packages = sorted({peer.package for peer in options.peers} - {""})
    if packages:
        yield f"From Debian: {', '.join(f'{package} {version_of(package)}' for package in packages)}."
    yield f"Medians of {options.rounds} rounds of {options.seconds:g} s; p50 and p99 at {PACE:,} queries a second."
    yield f"(*): others had more than {measure.OTHERS_CORES} cores in one of the rounds, {TRIES} times running."


def version_of(package):
    """As Debian has it."""
    asked = subprocess.run(["dpkg-query", "-W", "-f=${Version}", package], capture_output=True, text=True)
    return asked.stdout or "of unknown version"


# ---- flags ----


def parse(words):
    """The flags, and what follows from them."""
    parser = argparse.ArgumentParser(prog="benches/versus/run.sh", description=__doc__.splitlines()[0])
    known = [peer.name for peer in peers.PEERS]
    parser.add_argument("--only", metavar="NAME,...", help=f"these alone, of {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="namegate alone, blocked and cached, 10,000 names")
    parser.add_argument("--all", action="store_true", help="every workload at every size, on one core and two")
    parser.add_argument("--sizes", metavar="N,...", help="these sizes alone")
    parser.add_argument("--cores", metavar="N,...", help="on so many cores alone, 1 or 2")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="N")
    parser.add_argument("--seconds", type=float, default=2, metavar="S", help="a round takes")
    parser.add_argument("--report", metavar="FILE", help="the table goes here too, as Markdown")
    for given in ("work", "namegate", "reflector", "generate"):
        parser.add_argument(f"--{given}", required=True, help=argparse.SUPPRESS)
    hidden = words.index("--")
    options = parser.parse_args(words[:hidden] + words[hidden + 1 :])
    options.said = words[hidden + 1 :]
    wanted = options.only.split(",") if options.only else ["namegate"] if options.quick else known
    if unknown := set(wanted) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    options.peers = [peer for peer in peers.PEERS if peer.name in wanted]
    return options


def plans(options):
    """What is measured: everything at 10,000 names on one core, and elsewhere what differs there."""
    quick = [work for work in WORKLOADS if work.name in UDP_ANSWERED_IN_PLACE]
    if options.quick:
        found = [Plan(10_000, 1, quick, paced=True)]
    elif options.all:
        found = [Plan(size, cores, WORKLOADS, paced=True) for cores in (1, 2) for size in (10, 10_000, MILLION)]
    else:
        found = [Plan(10_000, 1, WORKLOADS, paced=True), Plan(10, 1, quick), Plan(MILLION, 1, quick + WORKLOADS[-1:])]
        found.append(Plan(10_000, 2, WORKLOADS))
    return [plan for plan in found if is_wanted(plan.size, options.sizes) and is_wanted(plan.cores, options.cores)]


def is_wanted(number, listed):
    """Is it one of those, if any are said?"""
    return not listed or number in {int(word) for word in listed.split(",")}


def main():
    """Measures, and prints block by block."""
    measure.end_with_signals()
    options = parse(sys.argv[1:])
    if os.cpu_count() < 2:
        sys.exit("two cores are needed: one for the server, one for those who ask")
    report = open(options.report, "w", encoding="utf-8") if options.report else None
    for text in preamble(options):
        publish(text, report)
    for plan in plans(options):
        for text in table(plan, measure_plan(options, plan)):
            publish(text, report)


def publish(text, report):
    """To standard output and into the report."""
    print(text, flush=True)
    if report:
        print(text, file=report, flush=True)


if __name__ == "__main__":
    main()
