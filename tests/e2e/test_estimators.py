"""Estimators as sources, in an environment that has their libraries: `estimator_cases.py`, `column_cases.py`."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.clients.environments import CLIENTS, ROOT, environment

pytestmark = [pytest.mark.converter, pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(1800)]
CASES = ("estimator", "column")
PACKAGES = ("core", "converter", "runtime", "fleet", "demo", "")


def test_estimators_are_converted_and_served() -> None:
    python = environment("estimators")
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(CLIENTS / f"{name}_cases.py" for name in CASES)],
        capture_output=True, text=True, check=False, timeout=1800, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ":".join(str(ROOT / package) for package in PACKAGES)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
