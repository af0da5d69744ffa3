"""Runs servers and the generator, and reads what they cost.

In: commands, and the cores they may run on. Out: numbers. Everything started here is stopped by its id when the `with`
that started it ends, and by the kernel should this process end before that. Loopback only.
"""

import contextlib
import ctypes
import datetime
import os
import pathlib
import random
import resource
import signal
import socket
import subprocess
import time

STOP_S = 5
PR_SET_PDEATHSIG = 1
# When others have more than this of a core, figures are worth nothing.
OTHERS_CORES = 0.2
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# Below the range from which the kernel takes the ports of clients.
PORTS = range(20_000, 30_000)
_libc = ctypes.CDLL(None)


def circumstances(script, words):
    """When, on what, beside whom and by which command: the head of a report."""
    others, system = Others([]), os.uname()
    time.sleep(1)
    share = others.share()
    machine = f"{os.cpu_count()} cores, {system.sysname} {system.release}"
    command = " ".join([f"benches/versus/{script}", *words])
    yield f"{datetime.datetime.now():%Y-%m-%d %H:%M}, {machine}, of which others had {share:.2f} before: `{command}`."
    if share > OTHERS_CORES:
        yield "**The machine was busy with something else: these figures are worth nothing.**"


def end_with_signals():
    """SIGTERM, SIGHUP and Ctrl-C end us through every `with`."""

    def leave(number, _frame):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, leave)


def free_ports(many):
    """Ports of 127.0.0.1 that nobody has over UDP or TCP."""
    return [port for port, _ in zip(filter(is_free, random.sample(PORTS, len(PORTS))), range(many))]


def is_free(port):
    """Can it be had over both?"""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


@contextlib.contextmanager
def running(commands, cores, log):
    """Processes on these cores, for as long as the `with`; standard error goes to `log`."""

    def settle_in():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cores)

    started = []
    try:
        with open(log, "ab") as errors:
            for command in commands:
                streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": errors}
                started.append(subprocess.Popen(command, preexec_fn=settle_in, **streams))
        yield started
    finally:
        stop(started)


def stop(started):
    """Ends them and their children by their ids."""
    for process in started:
        children = descendants(process.pid)
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def children_of(pid):
    """The ids of its children."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def descendants(pid):
    """Its children, theirs, and so on."""
    return [one for child in children_of(pid) for one in [child, *descendants(child)]]


def family(processes):
    """The ids of these processes and of all their descendants."""
    return [pid for process in processes for pid in [process.pid, *descendants(process.pid)]]


def cpu_ns(processes):
    """Time on CPU so far: every thread that lives, and children that have ended (known to a tick of 10 ms)."""
    return sum(threads_ns(pid) + ended_children_ns(pid) for pid in family(processes))


def threads_ns(pid):
    """Time on CPU of a process's threads."""
    total = 0
    for file in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(file.read_text().split()[0])
    return total


def ended_children_ns(pid):
    """Time on CPU of children that were waited for."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[13]) + int(fields[14])) * TICK_NS


class Others:
    """How much of the machine went to somebody else, from its making on."""

    def __init__(self, ours):
        self.ours = ours
        self.begin, self.busy, self.known = time.monotonic_ns(), busy_ns(), self.known_ns()

    def known_ns(self):
        """Time on CPU of these processes, of ours and of those that we waited for."""
        spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cpu_ns(self.ours) + int(sum(one.ru_utime + one.ru_stime for one in spent) * 1e9)

    def share(self):
        """In cores."""
        elsewhere = busy_ns() - self.busy - (self.known_ns() - self.known)
        return max(elsewhere, 0) / (time.monotonic_ns() - self.begin)


def busy_ns():
    """Time that all cores were not idle, stolen time included; known to a tick of 10 ms."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK_NS


def memory_mb(processes, field="VmRSS"):
    """Their memory now, or with VmHWM at its peak."""
    total_kb = 0
    for pid in family(processes):
        with contextlib.suppress(OSError):
            lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
            total_kb += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return total_kb / 1024


def forget_peak(processes):
    """VmHWM begins anew."""
    for pid in family(processes):
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def query(name, number):
    """A question for an address, with RD."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def rcode(port, name, patience_s):
    """What a server says to a name: its rcode, or nothing in this time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(patience_s)
        asker.connect(("127.0.0.1", port))
        try:
            asker.send(query(name, random.getrandbits(16)))
            return asker.recv(4096)[3] & 15
        except OSError:
            return None


def wait_for(port, name, want, seconds, pause_s=0.001):
    """Asks until the rcode is `want`; the time when it came, or None if it did not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if rcode(port, name, 0.05) == want:
            return time.monotonic()
        time.sleep(pause_s)
    return None


def generate(program, transport, port, file, core, **options):
    """One run of the generator; its line as numbers."""
    words = [word for letter, value in options.items() for word in (f"-{letter}", str(value))]
    command = [program, transport, str(port), str(file), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, preexec_fn=lambda: os.sched_setaffinity(0, core)
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return {key: float(value) for key, value in (pair.split("=") for pair in done.stdout.split())}
