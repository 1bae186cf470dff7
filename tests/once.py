"""Files that several tests look at, made once in a whole run, by whichever of its workers needs them first.

    @pytest.fixture(scope="session")
    def models(tmp_path_factory):
        return once(tmp_path_factory, "keras models", build)

`build` gets an empty folder to fill. Others wait for it, and nobody changes what is in it. What cannot be made is tried
again by the next test, so that each says for itself what went wrong. Nothing stays from one run to the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder of this run that `make` filled for `name`."""
    base = factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    root.mkdir(exist_ok=True)
    folder = root / hashlib.sha256(name.encode()).hexdigest()[:16]
    made = folder.with_suffix(".made")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def named(*parts: object) -> str:
    """Return a name for what is made of some files and words: the same for files of the same name and content."""
    return "\n".join(_content(part) if isinstance(part, Path) else str(part) for part in parts)


def _content(path: Path) -> str:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digests = [f"{p.relative_to(path)}:{hashlib.sha256(p.read_bytes()).hexdigest()}" for p in files]
    return f"{path.name}:{','.join(digests)}"
