"""Raw integers in the Open Inference Protocol v2: the tensors that a request sends or wants as codes. Pure.

An input is raw by its datatype, where that is the file's and not the signature's. An output is raw by its parameter
`raw`. The request's parameter `raw_output` holds for all outputs that do not say it themselves. `binary_data` and
`binary_data_output` work in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from edgemm.bundle.manifest import DType, Signature, Variant, VariantTensor
from edgemm.errors import BadRequestError
from edgemm_runtime.http import json_faults
from edgemm_runtime.tensors.stored_integers import StoredForm, as_stored, stored_tensors


class AskedInput(Protocol):
    """An input as a request describes it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def datatype(self) -> str:
        """What the protocol calls its dtype."""


class RawTensors:
    """The tensors of one variant that may be asked for raw; `datatypes` are the protocol's names of dtypes."""

    def __init__(self, variant: Variant, signature: Signature, datatypes: Mapping[DType, str]) -> None:
        self._variant, self._signature = variant, signature
        self._inputs = {
            name: datatypes[tensor.dtype] for name, tensor in stored_tensors(signature.inputs, variant.inputs).items()
        }
        self._outputs = stored_tensors(signature.outputs, variant.outputs)

    def takes(self, inputs: Iterable[AskedInput]) -> bool:
        """Tell whether a request sends an input raw."""
        known = self._inputs
        for one in inputs:  # noqa: SIM110 - on the way of every request, where a generator would cost as much again
            if known.get(one.name) == one.datatype:
                return True
        return False

    def asked(
        self,
        inputs: Iterable[AskedInput],
        outputs: Iterable[tuple[str, Mapping[str, Any]]],
        parameters: Mapping[str, Any],
    ) -> StoredForm | None:
        """Return what a request has raw, None where it has nothing so; `outputs` are names with their parameters.

        Raises:
            BadRequestError: an output is wanted raw of which this variant has no codes, or `raw` is no boolean.
        """
        raw_inputs = frozenset(one.name for one in inputs if self._inputs.get(one.name) == one.datatype)
        default = _boolean(parameters, "raw_output", default=False)
        raw_outputs = frozenset(name for name, said in outputs if _boolean(said, "raw", default=default))
        for name in raw_outputs:
            if name not in self._outputs and name in {spec.name for spec in self._signature.outputs}:
                raise BadRequestError(
                    f"output {name!r} of variant {self._variant.id} is stored as the signature says: leave out raw"
                )
        return StoredForm(raw_inputs, raw_outputs) if raw_inputs or raw_outputs else None

    def signature(self, form: StoredForm) -> Signature:
        """Return the signature of a request in this form."""
        return as_stored(self._variant, self._signature, form)[1]


def raw_parameters(tensor: VariantTensor, datatypes: Mapping[DType, str]) -> dict[str, str | int | float | bool]:
    """Return what metadata say of a tensor that may be raw: real = (code − zero_point) × scale."""
    assert tensor.quantization is not None
    return {
        "raw_datatype": datatypes[tensor.dtype],
        "scale": tensor.quantization.scale,
        "zero_point": tensor.quantization.zero_point,
    }


def _boolean(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    found = parameters.get(name, default)
    if type(found) is not bool:
        raise BadRequestError(f"parameter {name!r}: expected true or false, found {json_faults.spelled(found)}")
    return found
