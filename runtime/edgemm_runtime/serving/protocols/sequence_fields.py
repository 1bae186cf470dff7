"""The sequence that a request names, in the parameters of the Open Inference Protocol v2 or in headers. Pure.

    {"parameters": {"sequence_id": "door", "sequence_start": true}, "inputs": […]}
    X-Sequence-Id: door
    X-Sequence-Start: true

An id is a positive integer or a text; 0 and "" are none. In a header it is a text. Only stateful models are asked so.

Source: the sequence extension of the Open Inference Protocol, as Triton has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgemm.errors import BadRequestError
from edgemm_runtime.http import json_faults
from edgemm_runtime.http.exchange import Request
from edgemm_runtime.models.sequence_table import SequenceId, SequenceStep
from edgemm_runtime.models.served_model import ServedModel

ID, START, END = "sequence_id", "sequence_start", "sequence_end"
ID_HEADER, START_HEADER, END_HEADER = "X-Sequence-Id", "X-Sequence-Start", "X-Sequence-End"
LONGEST_ID = 128
LARGEST_ID = 2**64 - 1
_FLAGS: Mapping[str, bool] = {"": False, "false": False, "true": True}


def of_parameters(parameters: Mapping[str, Any], served: ServedModel) -> SequenceStep | None:
    """Return what a request's parameters say; None where they name no sequence, or the model has none.

    Raises:
        BadRequestError: an id or flag is none.
    """
    if served.sequences is None:
        return None
    flags = [parameters.get(name, False) for name in (START, END)]
    for name, flag in zip((START, END), flags, strict=True):
        if type(flag) is not bool:
            raise BadRequestError(f"parameter {name!r}: expected true or false, found {json_faults.spelled(flag)}")
    return _step(parameters.get(ID, 0), start=flags[0], end=flags[1], told=f"parameter {ID!r}")


def of_headers(request: Request, served: ServedModel) -> SequenceStep | None:
    """Return what a request's headers say; None where they name no sequence, or the model has none.

    Raises:
        BadRequestError: an id or flag is none.
    """
    if served.sequences is None:
        return None
    start, end = (_flag(request, name) for name in (START_HEADER, END_HEADER))
    return _step(request.header(ID_HEADER.lower()), start=start, end=end, told=f"header {ID_HEADER}")


def _flag(request: Request, name: str) -> bool:
    found = request.header(name.lower()).strip().lower()
    if found not in _FLAGS:
        raise BadRequestError(f"header {name}: expected true or false, found {found[:40]!r}")
    return _FLAGS[found]


def _step(found: Any, *, start: bool, end: bool, told: str) -> SequenceStep | None:
    if (type(found) is int and found == 0) or found == "":
        return None
    return SequenceStep(_id(found, told=told), start=start, end=end)


def _id(found: Any, *, told: str) -> SequenceId:
    if type(found) is int and 0 < found <= LARGEST_ID:
        return found
    if type(found) is str and len(found) <= LONGEST_ID:
        return found
    raise BadRequestError(
        f"{told}: expected an integer from 1 to 2^64 − 1, or a text of at most {LONGEST_ID} characters, found "
        f"{json_faults.spelled(found)}"
    )
