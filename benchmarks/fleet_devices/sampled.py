"""A manager that notes what its CPU is for: `python -m benchmarks.fleet_devices.sampled FILE fleet serve …`.

Every few milliseconds each thread that has used CPU since the last look is charged with it, at the place where it is.
SIGUSR1 begins anew; what was found is written at SIGUSR2 and at the end, by thread: the functions that had it on their
stack, and those that were at its top.
"""

from __future__ import annotations

import atexit
import signal
import sys
import threading
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from types import FrameType

from simulators import needs

with needs.imports(__name__, "fleet"):
    from edgemm.cli import main

_EVERY_S = 0.004
_MOST = 45
_Seconds = defaultdict[str, float]


class Sampler:
    """Looks at all threads, in one of its own."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._cpu: dict[int, float] = {}
        self._clear()
        threading.Thread(target=self._run, name="sampler", daemon=True).start()

    def _clear(self) -> None:
        self._total: _Seconds = defaultdict(float)
        self._on: defaultdict[str, _Seconds] = defaultdict(partial(defaultdict, float))
        self._top: defaultdict[str, _Seconds] = defaultdict(partial(defaultdict, float))

    def begin(self, *_: object) -> None:
        """Forget what was found so far."""
        self._clear()

    def write(self, *_: object) -> None:
        """Write what was found."""
        lines = [f"CPU by thread: {', '.join(f'{n} {s:.2f} s' for n, s in _most(self._total))}"]
        for name, total in _most(self._total)[:6]:
            lines.append(f"\n== {name}: {total:.2f} s\n-- on the stack")
            lines += [f"{s:8.2f} s {100 * s / total:5.1f} %  {f}" for f, s in _most(self._on[name])[:_MOST]]
            lines.append("-- at the top")
            lines += [f"{s:8.2f} s {100 * s / total:5.1f} %  {f}" for f, s in _most(self._top[name])[: _MOST // 2]]
        self._file.write_text("\n".join(lines) + "\n")

    def _run(self) -> None:
        while True:
            time.sleep(_EVERY_S)
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():  # noqa: SLF001 - how Python tells where its threads are
                if ident == threading.get_ident():
                    continue
                try:
                    now_s = time.clock_gettime(time.pthread_getcpuclockid(ident))
                except (OSError, ProcessLookupError):
                    continue
                used_s = now_s - self._cpu.get(ident, now_s)
                self._cpu[ident] = now_s
                if used_s > 0:
                    self._charge(names.get(ident, "?").rstrip("0123456789-_"), frame, used_s)

    def _charge(self, name: str, frame: FrameType | None, used_s: float) -> None:
        self._total[name] += used_s
        seen, top = set[str](), True
        while frame is not None:
            code = frame.f_code
            where = f"{'/'.join(code.co_filename.split('/')[-2:])}:{code.co_qualname}"
            if top:
                self._top[name][f"{where}:{frame.f_lineno}"] += used_s
                top = False
            if where not in seen:
                seen.add(where)
                self._on[name][where] += used_s
            frame = frame.f_back


def _most(found: _Seconds) -> list[tuple[str, float]]:
    return sorted(found.items(), key=lambda one: -one[1])


if __name__ == "__main__":
    sampler = Sampler(Path(sys.argv[1]))
    signal.signal(signal.SIGUSR1, sampler.begin)
    signal.signal(signal.SIGUSR2, sampler.write)
    atexit.register(sampler.write)
    sys.argv = ["edgemm", *sys.argv[2:]]
    main()
