"""A device installs and loads nothing that only a workstation needs, whatever is installed beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

import urllib3
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from simulators.models import make_bundle
from tests.docs.serving import running

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
UNWANTED = {
    "PIL", "edgemm_converter", "edgemm_demo", "edgemm_fleet", "keras", "matplotlib", "onnx", "pandas",
    "scipy", "sklearn", "sqlalchemy", "tensorflow", "tf2onnx", "tf_keras", "torch",
}  # fmt: skip
UNWANTED_DISTRIBUTIONS = {
    "jax", "keras", "matplotlib", "onnx", "onnxruntime", "pandas", "pillow", "scikit-learn", "scipy", "sqlalchemy",
    "tensorflow", "tf-keras", "tf2onnx", "torch",
}  # fmt: skip
OTHER_ON_DEVICES = {"ml-dtypes", "numpy"}
"""What devices have of another version than the tests; constraints-device.txt says why."""
HELPERS = max(2, (os.cpu_count() or 1) // 2) - 1
"""Threads of the interpreter that a lone quick request may have."""
TELL = """
import atexit, json, os, sys, threading, time
from pathlib import Path

def native_threads():
    return len(os.listdir("/proc/self/task")) - threading.active_count()

@atexit.register
def tell():
    mapped = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line]
    end = time.monotonic() + 10
    while native_threads() > {helpers} and time.monotonic() < end:  # a thread that Python joined takes a moment to go
        time.sleep(0.001)
    Path({path!r}).write_text(json.dumps([sorted(sys.modules), mapped, native_threads()]))

{more}
"""


def loaded_by_run(tmp_path: Path, more: str = "pass") -> tuple[set[str], int]:
    """Let a real `edgemm run` answer; return what it had at its end.

    The names of all packages whose code or libraries were loaded, and how many threads were not Python's.
    """
    bundle, told = tmp_path / "tiny-1.0.0.edgemm", tmp_path / "told.json"
    make_bundle(bundle)
    (tmp_path / "sitecustomize.py").write_text(TELL.format(path=str(told), helpers=HELPERS, more=more))
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"} | {"PYTHONPATH": path}
    with running(["run", str(bundle), "--port", "0"], until=r" is served at (http://[\d.:]+)", env=env) as match:
        assert urllib3.request("POST", f"{match[1]}/predict", body=b"[[1, 2, 3, 4]]").status == 200
        assert b"edgemm_requests_total" in urllib3.request("GET", f"{match[1]}/metrics").data
    modules, mapped, native_threads = json.loads(told.read_text())
    loaded = {name.partition(".")[0] for name in modules} | {part for file in mapped for part in Path(file).parts}
    return loaded, native_threads


def test_a_process_that_answered_has_nothing_of_the_workstation(tmp_path: Path) -> None:
    loaded, native_threads = loaded_by_run(tmp_path)
    assert {"edgemm_runtime", "flask", "numpy"} <= loaded
    assert loaded & {"libLiteRt.so", "_pywrap_tensorflow_interpreter_wrapper.so", "ai_edge_litert", "tflite_runtime"}
    assert not loaded & UNWANTED
    assert native_threads <= HELPERS, "libraries started threads that nothing here uses"


def test_pandas_that_sneaks_in_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("")
    loaded, _ = loaded_by_run(tmp_path, "import pandas")
    assert loaded & UNWANTED == {"pandas"}


def test_the_agent_loads_nothing_of_the_workstation_and_no_metrics() -> None:
    told = "import edgemm_runtime.agent.main, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "edgemm_runtime" in loaded
    assert not loaded & (UNWANTED | {"prometheus_client"})


def test_nothing_that_the_device_extra_asks_for_asks_for_any_of_it() -> None:
    asked = closure([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["runtime"]])
    assert {"numpy", "flask", "jinja2", "cffi"} <= asked
    assert not asked & UNWANTED_DISTRIBUTIONS


def test_the_constraints_of_a_device_name_all_that_it_installs_in_versions_that_the_tests_have() -> None:
    device, tests = pins("constraints-device.txt"), pins("constraints.txt")
    extras = PROJECT["optional-dependencies"]
    wanted = closure([*PROJECT["dependencies"], *extras["runtime"], *extras["images"], *extras["onnx"]])
    assert wanted == device.keys()
    assert {name for name in device if device[name] != tests[name]} == OTHER_ON_DEVICES


def closure(texts: Iterable[str]) -> set[str]:
    """Return the distributions that requirements lead to, by the metadata of what is installed here."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in texts]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {extra for known, extra in found if known == name}:
            found.add((name, extra))
            asked = (Requirement(text) for text in requires(name) or ())
            waiting.extend(one for one in asked if one.marker is None or one.marker.evaluate({"extra": extra}))
    return {name for name, _ in found}


def pins(file: str) -> dict[str, str]:
    """Return the versions that a file of constraints names, by canonical name."""
    lines = (line.partition("==") for line in (ROOT / file).read_text().splitlines() if "==" in line)
    return {canonicalize_name(name): version for name, _, version in lines}
