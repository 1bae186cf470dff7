"""The consistency of a manifest: names that fit each other, blobs that are used and listed, plain words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgemm.open_enum import OpenEnum

if TYPE_CHECKING:
    from edgemm.bundle.column_figures import ColumnTolerance
    from edgemm.bundle.manifest import Manifest, TensorSpec

_STRING = "string"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)


def problems(manifest: Manifest) -> Iterator[str]:
    """Yield what contradicts itself in a manifest whose fields are each well-formed."""
    yield from (f"{word.value[:80]!r} is no word" for word in _words(manifest) if not _is_word(word))
    inputs = [t.name for t in manifest.signature.inputs]
    outputs = [t.name for t in manifest.signature.outputs]
    ids = [v.id for v in manifest.variants]
    for what, names in (("inputs", inputs), ("outputs", outputs), ("variants", ids)):
        if len(set(names)) != len(names):
            yield f"two {what} have one name"
    for variant in manifest.variants:
        if not variant.id.startswith(f"{variant.engine}:"):
            yield f"variant {variant.id} runs in another engine, {variant.engine}"
        if {t.name for t in variant.inputs} != set(inputs) or {t.name for t in variant.outputs} != set(outputs):
            yield f"variant {variant.id} does not have the tensors of the signature"
        if set(manifest.golden.tolerance.get(variant.id, ())) != set(outputs):
            yield f"variant {variant.id} has no tolerance for each output"
    yield from _strings(manifest)
    yield from _missing(manifest)
    yield from _columns_elsewhere(manifest)
    if set(manifest.golden.inputs) != set(inputs) or set(manifest.golden.outputs) != set(outputs):
        yield "the golden samples do not have the tensors of the signature"
    if unknown := set(manifest.preprocessing or ()) - set(inputs):
        yield f"pre-processing is declared for {min(unknown)!r}, which is no input"
    yield from _channels(manifest)
    yield from _golden(manifest)
    if unknown := {one.output for one in manifest.labels_of or ()} - set(outputs):
        yield f"labels are of {min(unknown)!r}, which is no output"
    if missing := _referenced(manifest) - set(manifest.blobs):
        yield f"blob {min(missing)} is used but not listed"
    if unused := set(manifest.blobs) - _referenced(manifest):
        yield f"blob {min(unused)} is listed but not used"


def _strings(manifest: Manifest) -> Iterator[str]:
    """Yield strings that become something else: they have neither scale nor pixels."""
    signature = manifest.signature
    texts = {spec.name for spec in (*signature.inputs, *signature.outputs) if _is_string(spec)}
    for variant in manifest.variants:
        for tensor in (*variant.inputs, *variant.outputs):
            if (tensor.dtype.value == _STRING) != (tensor.name in texts):
                yield f"{tensor.name!r} is of strings in the signature or in variant {variant.id}, and not in both"
            if tensor.dtype.value == _STRING and tensor.quantization is not None:
                yield f"{tensor.name!r} is of strings in variant {variant.id}, and quantized"
    if images := texts & set(manifest.preprocessing or ()):
        yield f"pre-processing is declared for {min(images)!r}, which is of strings"


def _missing(manifest: Manifest) -> Iterator[str]:
    """Yield tensors that are said to have missing values, and cannot have any."""
    signature = manifest.signature
    for spec in (*signature.inputs, *signature.outputs):
        if spec.missing and (
            spec in signature.outputs or (spec.dtype.known and not spec.dtype.value.startswith(("float", _STRING)))
        ):
            yield f"{spec.name!r} is said to take missing values, and is no input of floats or strings"


def _is_string(spec: TensorSpec) -> bool:
    return spec.dtype.value == _STRING


def _columns_elsewhere(manifest: Manifest) -> Iterator[str]:
    shapes = {t.name: t.shape for t in manifest.signature.outputs}
    other = manifest.golden.other_kernels
    held = [*manifest.golden.tolerance.values(), *(other.tolerance.values() if other else ())]
    for by_output in held:
        for name, tolerance in by_output.items():
            if any(not _is_there(column, shapes.get(name, ())) for column in tolerance.columns or ()):
                yield f"a tolerance is for columns that output {name!r} does not have"


def _is_there(column: ColumnTolerance, shape: tuple[int, ...]) -> bool:
    """Tell whether an output of this shape may have these columns; −1 is a variable dimension."""
    if column.axis >= len(shape) or column.start >= column.stop:
        return False
    return shape[column.axis] == -1 or column.stop <= shape[column.axis]


def _golden(manifest: Manifest) -> Iterator[str]:
    """Yield what is said of golden samples of tensors and variants that there are not."""
    golden, outputs = manifest.golden, {spec.name: spec for spec in manifest.signature.outputs}
    if unknown := set(golden.deflated or ()) - set(golden.inputs):
        yield f"golden samples of {min(unknown)!r} are deflated, which is no input"
    for name, axes in (golden.sampled or {}).items():
        if name not in outputs or len(axes) != len(outputs[name].shape):
            yield f"golden samples of {name!r} are at places of another output"
        if any(list(places) != sorted(set(places)) for places in axes if places is not None):
            yield f"the places of the golden samples of {name!r} do not rise"
    if other := golden.other_kernels:
        told = {*other.tolerance, *other.rows}
        if unknown := told - {variant.id for variant in manifest.variants}:
            yield f"tolerances for other kernels are of {min(unknown)!r}, which is no variant"
        for variant_id in told:
            named = {*other.tolerance.get(variant_id, ())}
            rows = {name for group in other.rows.get(variant_id, ()) for name in group}
            if not named <= set(outputs) or not rows <= named:
                yield f"tolerances for other kernels of {variant_id} are not of its outputs"


def _channels(manifest: Manifest) -> Iterator[str]:
    """Yield pre-processing whose numbers are not one for each channel."""
    for name, steps in (manifest.preprocessing or {}).items():
        if (channels := steps.channels.channel_count) and {len(steps.mean), len(steps.std)} - {0, 1, channels}:
            yield f"mean and std of {name!r} are neither one number nor one for each of {channels} channels"
        colour = steps.resize.pad_colour if steps.resize is not None and steps.resize.pad_colour else ()
        if channels and len(colour) not in {0, 1, channels}:
            yield f"pad_colour of {name!r} is neither one number nor one for each of {channels} channels"


def _is_word(word: OpenEnum) -> bool:
    """Tell whether a later version may have written it: what is printed must not steer a terminal or a page."""
    return word.known or _WORD.fullmatch(word.value) is not None


def _words(manifest: Manifest) -> Iterator[OpenEnum]:
    """Yield all that may be a word of a later version."""
    yield from (tensor.dtype for tensor in (*manifest.signature.inputs, *manifest.signature.outputs))
    for variant in manifest.variants:
        yield variant.precision
        yield from (tensor.dtype for tensor in (*variant.inputs, *variant.outputs))
    for steps in (manifest.preprocessing or {}).values():
        yield from (steps.channels, steps.layout)
        if steps.resize is not None:
            yield steps.resize.fit
            yield from (word for word in (steps.resize.kernel, steps.resize.pad_place) if word)
    yield from (run.statistic for run in manifest.parity)
    yield from (one.kind for one in manifest.labels_of or ())


def _referenced(manifest: Manifest) -> set[str]:
    used = {v.blob for v in manifest.variants}
    used |= {*manifest.golden.inputs.values(), *manifest.golden.outputs.values()}
    if profile := manifest.reference_profile:
        tensors = [*profile.inputs.values(), *profile.outputs.values()]
        tensors += [profile.confidence] if profile.confidence else []
        used |= {digest for t in tensors for digest in (t.edges, t.counts)}
    return used | set(manifest.documents.values())
