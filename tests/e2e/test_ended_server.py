"""A server that is ended in the middle of an inference, which takes longer than it waits for requests in flight."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from simulators.onnx_bundles import make_lasting
from simulators.waiting import eventually

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
FOREVER = b"[1000000000]"
ASKED = b"POST /predict/lasting HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%s" % (len(FOREVER), FOREVER)


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGINT])
def test_an_inference_that_goes_on_makes_no_crash_of_an_ordered_end(tmp_path: Path, ended_by: signal.Signals) -> None:
    make_lasting(tmp_path / "lasting.edgemm")
    (tmp_path / "device.toml").write_text("[advanced.serving]\ndrain_s = 0\nloops = 1\nquick_s = 1e-9\n")
    command = [sys.executable, "-m", "edgemm", "run", "lasting.edgemm", "--port", "0", "--config", "device.toml"]
    # Ctrl-C is minded whatever the shell that runs the tests does with it.
    mind = ["env", "--default-signal=INT"]
    with subprocess.Popen(
        [*mind, *command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().strip().rpartition(" ")[2])
        with socket.create_connection((address.hostname, address.port), timeout=60) as client:
            times = psutil.Process(process.pid).cpu_times
            before = times().user
            client.sendall(ASKED)
            eventually(lambda: times().user > before + 0.1, "it computes")
            process.send_signal(ended_by)
            _, said = process.communicate(timeout=60)
    assert "terminate called" not in said, said
    assert process.returncode == (0 if ended_by is signal.SIGTERM else 130), said
