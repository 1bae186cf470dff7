"""The detection of Keras 2 sources, from their own content and before TensorFlow is imported.

Keras 2 and Keras 3 do not open each other's files. The environment decides which of the two `tf.keras` is, at the
moment when TensorFlow is imported, so the version must be known by then. Nothing of the source is executed.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

from edgemm_converter.children.protocol import SourceFormat

_KERAS_2_MARK = b"_tf_keras_"
_LEGACY = "TF_USE_LEGACY_KERAS"


def version_of(path: Path, kind: str) -> str | None:
    """Return the version of Keras that wrote a `.keras` or `.h5` file, None where it does not say so."""
    import h5py

    try:
        if kind == SourceFormat.KERAS:
            with zipfile.ZipFile(path) as archive:
                found = json.loads(archive.read("metadata.json")).get("keras_version")
        else:
            with h5py.File(path, "r") as file:
                found = file.attrs.get("keras_version")
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile):
        return None
    return found.decode() if isinstance(found, bytes) else found


def is_keras_2(path: Path, kind: str) -> bool:
    """Tell whether a source was written by Keras 2 (or 1), whose classes tf-keras knows."""
    if kind == SourceFormat.SAVED_MODEL:
        try:
            return _KERAS_2_MARK in (path / "saved_model.pb").read_bytes()
        except OSError:
            return False
    if kind not in (SourceFormat.KERAS, SourceFormat.HDF5):
        return False
    return (version_of(path, kind) or "").startswith(("1.", "2."))


def choose_keras_2() -> None:
    """Make `tf.keras` of this process tf-keras; call it before TensorFlow is imported."""
    os.environ[_LEGACY] = "1"


def keras_2_chosen() -> bool:
    """Tell whether `tf.keras` of this process is tf-keras."""
    return os.environ.get(_LEGACY) == "1"
