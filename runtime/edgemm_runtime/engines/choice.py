"""The choice of the variant of a bundle to run here. Pure: engines, memory and disk are arguments.

A policy is `auto`, the manifest's order, or a list of variant ids. A variant is skipped for a missing or too old
engine, for what only a later edgemm knows, memory or disk, and for nothing else: a failed self-test fails the bundle.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from edgemm import __version__
from edgemm.bundle.manifest import DType, Manifest, Variant
from edgemm.errors import EngineUnavailableError, InputError, NewerFormatError
from edgemm.reasons import Reason
from edgemm.versions import Version
from edgemm_runtime.installed import unavailable_reason

AUTO: Literal["auto"] = "auto"
Policy: TypeAlias = Literal["auto"] | tuple[str, ...]
_MEMORY_PER_FILE_BYTE = 2
_MEMORY_PER_MODEL_BYTES = 16 * 1024 * 1024


class SkipReason(StrEnum):
    """Why a variant cannot run here."""

    NO_ENGINE = Reason.NO_ENGINE.value
    NO_MEMORY = Reason.NO_MEMORY.value
    NO_SPACE = Reason.NO_SPACE.value


@dataclass(frozen=True)
class Skipped:
    """A variant that was passed over, and why in words."""

    variant: str
    reason: SkipReason
    detail: str


@dataclass(frozen=True)
class Resources:
    """What is free here, in bytes; None where it does not matter."""

    memory_bytes: int | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True)
class Choice:
    """The variant to run, or None where every one was skipped."""

    variant: Variant | None
    skipped: tuple[Skipped, ...]

    def require(self) -> Variant:
        """Return the variant.

        Raises:
            EngineUnavailableError: there is none; says why for each.
        """
        if self.variant is None:
            reasons = "; ".join(f"{s.variant} {s.detail}" for s in self.skipped)
            raise EngineUnavailableError(f"no variant can run here: {reasons}")
        return self.variant


def parse_policy(text: str) -> Policy:
    """Read `auto`, or variant ids with commas between them, in order of preference.

    Raises:
        InputError: an empty id.
    """
    if text.strip() == AUTO:
        return AUTO
    ids = tuple(part.strip() for part in text.split(","))
    if not all(ids):
        raise InputError(f"variant policy {text!r}: expected 'auto' or ids such as 'tflite:int8,onnx:float32'")
    return ids


def choose(
    manifest: Manifest,
    *,
    policy: Policy = AUTO,
    engines: Mapping[str, str],
    resources: Resources = Resources(),
    present: Collection[str] = (),
) -> Choice:
    """Return the first variant of `policy` that can run; `present` are digests that are on disk already.

    Raises:
        InputError: the policy names a variant that the bundle lacks.
        NewerFormatError: the bundle needs a newer runtime, or its signature has a dtype that is unknown here.
    """
    if Version(manifest.minimum_runtime) > Version(__version__):
        raise NewerFormatError(
            f"{manifest.name} {manifest.version}",
            what="minimum runtime", found=manifest.minimum_runtime, supported=__version__,
        )  # fmt: skip
    for tensor in (*manifest.signature.inputs, *manifest.signature.outputs):
        if not tensor.dtype.known:
            raise NewerFormatError(
                f"{manifest.name} {manifest.version}: tensor {tensor.name!r}",
                what="dtype", found=tensor.dtype.value, supported=", ".join(DType),
            )  # fmt: skip
    candidates = manifest.variants if policy == AUTO else tuple(manifest.variant(name) for name in policy)
    skipped: list[Skipped] = []
    for variant in candidates:
        problem = _problem(manifest, variant, engines=engines, resources=resources, present=present)
        if problem is None:
            return Choice(variant, tuple(skipped))
        skipped.append(problem)
    return Choice(None, tuple(skipped))


def memory_needed_bytes(manifest: Manifest, variant: Variant) -> int:
    """Return a cautious estimate of what loading takes: the file, its weights as the engine packs them, tensors.

    Of a stateful model that is without its sequences, each of which looks for memory when it begins.
    """
    return manifest.blobs[variant.blob].size * _MEMORY_PER_FILE_BYTE + _MEMORY_PER_MODEL_BYTES


def disk_needed_bytes(manifest: Manifest, variant: Variant, *, present: Collection[str]) -> int:
    """Return the size of the variant's blobs that are not here yet."""
    return sum(manifest.blobs[digest].size for digest in manifest.blobs_for(variant.id) if digest not in present)


def _problem(
    manifest: Manifest,
    variant: Variant,
    *,
    engines: Mapping[str, str],
    resources: Resources,
    present: Collection[str],
) -> Skipped | None:
    if detail := unavailable_reason(variant, engines):
        return Skipped(variant.id, SkipReason.NO_ENGINE, detail)
    memory = memory_needed_bytes(manifest, variant)
    if resources.memory_bytes is not None and memory > resources.memory_bytes:
        detail = f"needs about {memory:,} bytes of memory, {resources.memory_bytes:,} are free"
        return Skipped(variant.id, SkipReason.NO_MEMORY, detail)
    disk = disk_needed_bytes(manifest, variant, present=present)
    if resources.disk_bytes is not None and disk > resources.disk_bytes:
        detail = f"needs {disk:,} bytes of disk, {resources.disk_bytes:,} are free"
        return Skipped(variant.id, SkipReason.NO_SPACE, detail)
    return None
