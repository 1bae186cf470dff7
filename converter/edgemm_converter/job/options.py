"""The options of a conversion: of the function `convert`, and of the command with the same name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from edgemm.errors import InputError

_MOST_VALUES = 2**31 - 1
"""Values in a tensor: engines count them in 32 bits."""


class ConversionOptions(TypedDict, total=False):
    """Options of a conversion by name; each may be left out."""

    output: str | Path | None
    """The bundle to write; `NAME-VERSION.edgemm` in the current folder by default."""

    name: str | None
    """The model's name; made from the source's file name by default."""

    version: str
    """The model's semantic version; 0.1.0 by default."""

    targets: Sequence[str]
    """Engines, such as `tflite` and `onnx`; all that there are by default."""

    precisions: Sequence[str]
    """`float32`, `float16`, `int8`, `int8-dynamic`, `int16x8`, `int8-weights`, `int4-weights`, or `auto` for the
    smallest TFLite variant within `max_drop`; float32 by default, and int8 with `calibration`."""

    calibration: str | Path | None
    """Real inputs: a `.npz` or `.npy` with one array or one for each input, a CSV, or with `preprocess` a folder of
    images; of more than 512 samples, 512 that are spread evenly are used."""

    labels: str | Path | Sequence[str] | None
    """Names of the classes, or a file of them."""

    custom_objects: Sequence[str]
    """Modules to import in the child for custom layers, or types that a skops file may hold: `MODULE` or
    `MODULE:NAME`."""

    allow_lambda: bool
    """Run Lambda layers, which are Python code in the model file."""

    allow_pickle: bool
    """Open a joblib file or pickle, which is code of whoever made it: in a child process, as every source."""

    signature: str | None
    """Which signature of a SavedModel or `.tflite` file; `serving_default` or the only one by default."""

    input_shapes: Mapping[str, Sequence[int]] | None
    """Shapes of inputs that the source leaves open, by name; −1 for a dimension that stays variable."""

    columns: Mapping[str, str] | None
    """Dtypes of an estimator's named columns where its steps do not tell, such as `{"vip": "bool"}`: `string`,
    `float32`, `float64`, `int64` or `bool`. A model of one table of numbers then takes its columns by name."""

    evaluation: str | Path | None
    """Labelled data, on which each variant is measured: like `calibration`, with an array or column `labels`, or with
    images in folders of classes."""

    evaluated_output: str | None
    """Which output the metric is of, where several fit."""

    metric: str | None
    """`accuracy`, `f1`, `precision`, `recall`, `mse` or `auc`; accuracy by default."""

    max_drop: float | None
    """No bundle where a variant's metric is worse than the source's by more, in its unit: of `mse`, the square of the
    wanted numbers' unit. The budget of `auto`; there 0.005 by default, of `mse` times the variance of these numbers."""

    preprocess: str | Path | None
    """A TOML file that says how inputs are made of images or class indices."""

    report: str | Path | None
    """Where to write a page of HTML about the conversion; the same as JSON is written beside it."""

    parent: str | Path | None
    """The bundle that this one follows: it is named in the lineage, and the report compares the two."""

    licence: str | None
    """The model's licence, as text."""

    monitor: str
    """How much is tried with `evaluation` to know the model's accuracy in the field without labels: `quick`, `full` or
    `off`; quick by default."""

    stateful: bool
    """Package a finished file that keeps state between inferences: each client asks it in a sequence of its own."""


def check_names(options: ConversionOptions) -> None:
    """Check that only options that there are were given, as Python does for named parameters.

    Raises:
        TypeError: one is none of them.
    """
    for name in options:
        if name not in ConversionOptions.__annotations__:
            known = ", ".join(ConversionOptions.__annotations__)
            raise TypeError(f"convert() got an unexpected option {name!r}; expected one of {known}")


def input_shapes(given: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of `--input-shape`, in which −1 is an open axis.

    Raises:
        InputError: no engine could hold such an input.
    """
    for name, shape in given.items():
        if math.prod(map(abs, shape)) > _MOST_VALUES:
            raise InputError(
                f"--input-shape {name}={','.join(map(str, shape))}: expected at most {_MOST_VALUES:,} values in it"
            )
    return {name: tuple(shape) for name, shape in given.items()}
