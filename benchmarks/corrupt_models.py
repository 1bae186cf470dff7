"""Corrupt models with matching digests, each through a real agent: does the device crash, does the old model serve?

    python -m benchmarks.corrupt_models

A child process runs the golden samples first and may crash; the agent must not. Prints how the updates ended, by what
was done to the file. Exit status 1: the agent ended, a client was not answered, or something corrupt came to serve that
is not harmless. A flipped bit of a weight may be: its golden samples come out right.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "fleet,onnx,runtime"):
    from simulators.corrupt_models import cases
    from simulators.corrupt_updates import CorruptUpdates

_CRASH = re.compile(r"killed by (SIG\w+)")


def main(argv: list[str] | None = None) -> int:
    """Give a device all of them and print what happened."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corrupt_models", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args(argv)
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    chosen = {name: case for name, case in cases().items() if options.only in name}
    ends: dict[str, Counter[str]] = {}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, CorruptUpdates(Path(folder)) as updates:
        for name, case in chosen.items():
            ended = updates.give(name, case)
            crash = _CRASH.search(ended)
            sort = f"{ended.split(':')[0].strip()}{f' ({crash[1]} in the child)' if crash else ''}"
            ends.setdefault(case.family, Counter())[sort] += 1
        status = updates.stop()
    for family, counts in ends.items():
        print(f"{family}: " + ", ".join(f"{count} {sort}" for sort, count in counts.most_common()))
    seconds = time.monotonic() - begun
    print(
        f"{len(chosen)} cases, {seconds:.0f} s: the agent ended with {status}; {updates.answers} answers meanwhile, "
        f"{len(updates.failures)} of them wrong"
    )
    return int(bool(updates.failures or status))


if __name__ == "__main__":
    sys.exit(main())
