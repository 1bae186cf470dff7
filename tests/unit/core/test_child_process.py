"""Child processes end in every way there is, and nothing is left of them; real processes throughout."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from edgemm.child_process import (
    PIPE,
    ChildAnswerError,
    ChildCrashError,
    ChildProcess,
    ChildStartError,
    ChildTimeoutError,
    ChildWorkError,
    ask,
    known_error,
)
from edgemm.errors import BundleError, ConversionError, DigestMismatchError, EdgemmError, InputError
from simulators.process_table import children, runs
from simulators.rough_children import MODULE
from simulators.waiting import eventually

ROOT = Path(__file__).parents[3]
LONG_S = 600.0
Answer = dict[str, int]


def _is_gone(pid: int) -> bool:
    return not runs(pid)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    files, processes = set(os.listdir("/proc/self/fd")), children(os.getpid()).keys()
    yield
    assert children(os.getpid()).keys() <= processes
    assert len(os.listdir("/proc/self/fd")) <= len(files)


def asked(how: str, file: Path | None = None, *, timeout_s: float = LONG_S) -> Answer:
    return ask(MODULE, [how, *([str(file)] if file else [])], answer=Answer, timeout_s=timeout_s)


def pids(file: Path) -> list[int]:
    eventually(file.exists, "it runs, with a child of its own")
    return [int(pid) for pid in file.read_text().split()]


def all_are_gone(found: list[int]) -> None:
    for pid in found:
        eventually(partial(_is_gone, pid), f"process {pid} is gone")


def test_an_answer_has_its_type_and_chatter_does_not_disturb_it() -> None:
    assert asked("answers") == {"seven": 7}


def test_a_known_error_is_told_with_its_class_and_words() -> None:
    with pytest.raises(ChildWorkError, match=r"^the input is wrong$") as told:
        asked("refuses")
    assert told.value.error == InputError.__name__


def test_a_crash_names_the_signal() -> None:
    with pytest.raises(ChildCrashError, match="was killed by SIGSEGV") as told:
        asked("is killed")
    assert (told.value.signal, told.value.status) == ("SIGSEGV", -signal.SIGSEGV)


@pytest.mark.parametrize(
    ("how", "status", "last_line"),
    [("ends", 3, ""), ("fails", 1, "ZeroDivisionError: integer division or modulo by zero")],
)
def test_one_that_ends_without_an_answer_tells_its_status_and_last_words(how: str, status: int, last_line: str) -> None:
    with pytest.raises(ChildAnswerError, match=f"ended with status {status} and no answer") as told:
        asked(how)
    assert (told.value.status, told.value.last_line) == (status, last_line)


def test_an_answer_of_another_type_is_none() -> None:
    with pytest.raises(ChildAnswerError, match="ended with status 0 and no answer"):
        asked("answers something else")


def test_one_that_prints_without_end_is_killed() -> None:
    with pytest.raises(ChildAnswerError, match="more than 4,194,304 bytes and was killed"):
        asked("floods")


def test_of_what_it_says_on_stderr_the_end_is_kept() -> None:
    with ChildProcess(MODULE, ["says much"], stdout=PIPE, stderr=PIPE) as child:
        assert child.follow(timeout_s=LONG_S, received=lambda _: None) == 0
    assert len(child.said) == 20_000


def test_when_its_time_is_up_it_is_gone_with_its_own_children(tmp_path: Path) -> None:
    with ChildProcess(MODULE, ["hangs", str(tmp_path / "pids")], stdout=PIPE, stderr=PIPE) as child:
        found = pids(tmp_path / "pids")
        with pytest.raises(ChildTimeoutError, match="did not end within 0.01 s and was killed"):
            child.follow(timeout_s=0.01, received=lambda _: None)
    all_are_gone(found)


def test_a_child_of_its_own_that_it_leaves_behind_keeps_nobody_waiting(tmp_path: Path) -> None:
    begun_s = time.monotonic()
    assert asked("leaves a child behind", tmp_path / "pids") == {"seven": 7}
    assert time.monotonic() - begun_s < LONG_S / 2
    all_are_gone(pids(tmp_path / "pids"))


def test_it_outlives_the_thread_that_started_it() -> None:
    theirs, ours = os.pipe()
    started: list[ChildProcess] = []
    thread = threading.Thread(
        target=lambda: started.append(
            ChildProcess(MODULE, ["waits for a word"], stdin=theirs, stdout=PIPE, stderr=PIPE)
        )
    )
    thread.start()
    thread.join()
    os.close(theirs)
    said = bytearray()
    with started[0] as child:
        # The kernel tells a child of the death of the thread that started it, so that this would come too late.
        eventually(lambda: not Path(f"/proc/self/task/{thread.native_id}").exists(), "the thread is gone")
        os.write(ours, b"seven")
        os.close(ours)
        assert child.follow(timeout_s=LONG_S, received=said.extend) == 0
    assert b'"word":5' in said


def test_killing_it_twice_and_after_its_end_does_nothing() -> None:
    child = ChildProcess(MODULE, ["waits for a word"])
    child.kill()
    child.kill()
    assert child.wait(LONG_S) == -signal.SIGKILL
    child.close()
    child.kill()
    child.close()
    assert child.status == -signal.SIGKILL


def test_it_stays_in_the_session_and_gives_way_when_it_is_told_to() -> None:
    with ChildProcess(MODULE, ["hangs"]) as child:
        assert (os.getsid(child.pid), os.getpgid(child.pid)) == (os.getsid(0), child.pid)
        child.give_way()
        assert os.sched_getscheduler(child.pid) == os.SCHED_IDLE
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == 19
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text() == "1000\n"


def test_a_system_that_has_nothing_left_for_it_is_named() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):  # numbers below the limit that were free
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(ChildStartError, match="cannot start a child process: Too many open files"):
            ChildProcess(MODULE, ["answers"])
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_error_comes_back_as_what_it_is_or_is_a_kind_of() -> None:
    assert type(known_error(InputError.__name__, "x")) is InputError
    assert type(known_error(DigestMismatchError.__name__, "x")) is BundleError
    assert type(known_error("ShadowLostError", "x")) is EdgemmError
    assert type(known_error("dict", "x", otherwise=ConversionError)) is ConversionError
    assert str(known_error(DigestMismatchError.__name__, "what it said")) == "what it said"


PARENT = f"""
import sys, threading
from edgemm.child_process import ask
arguments = dict(answer=type(None), timeout_s={LONG_S})
if sys.argv[1] == "main":
    ask("{MODULE}", ["hangs", sys.argv[2]], **arguments)
thread = threading.Thread(target=ask, args=("{MODULE}", ["hangs", sys.argv[2]]), kwargs=arguments)
thread.start()
"""


def parent(where: str, file: Path, **more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PARENT, where, str(file)]
    return subprocess.Popen(command, env=os.environ | more, stderr=subprocess.PIPE, process_group=0)


@pytest.mark.parametrize("where", ["main", "thread"])
def test_when_its_parent_is_killed_it_is_gone_with_its_own_children(where: str, tmp_path: Path) -> None:
    with parent(where, tmp_path / "pids") as process:
        found = pids(tmp_path / "pids")
        process.kill()
    all_are_gone(found)


@pytest.mark.parametrize("closed", ["0", "0 1 2"])
def test_it_is_gone_also_with_a_parent_that_has_no_streams(closed: str, tmp_path: Path) -> None:
    without = f"import os\nfor number in map(int, {closed!r}.split()):\n    os.close(number)\n{PARENT}"
    with subprocess.Popen([sys.executable, "-c", without, "main", str(tmp_path / "pids")]) as process:
        found = pids(tmp_path / "pids")
        process.kill()
    all_are_gone(found)


def test_it_never_begins_where_its_parent_was_killed_while_it_started(tmp_path: Path) -> None:
    gate, site = tmp_path / "gate", tmp_path / "site"
    os.mkfifo(gate)
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"import sys\nif 'edgemm.lifeline' in sys.orig_argv:\n    open({str(gate)!r}).read()\n"
    )
    path = os.pathsep.join((str(site), os.environ["PYTHONPATH"]))
    # Opening the gate waits until the child is at it, and the child waits until it is closed again.
    with parent("main", tmp_path / "pids", PYTHONPATH=path) as process, gate.open("w"):
        found = list(children(process.pid))
        process.kill()
        process.wait()
    all_are_gone(found)
    assert len(found) == 1
    assert not (tmp_path / "pids").exists()


def test_ctrl_c_is_the_parents_alone_and_leaves_nothing(tmp_path: Path) -> None:
    with parent("main", tmp_path / "pids") as process:
        found = pids(tmp_path / "pids")
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.returncode == -signal.SIGINT
    assert said.count("KeyboardInterrupt") == 1
    all_are_gone(found)
