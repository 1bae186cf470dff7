"""The parser of `multipart/form-data` bodies, as browsers and `curl -F` send files (RFC 7578). Pure.

Werkzeug's own parser of forms writes large parts to files, which on a Pi means an SD card; its decoder below that does
not. The number of parts and the size of their heads are limited while it reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from edgemm.errors import BadRequestError, TooLargeError
from edgemm_runtime.preprocessing import encoded_images, image_kinds
from edgemm_runtime.tensors import csv_table

CONTENT_TYPE = "multipart/form-data"
CSV_TYPES = frozenset(
    {
        "text/csv", "text/x-csv", "text/comma-separated-values", "text/tab-separated-values", "application/csv",
        "application/vnd.ms-excel",
    }
)  # fmt: skip
MOST_PARTS = 64
_STEP_BYTES = 16 * 1024
_MOST_BUFFERED_BYTES = 64 * 1024
_LONGEST_BOUNDARY = 70  # RFC 2046, section 5.1.1
_JSON = frozenset((b"{", b"["))
UNTOLD = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain"})
"""Content types that programs give where they know none."""
_CSV_ENDINGS = (".csv", ".tsv")


@dataclass(frozen=True)
class Part:
    """One part: the form's name for it, and its bytes with what they are."""

    name: str
    content_type: str
    data: bytes

    @property
    def is_image(self) -> bool:
        """Whether it is an image, or at least says so."""
        return is_image(self.data, self.content_type)

    @property
    def is_csv(self) -> bool:
        """Whether it says that it is CSV."""
        return self.content_type in CSV_TYPES


def is_image(data: bytes, content_type: str) -> bool:
    """Tell whether bytes are an image, of a kind that is decoded or not, or a data URL, or at least say so."""
    if content_type.startswith("image/"):
        return True
    if data[:1] in _JSON:  # as most requests are
        return False
    return image_kinds.kind_of(data) is not None or encoded_images.is_url(data) or image_kinds.foreign(data) is not None


def read_parts(body: bytes, *, content_type: str) -> list[Part]:
    """Return the parts of a body, in order.

    Raises:
        BadRequestError: it is no such body.
        TooLargeError: it has more than 64 parts, or a part's head of more than 64 KiB.
    """
    decoder = MultipartDecoder(_boundary(content_type), _MOST_BUFFERED_BYTES, max_parts=MOST_PARTS)
    try:
        return list(_parts(decoder, body))
    except RequestEntityTooLarge as err:
        raise TooLargeError(
            f"the form has more than {MOST_PARTS} parts, or a part's head is larger than {_MOST_BUFFERED_BYTES:,} "
            "bytes: send one part for each input or image"
        ) from err
    except ValueError as err:
        raise BadRequestError(
            f"expected {CONTENT_TYPE} with a Content-Disposition in each part, found another body, or one cut short"
        ) from err


def _boundary(content_type: str) -> bytes:
    found = parse_options_header(content_type)[1].get("boundary", "")
    if not (found.isascii() and 0 < len(found) <= _LONGEST_BOUNDARY):
        raise BadRequestError(
            f"Content-Type: expected {CONTENT_TYPE} with a boundary of 1 to {_LONGEST_BOUNDARY} characters, "
            f"found {content_type[:100]!r}"
        )
    return found.encode()


def _parts(decoder: MultipartDecoder, body: bytes) -> Iterator[Part]:
    head: Field | File | None = None
    pieces: list[bytes] = []
    for start in range(0, len(body) + _STEP_BYTES, _STEP_BYTES):
        # The end is told by None: what is incomplete by then raises.
        decoder.receive_data(body[start : start + _STEP_BYTES] or None)
        while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
            if isinstance(event, Field | File):
                head, pieces = event, []
            elif isinstance(event, Data):
                pieces.append(event.data)
                if not event.more_data and head is not None:
                    yield _part(head, b"".join(pieces))


def _part(head: Field | File, data: bytes) -> Part:
    said = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said in UNTOLD:
        # curl knows few endings, and calls the rest octets.
        name = head.filename.lower() if isinstance(head, File) else ""
        tabular = name.endswith(_CSV_ENDINGS) or csv_table.seems_csv(data)
        said = "text/csv" if tabular else "application/json"
    return Part(head.name or "", said, data)
