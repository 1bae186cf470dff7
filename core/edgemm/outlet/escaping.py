"""Text of others as text: it steers no terminal, begins no line of its own and hides nothing. Pure.

Whatever is printed or logged passes `edgemm.outlet`, which calls this.
"""

from __future__ import annotations

import re

_NO_WIDTH = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What Unicode counts as marks and letters, and draws nothing for: fillers, joiners, selectors of variants."""
_LAST_CONTROL = "\x9f"
_LINE_ENDS = "\u2028\u2029"


def shortened(text: str, *, most: int) -> str:
    """Return a text of at most `most` characters: the middle of a longer one, where errors repeat what came, is cut."""
    if len(text) <= most:
        return text
    tail = most // 4
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def one_line(text: str) -> str:
    """Return a text as one line that moves no cursor, hides nothing and has no marks that turn it around.

    Control and format characters, direction marks, what has no width, halves of surrogate pairs and line ends become
    their escapes; a space of any width becomes a space. What people write in any script stays as it is.
    """
    if text.isprintable() and (text.isascii() or _NO_WIDTH.search(text) is None):
        return text
    return "".join(map(_shown, text))


def printable(text: str) -> str:
    """Return a text of several lines, each of them as `one_line` has it; its line ends and tabs stay."""
    return "\n".join("\t".join(map(one_line, line.split("\t"))) for line in text.split("\n"))


def json_printable(text: str) -> str:
    """Return JSON of the same meaning in which what `one_line` escapes stands by its number."""
    if text.isprintable() and (text.isascii() or _NO_WIDTH.search(text) is None):
        return text
    return "".join(c if c in "\n\t" or not _is_unseen(c) else _by_number(c) for c in text)


def json_encodable(text: str, encoding: str) -> str:
    """Return JSON of the same meaning in which what an encoding lacks stands by its number."""
    lacking = {c for c in set(text) if not c.isascii() and not _has(encoding, c)}
    return text.translate({ord(c): _by_number(c) for c in lacking}) if lacking else text


def _has(encoding: str, c: str) -> bool:
    try:
        c.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _shown(c: str) -> str:
    if not _is_unseen(c):
        return c if c.isprintable() else " "
    return c.encode("unicode_escape").decode()


def _is_unseen(c: str) -> bool:
    if c.isprintable():
        return _NO_WIDTH.match(c) is not None
    return not (c.isspace() and c > _LAST_CONTROL and c not in _LINE_ENDS)


def _by_number(c: str) -> str:
    pair = c.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pair[at : at + 2].hex()}" for at in range(0, len(pair), 2))
