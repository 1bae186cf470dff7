"""A converted file, checked, and run in ONNX Runtime beside its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from edgemm import library_errors
from edgemm.errors import ConversionError
from edgemm_converter.data.arrays import Array

FAILURES: tuple[type[Exception], ...] = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, NotImplementedError,
    RuntimeError, TypeError, ValueError,
    *(e for e in vars(states).values() if isinstance(e, type) and issubclass(e, Exception)),
)  # fmt: skip
"""What libraries of ONNX raise; the exceptions of ONNX Runtime have no common base but Exception."""

_MAX_FILE_BYTES = 2**31 - 1


def checked(proto: Any) -> bytes:
    """Return the file of a model.

    Raises:
        ConversionError: it breaks a rule of ONNX, or is over 2 GB.
    """
    if proto.ByteSize() > _MAX_FILE_BYTES:
        raise ConversionError("ONNX: the file is over 2 GB: train a smaller model")
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as err:
        raise ConversionError(f"ONNX: the converted file breaks a rule: {library_errors.plain(err)}") from err
    return bytes(proto.SerializeToString(deterministic=True))


class FileSession:
    """A file in ONNX Runtime."""

    def __init__(self, file: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except FAILURES as err:
            raise ConversionError(f"ONNX Runtime cannot load what was converted: {library_errors.plain(err)}") from err

    def run(self, inputs: Mapping[str, Array], names: list[str]) -> dict[str, Array]:
        """Return the answers by name."""
        try:
            return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))
        except FAILURES as err:
            raise ConversionError(f"ONNX Runtime cannot run what was converted: {library_errors.plain(err)}") from err
