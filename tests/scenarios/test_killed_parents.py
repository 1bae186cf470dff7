"""Whoever starts a child process and is killed leaves none behind: each of the five that do, for real.

Every child hangs: in a model that never ends, in an engine that never imports, or as a simulator does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from simulators.late_failures import Failure, make_late_bundle
from simulators.process_table import children, runs
from simulators.waiting import eventually

pytestmark = [pytest.mark.core, pytest.mark.runtime, pytest.mark.converter, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
CONVERSION = """
import sys
from pathlib import Path
from edgemm_converter.children.child import ChildLimits, run_child
from edgemm_converter.children.protocol import SelfTestPassed, SelfTestRequest
request = SelfTestRequest(bundle="hangs with a child of its own")
folder, limits = Path(sys.argv[1]).parent, ChildLimits()
run_child("simulators.converter_children", request, answer=SelfTestPassed, folder=folder, limits=limits, progress=print)
"""
SHADOW = """
import sys
from pathlib import Path
from edgemm_runtime.engines.bundle_source import BundleFile
from edgemm_runtime.shadow.shadow_process import ShadowProcess
ShadowProcess(BundleFile(Path(sys.argv[1])), "tflite:float32", timeout_s=600).ready()
"""
EDGEMM = ["-m", "edgemm"]
USERS = {
    "a self-test": ([*EDGEMM, "verify"], "edgemm_runtime.engines.selftest"),
    "a measurement": ([*EDGEMM, "bench"], "edgemm_runtime.bench.measuring"),
    "a look at an engine": ([*EDGEMM, "doctor"], "edgemm_runtime.engines.probe"),
    "a shadow": (["-c", SHADOW], "edgemm_runtime.shadow.child"),
    "a conversion": (["-c", CONVERSION], "simulators.converter_children"),
}


def _is_gone(pid: int) -> bool:
    return not runs(pid)


@pytest.mark.parametrize("user", USERS)
def test_nothing_is_left_of(user: str, tmp_path: Path) -> None:
    (arguments, module), bundle = USERS[user], tmp_path / "late.edgemm"
    make_late_bundle(bundle, version="1.0.0", seed=1, failure=Failure.HANG, after=0)
    command = [sys.executable, *arguments, *([] if "doctor" in arguments else [str(bundle)])]
    with subprocess.Popen(command, env=_environment(tmp_path, user), stdout=subprocess.DEVNULL) as parent:
        try:
            eventually(lambda: any(module in line for line in children(parent.pid).values()), "the child is there")
            [pid] = [pid for pid, line in children(parent.pid).items() if module in line]
            eventually(lambda: _is_at_work(pid, tmp_path), "it hangs")
            others = children(pid)
        finally:
            parent.kill()
    for left in (pid, *others):
        eventually(partial(_is_gone, left), "it is gone")


def _environment(folder: Path, user: str) -> dict[str, str]:
    """Have an engine hang while it is imported where that is what hangs; it and the simulator say so by a file."""
    site = folder / "site"
    (site / "ai_edge_litert").mkdir(parents=True)
    hangs = f"import pathlib, signal\npathlib.Path({str(folder / 'hangs')!r}).touch()\nsignal.pause()\n"
    (site / "ai_edge_litert" / "__init__.py").write_text(hangs)
    first = [str(site)] if user == "a look at an engine" else []
    path = os.pathsep.join([*first, str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path}


def _is_at_work(pid: int, folder: Path) -> bool:
    """Tell whether a child said so, or took more of the CPU than what comes before its work needs."""
    return (folder / "hangs").exists() or (folder / "grandchild").exists() or _cpu_ticks(pid) >= 100


def _cpu_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
