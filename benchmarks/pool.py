"""What a model's further interpreters take of memory, for requests that are computed at once.

    python -m benchmarks.pool BUNDLE               # its first variant

Prints the proportional set size (PSS) that loading took, and that of a second and of each further interpreter, after
each has computed once.
"""

from __future__ import annotations

import argparse
import os
from itertools import pairwise
from pathlib import Path
from unittest import mock

from simulators import needs

with needs.imports(__name__, "runtime"):
    from benchmarks.serving import memory
    from benchmarks.serving.memory import MIB
    from edgemm.bundle import open_bundle
    from edgemm_runtime.models.model import load_variant

_MEMBERS = 8


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pool", description=__doc__)
    parser.add_argument("bundle", type=Path)
    with open_bundle(parser.parse_args(argv).bundle) as source, mock.patch("os.cpu_count", return_value=_MEMBERS):
        variant = source.manifest.variants[0]
        held = [_pss_mib()]
        model = load_variant(source, variant)
        held.append(_pss_mib())
        for members in (2, _MEMBERS):
            model.loaded.grow(members)
            held.append(_pss_mib())
    loading, second, further = (after - before for before, after in pairwise(held))
    print(
        f"{source.manifest.name} {variant.id}: loading {loading:.2f} MiB, a second interpreter {second:.2f}, "
        f"each further one {further / (_MEMBERS - 2):.2f}"
    )
    return 0


def _pss_mib() -> float:
    return memory.of([os.getpid()]).pss_bytes / MIB


if __name__ == "__main__":
    raise SystemExit(main())
