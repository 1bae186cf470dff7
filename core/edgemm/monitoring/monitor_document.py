"""The document `monitor` of a bundle: a committee of tiny heads, maps from agreement to accuracy, and their limits.

It is one MessagePack map of at most `MAX_BYTES`. Arrays are bytes: float32 or int8, little-endian, row by row. Fields
may be added within major format 1; a document of a higher one is not read. docs/monitoring.md has it field by field.
"""

from __future__ import annotations

import sys
from array import array
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from edgemm.errors import BundleError
from edgemm.open_enum import OpenEnum

NAME = "monitor"
"""The kind of the document in a manifest."""

MEDIA_TYPE = "application/vnd.edgemm.monitor+msgpack"
MAX_BYTES = 64 * 1024
FORMAT = "1.0"

HEADS = 3
CONFIDENCE_EDGES = (0.35, 1.0, 2.0, 4.0)
"""Edges of −ln(1 − confidence + 10⁻⁴), with which a cell is found: 5 bins, in each 0 to 3 heads that agree."""

CELLS = (len(CONFIDENCE_EDGES) + 1) * (HEADS + 1)
AGREEMENTS = HEADS + 1 + HEADS + 2
"""Rates beside the cells: of each head, the committee, each pair of heads, all heads and none."""

FEATURES = CELLS + AGREEMENTS
TERMS = 5
"""Of what an interval's width is made."""

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Text = Annotated[str, Meta(max_length=512)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Size = Annotated[int, Meta(ge=1, le=8192)]
Share = Annotated[float, Meta(ge=0, le=1)]
Bytes = Annotated[bytes, Meta(max_length=MAX_BYTES)]


class DocumentPart(Struct, frozen=True, kw_only=True):
    """Base of all that is in the document."""


class Modality(OpenEnum):
    """What an input is to the committee, and of which kind its corruptions are."""

    IMAGE = "image"
    SIGNAL = "signal"
    TABLE = "table"


class Scores(OpenEnum):
    """What the monitored output says of the classes."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"
    POSITIVE = "positive"
    """One number: the probability of class 1 of two."""


class View(DocumentPart, frozen=True, kw_only=True):
    """How the committee looks at the inputs; all that it needs besides the numbers of a request.

    Of an image, `low` and `high` are what black and white are in the tensor, and `rows` and `columns` the size to which
    it is reduced. Of a signal [steps, channels] `rows` is that number of steps. `centre` and `scale` are float32: one a
    channel of a signal, one a feature of a table. `features` are the places in a flattened table that are looked at.
    """

    inputs: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=64)]
    modality: Modality
    channels_first: bool = False
    low: float = 0.0
    high: float = 1.0
    rows: Size = 1
    columns: Size = 1
    centre: Bytes = b""
    scale: Bytes = b""
    features: Annotated[tuple[Count, ...], Meta(max_length=1024)] = ()


class DenseLayer(DocumentPart, frozen=True, kw_only=True):
    """One dense layer: int8 weights [inputs, outputs] with one scale, float32 biases [outputs]."""

    inputs: Size
    outputs: Size
    scale: float
    weights: Bytes
    biases: Bytes


class CommitteeHead(DocumentPart, frozen=True, kw_only=True):
    """One member of the committee: a hidden layer with ReLU, and one to the classes with softmax."""

    hidden: DenseLayer
    classes: DenseLayer


class Map(OpenEnum):
    """A way from counts of agreement to the accuracy."""

    ISOTONIC = "isotonic"
    RIDGE = "ridge"
    TABLE = "table"


class Maps(DocumentPart, frozen=True, kw_only=True):
    """All ways from counts to an accuracy; `chosen` had the smallest error on families that it had not seen.

    Isotonic: knots of (agreement with the committee, accuracy). Ridge: of `FEATURES` shares, (clip((x − mean) ÷ scale,
    −5, 5)) · weights + intercept. Table: the probability in each cell that the model is right. float32 all.
    """

    chosen: Map
    agreement: Bytes
    accuracy: Bytes
    mean: Bytes
    scale: Bytes
    weights: Bytes
    intercept: float
    table: Bytes


class Interval(DocumentPart, frozen=True, kw_only=True):
    """The half-width of a 95 % interval: `quantile` × `weights` · (0.01, expected loss ÷ 10, spread of the maps, distance ÷ 10, √(a(1 − a) ÷ n)).

    Distance is that of the shares, in units of `scale`, to the nearest of `landmarks` [count, FEATURES], windows of the
    conversion (float32). Beyond `most_distance` or `most_spread` a window is unlike all of these.
    """  # noqa: E501

    weights: tuple[float, ...]
    quantile: float
    scale: Bytes
    landmarks: Bytes
    most_distance: float
    most_spread: float


class FamilyError(DocumentPart, frozen=True, kw_only=True):
    """How far off the estimate was on one family of corruptions that neither heads nor maps had seen."""

    family: Name
    mean_error: float
    bias: float


class Trial(DocumentPart, frozen=True, kw_only=True):
    """What was tried at conversion, each family left out in turn: mean absolute errors of the estimated accuracy."""

    mean_error: float
    mean_error_200: float
    """Of windows of 200 requests."""
    mean_error_1000: float
    worst_5_percent: float
    """The error that 5 % of the windows exceed."""
    bias: float
    coverage: float
    """The share of windows whose interval holds the truth, with weights of other families."""
    by_map: dict[Name, float]
    families: Annotated[tuple[FamilyError, ...], Meta(max_length=128)]
    rows: Count
    windows: Count


class ClassCalibrator(DocumentPart, frozen=True, kw_only=True):
    """Knots (confidence, share that is right), float32, of the requests that are answered with one class."""

    confidence: Bytes
    right: Bytes


class FeatureProfile(DocumentPart, frozen=True, kw_only=True):
    """One feature of the inputs on the reference data: B+1 float32 edges, B+3 counts as in a tensor's profile."""

    name: Name
    edges: Bytes
    counts: Annotated[tuple[Count, ...], Meta(max_length=64)]
    low: float
    """The smallest mean of any window at conversion, corrupted ones included; `high` the largest."""
    high: float


class MonitorDocument(DocumentPart, frozen=True, kw_only=True):
    """Everything by which a model is monitored without labels; `supported` tells whether an accuracy may be shown."""

    format: str
    supported: bool
    reason: Text = ""
    """Why no accuracy is shown."""
    output: Name
    scores: Scores
    classes: Annotated[int, Meta(ge=2, le=1024)]
    clean_accuracy: Share
    """Of the model on the evaluation data as they are."""
    committee_accuracy: Share
    view: View
    heads: Annotated[tuple[CommitteeHead, ...], Meta(min_length=HEADS, max_length=HEADS)]
    maps: Maps
    interval: Interval
    trial: Trial
    calibrators: Annotated[tuple[ClassCalibrator, ...], Meta(max_length=1024)] = ()
    profile: Annotated[tuple[FeatureProfile, ...], Meta(max_length=64)] = ()


class _FormatOnly(Struct):
    format: str


def encode(document: MonitorDocument) -> bytes:
    """Return the document's bytes: the same for the same document, always."""
    return msgspec.msgpack.encode(document)


def decode(data: bytes) -> MonitorDocument:
    """Read a document.

    Raises:
        BundleError: it is too large, of a newer major format, or not what this one is.
    """
    if len(data) > MAX_BYTES:
        raise BundleError(f"document {NAME!r}: {len(data):,} bytes, expected at most {MAX_BYTES:,}")
    try:
        found = msgspec.msgpack.decode(data, type=_FormatOnly).format
        if found.partition(".")[0] != FORMAT.partition(".")[0]:
            raise BundleError(f"document {NAME!r}: format {found}, this edgemm reads {FORMAT}: upgrade it")
        document = msgspec.msgpack.decode(data, type=MonitorDocument)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise BundleError(f"document {NAME!r}: {err}") from err
    from edgemm.monitoring.document_check import problems

    if problem := next(problems(document), None):
        raise BundleError(f"document {NAME!r}: {problem}")
    return document


def floats(data: bytes) -> array[float]:
    """Return the float32 numbers of a field."""
    found = array("f")
    found.frombytes(data)
    if sys.byteorder != "little":
        found.byteswap()
    return found
