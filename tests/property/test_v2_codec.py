"""The v2 codec: what a client encodes comes back exactly, and no bytes at all get past it as another error."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgemm.bundle.manifest import DType, Signature, TensorSpec
from edgemm.errors import RequestError
from edgemm_runtime.http.bodies import decompress
from edgemm_runtime.memory.memory_budget import UNBOUNDED
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.serving.protocols.v2 import codec as v2_codec
from edgemm_runtime.serving.protocols.v2 import messages, string_elements
from edgemm_runtime.tensors.element_types import numpy_dtype
from simulators.models import SIGNATURE
from simulators.v2_client import encode_request

pytestmark = pytest.mark.runtime

HEADER = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","parameters":{"binary_data_size":16}}]}'


def bits(array: np.ndarray) -> object:
    return array.tolist() if array.dtype == object else array.tobytes()


@st.composite
def tensors(draw: st.DrawFn) -> tuple[TensorSpec, np.ndarray]:
    dtype = draw(st.sampled_from(list(DType)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, max_side=4))
    elements: Any = {"allow_nan": False, "allow_infinity": False} if dtype.value.startswith("float") else None
    texts = dtype is DType.STRING
    array = draw(hnp.arrays(numpy_dtype(dtype), shape, elements=st.text(max_size=6) if texts else elements))
    variable = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    dims = tuple(-1 if free else n for n, free in zip(shape, variable, strict=True))
    return TensorSpec(name="x", dtype=dtype, shape=dims), array


@given(tensors(), st.booleans(), st.booleans(), st.none() | st.text(max_size=20))
def test_requests_come_back_bit_for_bit(
    tensor: tuple[TensorSpec, np.ndarray], binary: bool, nested: bool, request_id: str | None
) -> None:
    spec, array = tensor
    body, length = encode_request({"x": array}, binary=binary, nested=nested and array.ndim > 0, request_id=request_id)
    signature = Signature(inputs=(spec,), outputs=(spec,))
    found = messages.decode_request(body, signature, header_length=None if length is None else str(length))
    assert (found.inputs["x"].dtype, found.inputs["x"].shape) == (array.dtype, array.shape)
    assert bits(found.inputs["x"]) == bits(array) or np.array_equal(found.inputs["x"], array)
    assert (found.id, found.outputs) == (request_id, {"x": binary})


@st.composite
def flat_requests(draw: st.DrawFn) -> bytes:
    """Requests whose one input is a list of 8-bit integers, or of what is nearly that."""
    number = st.integers(-130, 130).map(str) | st.sampled_from(["-0", "01", "1.0", "+1", "null", "1 2", "-", "", '"1"'])
    number |= st.sampled_from(["[1]", "[1,2]"])
    numbers = draw(st.lists(number, max_size=4))
    parts = [f'"name":"{draw(st.sampled_from(NAMES))}"', '"shape":[3]', '"datatype":"INT8"']
    data = f'"data":{draw(st.sampled_from(["", " "]))}[{draw(st.sampled_from([",", ", "])).join(numbers)}]'
    parts += draw(st.sampled_from([[], ['"parameters":{"data":[1]}'], ['"other":{"data":[[1]]}']]))
    parts.insert(draw(st.integers(0, 3)), data)
    request_id = draw(st.sampled_from(["", '"id":"a",', '"parameters":{"sequence_id":7,"sequence_start":true},']))
    return f'{{{request_id}"inputs":[{{{",".join(parts)}}}]}}'.encode()


NAMES = ("x", "y", '\\"data\\":[1]')
BYTES = Signature(
    inputs=(TensorSpec("x", DType.INT8, (-1,)),), outputs=(TensorSpec("x", DType.INT8, (-1,)),)
)  # fmt: skip


@given(st.lists(flat_requests(), min_size=1, max_size=6))
def test_what_is_remembered_around_numbers_changes_nothing(bodies: list[bytes]) -> None:
    codec = v2_codec.Codec(BYTES, name="m", version="1.0.0")
    good = b'{"inputs":[{"name":"x","shape":[3],"datatype":"INT8","data":[1,2,3]}]}'
    for body in (good, *bodies, *bodies):
        expected = outcome(partial(messages.decode_request, body, BYTES))
        assert outcome(partial(codec.decode, body)) == expected


def test_what_is_remembered_has_the_parameters_of_its_own_request() -> None:
    codec = v2_codec.Codec(BYTES, name="m", version="1.0.0")
    form = b'{"parameters":{%b},"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[%d]}]}'
    binary = (
        b'{"parameters":{%b},"inputs":[{"name":"x","shape":[1],"datatype":"INT8","parameters":{"binary_data_size":1}}]}'
    )
    for number in range(3):
        for parameters in (b'"sequence_id":1', b'"sequence_id":2,"sequence_start":true'):
            expected = json.loads(b"{%b}" % parameters)
            assert codec.decode(form % (parameters, number)).parameters == expected
            head = binary % parameters
            assert codec.decode(head + b"1", header_length=str(len(head))).parameters == expected


@pytest.mark.parametrize("second", [b"7", b"8"])
def test_the_last_of_two_lists_under_one_key_is_read_each_time(second: bytes) -> None:
    codec = v2_codec.Codec(BYTES, name="m", version="1.0.0")
    for first in (b"1", b"5"):
        body = b'{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[%b],"data":[%b]}]}' % (first, second)
        assert codec.decode(body).inputs["x"].tolist() == [int(second)]


def outcome(decode: Callable[[], messages.InferRequest]) -> object:
    try:
        found = decode()
    except RequestError as err:
        return str(err)
    return found.id, found.outputs, dict(found.parameters), [(n, a.dtype, a.tolist()) for n, a in found.inputs.items()]


@given(tensors(), tensors(), st.integers(-3, 3))
def test_what_is_remembered_of_a_request_changes_no_answer(
    tensor: tuple[TensorSpec, np.ndarray], other: tuple[TensorSpec, np.ndarray], cut: int
) -> None:
    spec, array = tensor
    codec = v2_codec.Codec(Signature(inputs=(spec,), outputs=(spec,)), name="m", version="1.0.0")
    body, length = encode_request({"x": array}, binary=True)
    for _ in range(3):
        found = codec.decode(body, header_length=str(length))
        assert bits(found.inputs["x"]) == bits(array)
        assert (found.inputs["x"].dtype, found.inputs["x"].shape) == (array.dtype, array.shape)
        answer, header = codec.encode(found, {"x": array})
        plainly, plain_header = messages.encode_response(found, {"x": array}, name="m", version="1.0.0")
        assert (answer, header) == (plainly, plain_header)
    if cut:
        with pytest.raises(RequestError):
            codec.decode(body[:cut] if cut < 0 and array.nbytes else body + b"\0" * abs(cut), header_length=str(length))
    strange, its_length = encode_request({"x": other[1]}, binary=True)
    direct = _outcome(lambda: messages.decode_request(strange, codec._signature, header_length=str(its_length)))
    assert _outcome(lambda: codec.decode(strange, header_length=str(its_length))) == direct


def _outcome(decode: Callable[[], messages.InferRequest]) -> object:
    try:
        return bits(decode().inputs["x"])
    except RequestError as err:
        return str(err)


@given(tensors(), st.booleans())
def test_responses_say_what_the_model_gave(tensor: tuple[TensorSpec, np.ndarray], binary: bool) -> None:
    spec, array = tensor
    request = messages.InferRequest({}, {"x": binary}, "id")
    body, length = messages.encode_response(request, {"x": array}, name="m", version="1.0.0")
    message = json.loads(body[:length])
    assert (message["id"], message["model_name"], message["model_version"]) == ("id", "m", "1.0.0")
    [output] = message["outputs"]
    if binary:
        behind = body[length:]
        assert output["parameters"]["binary_data_size"] == len(behind)
        values = (
            string_elements.read(behind, "x", shape=array.shape)
            if array.dtype == object
            else np.frombuffer(behind, array.dtype)
        )
    else:
        values = np.array(output["data"], array.dtype)
    assert np.array_equal(values.reshape(output["shape"]), array)
    assert output["datatype"] == messages.DATATYPES[spec.dtype]


@given(
    tensors(), tensors(), st.tuples(st.booleans(), st.booleans()), st.sampled_from([None, "id"]), st.text(max_size=4)
)
def test_what_is_remembered_around_outputs_changes_no_answer(
    x: tuple[TensorSpec, np.ndarray],
    y: tuple[TensorSpec, np.ndarray],
    binary: tuple[bool, bool],
    request_id: str | None,
    name: str,
) -> None:
    first, second = binary
    specs = tuple(msgspec.structs.replace(spec, name=key) for key, (spec, _) in {"x": x, "y": y}.items())
    signature = Signature(inputs=SIGNATURE.inputs, outputs=specs)
    codec = v2_codec.Codec(signature, name=name, version="1.0.0")
    for wanted in ({"x": first, "y": second}, {"y": second}, {"x": first}, {"x": first, "y": second}):
        request = messages.InferRequest({}, wanted, request_id)
        outputs = {"x": x[1], "y": y[1]}
        assert codec.encode(request, outputs) == messages.encode_response(request, outputs, name=name, version="1.0.0")


@given(st.binary(max_size=400), st.none() | st.text(max_size=8) | st.integers(0, 500).map(str))
@example(b"[" * 400, None)
@example(b'{"inputs":[{"name":"x","shape":[99999999999999999999,4],"datatype":"FP32","data":[1]}]}', None)
@example(b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1e999,1,1,1]}]}', None)
def test_arbitrary_bytes_are_a_request_error_or_a_request(body: bytes, length: str | None) -> None:
    for decode in (
        lambda: messages.decode_request(body, SIGNATURE, header_length=length),
        lambda: predict_codec.decode_request(body, SIGNATURE),
    ):
        try:
            decode()
        except RequestError:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.fixed_dictionaries({}, optional={
    "inputs": st.lists(st.fixed_dictionaries({}, optional={
        "name": st.sampled_from(["x", "y"]) | JSON,
        "shape": st.sampled_from([[1, 4], [2, 4], [-1, 4], [4]]) | JSON,
        "datatype": st.sampled_from(["FP32", "INT8", "BYTES"]) | JSON,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.just(16) | JSON}) | JSON,
        "data": st.just([1, 2, 3, 4]) | JSON,
    }), max_size=2) | JSON,
    "outputs": st.lists(st.fixed_dictionaries({"name": st.just("scores") | JSON}), max_size=2) | JSON,
    "parameters": JSON,
    "id": JSON,
}), st.binary(max_size=20), st.booleans())  # fmt: skip
def test_messages_that_are_nearly_right_never_end_otherwise(message: Any, tail: bytes, binary: bool) -> None:
    body = json.dumps(message).encode()
    try:
        found = messages.decode_request(body + tail, SIGNATURE, header_length=str(len(body)) if binary else None)
    except RequestError:
        return
    assert found.inputs["x"].dtype == np.float32
    assert found.inputs["x"].shape[1:] == (4,)


@pytest.mark.parametrize("cut", range(0, len(HEADER) + 16, 3))
def test_a_request_cut_anywhere_is_refused(cut: int) -> None:
    whole = HEADER + b"\0" * 16
    with pytest.raises(RequestError):
        messages.decode_request(whole[:cut], SIGNATURE, header_length=str(len(HEADER)))


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "", "identity", "zstd"]))
def test_decompression_ends_in_bytes_or_a_request_error(body: bytes, encoding: str) -> None:
    try:
        assert len(decompress(body, encoding=encoding, max_bytes=100_000, holding=UNBOUNDED.holding())) <= 100_000
    except RequestError:
        return


@given(tensors(), st.sampled_from(["{}", '{{"inputs": {}}}', '{{"X": {}}}', ' {{ "inputs" :\n {} }}']), st.booleans())
def test_the_quick_way_reads_what_the_slow_one_reads(
    tensor: tuple[TensorSpec, np.ndarray], form: str, whole: bool
) -> None:
    spec, array = tensor
    signature = Signature(inputs=(spec,), outputs=(spec,))
    value = array.tolist() if whole or not array.ndim else array[0, ...].tolist()
    body = form.format(json.dumps(value)).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_codec, "read_nested", lambda *_: None)
        slow = _read_plain(body, signature)
    assert _read_plain(body, signature) == slow


def _read_plain(body: bytes, signature: Signature) -> tuple[object, ...] | str:
    try:
        array = predict_codec.decode_request(body, signature)["x"]
    except RequestError as err:
        return str(err)
    return array.dtype, array.shape, bits(array)
