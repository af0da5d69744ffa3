"""Says READY, and after a moment how often it was interrupted."""

import signal
import time

heard = 0


def hear(_number, _frame):
    global heard
    heard += 1


signal.signal(signal.SIGINT, hear)
print("READY", flush=True)
until = time.monotonic() + 1
while time.monotonic() < until:
    time.sleep(0.05)
print("heard", heard)
