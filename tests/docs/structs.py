"""What a page must say about the fields of a Struct: the first three columns of its table.

`python -m tests.docs.structs edgemm.bundle.manifest Variant` prints them, to be completed with a meaning.
"""

from __future__ import annotations

import importlib
import sys

import msgspec
from msgspec import Struct, inspect

from edgemm.bundle.manifest import ENGINE_PATTERN, MODEL_NAME_PATTERN
from edgemm.canonical import DIGEST_PATTERN
from edgemm.times import TIME_PATTERN
from edgemm.topics import NAME_PATTERN
from edgemm.versions import VERSION_PATTERN

_PATTERNS = {
    DIGEST_PATTERN: "digest",
    MODEL_NAME_PATTERN: "model name",
    ENGINE_PATTERN: "[Engine](#engine)",
    VERSION_PATTERN: "version",
    NAME_PATTERN: "name",
    TIME_PATTERN: "time",
    r"\A[0-9a-f]{16}\Z": "boot id",
    r"\A[0-9a-f]{32}\Z": "32 hex digits",
}


def rows(kind: type[Struct]) -> list[list[str]]:
    """Return name, type and default of each field, as the table of a page gives them."""
    return [_row(field) for field in msgspec.structs.fields(kind)]


def _row(field: msgspec.structs.FieldInfo) -> list[str]:
    name = f"`{field.encode_name}`"
    if field.encode_name != field.name:
        name += f" {field.name}"
    if field.default is msgspec.UNSET:
        default = "left out"
    elif field.required:
        default = "required"
    elif field.default is msgspec.NODEFAULT or isinstance(field.default, (tuple, Struct)):
        default = "defaults" if isinstance(field.default, Struct) else "empty"
    else:
        default = f"`{msgspec.json.encode(field.default).decode()}`"
    return [name, describe(inspect.type_info(field.type)), default]


def describe(kind: inspect.Type) -> str:  # noqa: PLR0911, PLR0912 - one line a kind of type
    """Say in words what a field may hold."""
    match kind:
        case inspect.StrType(pattern=str(pattern)):
            return _PATTERNS.get(pattern, f"string like `{pattern}`")
        case inspect.StrType(min_length=low, max_length=high):
            return "string" + _range(low, high, "characters")
        case inspect.IntType(ge=low, le=high):
            return "integer" + _range(low, high)
        case inspect.FloatType(gt=above, ge=low, le=high):
            return "number (> 0)" if above == 0 else "number" + _range(low, high)
        case inspect.BoolType():
            return "true or false"
        case inspect.BytesType(min_length=length):
            return f"{length} bytes"
        case inspect.VarTupleType(item_type=item, min_length=low, max_length=high):
            return "list" + _range(low, high) + f" of {describe(item)}"
        case inspect.DictType(key_type=key, value_type=value, min_length=low, max_length=high):
            return "map" + _range(low, high) + f" of {describe(key)} → {describe(value)}"
        case inspect.StructType(cls=cls) | inspect.EnumType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
        case inspect.LiteralType(values=values):
            return " or ".join(f"`{msgspec.json.encode(value).decode()}`" for value in values)
        case inspect.TupleType(item_types=items):
            return f"list ({len(items)}) of {describe(items[0])}"
        case inspect.UnionType(types=types):
            return " or ".join("null" if isinstance(t, inspect.NoneType) else describe(t) for t in types)
        case inspect.AnyType():
            return "anything"
    raise AssertionError(f"say in words what {kind} is")


def _range(low: float | None, high: float | None, unit: str = "") -> str:
    unit = f" {unit}" if unit else ""
    if high == 2**53 - 1:  # said once, in the page's introduction
        high = None
    if low is not None and high is not None:
        return f" ({_plain(low)} to {_plain(high)}{unit})"
    if high is not None:
        return f" (≤ {_plain(high)}{unit})"
    return f" (≥ {_plain(low)}{unit})" if low is not None else ""


def _plain(number: float) -> str:
    named = {2**31 - 1: "2³¹ − 1", 2**40: "2⁴⁰", 1e9: "10⁹"}
    return named.get(number, f"{number:,}".replace("-", "−").removesuffix(".0"))


def main(module: str, *names: str) -> None:
    """Print the tables of some Structs of a module."""
    for name in names:
        print(f"\n### {name}\n\n| field | type | default | meaning |\n|---|---|---|---|")
        for row in rows(getattr(importlib.import_module(module), name)):
            print("|", " | ".join(cell.replace("|", r"\|") for cell in row), "| … |")


if __name__ == "__main__":
    main(*sys.argv[1:])
