"""Exported programs of PyTorch as sources, in an environment that has it: `tests/clients/program_cases.py`."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.clients.environments import CLIENTS, ROOT, environment
from tests.e2e.test_estimators import PACKAGES

pytestmark = [pytest.mark.converter, pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(2400)]


def test_exported_programs_are_converted_and_served() -> None:
    python = environment("torch")
    done = subprocess.run(
        # Libraries of PyTorch's bring a plug-in that this pytest warns of, and say that names of their own are old.
        [
            python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:anyio", "-W", "default",
            CLIENTS / "program_cases.py",
        ],
        capture_output=True, text=True, check=False, timeout=2400, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ":".join(str(ROOT / package) for package in PACKAGES)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
