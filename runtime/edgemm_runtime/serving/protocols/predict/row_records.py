"""Records: a list of objects, one for each row, with the inputs by name. Pure.

[{"age": 31, "city": "Graz"}, {"age": 27, "city": "Wien"}]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgemm.bundle.manifest import Signature
from edgemm.errors import BadRequestError
from edgemm_runtime.serving.protocols.predict.input_values import Declared, read_input
from edgemm_runtime.tensors.inputs import describe
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.named_inputs import are_names, missing_names, unknown_names


def are_records(values: Any) -> bool:
    """Tell whether a value in JSON is a list of objects, none of them an image."""
    if not isinstance(values, list) or not values or not isinstance(values[0], dict):  # as most often
        return False
    return all(isinstance(one, dict) and "b64" not in one for one in values)


def read(records: Sequence[dict[str, Any]], signature: Signature, steps: Declared) -> dict[str, Array]:
    """Return the inputs of records, one row each.

    Raises:
        BadRequestError: a record has not the inputs, the model takes another number of rows, or a value is not what its
            input takes.
    """
    for row, record in enumerate(records):
        if not are_names(record, signature.inputs):
            raise BadRequestError(f"row {row} (from 0): {_differing(record, signature)}")
    for spec in signature.inputs:
        if spec.shape[:1] not in {(-1,), (len(records),)}:
            raise BadRequestError(
                f"expected whole tensors of {describe(signature.inputs)}, by name, found {len(records)} records"
            )
    return {
        spec.name: read_input([record[spec.name] for record in records], spec, steps.get(spec.name))
        for spec in signature.inputs
    }


def _differing(record: dict[str, Any], signature: Signature) -> str:
    expected = f"expected the inputs {describe(signature.inputs)}, found"
    if unknown := unknown_names(record, signature.inputs):
        return f"{expected} {unknown[0][:80]!r}, which is none of them"
    return f"{expected} none called {missing_names(record, signature.inputs)[0]!r}"
