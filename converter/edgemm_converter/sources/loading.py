"""The loader of a source model in a child process: gives its signature and its TensorFlow function.

A model file is code. Keras' safe mode stays on unless `--allow-lambda` is given, and only those custom objects are
imported that the user names. Imports TensorFlow.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras.src.utils import python_utils  # whose names are all that the code of a Lambda layer finds

from edgemm import library_errors
from edgemm.errors import InputError
from edgemm_converter.children import custom_objects
from edgemm_converter.children.protocol import ExportRequest, SourceFormat
from edgemm_converter.job import keras_version
from edgemm_converter.sources import keras3, saved_model
from edgemm_converter.sources.served_function import SourceFunction

# Opening a model runs code of Keras and of the model, which raises whatever it likes.
_FOREIGN = (
    ArithmeticError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError, TypeError, ValueError,
    zipfile.BadZipFile, tf.errors.OpError,
)  # fmt: skip

_OF_OPTIMIZATION = {
    True: (
        "the model was pruned and holds the pruning still (PruneLowMagnitude): call "
        "tensorflow_model_optimization.sparsity.keras.strip_pruning(model) and save what it returns"
    ),
    False: (
        "the model was trained for integers and holds layers of tensorflow_model_optimization: save it as a "
        "SavedModel, by model.export(FOLDER) where it was trained, and convert the folder"
    ),
}
"""What to do with a model that was pruned, and with one that was not."""


def load(request: ExportRequest, folder: Path) -> SourceFunction:
    """Load the source of `request`; `folder` is the child's own.

    Raises:
        InputError: it cannot be opened; says why and what to do.
    """
    path = Path(request.source)
    keras.config.disable_traceback_filtering()  # its frames tell which layer fails
    tf.debugging.disable_traceback_filtering()
    if request.format == SourceFormat.SAVED_MODEL:
        return _load_saved_model(path, request)
    if request.signature is not None:
        raise InputError(f"{path}: --signature chooses one of a SavedModel's signatures; a Keras file has none")
    config = _config(path, request.format)
    _check_lambdas(path, config, allowed=request.allow_lambda)
    objects = _custom_objects(request.custom_objects)
    if request.allow_lambda:
        _give_to_lambdas(objects)
    opened = _with_suffix(path, request.format, folder)
    try:
        if keras_version.keras_2_chosen():
            from edgemm_converter.sources import keras2

            return keras2.serve(keras2.load(opened, objects=objects), path=path, shapes=request.input_shapes)
        with keras.saving.custom_object_scope(objects):
            model = keras.models.load_model(opened, compile=False, safe_mode=not request.allow_lambda)
    except _FOREIGN as err:
        raise InputError(_why_keras(path, request.format, err)) from err
    try:
        return keras3.serve(model, path=path, shapes=request.input_shapes)
    except NameError as err:  # of a Lambda that says itself what shape it gives, and is first run here
        raise InputError(_why_keras(path, request.format, err)) from err


def _with_suffix(path: Path, kind: str, folder: Path) -> Path:
    """Return a path of the same file whose suffix is the one that Keras expects of its content."""
    suffix = ".keras" if kind == SourceFormat.KERAS else ".h5"
    if path.suffix == suffix:
        return path
    link = folder / f"source{suffix}"
    link.symlink_to(path)
    return link


def _load_saved_model(path: Path, request: ExportRequest) -> SourceFunction:
    try:
        if keras_version.keras_2_chosen():
            import tf_keras  # noqa: F401 - registers the classes of the Keras objects in it, optimizers included
        loaded = tf.saved_model.load(str(path))
    except _FOREIGN as err:
        raise InputError(
            f"{path}: the SavedModel does not open: {library_errors.quoted(err)}; export the model again"
        ) from err
    return saved_model.serve(loaded, path=path, signature_name=request.signature, shapes=request.input_shapes)


def _config(path: Path, kind: str) -> dict[str, Any]:
    """Return the model's configuration, without building anything of it."""
    try:
        if kind == SourceFormat.KERAS:
            with zipfile.ZipFile(path) as archive:
                text: Any = archive.read("config.json")
        else:
            with h5py.File(path, "r") as file:
                text = file.attrs.get("model_config")
        if text is None:
            raise InputError(f"{path}: expected a whole model, found weights only: save it with model.save()")
        config = json.loads(text)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as err:
        library_errors.note(err)
        raise InputError(f"{path}: the file is cut short or damaged; save the model again") from err
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a model's configuration, found {type(config).__name__}")
    return config


def _check_lambdas(path: Path, config: dict[str, Any], *, allowed: bool) -> None:
    names = [_layer_name(layer) for layer in _layers(config, "Lambda")]
    names = names or ["(a bare function)" for _ in _layers(config, "__lambda__")]
    if names and not allowed:
        raise InputError(
            f"{path}: Lambda layer {', '.join(sorted(set(names)))}: it holds Python code that would run on loading; "
            "give --allow-lambda if you trust the file's maker, or replace the layer"
        )


def _layer_name(node: dict[str, Any]) -> str:
    config = node.get("config")
    return str(config.get("name", "?")) if isinstance(config, dict) else "?"


def _layers(node: object, class_name: str) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("class_name") == class_name:
            yield node
        children: Iterable[object] = node.values()
    else:
        children = node if isinstance(node, list) else ()
    for child in children:
        yield from _layers(child, class_name)


def _custom_objects(named: Iterable[str]) -> dict[str, Any]:
    """Import custom objects; the classes of a module may also register themselves."""
    objects: dict[str, Any] = {}
    for found in custom_objects.imported(named, failures=_FOREIGN):
        objects |= found.named or _named_in(found.module)
    return objects


def _named_in(module: Any) -> dict[str, Any]:
    """Return what a module names for itself and others, for the Lambdas that were written in it."""
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


def _give_to_lambdas(objects: Mapping[str, Any]) -> None:
    """Have the code of Lambda layers find names: it is saved without the module that it was written in."""
    usual = {"K": keras.backend, "keras": keras, "np": np, "numpy": np, "ops": keras.ops, "tensorflow": tf, "tf": tf}
    there = vars(python_utils)
    there.update({name: value for name, value in {**usual, **objects}.items() if name not in there})


def _why_keras(path: Path, kind: str, err: BaseException) -> str:
    if missing := re.search(r"name '(\w+)' is not defined", str(err)):
        return (
            f"{path}: a Lambda layer uses {missing[1]!r} of the module that it was written in, and a file holds the "
            f"Lambda's own code alone: give --custom-objects MODULE:{missing[1]}, or replace the layer"
        )
    if made_by := re.search(r"\b(PruneLowMagnitude|Quantize(?:WrapperV2|Wrapper|Layer|Annotate))\b", str(err)):
        return f"{path}: {_OF_OPTIMIZATION[made_by[1] == 'PruneLowMagnitude']}"
    if unknown := re.search(r"(?:Could not locate \w+|Unknown \w+:?) '?(?:[^'>]*>)?(\w+)", str(err)):
        return (
            f"{path}: Keras does not know {unknown[1]}, a custom object: name the module that defines it with "
            f"--custom-objects MODULE:{unknown[1]}"
        )
    if keras_version.keras_2_chosen():
        version = keras_version.version_of(path, kind)
        return f"{path}: written by Keras {version}, and tf-keras cannot open it: {library_errors.quoted(err)}"
    return f"{path}: Keras {keras.__version__} cannot open it: {library_errors.quoted(err)}"
