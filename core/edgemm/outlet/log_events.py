"""The events of a log: a record's template says what an event is called, and which value is which field. Pure.

    log.warning("device_cut_off device=%s for_s=%.0f", device, seconds)
    {"at": "…Z", "level": "warning", "logger": "…", "event": "device_cut_off",
     "fields": {"device": "cam-1", "for_s": 10.0}, "text": "device_cut_off device=cam-1 for_s=10"}

An event is called by the words before the first field. A value is what was passed, not what a device can make of a
text: one that says ` level=error` in its name adds no field.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from edgemm.outlet.escaping import shortened

_CONVERSION = re.compile(r"%(?:%|[-+ #0]*\d*(?:\.\d+)?[a-zA-Z])")
_FIELD = re.compile(r"(?:^|(?<=\s))([A-Za-z_]\w*)=([^\s]*)")
_WORD = re.compile(r"[a-z0-9_]+")
_AFTER = ";:,."
_MOST_WORDS = 6
_MOST_TEXT, _MOST_VALUE, _MOST_TRACE = 4000, 2000, 16_000
_UNNAMED = "message"


def event_of(record: logging.LogRecord, *, text: str, traceback: str | None = None) -> str:
    """Return a record as JSON of one line, `text` being its message in words."""
    template = record.msg if isinstance(record.msg, str) else ""
    found = {
        "at": f"{datetime.fromtimestamp(record.created, tz=UTC):%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": event_name(template),
        "fields": dict(_fields(template, record.args)),
        "text": shortened(text, most=_MOST_TEXT),
    }
    if traceback is not None:
        found["traceback"] = shortened(traceback, most=_MOST_TRACE)
    return json.dumps(found, ensure_ascii=True, allow_nan=False)


def event_name(template: str) -> str:
    """Return what the event of a message's template is called: its first words, up to a field, a value or a stop."""
    name = template.split(" ", 1)[0]
    if "_" in name and _WORD.fullmatch(name.rstrip(_AFTER)):
        return name.rstrip(_AFTER)
    words = list[str]()
    for word in template.lower().split():
        bare = word.rstrip(_AFTER)
        if not _WORD.fullmatch(bare) or len(words) == _MOST_WORDS:
            break
        words.append(bare)
        if bare != word:
            break
    return "_".join(words) or _UNNAMED


def _fields(template: str, args: object) -> Iterator[tuple[str, object]]:
    """Yield the fields of a template with the values that were passed."""
    values = args if isinstance(args, tuple) else () if args is None or isinstance(args, Mapping) else (args,)
    at = 0
    end = 0
    for match in _FIELD.finditer(template):
        at += _conversions(template[end : match.start(2)])
        end = match.end()
        form = match[2].rstrip(_AFTER)
        number = _conversions(form)
        used, at = values[at : at + number], at + number
        if len(used) < number:
            return
        if number == 1 and _CONVERSION.fullmatch(form):
            yield match[1], _plain(used[0])
        else:
            yield match[1], shortened(form % used if number else form, most=_MOST_VALUE)


def _conversions(part: str) -> int:
    return sum(found != "%%" for found in _CONVERSION.findall(part))


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return shortened(str(value), most=_MOST_VALUE)
