"""What every variant of every bundle answers on this machine; needs the device runtime alone.

    python -m benchmarks.arm64.answers FOLDER OUT

FOLDER is what `benchmarks.arm64.models` made. `OUT.npz` gets one array for each bundle, variant and output, and
`OUT.json` the facts. It fails where a golden sample is outside its tolerance, and where LiteRT computes without
XNNPACK, which it skips in silence on a CPU that it cannot read (without `/sys`, for one): the answers are others then,
and would show nothing about a real board.
"""

from __future__ import annotations

import argparse
import logging
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "runtime"):
    import msgspec
    import numpy as np

    from benchmarks.arm64.models import inputs_of
    from edgemm.bundle import open_bundle
    from edgemm.bundle.engine_facts import Engine
    from edgemm.bundle.manifest import Variant
    from edgemm_runtime import engines
    from edgemm_runtime.engines import golden
    from edgemm_runtime.engines.bundle_source import BundleSource
    from edgemm_runtime.engines.interface import LoadedModel
    from edgemm_runtime.tensors import comparison
    from edgemm_runtime.tensors.named_arrays import Array

XNNPACK_LINE = "XNNPACK delegate"


class Facts(msgspec.Struct, frozen=True):
    """Where the answers are from, and how sure each is, by the names of the answers.

    `golden` is the largest error of the golden samples as a share of their tolerance. `rounding` is how far an answer
    moves where the last bit of the inputs does: no two machines that round differently can be closer than about that.
    """

    machine: str
    python: str
    libraries: dict[str, str]
    golden: dict[str, float]
    rounding: dict[str, float]


class NativeLines(logging.Handler):
    """Keeps what an engine's native code says while it loads a model."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    heard = _listen()
    found: dict[str, Array] = {}
    shares: dict[str, float] = {}
    rounding: dict[str, float] = {}
    for path in sorted(options.folder.glob("*.edgemm")):
        with open_bundle(path) as bundle:
            samples = np.load(options.folder / inputs_of(bundle.manifest.name))
            for variant in bundle.manifest.variants:
                model = _loaded(bundle, variant, heard)
                golden.check(bundle, variant, model)
                shares |= golden_shares(bundle, variant, model)
                asked = answers(bundle, variant, model, samples)
                moved = answers(bundle, variant, model, np.nextafter(samples, np.float32(np.inf)))
                found |= asked
                rounding |= {name: float(np.abs(asked[name] - moved[name]).max(initial=0.0)) for name in asked}
    np.savez(options.out.with_suffix(".npz"), **found)  # type: ignore[arg-type]  # as if one were named allow_pickle
    libraries = {name: version(name) for name in ("ai-edge-litert", "onnxruntime", "numpy")}
    facts = Facts(platform.machine(), platform.python_version(), libraries, shares, rounding)
    options.out.with_suffix(".json").write_bytes(msgspec.json.encode(facts))


def answers(bundle: BundleSource, variant: Variant, model: LoadedModel, samples: Array) -> dict[str, Array]:
    """Return each output for all samples, one after the other: float32[samples, …]."""
    signature = bundle.manifest.signature
    rows = [model.run({signature.inputs[0].name: sample[None]}) for sample in samples]
    return {
        answer_name(bundle, variant, spec.name): np.concatenate([row[spec.name] for row in rows])
        for spec in signature.outputs
    }


def answer_name(bundle: BundleSource, variant: Variant, output: str) -> str:
    """Return what the answers of an output are called."""
    return f"{bundle.manifest.name} {variant.id} {output}"


def golden_shares(bundle: BundleSource, variant: Variant, model: LoadedModel) -> dict[str, float]:
    """Return the largest error of the golden samples as a share of the tolerance."""
    samples = golden.read_samples(bundle)
    rows = [samples.kept(model.run(samples.input(i))) for i in range(samples.count)]
    return {
        answer_name(bundle, variant, name): max(
            comparison.largest_error(samples.outputs[name][i, ...], row[name]) for i, row in enumerate(rows)
        )
        / tolerance.max_abs
        for name, tolerance in bundle.manifest.golden.tolerance[variant.id].items()
    }


def _loaded(bundle: BundleSource, variant: Variant, heard: NativeLines) -> LoadedModel:
    model = engines.load(variant, bundle.manifest.signature, bundle.read(variant.blob))
    # It says so once in a process.
    if variant.engine == Engine.TFLITE and not any(XNNPACK_LINE in line for line in heard.lines):
        sys.exit(
            f"error: {bundle.manifest.name} {variant.id}: expected LiteRT to say 'Created … {XNNPACK_LINE}', heard "
            f"{heard.lines or 'nothing'}: is /sys mounted, and /proc/cpuinfo that of an arm64 CPU?"
        )
    return model


def _listen() -> NativeLines:
    log, heard = logging.getLogger("edgemm_runtime.engines.native_log"), NativeLines()
    log.setLevel(logging.DEBUG)
    log.addHandler(heard)
    return heard


if __name__ == "__main__":
    main()
