"""The manifest of a bundle: its signature, its variants, and the distance of each variant from its source.

`manifest.json` is canonical JSON; the SHA-256 of its bytes is the bundle's identity. It holds no measured times and
nothing about the speed of a machine. Fields may be added within major format 1 (readers ignore what they do not know);
a field that an old runtime must not ignore comes together with a higher `minimum_runtime`.

Decoding checks what a reader relies on; `Manifest` values are therefore always consistent. Words of a later version,
for engines, precisions, dtypes and the like, are kept as they stand; `edgemm.bundle.unknowns` says what then does not
work.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from edgemm import canonical
from edgemm.bundle.column_figures import MAX_COLUMNS, ColumnParity, ColumnTolerance
from edgemm.bundle.consistency import problems
from edgemm.bundle.other_kernels import OtherKernels
from edgemm.canonical import DIGEST_PATTERN
from edgemm.errors import BundleError, InputError, MessageError, NewerFormatError
from edgemm.monitoring import monitor_document
from edgemm.open_enum import OpenEnum
from edgemm.versions import VERSION_PATTERN

FORMAT = "1.0"
MODEL_NAME_PATTERN = r"\A[a-z0-9][a-z0-9._-]{0,62}\Z"
ENGINE_PATTERN = r"\A[a-z0-9][a-z0-9-]{0,30}\Z"

Digest = Annotated[str, Meta(pattern=DIGEST_PATTERN)]
ModelName = Annotated[str, Meta(pattern=MODEL_NAME_PATTERN)]
VersionText = Annotated[str, Meta(pattern=VERSION_PATTERN, max_length=64)]
Dim = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
Shape = Annotated[tuple[Dim, ...], Meta(max_length=8)]
TensorName = Annotated[str, Meta(min_length=1, max_length=256)]
DocumentName = ModelName
"""A kind of document, named as models are: no path, for it may become a file's name."""
EngineId = Annotated[str, Meta(pattern=ENGINE_PATTERN)]
"""An engine of `edgemm.bundle.engine_facts`, or one that only another version or package knows."""
Size = Annotated[int, Meta(ge=0, le=2**40)]
Places = Annotated[tuple[Annotated[int, Meta(ge=0, le=2**31 - 1)], ...], Meta(min_length=1, max_length=65536)]
"""Indices along one axis, rising."""


class Frozen(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Base of all values in a manifest."""


class DType(OpenEnum):
    """Element types of tensors, by NumPy's names; `string` is text, as UTF-8 has it."""

    BOOL = "bool"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    STRING = "string"


NUMBERS = tuple(dtype for dtype in DType if dtype is not DType.STRING)
"""The dtypes of numbers and booleans."""

MOST_INPUTS = 256
"""The most inputs of a model, as of a table of so many columns."""

MISSING_TEXT = "\ufdd0"
"""What a text that is missing is in a tensor of strings: a code point that Unicode leaves to programs themselves."""


def known_dtype(name: str) -> DType:
    """Return the dtype of NumPy's name.

    Raises:
        ValueError: no tensor that edgemm serves has it.
    """
    dtype = DType(name)
    if not dtype.known:
        raise ValueError(f"{name!r} is no dtype that edgemm serves")
    return dtype


class Precision(OpenEnum):
    """What the weights and the arithmetic of a variant are."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    INT8_DYNAMIC = "int8-dynamic"
    INT16X8 = "int16x8"
    MIXED = "mixed"
    INT8_WEIGHTS = "int8-weights"
    INT4_WEIGHTS = "int4-weights"


class TensorSpec(Frozen, frozen=True):
    """One input or output of the served signature; −1 in `shape` is a variable dimension.

    `missing` is true of an input of floats in which NaN, or of strings in which `MISSING_TEXT` stands for a value that
    is missing; it is left out elsewhere.
    """

    name: TensorName
    dtype: DType
    shape: Shape
    missing: bool | UnsetType = UNSET


class Signature(Frozen, frozen=True, omit_defaults=True):
    """What is served, as in the source model, the same for all variants.

    `row_by_row` is false where the rows of an open first axis were seen to have a part in each other's answers, as the
    steps of a sequence have: requests are then never computed together. It is left out where it is true.
    """

    inputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1, max_length=MOST_INPUTS)]
    outputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1, max_length=64)]
    row_by_row: bool = True


class Quantization(Frozen, frozen=True):
    """Affine quantization of a whole tensor: real = (integer − zero_point) × scale."""

    scale: Annotated[float, Meta(gt=0)]
    zero_point: int


class VariantTensor(Frozen, frozen=True):
    """A tensor of a variant's own file (`tensor`), and the name that the signature gives it (`name`)."""

    name: TensorName
    tensor: TensorName
    dtype: DType
    shape: Shape
    quantization: Quantization | None = None


class Variant(Frozen, frozen=True):
    """One model file that computes the signature, in one engine and precision.

    `float_layers` names the layers that stay float in a variant of mixed precision.
    """

    id: Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9-]{0,30}:[a-z0-9][a-z0-9-]{0,30}\Z")]
    engine: EngineId
    precision: Precision
    minimum_engine: str
    blob: Digest
    inputs: tuple[VariantTensor, ...]
    outputs: tuple[VariantTensor, ...]
    float_layers: tuple[str, ...] | UnsetType = UNSET


class Tolerance(Frozen, frozen=True):
    """How far one output of a variant may be from the golden outputs on any CPU architecture.

    `max_abs` is in units of the output. `min_argmax_agreement` is the share of golden samples whose largest class
    must be the source's, where the output is a distribution over classes. `columns` are those that are held to less
    than `max_abs`, since their unit is another; left out where there are none.
    """

    max_abs: Annotated[float, Meta(ge=0)]
    min_argmax_agreement: Annotated[float, Meta(ge=0, le=1)] | None = None
    columns: Annotated[tuple[ColumnTolerance, ...], Meta(max_length=MAX_COLUMNS)] | UnsetType = UNSET


class GoldenSamples(Frozen, frozen=True):
    """Inputs with the source model's outputs: the device's self-test.

    Each blob is one NumPy `.npy` array of shape [samples, *shape], where `shape` is a concrete shape of the tensor;
    sample i is `array[i]`. Outputs are the source's, in the signature's dtype.

    Large models have less: of an output in `sampled` the blob has only some places, by axis of its shape the indices
    that are kept, null for all; the blob of an input in `deflated` is a zlib stream (RFC 1950) of the `.npy` array.
    `other_kernels` has the tolerances for engines that are not the one verified.
    """

    samples: Annotated[int, Meta(ge=1, le=1024)]
    inputs: dict[TensorName, Digest]
    outputs: dict[TensorName, Digest]
    tolerance: dict[str, dict[TensorName, Tolerance]]
    sampled: dict[TensorName, Annotated[tuple[Places | None, ...], Meta(max_length=8)]] | UnsetType = UNSET
    deflated: tuple[TensorName, ...] | UnsetType = UNSET
    other_kernels: OtherKernels | UnsetType = UNSET


class OutputParity(Frozen, frozen=True):
    """How far one output of a variant is from the source, over all samples of a parity run.

    `max_abs` in units of the output; `range` is the source output's max − min; `relative` = max_abs ÷ range
    (÷ 1 where the range is 0); `cosine` is the smallest cosine similarity of a sample. `columns` are the worst of
    those that are judged by their own deviation, left out where the whole output has one unit.
    """

    name: TensorName
    max_abs: float
    mean_abs: float
    range: float
    relative: float
    cosine: float
    argmax_agreement: float | None = None
    columns: tuple[ColumnParity, ...] | UnsetType = UNSET


class Statistic(OpenEnum):
    """Which error over a parity run is judged."""

    MAX = "max"
    MEAN = "mean"


class Parity(Frozen, frozen=True):
    """One comparison of a variant, run in the device's engine, with the source model.

    `limit` is for the error that `statistic` names, as a share of the scale of the source's output; null where the
    run was recorded and not judged.
    """

    variant: str
    data: str
    samples: int
    seeds: tuple[int, ...]
    limit: float | None
    outputs: tuple[OutputParity, ...]
    statistic: Statistic = Statistic.MAX


class Drop(Frozen, frozen=True):
    """By how much a variant is worse than its source, positive where it is, with a 95 % confidence interval."""

    value: float
    low: float
    high: float


class Evaluation(Frozen, frozen=True):
    """A metric on a labelled set: of the source and of each variant."""

    metric: str
    samples: int
    data: Digest
    source: float
    variants: dict[str, float]
    drops: dict[str, Drop] = {}


class ImageFit(OpenEnum):
    """How an image comes to another size."""

    STRETCH = "stretch"
    CROP = "crop"
    PAD = "pad"


class ChannelOrder(OpenEnum):
    """Which channels the pixels of an input have, in which order."""

    RGB = "rgb"
    BGR = "bgr"
    GRAY = "gray"

    @property
    def channel_count(self) -> int | None:
        """How many channels there are; None where this version does not know."""
        return (1 if self is ChannelOrder.GRAY else 3) if self.known else None


class Layout(OpenEnum):
    """In which order an image's axes stand in a tensor: height, width, channel."""

    HWC = "hwc"
    CHW = "chw"


class ResizeKernel(OpenEnum):
    """How the pixels of another size are computed from those of an image."""

    ANTIALIAS = "antialias"
    BILINEAR = "bilinear"
    AREA = "area"
    NEAREST = "nearest"


class PadPlace(OpenEnum):
    """Where an image lies on what is padded."""

    CENTRE = "centre"
    TOP_LEFT = "top-left"


class Resize(Frozen, frozen=True):
    """Size in pixels of an image as a model takes it; `fit` says what becomes of another aspect ratio.

    `crop` keeps the middle, `pad` adds `pad_colour`, black unless given: one number or one for each channel, in the
    order of `channels`. What is left out is as in the first version: `antialias`, and the image in the centre.
    """

    width: Annotated[int, Meta(ge=1, le=8192)]
    height: Annotated[int, Meta(ge=1, le=8192)]
    fit: ImageFit = ImageFit.STRETCH
    kernel: ResizeKernel | UnsetType = UNSET
    pad_colour: Annotated[tuple[Annotated[int, Meta(ge=0, le=255)], ...], Meta(max_length=16)] | UnsetType = UNSET
    pad_place: PadPlace | UnsetType = UNSET


class Preprocessing(Frozen, frozen=True):
    """How one input is made: of an image, (pixel × scale − mean) ÷ std with pixels of 0 to 255; or of class indices.

    `mean` and `std` have one number, or one for each channel in the order of `channels`. With `one_hot` the input is
    made of integers below it, each of which becomes a row with a single 1.
    """

    resize: Resize | None = None
    channels: ChannelOrder = ChannelOrder.RGB
    layout: Layout = Layout.HWC
    scale: Annotated[float, Meta(gt=0)] = 1.0
    mean: Annotated[tuple[float, ...], Meta(max_length=16)] = ()
    std: Annotated[tuple[Annotated[float, Meta(gt=0)], ...], Meta(max_length=16)] = ()
    one_hot: Annotated[int, Meta(ge=1, le=65536)] | None = None


class TensorProfile(Frozen, frozen=True):
    """Counts of reference data over fixed bins.

    `edges` is a `.npy` blob of B+1 rising float64 edges; `counts` one of B+3 int64 counts: under, the B bins
    (closed on the left), at or over the last edge, NaN.
    """

    edges: Digest
    counts: Digest


class ReferenceProfile(Frozen, frozen=True):
    """What inputs, outputs and confidence looked like on the reference data; frozen at conversion."""

    samples: int
    inputs: dict[TensorName, TensorProfile]
    outputs: dict[TensorName, TensorProfile]
    confidence: TensorProfile | None = None


class Lineage(Frozen, frozen=True):
    """Where a bundle comes from: digests of sources and data, versions of libraries, options."""

    source_name: str
    source_digest: Digest
    source_format: str
    libraries: dict[str, str]
    options: dict[str, str]
    calibration_digest: Digest | None = None
    evaluation_digest: Digest | None = None
    git_commit: str | None = None
    parent: Digest | None = None


class Blob(Frozen, frozen=True):
    """Size in bytes and media type of one blob."""

    size: Size
    media_type: str


class LabelKind(OpenEnum):
    """What an output has to do with labels."""

    SCORES = "scores"
    INDICES = "indices"


class LabelledOutput(Frozen, frozen=True):
    """One output that labels are of.

    `scores` has a value for each label along `axis`, of which the one of label 0 stands at `first`. The values of
    `indices` are places in the labels: all of them, or those at `first` along `axis`.
    """

    output: TensorName
    kind: LabelKind
    axis: Annotated[int, Meta(ge=0, le=7)] | UnsetType = UNSET
    first: Annotated[int, Meta(ge=0, le=65536)] | UnsetType = UNSET


class Manifest(Frozen, frozen=True):
    """Everything about a bundle but the bytes of its blobs.

    `stateful` is true where an answer also depends on the requests before it: the golden samples are then one sequence,
    in order, from the state in which the model is loaded. It is left out of every other manifest.
    """

    format: str
    name: ModelName
    version: VersionText
    minimum_runtime: VersionText
    signature: Signature
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=32)]
    golden: GoldenSamples
    parity: tuple[Parity, ...]
    lineage: Lineage
    blobs: Annotated[dict[Digest, Blob], Meta(min_length=1, max_length=4096)]
    labels: tuple[str, ...] | None = None
    licence: str | None = None
    evaluation: Evaluation | None = None
    reference_profile: ReferenceProfile | None = None
    created: str | None = None
    preprocessing: dict[TensorName, Preprocessing] | None = None
    documents: dict[DocumentName, Digest] = {}
    labels_of: Annotated[tuple[LabelledOutput, ...], Meta(max_length=64)] | UnsetType = UNSET
    stateful: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        problem = next(problems(self), None)
        if problem is not None:
            raise ValueError(problem)

    def variant(self, variant_id: str) -> Variant:
        """Return the variant of this id.

        Raises:
            InputError: there is none.
        """
        for variant in self.variants:
            if variant.id == variant_id:
                return variant
        known = ", ".join(v.id for v in self.variants)
        raise InputError(f"{self.name} {self.version} has no variant {variant_id!r}; it has {known}")

    def blobs_for(self, variant_id: str) -> tuple[str, ...]:
        """Return the digests that a device needs of one variant: its file, the golden samples, how it is monitored."""
        wanted = {self.variant(variant_id).blob, *self.golden.inputs.values(), *self.golden.outputs.values()}
        wanted |= {digest for kind, digest in self.documents.items() if kind == monitor_document.NAME}
        return tuple(sorted(wanted))

    def encode(self) -> bytes:
        """Return the canonical bytes of a manifest that was made here; their SHA-256 is the bundle's identity.

        Of a manifest that was read, keep the bytes that came (`Bundle.manifest_bytes`): another minor format has
        fields that this one would drop or add.
        """
        return canonical.encode(self)


class _FormatOnly(Struct):
    format: Annotated[str, Meta(pattern=r"\A\d{1,6}\.\d{1,6}\Z")]


def decode_manifest(data: bytes, *, path: str) -> Manifest:
    """Read `manifest.json`; `path` says in errors where it came from.

    Raises:
        NewerFormatError: its major format is newer than `FORMAT`.
        BundleError: not canonical JSON, a field is missing or of the wrong kind, or it contradicts itself.
    """
    try:
        found = msgspec.json.decode(data, type=_FormatOnly).format
        if found.split(".")[0] != FORMAT.split(".", maxsplit=1)[0]:
            raise NewerFormatError(path, what="bundle format", found=found, supported=FORMAT)
        return canonical.decode(data, Manifest, name=path)
    except (MessageError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        told = err if isinstance(err, MessageError) else canonical.fault(err, data)
        raise BundleError(f"{path}: manifest.json is not a manifest: {told}") from err


def check_model_name(name: str) -> str:
    """Return `name` if it is a model name.

    Raises:
        InputError: it is not.
    """
    if re.search(MODEL_NAME_PATTERN, name) is None:
        raise InputError(
            f"model name {name!r}: expected 1 to 63 of a-z, 0-9, '.', '_', '-', the first a letter or digit"
        )
    return name
