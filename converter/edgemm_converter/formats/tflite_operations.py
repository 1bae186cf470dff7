"""The kinds of operations in a TFLite file, and what is wrong with those that an engine does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgemm import library_errors
from edgemm.errors import InputError
from edgemm_converter.job import naming

_KINDS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_CUSTOM = schema.BuiltinOperator.CUSTOM
_EDGE_TPU = "edgetpu-custom-op"
_OWN = {"TFLite_Detection_PostProcess"}
"""Custom operations that LiteRT has."""

_OF_VALID_INTEGERS = frozenset({
    "BROADCAST_TO", "CALL_ONCE", "DIV", "DYNAMIC_UPDATE_SLICE", "EMBEDDING_LOOKUP", "EMBEDDING_LOOKUP_SPARSE", "FILL",
    "FLOOR_DIV", "FLOOR_MOD", "GATHER", "GATHER_ND", "HASHTABLE_LOOKUP", "MIRROR_PAD", "ONE_HOT", "PAD", "PADV2",
    "RANGE", "RESHAPE", "REVERSE_SEQUENCE", "RIGHT_SHIFT", "SCATTER_ND", "SEGMENT_SUM", "SLICE", "SPARSE_TO_DENSE",
    "STRIDED_SLICE", "TILE", "TOPK_V2", "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_MIN", "UNSORTED_SEGMENT_PROD",
    "UNSORTED_SEGMENT_SUM", "WHILE",
})  # fmt: skip
"""Operations that take integers as indices, lengths or divisors."""

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


def refusal(model: Any | None, err: Exception) -> str:
    """Return why LiteRT failed to open a file, and what to do; `model` is None where none was read."""
    said, why = str(err), library_errors.plain(err)
    codes = [] if model is None else model.operatorCodes or []
    custom = sorted({kind(code) for code in codes if _number(code) == _CUSTOM} - _OWN)
    if custom and any(words in said for words in _OF_CUSTOM):
        flex = "; those that begin with Flex are TensorFlow's own" if any(k.startswith("Flex") for k in custom) else ""
        return (
            f"it needs custom operations ({', '.join(custom)}){flex}: convert the model with TFLite's builtin "
            "operations alone, or give edgemm the model that the file was made from"
        )
    if any(words in said for words in _OF_NEWER):
        return f"it needs a newer LiteRT ({why}): update ai-edge-litert, or convert the model anew"
    return f"it is damaged or cut short: {why}; export it again"


def is_bounded(model: Any) -> bool:
    """Tell whether a file has operations for which an integer may be no valid one; custom ones are not known."""
    kinds = {kind(code) for code in model.operatorCodes or ()}
    return bool(kinds & _OF_VALID_INTEGERS) or any(_number(code) == _CUSTOM for code in model.operatorCodes or ())


def layer_of(file: bytes, index: int) -> str:
    """Return the layer that the operation at a position of a file's main graph comes from, "" where there is none."""
    graph = schema.ModelT.InitFromPackedBuf(file, 0).subgraphs[0]
    outputs = graph.operators[index].outputs if index < len(graph.operators) else ()
    names = [bytes(graph.tensors[i].name or b"").decode("utf-8", "replace") for i in outputs]
    return naming.readable(names[0]) if names and "/" in names[0] else ""


def _number(code: Any) -> int:
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))
