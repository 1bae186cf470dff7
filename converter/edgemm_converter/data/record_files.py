"""Data by columns in files of records: JSON as `/predict` takes it, and Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgemm import library_errors
from edgemm.errors import InputError
from edgemm_converter.data import arrays
from edgemm_converter.data.arrays import Array

SUFFIXES = (".json", ".jsonl", ".parquet")
_MAX_BYTES = 256 * 2**20


def read(path: Path) -> dict[str, Array]:
    """Return the columns [samples] of a file by name: texts, truth values, integers, or floats with NaN for null.

    Raises:
        InputError: damaged, too large, of another kind, or a column of mixed values.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: expected a file of at most {_MAX_BYTES / 2**20:.0f} MiB: give fewer samples")
        columns = _parquet(path) if path.suffix.lower() == ".parquet" else _json(path)
    except OSError as err:
        raise InputError(f"cannot read {path}: {err.strerror or err}") from err
    if not columns or not all(columns.values()):
        raise InputError(f"{path}: expected records with columns, found none")
    return {name: _array(values, name, path=path) for name, values in columns.items()}


def _json(path: Path) -> dict[str, list[Any]]:
    data = path.read_bytes()
    try:
        if path.suffix.lower() == ".jsonl":
            found: Any = [msgspec.json.decode(line) for line in data.splitlines() if line.strip()]
        else:
            found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise InputError(f"{path}: expected JSON of records, found none: {library_errors.quoted(err)}") from err
    found = found.get("inputs", found) if isinstance(found, dict) else found
    if isinstance(found, dict) and all(isinstance(values, list) for values in found.values()):
        if len({len(values) for values in found.values()}) > 1:
            raise InputError(f"{path}: expected columns of one length, found several")
        return found
    if not isinstance(found, list) or not all(isinstance(one, dict) and one.keys() == found[0].keys() for one in found):
        raise InputError(f'{path}: expected records with the same names, such as [{{"age": 31, "city": "Graz"}}]')
    return {name: [one[name] for one in found] for name in found[0]} if found else {}


def _parquet(path: Path) -> dict[str, list[Any]]:
    try:
        from pyarrow import lib, parquet
    except ImportError as err:
        raise InputError(
            f"{path}: Parquet is read by pyarrow, which is not installed: install pyarrow, or give CSV with a header"
        ) from err
    try:
        columns: Mapping[str, list[Any]] = parquet.read_table(path).to_pydict()
    except (lib.ArrowException, ValueError) as err:
        raise InputError(f"{path}: expected a Parquet file: {library_errors.quoted(err)}") from err
    return {name: values for name, values in columns.items() if not name.startswith("__index_level_")}


def _array(values: Sequence[Any], name: str, *, path: Path) -> Array:
    kinds = {type(one) for one in values} - {type(None)}
    if kinds <= {str} and kinds:
        return arrays.of_texts(["" if one is None else one for one in values], name, path=str(path))
    if kinds <= {bool} and len(kinds) == 1 and None not in values:
        return np.array(values, bool)
    if kinds <= {int} and kinds and None not in values and max(map(abs, values)) < 2**63:
        return np.array(values, np.int64)
    if kinds <= {int, float, bool}:
        return np.array([np.nan if one is None else float(one) for one in values], np.float64)
    found = ", ".join(sorted(one.__name__ for one in kinds))
    raise InputError(f"{path}: column {name!r}: expected texts alone, or numbers alone, found {found}")
