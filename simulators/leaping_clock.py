"""The `edgemm` command with a system clock that tests set while it runs.

    clock = LeapingClock(folder / "clock")
    program = clock.program(folder / "edgemm-leaping")      # started in place of `edgemm`
    clock.ahead(5 * YEAR_S)

The clock is `time.time` of Python, which is all that edgemm asks; the monotonic clocks go on as ever.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
_OFFSET = struct.Struct("<d")


class LeapingClock:
    """How far the clock of the programs is ahead of this machine's, in a file of eight bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ahead(0.0)

    def ahead(self, seconds: float) -> None:
        """Have the clock be so far ahead of this machine's from now on, or behind it."""
        data = _OFFSET.pack(seconds)
        if not self._path.exists():
            self._path.write_bytes(data)
        with self._path.open("r+b") as file:
            file.write(data)

    def program(self, path: Path, *, impatient: bool = False) -> Path:
        """Write a command that is `edgemm` with this clock, and return where it is.

        An impatient device asks for the time again after seconds, where others wait for a minute and more.
        """
        root = Path(__file__).parents[1]
        more = "from simulators.leaping_clock import hurry\nhurry()\n" if impatient else ""
        path.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
            f"from simulators.leaping_clock import install\ninstall({str(self._path)!r})\n{more}"
            "from edgemm.cli import main\nsys.exit(main())\n"
        )
        path.chmod(0o755)
        return path


def install(path: str) -> None:
    """Have `time.time` of this process show what a file of a `LeapingClock` says."""
    with Path(path).open("rb") as file:
        shared, real = mmap.mmap(file.fileno(), _OFFSET.size, prot=mmap.PROT_READ), time.time
    time.time = lambda: real() + _OFFSET.unpack_from(shared)[0]


def hurry() -> None:
    """Have a device of this process wait less before it asks for the time again: a tenth of what others do."""
    from edgemm_runtime.agent.state import time_doubt

    patient = time_doubt.FRUITLESS
    time_doubt.FRUITLESS = replace(patient, first_s=patient.first_s / 10, max_s=patient.max_s / 10)
