"""SIGKILL before and after every fsync, rename, removal, commit, send and child of an update, each in a real agent.

    python -m benchmarks.kill_points                    # all of them, of an update that stays and one that does not
    python -m benchmarks.kill_points --only rename      # those whose name has this in it

Prints every point at which the device did not come back well, and counts by sort of point. Exit status 1: there is one.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "fleet,onnx,runtime"):
    from simulators.power_cuts import COMMITTED, GOOD, NOT_REACHED, TURNED_BACK, UpdateStory, cut_all, kind

_STORIES = {"committed": COMMITTED, "turned-back": TURNED_BACK}


def main(argv: list[str] | None = None) -> int:
    """Cut the power everywhere and print what happened."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kill_points", description=__doc__)
    parser.add_argument("--workers", type=int, default=3, help="devices at a time")
    parser.add_argument("--only", default="", help="points whose name has this in it")
    parser.add_argument("--story", choices=_STORIES, action="append", help="how the update ends; both by default")
    options = parser.parse_args(argv)
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # it complains of every client that was killed
    bad = 0
    for name in options.story or _STORIES:
        begun = time.monotonic()
        with (
            tempfile.TemporaryDirectory() as folder,
            UpdateStory(Path(folder), _STORIES[name], workers=options.workers) as story,
        ):
            ended = cut_all(story, [point for point in story.points() if options.only in point])
        _print(ended)
        good = sum(end == GOOD for end in ended.values())
        print(f"{name}: {good} of {len(ended)} points ended on a good model, {time.monotonic() - begun:.0f} s\n")
        bad += sum(end not in {GOOD, NOT_REACHED} for end in ended.values())
    return int(bad > 0)


def _print(ended: Mapping[str, str]) -> None:
    for point, end in ended.items():
        if end != GOOD:
            print(f"{point}: {end}")
    sorts = Counter(map(kind, ended))
    good = Counter(kind(point) for point, end in ended.items() if end == GOOD)
    for sort in sorted(sorts):
        print(f"  {sort:40} {good[sort]:3} of {sorts[sort]:3}")


if __name__ == "__main__":
    sys.exit(main())
