"""A shell of one job on a terminal of its own: runs a command there, types a key when it says READY, and prints what
came on the terminal, with how the job ended.

    terminal.py KEY COMMAND...      KEY: ^C, or ^Z; a job that stops goes on, as with `fg`, and is sent a line
"""

import os
import pty
import signal
import sys

KEYS = {"^C": b"\x03", "^Z": b"\x1a"}


def main():
    key, command = sys.argv[1], sys.argv[2:]
    shell, terminal = pty.fork()
    if shell == 0:
        run_job(command)
        return
    until(terminal, b"READY")
    os.write(terminal, KEYS[key])
    if key == "^Z":
        until(terminal, b"stopped")
        print("stopped")
        os.write(terminal, b"\n")
    print(rest(terminal).decode(errors="replace"))
    os.waitpid(shell, 0)


def until(terminal, word):
    said = b""
    while word not in said:
        said += os.read(terminal, 4096)


def run_job(command):
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpgrp())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execvp(command[0], command)
    _, status = os.waitpid(job, os.WUNTRACED)
    while os.WIFSTOPPED(status):
        print("stopped", flush=True)
        os.tcsetpgrp(0, job)
        os.killpg(job, signal.SIGCONT)
        _, status = os.waitpid(job, os.WUNTRACED)
    print("exit", os.waitstatus_to_exitcode(status), flush=True)


def rest(terminal):
    said = b""
    try:
        while part := os.read(terminal, 4096):
            said += part
    except OSError:  # The other end is closed: how a terminal says so.
        pass
    return said


main()
