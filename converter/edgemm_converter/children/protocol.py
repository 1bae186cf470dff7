"""The protocol between the parent and its child processes: a request, files in one folder, an answer.

Messages are MessagePack: JSON would make null of an error that is infinite. Arrays are `.npy` files in that folder, and
the messages name them. An array of a sample set has shape [runs, *concrete shape].
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from edgemm.bundle.manifest import Precision, Preprocessing, Signature, Variant, VariantTensor
from edgemm.bundle.other_kernels import OtherKernels
from edgemm_converter.metadata.carried import Carried, Settled

REQUEST, RESULT = "request.msgpack", "result.msgpack"


class SourceFormat(StrEnum):
    """Kinds of source artifact; besides, a finished model file is of the format that its engine's id names."""

    KERAS = "keras"
    HDF5 = "hdf5"
    SAVED_MODEL = "saved_model"
    SKOPS = "skops"
    PICKLE = "pickle"
    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"
    PROGRAM = "exported_program"


ESTIMATORS = frozenset({SourceFormat.SKOPS, SourceFormat.PICKLE, SourceFormat.XGBOOST, SourceFormat.LIGHTGBM})
"""Kinds of source that hold an estimator: a model of rows of numbers, with methods such as `predict`."""


WITHOUT_LAYERS = ESTIMATORS | {SourceFormat.PROGRAM}
"""Kinds of source of which no layers are told."""


class SetKind(StrEnum):
    """What the inputs of a sample set are."""

    RANDOM = "random"
    EDGE = "edge"
    CALIBRATION = "calibration"
    EVALUATION = "evaluation"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of requests and answers."""


class SampleSet(Message, frozen=True):
    """Inputs with the source model's outputs: names of `.npy` files by tensor name.

    `noise` is how far rounding alone moves each output of the source, in its unit; `moved` are files of the same for
    each value of one run's output. Of edge inputs there are besides, by run, `names` and `families`
    (`data.edge_inputs`), and `moved` has a value for each run: infinite where rounding makes a number of what is none,
    or the reverse. A run takes `rows` samples of a user's data where the batch is fixed. `undecided` are files of truth
    values [runs, …] by the name of an output of labels: where rounding alone decides which label it is.
    """

    id: str
    kind: SetKind
    runs: int
    samples: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    seeds: tuple[int, ...] = ()
    noise: dict[str, float] = {}
    names: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    moved: dict[str, str] = {}
    rows: int = 1
    undecided: dict[str, str] = {}


class KnownUnits(Message, frozen=True):
    """Columns of an output that have one unit each, by the source's graph: `spans` (start, stop) of an axis.

    Without an axis the whole output has one unit. Of columns between the spans nothing is known. `of_one` tells of each
    span, or of the whole, whether a function computes it that rounds around 1, as a sigmoid does.
    """

    axis: int | None
    spans: tuple[tuple[int, int], ...] = ()
    of_one: tuple[bool, ...] = ()


class StagedData(Message, frozen=True):
    """A user's data as a `.npz` file, and what the user calls them."""

    file: str
    shown: str


class ExportRequest(Message, frozen=True):
    """Load `source` and make these variants of it."""

    source: str
    format: str
    variants: tuple[str, ...]
    calibration: StagedData | None = None
    evaluation: StagedData | None = None
    preprocessing: dict[str, Preprocessing] = {}
    custom_objects: tuple[str, ...] = ()
    allow_lambda: bool = False
    allow_pickle: bool = False
    signature: str | None = None
    input_shapes: dict[str, tuple[int, ...]] = {}
    carried: Carried | None = None
    has_labels: bool = False
    required: tuple[str, ...] = ()
    """Variants that were asked for by name: one that cannot be made fails the conversion, another is left out."""

    columns: dict[str, str] = {}
    """Dtypes of named columns of an estimator, as the user gives them."""

    stateful: bool = False
    """A finished file is said to keep state between inferences."""


class ExportedVariant(Message, frozen=True):
    """One model file of the folder, and its own tensors."""

    id: str
    file: str
    minimum_engine: str
    inputs: tuple[VariantTensor, ...]
    outputs: tuple[VariantTensor, ...]
    float_layers: tuple[str, ...] = ()
    layers: dict[str, str] = {}
    """The layer that each operation of the file comes from, by the file's name of the operation, where it has one."""


class Exported(Message, frozen=True, tag="exported"):
    """Answer to an `ExportRequest`."""

    signature: Signature
    variants: tuple[ExportedVariant, ...]
    sets: tuple[SampleSet, ...]
    settled: Settled = Settled()
    """What is taken of what a finished file carries."""

    left_out: dict[str, str] = {}
    """Variants that could not be made and were not asked for by name, with the reason."""

    units: dict[str, KnownUnits] = {}
    """What is known of the units of outputs, by name."""

    notes: tuple[str, ...] = ()
    """What to know of how the variants compute the source."""


class RunRequest(Message, frozen=True, tag="run"):
    """Run each variant in its engine on each set; `files` are the model files by variant id.

    With `stateful`, the runs of each set are one sequence.
    """

    signature: Signature
    variants: tuple[Variant, ...]
    files: dict[str, str]
    sets: tuple[SampleSet, ...]
    required: tuple[str, ...] = ()
    stateful: bool = False
    layers: dict[str, dict[str, str]] = {}
    """Of each variant, what `ExportedVariant.layers` says."""


class Ran(Message, frozen=True, tag="ran"):
    """Answer to a `RunRequest`: variant id → set id → output name → `.npy` file."""

    outputs: dict[str, dict[str, dict[str, str]]]
    left_out: dict[str, str] = {}
    floats: dict[str, tuple[str, ...]] = {}
    """Of each integer variant, the operations that stay float."""


class SearchRequest(Message, frozen=True, tag="search"):
    """Search for the smallest TFLite variant of `floats` within `max_drop`; `truth` and others are `.npy` files."""

    signature: Signature
    floats: ExportedVariant
    sets: tuple[SampleSet, ...]
    metric: str
    output: str
    truth: str
    max_drop: float
    reconstructed: str | None = None
    units: dict[str, KnownUnits] = {}


class TrialFacts(Message, frozen=True):
    """One candidate of a search: the layers that stayed float, its size, its drop, or why it could not be used."""

    precision: Precision
    float_layers: tuple[str, ...]
    size: int
    drop: float | None
    refused: str


class SearchResult(Message, frozen=True, tag="found"):
    """Answer to a `SearchRequest`: the variant to use, and all that was tried on the way."""

    variant: ExportedVariant
    trials: tuple[TrialFacts, ...]
    float_layers: tuple[str, ...]


class TailRequest(Message, frozen=True, tag="tail"):
    """Make a variant of `floats` like `precision` whose last layers stay float, so that no column of `outputs` is off.

    `sets` are those that the variant is judged on.
    """

    signature: Signature
    floats: ExportedVariant
    precision: Precision
    outputs: tuple[str, ...]
    sets: tuple[SampleSet, ...]
    units: dict[str, KnownUnits] = {}


class TailResult(Message, frozen=True, tag="tailed"):
    """Answer to a `TailRequest`: the variant, if one was found, and what was tried, in words."""

    variant: ExportedVariant | None
    tried: tuple[str, ...]


class LayersRequest(Message, frozen=True, tag="layers"):
    """Compare the layers of TFLite variants (`files` by id) with those of the float file, on one sample set."""

    floats: ExportedVariant
    files: dict[str, str]
    set: SampleSet


class LayerFacts(Message, frozen=True):
    """How far a layer's output is from float, relative to its spread, and how much of that the layer itself added."""

    name: str
    error: float
    own: float


class Parted(Message, frozen=True, tag="parted"):
    """Answer to a `LayersRequest`: the layers of each variant in the order in which they run."""

    layers: dict[str, tuple[LayerFacts, ...]]


class PartingRequest(Message, frozen=True, tag="parting"):
    """Find where a variant parts from `source`, on a sample set at batch 1; `limit` is a share of a value's scale."""

    source: ExportRequest
    variant: ExportedVariant
    set: SampleSet
    limit: float


class PartedAt(Message, frozen=True, tag="parted-at"):
    """Answer to a `PartingRequest`: the first layer that differs, "" where all that can be told agrees."""

    layer: str


class MonitorRequest(Message, frozen=True, tag="monitor"):
    """Make the document by which a model is monitored, of labelled rows: `.npy` files of the inputs and the classes."""

    signature: Signature
    variant: Variant
    file: str
    inputs: dict[str, str]
    classes: str
    output: str
    effort: str
    preprocessing: dict[str, Preprocessing] = {}


class MonitorAnswer(Message, frozen=True, tag="monitored"):
    """Answer to a `MonitorRequest`: the document's file, or None; and why it shows no accuracy, or is not there."""

    file: str | None
    reason: str


class SelfTestRequest(Message, frozen=True, tag="selftest"):
    """Run the golden samples of a bundle file on all its variants; with `others` in other kernels too."""

    bundle: str
    others: bool = True


class SelfTestPassed(Message, frozen=True, tag="passed"):
    """Answer to a `SelfTestRequest` whose self-test passed, with the tolerances for other kernels."""

    other_kernels: OtherKernels | None = None


class Failed(Message, frozen=True, tag="failed"):
    """Answer of any child whose work failed for a known reason; `error` is a class of `edgemm.errors`."""

    error: str
    message: str


EngineRequest = RunRequest | SelfTestRequest
