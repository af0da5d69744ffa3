"""Says `yes` when standard input is lines of JSON, but for at most as many as given; otherwise which are not."""

import json
import sys


def is_record(line):
    """Is it a whole object, and its line ended?"""
    try:
        return line.endswith("\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


torn = [line for line in sys.stdin if not is_record(line)]
print("yes" if len(torn) <= int(sys.argv[1]) else torn)
