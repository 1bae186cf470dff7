"""The fingerprint of a conversion: one digest of everything that its bytes depend on.

Equal fingerprints mean equal bundles. The digest covers the content of the source and the data, every option except the
output path, the versions of libraries, edgemm's own code, and the kind of CPU with the environment variables that steer
its arithmetic. The CPU counts because figures that are measured on it stand in the bundle.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import msgspec

import edgemm
from edgemm_converter.data.datasets import Dataset
from edgemm_converter.drafting import lineage
from edgemm_converter.job import source_artifact
from edgemm_converter.job.job import ConversionJob
from edgemm_runtime import engines, monitoring, preprocessing, tensors

_BY_CONTENT = frozenset({"source", "calibration", "evaluation", "parent"})
_NO_PART_OF_IT = frozenset({"output"})
_CODE = {
    "edgemm_converter": [Path(__file__).parents[1]],
    **{
        package.__name__: [*map(Path, package.__path__)]
        for package in (edgemm, engines, monitoring, preprocessing, tensors)
    },
}
"""The folders of the code that makes bundles: what the converter imports of the runtime is among them."""
_STEERING = ("DNNL_", "KERAS_", "MKL_", "OMP_", "ONEDNN_", "TF_", "TORCH_", "XLA_")
_CPU_FIELDS = ("model name", "flags", "Features", "CPU implementer", "CPU part")


def of(given: ConversionJob) -> str | None:
    """Return the digest; None where custom objects are imported, since what their code does cannot be told.

    Raises:
        InputError: the source or data cannot be read.
    """
    if given.custom_objects:
        return None
    left = {f.name: getattr(given, f.name) for f in dataclasses.fields(given) if f.name not in _BY_CONTENT}
    facts = {
        **{name: value for name, value in left.items() if name not in _NO_PART_OF_IT},
        "report": given.report is not None,
        "source": (given.source.resolve().name, source_artifact.digest(given.source)),
        "calibration": _data(given.calibration),
        "evaluation": _data(given.evaluation),
        "parent": given.parent.digest if given.parent is not None else None,
        "libraries": lineage.library_versions(),
        "git_commit": lineage.git_commit(),
        "created": lineage.created(),
        "code": _code(),
        "machine": _machine(),
        "steering": {name: value for name, value in os.environ.items() if name.startswith(_STEERING)},
    }
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic", enc_hook=str)).hexdigest()


def _data(data: Dataset | None) -> tuple[str, str] | None:
    return (data.path.suffix.lower(), source_artifact.digest(data.path)) if data is not None else None


def code_files() -> Iterator[tuple[str, Path]]:
    """Yield each file of the code that makes bundles, with its name below its package."""
    for package, folders in _CODE.items():
        for folder in folders:
            for file in sorted((*folder.rglob("*.py"), *folder.rglob("*.html"))):
                yield f"{package}/{file.relative_to(folder).as_posix()}", file


def _code() -> str:
    """Return a digest of the code that makes bundles, which a version number does not tell while it is worked on."""
    sha = hashlib.sha256()
    for name, file in code_files():
        sha.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return sha.hexdigest()


def _machine() -> tuple[object, ...]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    cpu = sorted({line for line in lines if line.startswith(_CPU_FIELDS)})
    return platform.machine(), platform.python_version(), len(os.sched_getaffinity(0)), cpu
