"""The kinds of operations in a TFLite file, and what is wrong with those that an engine does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgemm.errors import InputError

_KINDS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_CUSTOM = schema.BuiltinOperator.CUSTOM
_EDGE_TPU = "edgetpu-custom-op"
_OWN = {"TFLite_Detection_PostProcess"}
"""Custom operations that LiteRT has."""

_OF_CUSTOM = ("custom op", "Select TensorFlow")
_OF_NEWER = ("newer model", "schema version")
"""What LiteRT says of a file with operations that it does not have, and of one that was made for a later LiteRT."""


def kind(code: Any) -> str:
    """Return what an operation is called: a builtin's name, or the name that a custom one has of itself.

    Files from before version 3a of the schema say it in a byte, `deprecated_builtin_code`, and leave the other field
    at 0; what came later has 127 in the byte. The larger of both is the operation's number.
    """
    number = _number(code)
    if number == _CUSTOM:
        return bytes(code.customCode or b"CUSTOM").decode("utf-8", "replace")
    return str(_KINDS.get(number, f"operation {number}"))


def check_compiled(path: Path, model: Any) -> None:
    """Check that no accelerator's program stands in the place of the operations.

    Raises:
        InputError: there is one.
    """
    if any(kind(code) == _EDGE_TPU for code in model.operatorCodes or ()):
        name = path.name.replace("_edgetpu", "") if "_edgetpu" in path.name else "the .tflite file"
        raise InputError(
            f"{path}: compiled for the Edge TPU (operation {_EDGE_TPU}), which no other engine can run: give {name} "
            "that edgetpu_compiler was given"
        )


def refusal(model: Any | None, said: str) -> str:
    """Return why LiteRT, which `said` something, does not open a file, and what to do; None where no model was read."""
    codes = [] if model is None else model.operatorCodes or []
    custom = sorted({kind(code) for code in codes if _number(code) == _CUSTOM} - _OWN)
    if custom and any(words in said for words in _OF_CUSTOM):
        flex = "; those that begin with Flex are TensorFlow's own" if any(k.startswith("Flex") for k in custom) else ""
        return (
            f"it needs custom operations ({', '.join(custom)}){flex}: convert the model with TFLite's builtin "
            "operations alone, or give edgemm the model that the file was made from"
        )
    if any(words in said for words in _OF_NEWER):
        return f"it needs a newer LiteRT ({said}): update ai-edge-litert, or convert the model anew"
    return f"it is damaged or cut short ({said}); export it again"


def _number(code: Any) -> int:
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))
