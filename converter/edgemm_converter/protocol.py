"""What the parent and its child processes tell each other: a JSON request, files in one folder, a JSON answer.

Arrays are `.npy` files of that folder, named here; an array of a sample set has shape [runs, *concrete shape].
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from edgemm.manifest import Signature, Variant, VariantTensor

REQUEST, RESULT = "request.json", "result.json"


class SourceFormat(StrEnum):
    """Kinds of source artifact."""

    KERAS = "keras"
    HDF5 = "hdf5"
    SAVED_MODEL = "saved_model"


class SetKind(StrEnum):
    """What the inputs of a sample set are."""

    RANDOM = "random"
    CALIBRATION = "calibration"
    EVALUATION = "evaluation"
    GOLDEN = "golden"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of requests and answers."""


class SampleSet(Message, frozen=True):
    """Inputs with the source model's outputs: names of `.npy` files by tensor name.

    `noise` is how far rounding alone moves each output of the source, in its unit.
    """

    id: str
    kind: SetKind
    runs: int
    samples: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    seeds: tuple[int, ...] = ()
    noise: dict[str, float] = {}


class ExportRequest(Message, frozen=True):
    """Load `source` and make these variants of it."""

    source: str
    format: SourceFormat
    variants: tuple[str, ...]
    calibration: str | None = None
    evaluation: str | None = None
    custom_objects: tuple[str, ...] = ()
    allow_lambda: bool = False


class ExportedVariant(Message, frozen=True):
    """One model file of the folder, and its own tensors."""

    id: str
    file: str
    minimum_engine: str
    inputs: tuple[VariantTensor, ...]
    outputs: tuple[VariantTensor, ...]


class Exported(Message, frozen=True, tag="exported"):
    """Answer to an `ExportRequest`."""

    signature: Signature
    variants: tuple[ExportedVariant, ...]
    sets: tuple[SampleSet, ...]


class RunRequest(Message, frozen=True, tag="run"):
    """Run each variant in its engine on each set; `files` are the model files by variant id."""

    signature: Signature
    variants: tuple[Variant, ...]
    files: dict[str, str]
    sets: tuple[SampleSet, ...]


class Ran(Message, frozen=True, tag="ran"):
    """Answer to a `RunRequest`: variant id → set id → output name → `.npy` file."""

    outputs: dict[str, dict[str, dict[str, str]]]


class SelfTestRequest(Message, frozen=True, tag="selftest"):
    """Run the golden samples of a bundle file on all its variants."""

    bundle: str


class Passed(Message, frozen=True, tag="passed"):
    """Answer to a `SelfTestRequest` whose self-test passed."""


class Failed(Message, frozen=True, tag="failed"):
    """Answer of any child whose work failed for a known reason; `error` is a class of `edgemm.errors`."""

    error: str
    message: str


EngineRequest = RunRequest | SelfTestRequest
Answer = Exported | Ran | Passed | Failed
