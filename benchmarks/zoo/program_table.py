"""`python -m benchmarks.zoo.program_table`: family P of the zoo by edgemm and by the bare converters, as a table.

The bare ways are `torch.onnx.export(program, dynamo=True)` and `litert_torch.convert(program.module())`, with their own
defaults. An answer is wrong where it differs by more than 1e-4 of the range of the source's, has another shape or type,
or is a number where the source's is none: on random inputs at batch 1 and 3, and on inputs with large values. What
becomes of infinite values and NaN is the kernels' own, such as LiteRT's, whose ReLU makes 0 of NaN. Bare TFLite files
are asked row by row.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from simulators import needs

with needs.imports(__name__, "torch"):
    import numpy as np
    import onnxruntime
    import torch
    from ai_edge_litert.interpreter import Interpreter

    from benchmarks.zoo.programs import DECLARED, KEYS, exported
    from edgemm.bundle import open_bundle
    from edgemm.errors import EdgemmError
    from edgemm_converter import convert
    from edgemm_converter.programs import program
    from edgemm_converter.programs.program import Program
    from edgemm_runtime import engines

LIMIT = 1e-4
BATCHES = (1, 3)
HARD = (0.0, -1.0, 1e4, -1e4)
STATUSES = ("pass", "refused as declared", "refused", "wrong output", "fails to convert", "fails to run")
Found = tuple[str, str]
Values = Mapping[str, Any]
Run = Callable[[Values], Mapping[str, Any]]


def inputs_of(source: Program) -> Iterator[dict[str, Any]]:
    """Yield inputs by name: random ones, and those whose floats are all or one of them hard."""
    for batch in BATCHES if source.signature.inputs[0].shape[:1] == (-1,) else (1,):
        for seed in range(4):
            yield _drawn(source, batch, seed)
    for hard in HARD:
        for whole in (True, False):
            given = _drawn(source, 1, 9)
            for array in given.values():
                if array.dtype.kind == "f":
                    array.reshape(-1)[slice(None) if whole else slice(0, 1)] = hard
            yield given


def _drawn(source: Program, batch: int, seed: int) -> dict[str, Any]:
    rng, made = np.random.default_rng([seed, batch]), dict[str, Any]()
    for spec in source.signature.inputs:
        shape = [batch if size == -1 else size for size in spec.shape]
        floats = spec.dtype.value.startswith("float")
        made[spec.name] = (rng.standard_normal(shape) if floats else rng.integers(0, 2, shape)).astype(spec.dtype.value)
    return made


def judge(source: Program, run: Run) -> Found:
    """Compare answers with the source's."""
    for given in inputs_of(source):
        try:
            wanted = source.run(given)
        except program.REFUSALS:
            continue
        try:
            found = run(given)
        except Exception as err:  # noqa: BLE001 - whatever an engine raises is a failure of its way
            return "fails to run", " ".join(str(err).split())[:100]
        for name, expected in wanted.items():
            value = np.asarray(found[name])
            if value.shape != expected.shape or value.dtype != expected.dtype:
                return "wrong output", f"{name}: {value.dtype}{value.shape}, expected {expected.dtype}{expected.shape}"
            if expected.dtype.kind != "f":
                ties = all(np.isfinite(one).all() for one in given.values() if one.dtype.kind == "f")
                if ties and not (value == expected).all():
                    return "wrong output", f"{name}: another whole number"
                continue
            usual = expected[np.isfinite(expected)]
            scale = max(float(np.ptp(usual)) if usual.size else 0.0, float(np.abs(usual).max(initial=0)), 1e-6)
            same = (value == expected) | (np.isnan(value) & np.isnan(expected))
            with np.errstate(invalid="ignore"):
                apart = np.nan_to_num(np.abs(value - expected), nan=np.inf)
            error = float(np.where(same, 0.0, apart).max(initial=0)) / scale
            if not error <= LIMIT:
                return "wrong output", f"{name}: error {error:.2g} of the range"
    return "pass", ""


def by_edgemm(key: str, file: Path, source: Program | None, target: str) -> Found:
    """Convert as a user does, and ask the bundle's file in the device's engine."""
    output = file.with_suffix(f".{target}.edgemm")
    try:
        result = convert(file, output=output, name="zoo", targets=(target,), cache=False)
    except EdgemmError as err:
        declared = DECLARED.get(key)
        return ("refused as declared" if declared and declared in str(err) else "refused"), str(err)
    if source is None:
        return "wrong output", "a program that was to be refused"
    with open_bundle(result.path) as bundle:
        (variant,) = bundle.manifest.variants
        model = engines.load(variant, bundle.manifest.signature, bundle.read(variant.blob))
        return judge(source, lambda given: model.run(dict(given)))


def bare_onnx(made: Any, source: Program) -> Found:
    """Convert by torch.onnx alone."""
    try:
        proto = torch.onnx.export(made, (), dynamo=True, verbose=False).model_proto
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as err:  # noqa: BLE001 - whatever a library raises is a failure of its way
        return "fails to convert", " ".join(f"{type(err).__name__}: {err}".split())[:100]
    names, asked = [spec.name for spec in source.signature.outputs], session.get_inputs()

    def run(given: Values) -> Mapping[str, Any]:
        found = session.run(None, {one.name: value for one, value in zip(asked, given.values(), strict=False)})
        return dict(zip(names, found, strict=False))

    return judge(source, run)


def bare_tflite(source: Program) -> Found:
    """Convert by litert-torch alone."""
    import litert_torch

    one = tuple(torch.from_numpy(value) for value in _drawn(source, 1, 0).values())
    try:
        file = bytes(litert_torch.convert(source.module, one).model_content())
    except Exception as err:  # noqa: BLE001 - whatever a library raises is a failure of its way
        return "fails to convert", " ".join(f"{type(err).__name__}: {err}".split())[:100]
    runner = Interpreter(model_content=file).get_signature_runner()
    names = [spec.name for spec in source.signature.outputs]

    def run(given: Values) -> Mapping[str, Any]:
        rows = [
            runner(**{f"args_{i}": value[row : row + 1] for i, value in enumerate(given.values())})
            for row in range(len(next(iter(given.values()))))
        ]
        return {name: np.concatenate([list(row.values())[i] for row in rows]) for i, name in enumerate(names)}

    return judge(source, run)


def main() -> None:
    """Export, convert in all ways, compare; print a line for each and the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo.program_table", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[""], help="words of which a key has one")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: dict[str, Counter[str]] = {}
    for key in KEYS:
        if any(word in key for word in given.only):
            with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
                for way, (status, detail) in ways(key, Path(folder)):
                    counts.setdefault(way, Counter())[status] += 1
                    print(f"{key} {way}: {status} {detail[:200]}".rstrip(), file=sys.stderr, flush=True)
    print("way             " + " ".join(f"{status:>19}" for status in STATUSES))
    for way, found in counts.items():
        print(f"{way:<15} " + " ".join(f"{found[status]:>19}" for status in STATUSES))


def ways(key: str, folder: Path) -> Iterator[tuple[str, Found]]:
    """Yield how each way went with a model."""
    started, made, file = time.monotonic(), exported(key), folder / "model.pt2"
    torch.export.save(made, str(file))
    try:
        source: Program | None = program.load(file, folder, shapes={}, allow_pickle=False)
    except EdgemmError:
        source = None
    for target in ("onnx", "tflite"):
        status, detail = by_edgemm(key, file, source, target)
        yield f"edgemm {target}", (status, f"{detail} ({time.monotonic() - started:.0f} s)")
    if source is not None:
        yield "torch.onnx", bare_onnx(made, source)
        yield "litert-torch", bare_tflite(source)


if __name__ == "__main__":
    main()
