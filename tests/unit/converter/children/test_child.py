"""Child processes that misbehave; real processes, no TensorFlow."""

import os
import time
from pathlib import Path

import psutil
import pytest

from edgemm.errors import ConversionError, InputError
from edgemm_converter.children.child import ChildLimits, run_child
from edgemm_converter.children.protocol import SelfTestPassed, SelfTestRequest
from simulators.waiting import eventually

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


def run(what: str, folder: Path, stages: list[str] | None = None, **limits: float) -> SelfTestPassed:
    return run_child(
        "simulators.converter_children",
        SelfTestRequest(bundle=what),
        answer=SelfTestPassed,
        folder=folder,
        limits=ChildLimits(**limits),  # type: ignore[arg-type]  # integers, where they must be
        progress=(stages if stages is not None else []).append,
    )


def _is_over(pid: int) -> bool:
    """Tell whether a process ended; nobody may have waited for it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_stages_reach_the_parent_and_chatter_does_not(tmp_path: Path) -> None:
    stages: list[str] = []
    assert run("passes", tmp_path, stages) == SelfTestPassed()
    assert stages == ["stage passes"]


def test_a_known_error_keeps_its_class_and_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^the input is wrong$"):
        run("refuses", tmp_path)


def test_an_unknown_error_is_one_line_with_its_stage(tmp_path: Path) -> None:
    expected = r"^stage fails: a library failed in a way that edgemm does not know; report it with the model and what"
    with pytest.raises(ConversionError, match=expected):
        run("fails", tmp_path)


def test_a_crash_names_the_signal(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="killed by SIGSEGV"):
        run("is killed", tmp_path)


def test_a_child_over_its_memory_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"took 0\.\d GiB of memory, the limit is 0\.2 GiB"):
        run("fills memory", tmp_path, max_memory_bytes=200 * 2**20)


def test_a_child_over_its_time_is_stopped_with_its_own_children(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(ConversionError, match="hanging: not done after 2 s and stopped"):
        run("hangs with a child of its own", tmp_path, timeout_s=2)
    assert time.monotonic() - begun < 60
    grandchild = int((tmp_path / "grandchild").read_text())
    eventually(lambda: _is_over(grandchild), "the kernel has carried the signal out")


def test_an_interrupt_leaves_no_child(tmp_path: Path) -> None:
    def interrupt(stage: str) -> None:
        if stage == "hanging":
            raise KeyboardInterrupt

    before = {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}
    with pytest.raises(KeyboardInterrupt):
        run_child(
            "simulators.converter_children", SelfTestRequest(bundle="hangs with a child of its own"),
            answer=SelfTestPassed, folder=tmp_path, limits=ChildLimits(), progress=interrupt,
        )  # fmt: skip
    assert {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)} <= before
