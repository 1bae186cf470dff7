"""`python -m benchmarks.zoo.estimator_table`: family H of the zoo by edgemm and by the bare converters, as a table.

The bare way is `skl2onnx.to_onnx`, or onnxmltools for boosters, with their own defaults but for ZipMap. An answer is
wrong where a label differs that is no tie, or a value by more than 1e-4 of the range of the source's: on rows that no
model was fitted on, and on rows at the thresholds of trees. The bundle's TFLite file, where it has one, is a way of its
own: it is run by LiteRT, and what edgemm says where it left it out stands in the line of the model.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulators import needs

with needs.imports(__name__, "boosting,runtime,sklearn"):
    import joblib
    import numpy as np
    import onnxruntime

    from benchmarks.zoo import estimators, further_estimators
    from benchmarks.zoo.estimators import tables
    from benchmarks.zoo.further_estimators import CODED, codes
    from edgemm.bundle import open_bundle
    from edgemm.bundle.manifest import MISSING_TEXT
    from edgemm.errors import EdgemmError
    from edgemm_converter import convert
    from edgemm_converter.estimators import estimator, plain_steps, sample_rows, tree_tables
    from edgemm_converter.estimators.estimator import INPUT, LABEL, Estimator
    from edgemm_runtime import engines

LIMIT, TIED, TIES = 1e-4, 1e-5, 240
STATUSES = ("pass", "left out", "refused as declared", "refused", "wrong output", "fails to convert", "fails to run")
LITE, ONNX = "tflite:float32", "onnx:float32"
Found = tuple[str, str]
DECLARED = {**estimators.DECLARED, **further_estimators.DECLARED}


def models() -> dict[str, estimators.Make]:
    """Return what fits each model, by key."""
    return {**estimators.models(), **further_estimators.models()}


def inputs_of(source: Estimator, key: str) -> dict[str, Any]:
    """Return inputs of one batch that a source takes, and that are hard for its kind."""
    if source.columns is None:
        return {INPUT: codes(seed=7) if key.startswith(CODED) else _rows_of(source)}
    taken: list[dict[str, Any]] = []
    for given in sample_rows.input_sets(source, calibration=None, evaluation=None):
        runs = ({name: array[run] for name, array in given.arrays.items()} for run in range(given.runs))
        taken += [one for one in runs if source.takes(one)]
    return {spec.name: np.concatenate([one[spec.name] for one in taken]) for spec in source.signature.inputs}


def _rows_of(source: Estimator) -> Any:
    rows = tables(seed=7)["rows"]
    if source.ensemble is not None and source.is_bare:
        ties = tree_tables.tie_rows(source.ensemble, rows, limit=TIES)
        rows = np.concatenate([rows, ties[np.isfinite(ties).all(axis=1)]])
    gaps = rows.copy()
    gaps[np.random.default_rng(2).random(rows.shape) < 0.1] = np.nan
    try:
        source.run({INPUT: gaps})
    except (ValueError, TypeError, RuntimeError):
        return rows
    return np.concatenate([rows, gaps])


def judge(source: Estimator, inputs: Mapping[str, Any], found: Mapping[str, Any]) -> Found:
    """Compare answers by the names of the source's; those that are left out are not looked at."""
    wanted = source.run(inputs)
    rows = next(iter(inputs.values()))
    for name, value in found.items():
        expected = wanted[name]
        if name == LABEL:
            scores = next((wanted[n] for n in ("probabilities", "scores") if n in wanted), None)
            decided = np.ones(len(rows), bool)
            if scores is not None:
                best = np.sort(scores, axis=1)
                gap = best[:, -1] - best[:, -2] if best.shape[1] > 1 else np.abs(best[:, 0])
                decided = gap > TIED * max(float(np.ptp(scores)), 1e-6)
            wrong = int(((value != expected) & decided).sum())
            if wrong:
                return "wrong output", f"{wrong} of {len(rows)} labels"
            continue
        if value.shape != expected.shape:
            return "wrong output", f"{name}: shape {value.shape[1:]}, expected {expected.shape[1:]}"
        usual = expected[np.isfinite(expected)]
        scale = max(float(np.ptp(usual)), 0.1 * float(np.abs(usual).max()), 1e-6)
        same = (value == expected) | (np.isnan(value) & np.isnan(expected))
        apart = np.nan_to_num(np.abs(value - expected), nan=np.inf)
        error = float(np.where(same, 0.0, apart).max()) / scale
        if not error <= LIMIT:
            return "wrong output", f"{name}: error {error:.2g} of the range"
    return "pass", ""


def by_edgemm(model: Any, source: Estimator, key: str, folder: Path) -> dict[str, Found]:
    """Convert as a user does, and run the bundle's ONNX file as `edgemm`, and its TFLite file as `tflite`."""
    path = folder / "model.joblib"
    joblib.dump(model, path)
    if key.startswith("xgb/"):
        path = folder / "model.ubj"
        model.save_model(path)
    elif key.startswith("lgbm/"):
        path = folder / "model.txt"
        model.save_model(path)
    try:
        result = convert(
            path, output=folder / "model.edgemm", name="zoo", cache=False, allow_pickle=True,
            calibration=_calibration(key, folder),
        )  # fmt: skip
    except EdgemmError as err:
        declared = DECLARED.get(key)
        refused = ("refused as declared" if declared and declared in str(err) else "refused"), str(err)
        return {"edgemm": refused, "tflite": refused}
    inputs, left_out = inputs_of(source, key), result.left_out.get(LITE)
    with open_bundle(result.path) as bundle:
        found = {variant.id: (variant, bundle.read(variant.blob)) for variant in bundle.manifest.variants}
    answers = {"edgemm": judge(source, inputs, _run(found[ONNX][1], inputs)), "tflite": ("left out", left_out or "")}
    if LITE in found:
        variant, file = found[LITE]
        ran = engines.load(variant, result.manifest.signature, file).run(inputs)
        answers["tflite"] = judge(source, inputs, ran)
    return answers


def _calibration(key: str, folder: Path) -> Path | None:
    """Return a file of rows for what takes certain values alone."""
    if not key.startswith(CODED):
        return None
    np.savez(folder / "rows.npz", x=codes(seed=1))
    return folder / "rows.npz"


def by_others(model: Any, source: Estimator, key: str) -> Found:
    """Convert by skl2onnx or onnxmltools alone."""
    try:
        file = _bare(model, key, source).SerializeToString()
    except Exception as err:  # noqa: BLE001 - whatever a library raises is a failure of its way
        return "fails to convert", " ".join(f"{type(err).__name__}: {err}".split())[:100]
    inputs = inputs_of(source, key)
    given = {
        name: array if source.columns is None else _as_bare(array[:, np.newaxis]) for name, array in inputs.items()
    }
    try:
        found = _run(file, given)
    except Exception as err:  # noqa: BLE001 - likewise
        return "fails to run", " ".join(str(err).split())[:100]
    names = [spec.name for spec in source.signature.outputs]
    last = list(found.values())[-len(names) :]  # what a model answers with stands last, behind a label
    return judge(source, inputs, _as_meant(source, dict(zip(names, last, strict=False))))


def _as_bare(column: Any) -> Any:
    """Return a column as bare files take it, which have neither missing texts nor small truth values."""
    return np.where(column == MISSING_TEXT, "", column) if column.dtype == object else column


def _bare(model: Any, key: str, source: Estimator) -> Any:
    columns = source.signature.inputs[0].shape[-1]
    if key.startswith(("sk/", "tab/")):
        import skl2onnx
        from skl2onnx.common import data_types
        from skl2onnx.common.data_types import FloatTensorType

        kinds = {
            "string": data_types.StringTensorType, "int64": data_types.Int64TensorType,
            "bool": data_types.BooleanTensorType, "float64": data_types.DoubleTensorType, "float32": FloatTensorType,
        }  # fmt: skip
        given = [(INPUT, FloatTensorType([None, columns]))]
        if source.columns is not None:
            given = [(spec.name, kinds[spec.dtype.value]([None, 1])) for spec in source.signature.inputs]
        opsets = {"": 17, "ai.onnx.ml": 3}
        try:
            return skl2onnx.to_onnx(model, initial_types=given, target_opset=opsets, options={"zipmap": False})
        except NameError:
            return skl2onnx.to_onnx(model, initial_types=given, target_opset=opsets)
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    given = [(INPUT, FloatTensorType([None, columns]))]
    if key.startswith("xgb/"):
        return onnxmltools.convert_xgboost(model, initial_types=given, target_opset=15)
    return onnxmltools.convert_lightgbm(model, initial_types=given, target_opset=15, zipmap=False)


def _as_meant(source: Estimator, found: dict[str, Any]) -> dict[str, Any]:
    """Give a bare file's answers the shapes of the source's; scores that are no probabilities are its own business."""
    kept = {}
    for name, value in found.items():
        if name == "scores" and source.classes is not None:
            continue
        if name == LABEL and source.classes is not None:
            places = {str(one): place for place, one in enumerate(source.classes)}
            value = np.array([places.get(str(one), -1) for one in np.ravel(value)])  # noqa: PLW2901
        kept[name] = np.asarray(value).reshape(len(value), -1) if name != LABEL else np.ravel(value)
    return kept


def _run(file: bytes, inputs: Mapping[str, Any]) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def main() -> None:
    """Fit, convert both ways, compare; print a line for each model and the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo.estimator_table", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[""], help="words of which a key has one")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: dict[tuple[str, str], Counter[str]] = {}
    for key, make in models().items():
        if not any(word in key for word in given.only):
            continue
        model, started = make(), time.monotonic()
        source = _source(model)
        with tempfile.TemporaryDirectory(prefix="zoo-") as name:
            ways = {**by_edgemm(model, source, key, Path(name)), "bare": by_others(model, source, key)}
        for way, (status, detail) in ways.items():
            counts.setdefault((way, key.partition("/")[0]), Counter())[status] += 1
            said = f"{key} {way}: {status} {detail[:200]}".rstrip()
            print(f"{said} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
    print("way     family " + " ".join(f"{status:>19}" for status in STATUSES))
    for (way, family), found in sorted(counts.items()):
        print(f"{way:<7} {family:<6} " + " ".join(f"{found[status]:>19}" for status in STATUSES))


def _source(model: Any) -> Estimator:
    try:
        return estimator.of(plain_steps.simplified(copy.deepcopy(model)), path="zoo")
    except EdgemmError as err:
        raise SystemExit(f"the zoo has a model that is no source: {err}") from err


if __name__ == "__main__":
    main()
