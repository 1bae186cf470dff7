"""Benchmarks and simulators in the environments that their pages name, and what they say where something is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from simulators import needs
from tests.docs.pages import tables
from tests.programs import ROOT

STARTED = re.compile(r'^if __name__ == "__main__":$', re.MULTILINE)
EXTRAS = re.compile(r'needs\.imports\(__name__, "(.*)"\)|extras="(.*)"')
ALONE = {"fleet_devices.sampled", "serving.constant", "serving.inprocess", "zoo.attempt", "zoo.build", "zoo.check"}
"""Children of a benchmark, which is on the page in their place."""
WITH_TENSORFLOW = (
    "dead_channels", "freezing_cases", "keras2_models", "keras_models", "odd_layers", "parting_cases", "random_cases",
    "rewrite_cases", "shaped_models", "source_cases", "stateful_modules", "sweep.__main__", "varying_cases",
)  # fmt: skip
BLOCKED = """
import sys
from importlib import import_module
sys.modules.update(dict.fromkeys(sys.argv[2].split(",")))
for name in sys.argv[1].split(","):
    import_module(name)
"""
"""Imports modules where others cannot be imported."""
FIRST_PARTY = {
    "benchmarks",
    "edgemm",
    "edgemm_converter",
    "edgemm_demo",
    "edgemm_fleet",
    "edgemm_runtime",
    "simulators",
}


def modules(folder: str) -> dict[str, str]:
    """Return the source of each module below a folder that is run with `python -m`, by its name there."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        if "peers" not in path.parts and STARTED.search(text := path.read_text()):
            name = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
            found[name.removesuffix(".__main__")] = text
    return found


BENCHMARKS, SIMULATORS = modules("benchmarks"), modules("simulators")


def extras_of(text: str) -> str:
    """Return the extras that a module says it needs, which it says alike everywhere."""
    (found,) = {a or b for a, b in EXTRAS.findall(text)}
    return str(found)


def start(module: str, *arguments: object, python: tuple[str, ...] = (), **env: str) -> tuple[int, str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "EDGEMM_"))}
    path = {} if python else {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [sys.executable, *python, "-m", module, *map(str, arguments)], cwd=ROOT, env=kept | path | env,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def missing_from(extras: str) -> set[str]:
    """Return what can be imported here, and not where edgemm with some extras and the group of benchmarks is alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = {"edgemm": project["project"]["dependencies"], **project["project"]["optional-dependencies"]}
    wanted = ["edgemm", *(extras.split(",") if extras else [])]
    left = [text for group in wanted for text in groups[group]] + project["dependency-groups"][needs.GROUP]
    have: set[str] = set()
    while left:
        asked = Requirement(left.pop())
        if asked.marker is None or any(asked.marker.evaluate({"extra": e}) for e in (*asked.extras, "")):
            name = canonicalize_name(asked.name)
            if name not in have:
                have.add(name)
                left += _requirements(name, asked.extras)
    owners = metadata.packages_distributions()
    return {name for name, owned in owners.items() if not have & {canonicalize_name(one) for one in owned}}


def _requirements(name: str, extras: set[str]) -> list[str]:
    try:
        texts = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    asked = [Requirement(text) for text in texts]
    for one in asked:
        if one.marker is not None and any(one.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            one.marker = None
    return [str(one) for one in asked if one.marker is None]


def import_in(extras: str, *names: str) -> None:
    """Import modules where nothing but an environment's packages can be imported."""
    missing = missing_from(extras) - FIRST_PARTY
    assert "pytest" in missing
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, ",".join(names), ",".join(sorted(missing))],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("module", [*(f"benchmarks.{b}" for b in BENCHMARKS), *(f"simulators.{s}" for s in SIMULATORS)])
def test_what_has_no_packages_says_in_one_line_which_it_needs(module: str, tmp_path: Path) -> None:
    given = [tmp_path] * (1 if module == "benchmarks.convert" else 3)
    status, out, err = start(module, *given, python=("-S",))  # without site-packages: nothing is installed
    assert (status, out) == (needs.STATUS, ""), err
    assert re.fullmatch(rf"error: {re.escape(module)} needs the package \w+, which .*: pip install .*\n", err), err


@pytest.mark.parametrize("extras", sorted({extras_of(text) for text in BENCHMARKS.values()}))
def test_benchmarks_import_what_their_environment_has_alone(extras: str) -> None:
    if "torch" in extras and find_spec("torch") is None:
        pytest.skip("PyTorch is in an environment of its own, where tests/clients/program_cases.py imports it")
    import_in(extras, *(f"benchmarks.{name}" for name, text in BENCHMARKS.items() if extras_of(text) == extras))


def test_simulators_import_what_their_environment_has_alone() -> None:
    names = [path.stem for path in sorted((ROOT / "simulators").glob("*.py")) if path.stem != "__init__"]
    others = [name for name in names if name not in {*WITH_TENSORFLOW, "converter_children", "sweep"}]
    import_in("fleet,onnx,runtime", *(f"simulators.{name}" for name in others))


@pytest.mark.tensorflow
def test_simulators_with_tensorflow_import_what_their_environment_has_alone() -> None:
    import_in("converter", *(f"simulators.{name}" for name in WITH_TENSORFLOW if name != "keras2_models"))
    import_in("converter", "simulators.keras2_models")


def test_the_page_names_the_environment_of_each_benchmark() -> None:
    rows = [row for rows in tables(ROOT / "benchmarks" / "README.md").values() for row in rows]
    said = {
        name: row[1].strip("`–")
        for row in rows
        for name in re.findall(r"`benchmarks\.([\w.]+)`", row[0])
    }  # fmt: skip
    assert said == {name: extras_of(text) for name, text in BENCHMARKS.items() if name not in ALONE}


@pytest.mark.parametrize(
    "benchmark",
    [
        *(pytest.param(name, marks=pytest.mark.tensorflow) for name in ("arm64.models", "precision_search", "zoo")),
        "serving", "shadow", "swaps", "together",
    ],
)  # fmt: skip
def test_a_benchmark_without_the_published_models_says_so(benchmark: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    given: dict[str, list[object]] = {"arm64.models": [missing, tmp_path], "zoo": ["--results", tmp_path], "swaps": []}
    folders = given.get(benchmark, [tmp_path])
    status, out, err = start(f"benchmarks.{benchmark}", *folders, EDGEMM_SHARED=str(missing))
    assert (status, out) == (needs.STATUS, ""), err
    assert err.startswith(f"error: benchmarks.{benchmark} needs {missing}/")
    assert err.count("\n") == 1
    assert "which is not there: set EDGEMM_SHARED to the folder" in err


@pytest.mark.parametrize("benchmark", ["serving", "shadow", "swaps", "together"])
def test_a_benchmark_without_its_load_generator_says_so(benchmark: str, tmp_path: Path) -> None:
    model = tmp_path / "models" / "mlperf-tiny" / "pretrainedResnet_quant.tflite"
    model.parent.mkdir(parents=True)
    model.touch()
    folder: list[object] = [] if benchmark == "swaps" else [tmp_path]
    status, out, err = start(f"benchmarks.{benchmark}", *folder, EDGEMM_SHARED=str(tmp_path), PATH=str(tmp_path))
    assert (status, out) == (needs.STATUS, ""), err
    assert err == f"error: benchmarks.{benchmark} needs the program wrk, which is not on PATH: apt-get install wrk\n"


def test_a_fault_of_a_benchmark_is_not_taken_for_a_missing_package() -> None:
    with pytest.raises(ModuleNotFoundError, match="simulators"), needs.imports("__main__", "runtime"):
        import_module("simulators.nowhere")
