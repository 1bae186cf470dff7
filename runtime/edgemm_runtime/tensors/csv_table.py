"""The reader of CSV as people and programs write it: lines of cells, and the numbers in them. Pure.

* Cells are separated by commas, semicolons or tabs, whichever the first line has; numbers by blanks, where it has none.
* Between semicolons and tabs, a comma is a decimal point (`0,5;1,2`), where no cell has a point.
* Cells may be quoted, lines empty, ends of lines those of any system, and a byte order mark may stand in front.
* Numbers are `1`, `+1`, `1.`, `.5`, `1e-3`, `nan`, `inf` and `Infinity` in any case. An empty cell is none.
* An input of booleans takes `true`, `false`, `1` and `0`.
* The first line names the columns if none of its cells is a value.

A table of named columns (`read_named`) has its names in the first line whatever they are. Its cells are as they stand,
with the blanks around them, which are part of a text; so is a line of empty cells, which is a row.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from dataclasses import dataclass

from edgemm.errors import BadRequestError

_SEPARATORS = "\t;,"
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
EXPECTED = {"b": "true or false", "i": "an integer", "u": "an integer", "f": "a number within range"}
"""What a cell of a column is, by NumPy's kind of it."""
_QUOTED = re.compile(r'"[^"]*"')
_LINE = re.compile(rb'(?:^|[\r\n])[ "]*[+-]?\.?\d[\d.eE+-]*"?[ ]*[,;\t]')
_LOOKED_AT = 4096
_JSON = frozenset((b"{", b"["))
_WIDE = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
for _name in ("utf-8-sig", "utf-16"):
    codecs.lookup(_name)  # imports it now, and not at the first CSV: there may be no file descriptor left by then


@dataclass(frozen=True)
class CsvTable:
    """The lines of a CSV that are not empty: `header`, where there is one, and cells; `numbers` are those of lines."""

    header: list[str] | None
    rows: list[list[str]]
    numbers: list[int]
    decimal_commas: bool = False
    """Whether a comma may be a decimal point, by what separates the cells."""


def seems_csv(data: bytes) -> bool:
    """Tell whether bytes that say nothing of themselves are CSV: a line begins with a number and goes on behind it."""
    return data[:1] not in _JSON and _LINE.search(data, 0, _LOOKED_AT) is not None


def decode(data: bytes) -> str:
    """Return the text in the bytes of a CSV: UTF-8, or UTF-16 with its mark; numbers are ASCII, names need not be."""
    wide = next((name for mark, name in _WIDE if data.startswith(mark)), None)
    return data.decode(wide or "utf-8", errors="replace").removeprefix("\ufeff")


def decode_strictly(data: bytes) -> str:
    """Return the text in the bytes of a CSV whose cells are texts too.

    Raises:
        BadRequestError: it is neither UTF-8 nor UTF-16 with its mark.
    """
    wide = next((name for mark, name in _WIDE if data.startswith(mark)), None)
    try:
        return data.decode(wide or "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as err:
        raise BadRequestError(f"expected CSV of UTF-8, found bytes that are none from byte {err.start} on") from err


def read_named(text: str) -> CsvTable:
    """Return the cells of a table of named columns, as they stand; its names have no blanks around them.

    Raises:
        BadRequestError: as `read`.
    """
    separator = _separator(text) or ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    numbers: list[int] = []
    try:
        for row in reader:
            if row and (rows or any(map(str.strip, row))):
                rows.append(row)
                numbers.append(reader.line_num)
    except csv.Error as err:
        raise _no_line(numbers) from err
    header = [cell.strip() for cell in rows[0]] if rows else []
    return CsvTable(header, rows[1:], numbers[1:], separator in {";", "\t"})


def with_points(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return columns of numbers with points for decimal commas, where no cell of them has a point."""
    if any("." in cell for cells in columns.values() for cell in cells):
        return columns
    return {name: [_with_point(cell) for cell in cells] for name, cells in columns.items()}


def column(cells: list[str], *, kind: str, missing: bool) -> list[float | int] | int:
    """Return the values of a column, of NumPy's `kind`; or the place of the first cell that is none.

    An empty cell of floats is NaN where they may be `missing`.
    """
    found: list[float | int] = []
    for place, cell in enumerate(cells):
        value = _value(cell.strip(), kind=kind, missing=missing)
        if value is None:
            return place
        found.append(value)
    return found


def _value(cell: str, *, kind: str, missing: bool) -> float | int | None:
    if kind == "b":
        return _BOOLEANS.get(cell.lower())
    if not cell and missing and kind == "f":
        return math.nan
    if not is_number(cell):
        return None
    value = float(cell)
    if math.isinf(value) and any(map(str.isdigit, cell)):
        return None  # 1e400: infinity is spelled
    if kind == "f":
        return value
    whole = _integer(cell, value)
    return whole if isinstance(whole, int) else None


def read(text: str) -> CsvTable:
    """Return the cells of a CSV, without blanks around them.

    Raises:
        BadRequestError: a quote is not closed, or a cell is longer than 128 KiB.
    """
    separator = _separator(text)
    lines = io.StringIO(text, newline=None)
    rows: list[list[str]] = []
    numbers: list[int] = []
    try:
        if separator is None:
            for number, line in enumerate(lines, start=1):
                if cells := line.split():
                    rows.append(cells if all(map(is_number, cells)) else [line.strip()])
                    numbers.append(number)
        else:
            reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    rows.append(cells)
                    numbers.append(reader.line_num)
    except csv.Error as err:
        raise _no_line(numbers) from err
    if separator in {";", "\t"} and not any("." in cell for row in rows for cell in row if is_number(cell)):
        rows = [[_with_point(cell) for cell in row] for row in rows]
    header = rows[0] if rows and not any(is_number(cell) or _is_boolean(cell) for cell in rows[0]) else None
    return CsvTable(header, rows[1:], numbers[1:]) if header is not None else CsvTable(None, rows, numbers)


def _no_line(numbers: list[int]) -> BadRequestError:
    return BadRequestError(
        f"line {(numbers or [0])[-1] + 1}: expected a line of CSV, its quotes closed and each cell of at most "
        f"{csv.field_size_limit():,} characters"
    )


def is_number(cell: str) -> bool:
    """Tell whether a cell is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _is_boolean(cell: str) -> bool:
    return cell.lower() in _BOOLEANS


def values(table: CsvTable, *, kind: str) -> list[list[float | int]]:
    """Return the values of each line; `kind` is that of NumPy: of "i" and "u", those without a fraction are integers.

    Raises:
        BadRequestError: a cell is none; says in which line and column.
    """
    return [_values(row, number, kind=kind) for row, number in zip(table.rows, table.numbers, strict=True)]


def _values(row: list[str], line: int, *, kind: str) -> list[float | int]:
    try:
        if kind == "b":
            return [_BOOLEANS[cell.lower()] for cell in row]
        found = [float(cell) for cell in row]
    except (ValueError, KeyError):
        found = []
    if not found or any("_" in cell for cell in row):
        known = _is_boolean if kind == "b" else is_number
        column, cell = next((index, cell) for index, cell in enumerate(row, start=1) if not known(cell))
        what = repr(cell[:40]) if cell else "an empty cell"
        expected = "true or false" if kind == "b" else "a number"
        raise BadRequestError(f"line {line}, column {column}: expected {expected}, found {what}")
    if any(map(math.isinf, found)):
        _check_range(row, found, line)
    if kind in "iu":
        # By way of a float, integers from 2**53 on would be other ones.
        return [_integer(cell, value) for cell, value in zip(row, found, strict=True)]
    return list(found)


def _check_range(row: list[str], found: list[float], line: int) -> None:
    """Refuse numbers such as 1e400, which no float holds: infinity is spelled."""
    for column, (cell, value) in enumerate(zip(row, found, strict=True), start=1):
        if math.isinf(value) and any(map(str.isdigit, cell)):
            raise BadRequestError(f"line {line}, column {column}: {cell[:40]!r} is out of the range of numbers")


def _integer(cell: str, value: float) -> float | int:
    digits = cell.removeprefix("+").removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 20:
        return int(cell)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _separator(text: str) -> str | None:
    """Return what separates the cells of the first line that has any."""
    start = len(text) - len(text.lstrip("\r\n \t;,"))
    ends = [end for mark in "\r\n" if (end := text.find(mark, start)) >= 0]
    first = text[text.rfind("\n", 0, start) + 1 : min(ends, default=len(text))]
    plain = _QUOTED.sub("", first)
    return next((separator for separator in _SEPARATORS if separator in plain), "," if '"' in first else None)


def _with_point(cell: str) -> str:
    pointed = cell.replace(",", ".") if cell.count(",") == 1 else cell
    return pointed if is_number(pointed) else cell
