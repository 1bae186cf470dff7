"""What a device installs and how long its agent takes to import: `python -m benchmarks.footprint [--json]`.

The wheel is built from this checkout and installed as docs/raspberry-pi.md says, by constraints-device.txt, twice: with
the wheels of aarch64, which are weighed, and with this machine's, whose agent is imported. Nothing is emulated. Three
states are weighed: without bytecode (`pip install --no-compile`), with the bytecode of what a device loads, which
Python keeps when the agent is imported once, and with all of it, as pip compiles by default. Sizes are what `du` says,
blocks and folders included; 1 MB is 10^6 bytes. Exit status 1: the second is above the goal.
"""

from __future__ import annotations

import argparse
import csv
import os
import py_compile
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from simulators import needs

with needs.imports(__name__, ""):
    import msgspec

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints-device.txt"
GOAL_MB = 150
"""The most that `edgemm[runtime]` may take on aarch64, in 10^6 bytes."""
GOAL_IMPORT_S = 0.35
LOADED = ("edgemm.cli", "edgemm_runtime.agent.main", "edgemm_runtime.commands.run", "ai_edge_litert.interpreter")
"""What `edgemm run` loads on a device."""
PLATFORMS = ("manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 37)))
"""The aarch64 wheels that Debian 12 (glibc 2.36) takes."""
_NOBODY = "folders and scripts"
_MB = 1e6
_ONE_IMPORT = """import time
start_s, start_cpu_s = time.perf_counter(), time.process_time()
import edgemm_runtime.commands, edgemm_runtime.agent.main
print(time.perf_counter() - start_s, time.process_time() - start_cpu_s)"""
_SOURCES = """import sys, {modules}
print(*(found.__file__ for found in sys.modules.values() if getattr(found, "__cached__", None)), sep="\\n")"""


@dataclass(frozen=True)
class Size:
    """Bytes of files as their lengths say, and as the file system sets aside for them."""

    apparent_bytes: int
    allocated_bytes: int


@dataclass(frozen=True)
class Weights:
    """One state of an installation: the whole, and what the files of each distribution take."""

    whole: Size
    allocated_bytes: Mapping[str, int]


@dataclass(frozen=True)
class Import:
    """Medians over children that import the agent, its files being in memory; with other work the two differ."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Footprint:
    """What was found: sizes of the installation for aarch64, imports of the one for this machine."""

    python: str
    bare: Weights
    loaded: Weights
    compiled: Weights
    with_bytecode: Import
    without_bytecode: Import

    @property
    def holds(self) -> bool:
        """Tell whether a device's installation is within the goal."""
        return self.loaded.whole.allocated_bytes <= GOAL_MB * _MB


def owners(folder: Path) -> dict[Path, str]:
    """Return the distribution of each file below `folder`, by the records that pip left."""
    found = {}
    for record in folder.glob("*.dist-info/RECORD"):
        name = record.parent.name.removesuffix(".dist-info").replace("-", " ")
        with record.open(newline="", encoding="utf-8") as rows:
            found.update({folder / path: name for path, *_ in csv.reader(rows)})
    return found


def weigh(folder: Path) -> Weights:
    """Weigh all that lies in `folder`; bytecode belongs to whom its source belongs to."""
    owner, sizes = owners(folder), Counter[str]()
    apparent = allocated = 0
    for path in (folder, *sorted(folder.rglob("*"))):
        status = path.lstat()
        taken = status.st_blocks * 512
        apparent, allocated = apparent + status.st_size, allocated + taken
        sizes[owner.get(path) or owner.get(_source(path), _NOBODY)] += taken
    return Weights(Size(apparent, allocated), dict(sizes))


def compile_loaded(folder: Path, loaded: Sequence[str]) -> int:
    """Compile those modules in `folder` whose paths are given, as their import would; return how many."""
    found = [folder / path for path in loaded if (folder / path).exists()]
    for source in found:
        py_compile.compile(str(source), doraise=True)
    return len(found)


def rows(footprint: Footprint) -> Iterator[str]:
    """Yield the lines of the report."""
    states = {
        "without bytecode": footprint.bare, "of what is loaded": footprint.loaded, "all bytecode": footprint.compiled,
    }  # fmt: skip
    yield f"edgemm[runtime], aarch64, Python {footprint.python}, MB"
    yield ""
    yield f"| distribution | {' | '.join(states)} |"
    yield "|---|---|---|---|"
    largest = sorted(footprint.loaded.allocated_bytes.items(), key=lambda item: -item[1])
    for name, _ in largest:
        yield f"| {name} | {' | '.join(_mb(state.allocated_bytes.get(name, 0)) for state in states.values())} |"
    yield f"| all, allocated | {' | '.join(_mb(state.whole.allocated_bytes) for state in states.values())} |"
    yield f"| all, apparent | {' | '.join(_mb(state.whole.apparent_bytes) for state in states.values())} |"
    yield ""
    found = "holds" if footprint.holds else "missed"
    yield f"the goal is {GOAL_MB} MB allocated with the bytecode of what is loaded: {found}"
    yield f"import of the agent here: {_seconds(footprint.with_bytecode)}; the goal is {GOAL_IMPORT_S} s"
    yield f"the same where no bytecode is kept: {_seconds(footprint.without_bytecode)}"


def measure(scratch: Path, *, children: int) -> Footprint:
    """Install below `scratch` and weigh.

    Raises:
        subprocess.CalledProcessError: pip or a child failed; what it said is on standard error.
    """
    _pip("wheel", "--no-deps", "--wheel-dir", str(scratch), str(ROOT))
    (wheel,) = scratch.glob("edgemm-*.whl")
    here, there, whole = scratch / "here", scratch / "there", scratch / "whole"
    _install(wheel, here)
    _install(wheel, there, *_aarch64())
    shutil.copytree(there, whole)
    without_bytecode = _import(here, children=children, keep=False)
    loaded = _loaded(here)
    bare = weigh(there)
    compile_loaded(there, loaded)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(whole)], check=False)  # some are for other Pythons
    return Footprint(
        python=_version(),
        bare=bare,
        loaded=weigh(there),
        compiled=weigh(whole),
        with_bytecode=_import(here, children=children, keep=True),
        without_bytecode=without_bytecode,
    )


def _source(path: Path) -> Path:
    """Return the source of a file of bytecode; another path is its own."""
    if path.parent.name != "__pycache__":
        return path
    return path.parents[1] / f"{path.name.partition('.')[0]}.py"


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _aarch64() -> Iterator[str]:
    yield from ("--only-binary=:all:", "--implementation", "cp", "--python-version", _version())
    for platform in PLATFORMS:
        yield from ("--platform", platform)


def _install(wheel: Path, folder: Path, *options: str) -> None:
    into = ("--target", str(folder), "--no-compile", "--constraint", str(CONSTRAINTS))
    _pip("install", "--no-warn-conflicts", *into, *options, f"{wheel}[runtime]")


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True, stdout=sys.stderr)


def _child(folder: Path, program: str, *, keep: bool) -> str:
    """Return what `program` prints that sees the installation in `folder` and nothing of this environment."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env |= {"PYTHONPATH": str(folder)} | ({} if keep else {"PYTHONDONTWRITEBYTECODE": "1"})
    command = [sys.executable, "-S", "-c", program]
    return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def _import(folder: Path, *, children: int, keep: bool) -> Import:
    told = [_child(folder, _ONE_IMPORT, keep=keep).split() for _ in range(children)]
    return Import(*(statistics.median(map(float, column)) for column in zip(*told, strict=True)))


def _loaded(folder: Path) -> list[str]:
    """Load what a device loads, keeping its bytecode, and return the paths of the sources below `folder`."""
    printed = _child(folder, _SOURCES.format(modules=", ".join(LOADED)), keep=True)
    paths = [Path(line) for line in printed.splitlines()]
    return [str(path.relative_to(folder)) for path in paths if path.is_relative_to(folder)]


def _seconds(found: Import) -> str:
    return f"{found.wall_s:.3f} s, {found.cpu_s:.3f} s of CPU"


def _mb(size: int) -> str:
    return f"{size / _MB:.1f}"


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__)
    parser.add_argument("--json", action="store_true", help="One JSON document instead of the table.")
    parser.add_argument("--children", type=int, default=9, help="How many times the agent is imported.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgemm-footprint-") as scratch:
        footprint = measure(Path(scratch).resolve(), children=asked.children)
    print(msgspec.json.encode(asdict(footprint)).decode() if asked.json else "\n".join(rows(footprint)))
    return 0 if footprint.holds else 1


if __name__ == "__main__":
    sys.exit(main())
