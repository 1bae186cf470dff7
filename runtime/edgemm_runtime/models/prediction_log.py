"""The log of predictions that may yet get a label, within a number of bytes: lines of text in segments. Pure.

    log = PredictionLog(max_bytes=3 * MIB)
    log.add("7", classes, [3])
    found = log.find("digits", "7")     # what the newest prediction of that id named, row by row

A record is a line feed and then words: `ID MODEL P CLASSES` is a prediction, one class a row, and `ID MODEL L ROW` a
label that came for it. MODEL is a number that `‹space›M MODEL JSON`, in the same segment, explains. An id has no
white space in it (`quoted`), so that a line that begins with one is that id's record. What is over the bytes goes with
its whole segment, oldest first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import msgspec

from edgemm_runtime.identity import ServedKey

MOST_ROWS = 4096
"""Rows of one batch that a label may come for: the first ones."""
_SEGMENTS = 16
_LARGEST_LABELS = 64 * 1024
_VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_PLAIN = re.compile(r"[!-$&-~]+")


@dataclass(frozen=True, eq=False)
class ClassOutput:
    """The output of one served model that names a class for each row, and the bundle's labels where it has some."""

    key: ServedKey
    output: str
    labels: tuple[str, ...] | None
    columns: int = 0
    """The scores of one row, where they are few and always as many; else 0."""

    dtype: str = "float32"


class _ModelLine(msgspec.Struct, frozen=True):
    """What a segment keeps of a `ClassOutput`; labels that are too many to keep are left out."""

    key: ServedKey
    labels: tuple[str, ...] | None = None


@dataclass(eq=False)
class Segment:
    """A part of the log: its records, and how many of its bytes somebody else has written down."""

    number: int
    data: bytearray = field(default_factory=bytearray)
    models: dict[ClassOutput, int] = field(default_factory=dict)
    written: int = 0

    def waiting(self) -> int:
        """Return how many of its predictions have no label."""
        return max(0, self.data.count(b" P ") - self.data.count(b" L "))


@dataclass(frozen=True)
class Found:
    """A prediction: what made it, the class of each row, and the rows that have their label."""

    classes: ClassOutput
    indices: Sequence[int]
    labelled: frozenset[int]


class PredictionLog:
    """Records of at most `max_bytes`; not safe to use from several threads at a time."""

    def __init__(self, *, max_bytes: int, segments: Sequence[Segment] = ()) -> None:
        self._max_bytes, self._segment_bytes = max_bytes, max(1, max_bytes // _SEGMENTS)
        self._segments = list(segments) or [Segment(1)]
        self.dropped = 0
        """Predictions that made room for later ones before their label came."""

    @property
    def segments(self) -> Sequence[Segment]:
        """The segments, oldest first."""
        return self._segments

    def __len__(self) -> int:
        return sum(len(segment.data) for segment in self._segments)

    def add(self, request_id: str, classes: ClassOutput, indices: Sequence[int]) -> None:
        """Note a prediction; of two with one id and model, the later one counts."""
        told = ",".join(map(str, indices[:MOST_ROWS]))
        segment = self._segment()
        segment.data += f"\n{quoted(request_id)} {_number(segment, classes)} P {told}".encode()
        self._make_room()

    def add_all(self, ids: Sequence[str], classes: ClassOutput, indices: Sequence[int], *, plain: bool) -> None:
        """Note predictions of one row each; `plain` ids have no white space."""
        segment = self._segment()
        between = f" {_number(segment, classes)} P "
        known_by = ids if plain else map(quoted, ids)
        lines = [f"\n{one}{between}{index}" for one, index in zip(known_by, indices, strict=True)]
        segment.data += "".join(lines).encode()
        self._make_room()

    def add_label(self, request_id: str, classes: ClassOutput, row: int) -> None:
        """Note that a row has its label."""
        segment = self._segment()
        segment.data += f"\n{quoted(request_id)} {_number(segment, classes)} L {row}".encode()
        self._make_room()

    def find(self, name: str, request_id: str) -> Found | None:
        """Return the newest prediction of a model by its id, or None."""
        labelled: set[int] = set()
        for segment, number, kind, told in self._records(f"\n{quoted(request_id)} ".encode()):
            classes = next((one for one, known in segment.models.items() if known == number), None)
            if classes is None or classes.key.name != name:
                continue
            if kind == b"P":
                return Found(classes, [int(one) for one in told.split(b",")], frozenset(labelled))
            labelled.add(int(told))
        return None

    def _records(self, start: bytes) -> Iterator[tuple[Segment, int, bytes, bytes]]:
        """Yield the records that begin so, newest first."""
        for segment in reversed(self._segments):
            data, at = segment.data, len(segment.data)
            while (at := data.rfind(start, 0, at)) >= 0:
                end = data.find(b"\n", at + 1)
                words = bytes(data[at + len(start) : end if end >= 0 else len(data)]).split(b" ")
                if len(words) == 3 and words[0].isdigit():
                    yield segment, int(words[0]), words[1], words[2]

    def _segment(self) -> Segment:
        last = self._segments[-1]
        if len(last.data) >= self._segment_bytes:
            last = Segment(last.number + 1)
            self._segments.append(last)
        return last

    def _make_room(self) -> None:
        while len(self._segments) > 1 and len(self) > self._max_bytes:
            self.dropped += self._segments.pop(0).waiting()


def read_segment(number: int, data: bytearray) -> Segment:
    """Return a segment as it was written down; lines that say nothing are passed over."""
    segment = Segment(number, data, written=len(data))
    start = b"\n M "
    at = data.find(start)
    while at >= 0:
        end = data.find(b"\n", at + 1)
        told, _, line = bytes(data[at + len(start) : end if end >= 0 else len(data)]).partition(b" ")
        try:
            model = msgspec.json.decode(line, type=_ModelLine)
            segment.models[ClassOutput(model.key, "", model.labels)] = int(told)
        except (msgspec.DecodeError, ValueError):
            pass  # its predictions are not found then
        at = data.find(start, at + 1)
    return segment


def quoted(request_id: str) -> str:
    """Return an id without white space: percent-encoded UTF-8 but for visible ASCII."""
    plain = _PLAIN.fullmatch(request_id) is not None
    return request_id if plain else quote(request_id, safe=_VISIBLE, errors="surrogatepass")


def _number(segment: Segment, classes: ClassOutput) -> int:
    number = segment.models.get(classes)
    if number is None:
        number = segment.models[classes] = max(segment.models.values(), default=0) + 1
        labels = classes.labels if classes.labels and sum(map(len, classes.labels)) <= _LARGEST_LABELS else None
        line = msgspec.json.encode(_ModelLine(classes.key, labels))
        segment.data += b"\n M %d %s" % (number, line)
    return number
