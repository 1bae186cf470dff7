"""Fingerprints of the shapes of a device's state files, by their numbers, as they were committed in `shapes.toml`.

`python -m tests.golden.device.shapes` adds the fingerprint of a number that has none yet, and changes none that is
there; the golden file that it names is then to be described in `tests/golden/state.py`.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
import tomllib
from contextlib import closing
from pathlib import Path

from edgemm_runtime.agent.spool import spool_database
from edgemm_runtime.agent.spool.spool_database import SpoolDatabase
from edgemm_runtime.agent.state.files import STATE_FILES
from tests.golden.databases.shapes import describe, fingerprint_of

FOLDER = Path(__file__).parent
SHAPES = FOLDER / "shapes.toml"
SPOOL = "spool.sqlite"


def numbers() -> dict[str, str]:
    """Return file → the number that its shape has in the code."""
    return {name: file.shape for name, file in STATE_FILES.items()} | {SPOOL: spool_database.SHAPE}


def found(name: str) -> str:
    """Return the fingerprint of the shape that a file has in the code."""
    return fingerprint_of_spool() if name == SPOOL else fingerprint_of(STATE_FILES[name].kind)


def fingerprint_of_spool() -> str:
    """Return the SHA-256 of the spool's tables."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / SPOOL
        database = SpoolDatabase(path)
        database.budget(2**25, now_s=0)
        database.close()
        with closing(sqlite3.connect(path)) as connection:
            return hashlib.sha256(describe(connection).encode()).hexdigest()


def recorded() -> dict[str, dict[str, dict[str, str]]]:
    """Return file → number → `fingerprint` and the `golden` file of it."""
    return tomllib.loads(SHAPES.read_text())


def main() -> None:
    """Add what is missing."""
    known = recorded() if SHAPES.exists() else {}
    with SHAPES.open("a") as file:
        for name, number in numbers().items():
            if number not in known.get(name, {}):
                stem, _, suffix = name.partition(".")
                golden = f"{stem}-{number}.{suffix or 'json'}"
                file.write(f'["{name}"."{number}"]\nfingerprint = "{found(name)}"\ngolden = "{golden}"\n\n')


if __name__ == "__main__":
    main()
