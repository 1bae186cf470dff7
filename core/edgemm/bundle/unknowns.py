"""The words of a manifest that a later version knows and this one does not, with what each keeps from working here.

* a variant whose engine, precision or dtype is unknown is passed over, as one whose engine is not installed;
* an input or output of an unknown dtype keeps the bundle from being served, and from nothing else;
* an input with unknown pre-processing takes numbers, and no images;
* labels of an output in an unknown way are not shown with its answers;
* a parity run that was judged by an unknown statistic is shown with its name.

Pure, but for the table of engines, to which installed packages may add.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgemm import __version__
from edgemm.bundle.engine_facts import facts_of
from edgemm.bundle.manifest import Manifest, Preprocessing, Signature, TensorSpec, Variant, VariantTensor
from edgemm.open_enum import OpenEnum

_UPGRADE = f"which edgemm {__version__} does not know: upgrade edgemm"


def of_variant(variant: Variant) -> str | None:
    """Return why this version cannot run a variant anywhere, after its id; None where it knows all that it is."""
    if facts_of(variant.engine) is None:
        return f"is for engine {variant.engine!r}, {_UPGRADE}, or install the package that brings the engine"
    if not variant.precision.known:
        return f"is of precision {variant.precision.value!r}, {_UPGRADE}"
    dtype = _dtype((*variant.inputs, *variant.outputs))
    return f"has {dtype}, {_UPGRADE}" if dtype is not None else None


def of_signature(signature: Signature) -> str | None:
    """Return why nothing of this signature can be served here; None where this version knows its dtypes."""
    dtype = _dtype((*signature.inputs, *signature.outputs))
    return f"the model has {dtype}, {_UPGRADE}" if dtype is not None else None


def of_preprocessing(steps: Preprocessing) -> str | None:
    """Return why this version cannot make an input of an image as declared; None where it can."""
    words: list[tuple[str, OpenEnum]] = [("channels", steps.channels), ("layout", steps.layout)]
    if resize := steps.resize:
        words += [("fit", resize.fit)]
        words += [("kernel", resize.kernel)] if resize.kernel else []
        words += [("pad_place", resize.pad_place)] if resize.pad_place else []
    unknown = next(((what, word) for what, word in words if not word.known), None)
    return f"is declared with {unknown[0]} {unknown[1].value!r}, {_UPGRADE}" if unknown is not None else None


def found_in(manifest: Manifest) -> Iterator[str]:
    """Yield a sentence for each thing in a manifest that is skipped or refused here, by its name."""
    if reason := of_signature(manifest.signature):
        yield f"not served: {reason}"
    for variant in manifest.variants:
        if reason := of_variant(variant):
            yield f"variant {variant.id} is skipped: it {reason}"
    for name, steps in sorted((manifest.preprocessing or {}).items()):
        if reason := of_preprocessing(steps):
            yield f"input {name!r} takes no images: its pre-processing {reason}"
    for one in manifest.labels_of or ():
        if not one.kind.known:
            yield f"labels are not shown: they are of {one.output!r} as {one.kind.value!r}, {_UPGRADE}"
    for run in manifest.parity:
        if not run.statistic.known:
            yield f"parity of {run.variant} was judged by {run.statistic.value!r}, {_UPGRADE}"


def _dtype(tensors: Iterable[TensorSpec | VariantTensor]) -> str | None:
    found = next((tensor for tensor in tensors if not tensor.dtype.known), None)
    return f"a tensor {found.name!r} of dtype {found.dtype.value!r}" if found is not None else None
