"""The subject of a measurement: a bundle's variant on a golden sample, or a plain model file on made-up input.

A plain file has no signature and no samples: floats are drawn from [0, 1), integers are 0, strings empty, and
variable sizes 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgemm.bundle import open_bundle
from edgemm.bundle.engine_facts import all_engines, with_suffix
from edgemm.bundle.manifest import Precision, Variant, VariantTensor, known_dtype
from edgemm.canonical import sha256
from edgemm.errors import EngineError, EngineUnavailableError, InputError
from edgemm_runtime.engines import golden, load
from edgemm_runtime.engines.drivers import FileTensor, driver_of
from edgemm_runtime.installed import available
from edgemm_runtime.tensors.element_types import numpy_dtype, zeros
from edgemm_runtime.tensors.named_arrays import Array


@dataclass(frozen=True)
class Subject:
    """A loaded model: `run` is one inference, `grow` makes it ready for so many at once."""

    name: str
    file_bytes: int
    load_ms: float
    run: Callable[[], object]
    grow: Callable[[int], None]


def of_bundle(path: Path, variant_id: str, *, threads: int) -> Subject:
    """Load a variant; its inference goes through the whole signature.

    Raises:
        EngineError: the engine is missing or failed.
    """
    with open_bundle(path) as source:
        variant = source.manifest.variant(variant_id)
        data = source.read(variant.blob)
        sample = golden.read_samples(source).input(0)
        start = time.perf_counter()
        model = load(variant, source.manifest.signature, data, threads=threads)
        load_s = time.perf_counter() - start
    return Subject(variant_id, len(data), load_s * 1e3, lambda: model.run(sample), model.grow)


def of_file(path: Path, *, threads: int) -> Subject:
    """Load a plain model file of an engine; its inference is the engine's alone.

    Raises:
        InputError: it cannot be read, or is of no engine.
        EngineError: the engine is missing or failed.
    """
    facts = with_suffix(path.suffix.lower())
    if facts is None:
        known = ", ".join(one.suffix for one in all_engines())
        raise InputError(f"{path}: expected a file that ends in one of {known}")
    try:
        data = path.read_bytes()
    except OSError as err:
        raise InputError(f"{path}: {err.strerror}") from err
    if facts.id not in available():
        entry = facts.distributions[0]
        raise EngineUnavailableError(f"{path}: needs {entry.distribution}: pip install '{entry.requirement}'")
    driver = driver_of(facts.id)
    inputs, outputs = (tuple(map(_tensor, side)) for side in driver.describe(data))
    variant = Variant(
        id=f"{facts.id}:file", engine=facts.id, precision=Precision.FLOAT32, minimum_engine="0",
        blob=sha256(data), inputs=inputs, outputs=outputs,
    )  # fmt: skip
    feeds = {tensor.tensor: _made_up(tensor) for tensor in variant.inputs}
    start = time.perf_counter()
    session = driver.open_session(variant, data, threads)
    load_s = time.perf_counter() - start
    return Subject(facts.id, len(data), load_s * 1e3, lambda: session.invoke(feeds), session.grow)


def _tensor(described: FileTensor) -> VariantTensor:
    name = described.name
    try:
        kind = known_dtype(described.dtype)
    except ValueError as err:
        raise EngineError(
            f"tensor {name!r} is of {described.dtype}, which edgemm does not serve: it cannot be made up"
        ) from err
    shape = tuple(int(size) if isinstance(size, (int, np.integer)) and size > 0 else 1 for size in described.shape)
    return VariantTensor(name=name, tensor=name, dtype=kind, shape=shape)


def _made_up(tensor: VariantTensor) -> Array:
    dtype = numpy_dtype(tensor.dtype)
    if dtype.kind != "f":
        return zeros(tensor.shape, dtype)
    return np.random.default_rng(0).random(tensor.shape).astype(dtype)
