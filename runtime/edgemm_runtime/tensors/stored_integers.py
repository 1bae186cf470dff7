"""A view of a model with the integers that its file stores, for clients that have quantized data. Pure.

By its signature, an integer variant takes and gives real numbers. For the tensors that a `StoredForm` names, it takes
or gives the file's own codes instead: real = (code − zero_point) × scale.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from edgemm.bundle.manifest import Signature, TensorSpec, Variant, VariantTensor


@dataclass(frozen=True, slots=True)
class StoredForm:
    """The inputs and outputs, by the signature's names, that are the file's own integers."""

    inputs: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()


def stored_tensors(specs: Collection[TensorSpec], tensors: Collection[VariantTensor]) -> dict[str, VariantTensor]:
    """Return, by name, the tensors that a file stores as codes and the signature tells as something else."""
    dtypes = {spec.name: spec.dtype for spec in specs}
    return {t.name: t for t in tensors if t.quantization is not None and t.dtype != dtypes.get(t.name, t.dtype)}


def as_stored(variant: Variant, signature: Signature, form: StoredForm) -> tuple[Variant, Signature]:
    """Return what a variant and its signature say where the tensors of `form` are as the file stores them."""
    inputs = {t.name: t for t in variant.inputs if t.name in form.inputs}
    outputs = {t.name: t for t in variant.outputs if t.name in form.outputs}
    return (
        replace(
            variant,
            inputs=tuple(_plain(t, inputs) for t in variant.inputs),
            outputs=tuple(_plain(t, outputs) for t in variant.outputs),
        ),
        replace(
            signature,
            inputs=tuple(_retyped(spec, inputs) for spec in signature.inputs),
            outputs=tuple(_retyped(spec, outputs) for spec in signature.outputs),
        ),
    )


def _plain(tensor: VariantTensor, stored: Mapping[str, VariantTensor]) -> VariantTensor:
    return replace(tensor, quantization=None) if tensor.name in stored else tensor


def _retyped(spec: TensorSpec, stored: Mapping[str, VariantTensor]) -> TensorSpec:
    return replace(spec, dtype=stored[spec.name].dtype) if spec.name in stored else spec
