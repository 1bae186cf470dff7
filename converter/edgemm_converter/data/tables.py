"""CSV files as model inputs: one sample per line, numbers or named columns, and an optional column of `labels`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgemm import plain_text
from edgemm.errors import BadRequestError, InputError
from edgemm_converter.data import arrays
from edgemm_converter.data.arrays import UNNAMED, Array
from edgemm_runtime.tensors import csv_table

LABELS = "labels"
_MAX_BYTES = 256 * 2**20
"""A table takes some thirty times its text while it is read."""


def read(
    path: Path, *, labels: Sequence[str] | None = None, labelled: bool = True, raw: bool = False
) -> dict[str, Array]:
    """Read a CSV: its numbers as one array [lines, columns], and `labels` by index where a column has that name.

    It may be written in every way that a device takes (`csv_table`). The first line may name the columns. A column of
    labels is left out where data are not `labelled`. Where cells are wanted `raw` and the first line names columns,
    each is an array of its cells as they stand, and labels keep their names.

    Raises:
        InputError: not CSV, lines of other lengths, a cell that is no number, or a label that is none.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: expected a CSV file, found no ordinary file")
        if (size := path.stat().st_size) > _MAX_BYTES:
            raise InputError(
                f"{path}: {size / 2**20:.0f} MiB, expected a CSV of at most {_MAX_BYTES / 2**20:.0f} MiB: give the "
                "numbers as a .npz file"
            )
        text = plain_text.read(path.read_bytes(), name=str(path))
        table = csv_table.read(text)
    except OSError as err:
        raise InputError(f"cannot read {path}: {err.strerror}") from err
    except BadRequestError as err:
        raise InputError(f"{path}, {err}") from err
    lines = ([table.header] if table.header is not None else []) + table.rows
    header = [cell.strip() for cell in lines[0]] if lines and not all(map(_is_number, lines[0])) else None
    if raw and header:
        return _columns(path, text, labels, labelled=labelled)
    rows = lines[1:] if header else lines
    if not rows:
        raise InputError(f"{path}: expected lines of numbers, found none")
    _check_lengths(path, rows, expected=len(header or rows[0]), first=2 if header else 1)
    if header is None or LABELS not in header:
        return {UNNAMED: _numbers(path, rows, first=2 if header else 1)}
    column = header.index(LABELS)
    values = [row[:column] + row[column + 1 :] for row in rows]
    found = {UNNAMED: _numbers(path, values, first=2)}
    if not labelled:
        return found
    cells = [row[column].strip() for row in rows]
    return {**found, LABELS: _classes(path, cells, labels)}


def _columns(path: Path, text: str, labels: Sequence[str] | None, *, labelled: bool) -> dict[str, Array]:
    """Return the cells of a table with a header by column, as they stand, and its labels; their names stay too."""
    table = csv_table.read_named(text)
    header = table.header or []
    if len(set(header)) != len(header):
        raise InputError(f"{path}: expected a name for each column, found {_doubled(header)!r} twice")
    if not table.rows:
        raise InputError(f"{path}: expected lines below the names, found none")
    _check_lengths(path, table.rows, expected=len(header), first=2)
    cells = {name: [row[place] for row in table.rows] for place, name in enumerate(header)}
    if table.decimal_commas:
        pointed = csv_table.with_points(dict(cells))
        cells |= {name: found for name, found in pointed.items() if all(map(_is_number, found))}
    classes = [cell.strip() for cell in cells.pop(LABELS, [])]
    columns = {name: arrays.of_texts(found, name, path=str(path)) for name, found in cells.items()}
    if not labelled or not classes:
        return columns
    plain = all(map(_is_number, classes))
    return {**columns, LABELS: _classes(path, classes, labels) if plain else np.array(classes)}


def _doubled(names: Sequence[str]) -> str:
    return next(name for i, name in enumerate(names) if name in names[:i])


def _check_lengths(path: Path, rows: Sequence[Sequence[str]], *, expected: int, first: int) -> None:
    for number, row in enumerate(rows, start=first):
        if len(row) != expected:
            raise InputError(f"{path}, line {number}: expected {expected} cells as in the first, found {len(row)}")


def _numbers(path: Path, rows: Sequence[Sequence[str]], *, first: int) -> Array:
    for number, row in enumerate(rows, start=first):
        for cell in row:
            if not _is_number(cell):
                raise InputError(f"{path}, line {number}: expected numbers, found {cell!r}")
    values = np.array([[float(cell) for cell in row] for row in rows])
    whole = np.isfinite(values).all() and (values == np.round(values)).all() and np.abs(values).max(initial=0) < 2**31
    # Whole numbers alone are integers, so that indices of an embedding fit; an input of floats takes them too.
    return values.astype(np.int32) if whole else values


def _classes(path: Path, cells: Sequence[str], labels: Sequence[str] | None) -> Array:
    if all(map(_is_number, cells)):
        found = np.array([float(cell) for cell in cells])
        return found.astype(np.int64) if (found == np.round(found)).all() else found
    if labels is None:
        raise InputError(f"{path}: column {LABELS!r} has names, such as {cells[0]!r}: give --labels with their order")
    if unknown := sorted(set(cells) - set(labels)):
        raise InputError(f"{path}: {unknown[0]!r} in column {LABELS!r} is none of the labels: {', '.join(labels)}")
    return np.array([list(labels).index(cell) for cell in cells], np.int64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
