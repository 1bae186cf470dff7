"""A small file system for a test, which is skipped where it may not mount one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from simulators.full_disk import mounted


@contextmanager
def small_disk(folder: Path, *, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of so many bytes at `folder`, which is made, while the block runs."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(mounted(folder, size_bytes=size_bytes))
        except PermissionError as err:
            pytest.skip(str(err))
        yield disk
