"""The judgement of what a file of `torch.export` holds, before PyTorch opens it. Pure.

PyTorch unpickles example inputs and some weights, evaluates expressions of sizes as Python, takes operators by any
dotted name below `torch`, and imports modules that a description of a tree names
(torch/_export/serde/serialize.py, torch/export/pt2_archive/_package.py and torch/utils/_pytree.py). Here expressions
may be arithmetic alone, operators those of PyTorch's own operator sets, and trees those of tuples, lists and dicts.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgemm.errors import InputError

_OPERATOR = re.compile(
    r"torch\.ops\.(?:aten|prims)\.[a-z_]\w*(?:\.\w+)?"
    r"|torch\.ops\.higher_order\.(?:associative_scan|cond|map_impl|scan|while_loop|wrap_with_autocast"
    r"|wrap_with_set_grad_enabled)"
    r"|torch\.(?:sym_(?:float|fresh_size|int|ite|max|min|not|sqrt|sum)|_sym_sqrt)"
    r"|_operator\.(?:add|and_|eq|floordiv|ge|getitem|gt|le|lshift|lt|mod|mul|ne|neg|not_|or_|pos|pow|rshift|sub|truediv"
    r"|xor)"
    r"|math\.(?:ceil|floor|pow|trunc)"
)
_FILES = re.compile(r"torch\.ops\.aten\.(?:from_file|save)\b|__")
"""Operators that read or write files, and names that are no operator's."""

_FUNCTIONS = frozenset({
    "Abs", "Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Eq", "Equality", "Float", "FloatPow", "FloatTrueDiv",
    "FloorDiv", "FloorToInt", "Ge", "GreaterThan", "Gt", "Identity", "IntTrueDiv", "Integer",
    "IsNonOverlappingAndDenseIndicator", "LShift", "Le", "LessThan", "Lt", "Max", "Min", "Mod", "ModularIndexing",
    "Mul", "Ne", "Not", "Or", "Pow", "PowByNatural", "PythonMod", "RShift", "Rational", "RoundDecimal",
    "RoundToInt", "StrictGreaterThan", "StrictLessThan", "Symbol", "ToFloat", "TruncToFloat", "TruncToInt",
    "Unequality", "Where", "ceiling", "floor",
})  # fmt: skip
"""Functions that expressions of sizes are made of."""

_ARITHMETIC = (
    ast.Expression, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop,
    ast.cmpop, ast.keyword,
)  # fmt: skip
_MOST_TEXT = 4096
_TREES = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
_KEPT_METADATA = "nn_module_stack"
_SCHEMA = "schema_version"
_Object = Mapping[str, Any]


def check_version(graph: _Object, *, known: tuple[int, int], installed: str, path: str) -> None:
    """Check that a graph's format is none of a later PyTorch; `known` is (major, minor) of the `installed` one.

    Raises:
        InputError: it is.
    """
    version = graph.get(_SCHEMA)
    found = version.get("major") if isinstance(version, dict) else None
    if isinstance(found, int) and found > known[0]:
        raise InputError(
            f"{path}: written by PyTorch {_short(graph.get('torch_version'))}, in version {found} of its format, and "
            f"{installed} knows {known[0]}: install that PyTorch, or export the model with this one"
        )


def cleaned(graph: _Object, *, path: str) -> dict[str, Any]:
    """Return the description of a program without what is not needed to run it, on the CPU.

    Raises:
        InputError: it holds what runs code, or what no target has.
    """
    for target in _operators(graph):
        if not isinstance(target, str) or not _OPERATOR.fullmatch(target) or _FILES.search(target):
            raise InputError(
                f"{path}: it calls {_short(target)}, which is none of PyTorch's own operators: neither ONNX nor TFLite "
                "has it; write that step in operators of torch"
            )
    for text in _texts(graph, "expr_str"):
        if not is_arithmetic(text):
            raise InputError(
                f"{path}: it holds {_short(text)} for a size, which is no arithmetic: export the model again"
            )
    for key in ("in_spec", "out_spec"):
        for text in _texts(graph, key):
            _check_tree(text, path=path)
    made = _walked(graph)
    assert isinstance(made, dict)
    return {**made, "guards_code": []}


def pickled(config: _Object) -> list[str]:
    """Return which weights or constants of a file's list are pickles."""
    entries = config.get("config")
    if not isinstance(entries, dict):
        return []
    return [
        str(name)
        for name, entry in entries.items()
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False or not _is_plain(entry.get("path_name"))
    ]


def on_cpu(config: _Object) -> Any:
    """Return a list of weights as of the CPU's."""
    return _walked(config)


def is_arithmetic(text: object) -> bool:
    """Tell whether an expression of sizes is arithmetic of symbols, which is all that PyTorch writes."""
    if not isinstance(text, str) or len(text) > _MOST_TEXT:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    return all(_is_plain_node(node, called=id(node) in called) for node in nodes)


def _is_plain_node(node: ast.AST, *, called: bool) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS if called else "__" not in node.id
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, bool | int | float) or (
            isinstance(node.value, str) and re.fullmatch(r"[A-Za-z]\w*|[0-9.e+-]+", node.value) is not None
        )
    return isinstance(node, _ARITHMETIC)


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"(?:weight|tensor)_\d+", name) is not None


def _operators(found: object) -> Iterator[object]:
    """Yield what a graph, and those of its loops and branches, call."""
    for table in _tables(found):
        if "target" in table and "inputs" in table:
            yield table["target"]
        if "as_operator" in table:
            yield table["as_operator"]


def _texts(found: object, key: str) -> Iterator[object]:
    return (table[key] for table in _tables(found) if key in table)


def _tables(found: object) -> Iterator[dict[str, Any]]:
    stack = [found]
    while stack:  # no recursion: the file says how deep it is
        one = stack.pop()
        if isinstance(one, dict):
            yield one
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)


def _walked(found: Any) -> Any:
    """Return a copy without the metadata that nothing needs, and with the CPU in the place of every device."""
    if isinstance(found, dict):
        return {
            key: _metadata(value) if key == "metadata" else _device(value) if key in ("device", "as_device") else
            _walked(value)
            for key, value in found.items()
        }  # fmt: skip
    return [_walked(one) for one in found] if isinstance(found, list) else found


def _metadata(found: Any) -> dict[str, str]:
    text = found.get(_KEPT_METADATA) if isinstance(found, dict) else None
    return {_KEPT_METADATA: text} if isinstance(text, str) else {}


def _device(found: Any) -> Any:
    return {"type": "cpu", "index": None} if isinstance(found, dict) and "type" in found else _walked(found)


def _check_tree(text: object, *, path: str) -> None:
    """Check what arguments or results are arranged in: a description of it may name any module to import."""
    try:
        trees = list(_tables(json.loads(text))) if isinstance(text, str) else []
    except (ValueError, RecursionError):
        trees = []
    kinds = [tree["type"] for tree in trees if "type" in tree]
    contexts = [tree.get("context") for tree in trees]
    unknown = [kind for kind in kinds if kind not in _TREES]
    if unknown or not kinds or not all(map(_is_keys, contexts)):
        what = _short(unknown[0] if unknown else text)
        raise InputError(
            f"{path}: its inputs or outputs are arranged in {what}: take tensors as arguments, and return a tensor, a "
            "tuple or a dict of them"
        )


def _is_keys(context: object) -> bool:
    """Tell whether a tree's context is nothing, or the keys of a dict."""
    if context is None:
        return True
    try:
        keys = json.loads(context) if isinstance(context, str) else context
    except (ValueError, RecursionError):
        return False
    return keys is None or (isinstance(keys, list) and all(isinstance(key, str | int) for key in keys))


def _short(found: object) -> str:
    text = str(found)
    return repr(text[:80] + "…" if len(text) > 80 else text)
