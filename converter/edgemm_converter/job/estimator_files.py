"""The files of estimators, told by their content: skops, joblib and pickle, XGBoost, LightGBM. Pure.

A name never decides: a `.json` may be a model of XGBoost or anything, and a `.pkl` is often compressed.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Collection
from pathlib import PurePosixPath

from edgemm_converter.children.protocol import SourceFormat

SKOPS_SCHEMA = "schema.json"
"""The member by which a skops archive is known, beside arrays."""

NAMES = "a scikit-learn model of skops, joblib or pickle, an XGBoost .json or .ubj file, a LightGBM .txt file"
"""What files of estimators are called, for the middle of a sentence."""

SUFFIXES = (".skops", ".joblib", ".pkl", ".pickle", ".json", ".ubj", ".txt", ".lgb")
_PROTOCOLS = range(2, 6)
_OF_PYTORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""The number with which a pickle of PyTorch begins (torch/serialization.py, MAGIC_NUMBER)."""

_XGBOOST_JSON = re.compile(rb'\A\s*\{\s*"(?:learner"\s*:\s*\{|version"\s*:\s*\[)')
_XGBOOST_UBJSON = re.compile(rb"\A\{[iUIlL].{1,8}?(?:learner\{|version\[)", re.DOTALL)
_LIGHTGBM = re.compile(rb"\Atree\r?\nversion=v\d")
_OLD_XGBOOST = (b"binf", b"bs64")
_ENOUGH = 64
Inflate = Callable[[bytes], bytes]


def _zlib(data: bytes) -> bytes:
    return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, _ENOUGH)  # zlib and gzip


_COMPRESSED: tuple[tuple[bytes, Inflate], ...] = (
    (b"\x78", _zlib),
    (b"\x1f\x8b", _zlib),
    (b"BZ", lambda data: bz2.BZ2Decompressor().decompress(data, _ENOUGH)),
    (b"\xfd7zXZ\x00", lambda data: lzma.LZMADecompressor().decompress(data, _ENOUGH)),
    (b"\x5d\x00", lambda data: lzma.LZMADecompressor().decompress(data, _ENOUGH)),
)
"""How joblib compresses, by the first bytes."""


def told_by(head: bytes) -> SourceFormat | None:
    """Return the kind of estimator's file that begins so; None where it is none."""
    if _LIGHTGBM.match(head):
        return SourceFormat.LIGHTGBM
    if _XGBOOST_JSON.match(head) or _XGBOOST_UBJSON.match(head):
        return SourceFormat.XGBOOST
    if _is_pickle(head) or any(head.startswith(mark) and _holds_pickle(head, inflate) for mark, inflate in _COMPRESSED):
        return SourceFormat.PICKLE
    return None


def is_skops(names: Collection[str]) -> bool:
    """Tell a skops archive by the names in it."""
    return SKOPS_SCHEMA in names and all(
        name == SKOPS_SCHEMA or PurePosixPath(name).suffix in (".npy", ".npz", ".bin", ".json") for name in names
    )


def older(head: bytes) -> str | None:
    """Say what a file of an estimator is that is no longer read."""
    if head.startswith(_OLD_XGBOOST):
        return "a binary file of an old XGBoost: load it there and save_model() it as .ubj or .json"
    return None


def _is_pickle(head: bytes) -> bool:
    if head[:1] != b"\x80" or head[1:2] == b"" or head[1] not in _PROTOCOLS:
        return False
    return _OF_PYTORCH not in head[:32]


def _holds_pickle(head: bytes, inflate: Inflate) -> bool:
    try:
        return _is_pickle(inflate(head))
    except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
        return False
