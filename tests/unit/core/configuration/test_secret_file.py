"""A secret comes from a file, or from stdin, as one word."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgemm.configuration.secret_file import STDIN, read_secret
from edgemm.errors import InputError


@pytest.mark.parametrize("data", [b"emt1_abc", b"emt1_abc\n", b"\xef\xbb\xbfemt1_abc\r\n", b"  emt1_abc \n\n"])
def test_one_word_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    (tmp_path / "token").write_bytes(data)
    assert read_secret(tmp_path / "token", option="--token-file") == "emt1_abc"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert read_secret(STDIN, option="--token-file") == "emt1_abc"


@pytest.mark.parametrize("data", [b"", b"\n", b"two words", b"x" * 5000, b"\xff\xfe\x00"])
def test_anything_else_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "token").write_bytes(data)
    with pytest.raises(InputError, match="expected"):
        read_secret(tmp_path / "token", option="--token-file")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"--token-file {tmp_path / 'none'}: cannot be read: No such file")):
        read_secret(tmp_path / "none", option="--token-file")
