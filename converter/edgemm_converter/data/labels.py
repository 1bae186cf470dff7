"""The names of classes, from a text file with one name per line or from a JSON list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgemm import plain_text
from edgemm.bundle.manifest import Signature
from edgemm.errors import InputError


def read(path: Path) -> tuple[str, ...]:
    """Read labels.

    Raises:
        InputError: the file cannot be read, is empty, or its JSON is not a list of strings.
    """
    try:
        text = plain_text.read(path.read_bytes(), name=str(path))
        found = json.loads(text) if path.suffix == ".json" else [line.strip() for line in text.strip().splitlines()]
    except OSError as err:
        raise InputError(f"cannot read labels {path}: {err.strerror}") from err
    except ValueError as err:
        raise InputError(f"{path}: expected text with one label per line, or a JSON list: {err}") from err
    if not isinstance(found, list) or not found or not all(isinstance(label, str) and label for label in found):
        raise InputError(f"{path}: expected one label per line, or a JSON list of strings; none may be empty")
    return tuple(found)


def check(labels: Sequence[str], signature: Signature) -> None:
    """Check that some output has one value for each label.

    Raises:
        InputError: none has.
    """
    sizes = {spec.name: spec.shape[-1] for spec in signature.outputs if spec.shape}
    if len(labels) not in sizes.values():
        found = ", ".join(f"{name} has {size}" for name, size in sizes.items()) or "no output has classes"
        raise InputError(f"{len(labels)} labels were given, and no output has as many values: {found}")
