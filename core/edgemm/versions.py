"""Semantic versions (semver.org 2.0.0) of models, what else is read as a version, and its leading numbers.

A model version compares by precedence (semver clause 11); TensorFlow-Serving's numeric version is derived from it.
"""

from __future__ import annotations

import re
from functools import total_ordering

from edgemm.errors import InputError

_SEMVER = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?",
    re.ASCII,
)
VERSION_PATTERN = rf"\A{_SEMVER.pattern}\Z"
_WORD = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
MOST_NUMBERS = 4
READABLE_VERSION = re.compile(
    rf"(\d{{1,18}}(?:\.\d{{1,18}}){{0,{MOST_NUMBERS - 1}}})"
    rf"(?:-({_WORD})|((?i:alpha|a|beta|b|c|rc|preview|pre|dev)\d*(?:\.[0-9A-Za-z-]+)*))?(?:\+{_WORD})?",
    re.ASCII,
)
"""What is a version to those who compare others': semantic versions, and what libraries call theirs.

One to four numbers (`2.14`, `4`), a pre-release behind a hyphen, or without one as PEP 440 has it (`2.14.0rc1`), build
metadata. A number with an exponent (`1e1`), in hexadecimal or with a unit is none. Groups: the numbers, the pre-release
behind a hyphen, the one without.
"""


@total_ordering
class Version:
    """One semantic version without build metadata: `1.2.3` or `1.2.3-rc.1`."""

    __slots__ = ("_key", "text")

    def __init__(self, text: str) -> None:
        match = _SEMVER.fullmatch(text) if len(text) <= 64 else None
        if match is None:
            raise InputError(f"version {text!r}: expected MAJOR.MINOR.PATCH with an optional -pre.release")
        self.text = text
        release = tuple(int(match[n]) for n in (1, 2, 3))
        pre = match[4]
        # Clause 11.3: a pre-release is lower than its release; 11.4.3: numbers are lower than words.
        words = tuple((0, int(w), "") if w.isdigit() else (1, 0, w) for w in pre.split(".")) if pre else ()
        self._key = (release, pre is None, words)

    @property
    def numeric(self) -> int:
        """TensorFlow-Serving's version number: major·10⁶ + minor·10³ + patch."""
        major, minor, patch = self._key[0]
        return major * 1_000_000 + minor * 1_000 + patch

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Version({self.text!r})"

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key


def release_tuple(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a library's version: `2.14.0rc1` → `(2, 14, 0)`."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
