"""The child that runs what was converted: `python -m benchmarks.zoo.check TARGET FOLDER`.

TARGET is `tflite` or `onnx`. It takes `model.edgemm` (through edgemm's own runtime) or `converted.TARGET` (bare engine,
builtins alone), runs every reference, and writes `checked-TARGET.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simulators import needs

with needs.imports(__name__, "converter"):
    import numpy as np

    from benchmarks.zoo.compare import WrongOutputError, judge, named, noise, references

Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def main(target: str, folder: Path) -> None:
    run = {"tflite": _litert, "onnx": _onnx}[target]
    bundle = folder / "model.edgemm"
    status, detail, worst = "pass", "", 0.0
    try:
        model = _bundle(bundle, target) if bundle.is_file() else run(folder / f"converted.{target}")
        moved = noise(folder)
        for given, wanted in references(folder):
            worst = max(worst, judge(model(given), wanted, noise=moved))
    except WrongOutputError as err:
        status, detail = "wrong output", str(err)
    except Exception as err:  # noqa: BLE001 - engines raise what they like; the table counts it
        status, detail = "fails to run", " ".join(str(err).split())[:200]
    found = {"status": status, "detail": detail, "error": worst}
    (folder / f"checked-{target}.json").write_text(json.dumps(found))


def _bundle(path: Path, target: str) -> Run:
    from edgemm.bundle import open_bundle
    from edgemm_runtime import engines

    with open_bundle(path) as bundle:
        variant = bundle.manifest.variant(f"{target}:float32")
        signature = bundle.manifest.signature
        model = engines.load(variant, signature, bundle.read(variant.blob))
    names = {spec.name: None for spec in signature.inputs}
    return lambda given: model.run({n: np.asarray(a) for n, a in _for(names, given).items()})


def _for(names: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the inputs under the file's own names."""
    back = named({name: name for name in names}, given)
    return {file_name: given[name] for name, file_name in back.items()}


def _litert(path: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    signatures = interpreter.get_signature_list()
    if not signatures:
        raise WrongOutputError("the file has no signature")
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    names = dict.fromkeys(runner.get_input_details())
    fixed = [d["shape_signature"] for d in runner.get_input_details().values() if len(d["shape_signature"])]
    single = any(s[0] == 1 for s in fixed)

    def run(given: Mapping[str, Any]) -> Mapping[str, Any]:
        feeds = _for(names, given)
        batch = max(len(a) for a in feeds.values())
        if not single or batch == 1:
            return dict(runner(**feeds))
        rows = [runner(**{n: a[i : i + 1] for n, a in feeds.items()}) for i in range(batch)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    return run


def _onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = {i.name: None for i in session.get_inputs()}
    outputs = [o.name for o in session.get_outputs()]
    return lambda given: dict(zip(outputs, session.run(outputs, dict(_for(names, given))), strict=True))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
