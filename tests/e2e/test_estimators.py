"""Estimators as sources, in an environment that has their libraries: `tests/clients/…_cases.py`."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.clients.environments import CLIENTS, ROOT, environment

pytestmark = [pytest.mark.converter, pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(1800)]
PACKAGES = ("core", "converter", "runtime", "fleet", "demo", "")


@pytest.mark.parametrize(
    "cases", ["estimator_cases.py", "estimator_attack_cases.py", "column_cases.py", "estimator_data_cases.py"]
)
def test_estimators_are_converted_and_served(cases: str) -> None:
    python = environment("estimators")
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", CLIENTS / cases],
        capture_output=True, text=True, check=False, timeout=1800, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ":".join(str(ROOT / package) for package in PACKAGES)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
