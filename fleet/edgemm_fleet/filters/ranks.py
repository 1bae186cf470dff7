"""The order of versions as texts: `rank("1.10") > rank("1.9")`, by comparison of code points alone.

Semantic versions compare as semver.org 2.0.0 clause 11 has it, and so does what else `READABLE_VERSION` reads. Build
metadata does not count.

Ranks are kept in the database, where an index orders them: another form of them is a migration.
"""

from __future__ import annotations

from edgemm.versions import MOST_NUMBERS, READABLE_VERSION

_LONGEST = 64


def rank(text: str) -> str | None:
    """Return a text that sorts as the version does, or None where it is no version."""
    match = READABLE_VERSION.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        return None
    numbers = match[1].split(".")
    numbers += ["0"] * (MOST_NUMBERS - len(numbers))
    release = "".join(_number(one) for one in numbers)
    early = match[2] or match[3]
    if early is None:
        return f"{release}~"  # above every pre-release of the same numbers
    return f"{release}-{'!'.join(_word(one) for one in early.split('.'))}"


def _word(text: str) -> str:
    # Numbers are below words; `!`, which ends a word, is below all that a word may have.
    return f"0{_number(text)}" if text.isdigit() else f"1{text}"


def _number(digits: str) -> str:
    kept = digits.lstrip("0") or "0"
    return f"{len(kept):02}{kept}"
