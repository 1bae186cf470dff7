"""`edgemm demo`, as `scripts/demo` runs it: it ends by itself, asserts what it says, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from simulators.waiting import eventually

pytestmark = [pytest.mark.converter, pytest.mark.tensorflow, pytest.mark.slow]

FACTS = [
    "digits 1.0.0 computes what its source does",
    "three devices enrolled and are online",
    "every device reports 1.0.0 as committed",
    "every device answers with 1.0.0",
    "every device reports 2.0.0 as committed",
    "the second group waited for the first",
    "every device answers with 2.0.0",
    "the rollout of 3.0.0 halted",
    "the self-test on the first device refused it",
    "no other device was touched",
]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    # A shell's background job ignores SIGINT, and so would what it starts.
    heeding = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from edgemm.cli import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", heeding, "demo", *options],
        env=os.environ | {"TMPDIR": str(folder), "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return what still runs with this folder in its command line."""
    return [p for p in psutil.process_iter(["cmdline"]) if any(str(folder) in word for word in p.info["cmdline"] or ())]


def test_the_demo_tells_and_asserts_the_whole_story(tmp_path: Path) -> None:
    process = start(tmp_path)
    out, err = process.communicate(timeout=560)
    assert process.returncode == 0, out + err
    told, _, table = out.partition("What happened")
    for fact in FACTS:
        assert fact in told
        assert fact in table
    assert "selftest" in told or "self-test of" in told
    assert processes_of(tmp_path) == []
    assert list(tmp_path.glob("edgemm-*")) == []  # TensorFlow leaves a `.ses` of its own


def test_ctrl_c_ends_the_demo_with_all_its_processes(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    assert "1/12" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    eventually(lambda: processes_of(tmp_path) == [], "all of them ended")
    assert list(tmp_path.glob("edgemm-*")) == []  # TensorFlow leaves a `.ses` of its own
