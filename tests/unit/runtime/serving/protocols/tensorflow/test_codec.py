"""TensorFlow Serving's REST, as its clients ask and as a hostile one does."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemm.bundle.manifest import DType, Signature, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.protocols.tensorflow.codec import (
    Verb,
    decode,
    encode_classes,
    encode_predictions,
    encode_values,
)
from edgemm_runtime.serving.server import ModelServer
from simulators.device_client import DeviceClient
from simulators.models import Dense
from tests.unit.runtime.conftest import Connect

DENSE, X = Dense.random(0), np.random.default_rng(3).uniform(-1, 1, (2, 4)).astype(np.float32)
MODEL = "/v1/models/tiny"


def tensor(name: str, *shape: int, dtype: DType = DType.FLOAT32) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


ONE = Signature(inputs=(tensor("x", -1, 4),), outputs=(tensor("y", -1, 3),))
TWO = Signature(inputs=(tensor("a", -1, 2), tensor("b", -1)), outputs=(tensor("y", -1, 3), tensor("z", -1)))


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"instances": X.tolist()}, "predictions"),
        ({"instances": [{"x": row} for row in X.tolist()]}, "predictions"),
        ({"signature_name": "serving_default", "instances": X.tolist()}, "predictions"),
        ({"inputs": X.tolist()}, "outputs"),
        ({"inputs": {"x": X.tolist()}}, "outputs"),
    ],
)
@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/1000000", f"{MODEL}/versions/0"])
def test_every_form_of_a_request_is_answered(client: DeviceClient, path: str, body: dict[str, Any], key: str) -> None:
    reply = client.post(f"{path}:predict", json=body)
    assert reply.status_code == 200, reply.json
    assert list(reply.json) == [key]
    assert np.allclose(reply.json[key], DENSE.predict(X), atol=1e-5)


def test_the_loops_answer_what_flask_answers(registry: ModelRegistry) -> None:
    import urllib3

    with ModelServer(registry) as server:
        for _ in range(3):
            reply = urllib3.request("POST", f"{server.address}{MODEL}:predict", json={"instances": X.tolist()})
            assert np.allclose(reply.json()["predictions"], DENSE.predict(X), atol=1e-5)


def test_status_and_metadata_are_as_clients_read_them(client: DeviceClient) -> None:
    for path in (MODEL, f"{MODEL}/versions/1000000"):
        answer = client.get(path).json
        assert answer["model_version_status"][0]["version"] == "1000000"
        assert answer["model_version_status"][0]["state"] == "AVAILABLE"
        assert answer["ready"] is True
    found = client.get(f"{MODEL}/metadata").json
    assert found["modelSpec"]["version"] == found["model_spec"]["version"] == "1000000"
    [x] = found["metadata"]["signature_def"]["signatureDef"]["serving_default"]["inputs"].values()
    assert (x["dtype"], [d["size"] for d in x["tensorShape"]["dim"]]) == ("DT_FLOAT", ["-1", "4"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("post", "/v1/models/nope:predict", 404),
        ("post", f"{MODEL}/versions/2000000:predict", 404),
        ("post", f"{MODEL}/labels/stable:predict", 404),
        ("post", f"{MODEL}:explain", 404),
        ("get", "/v1/models/nope", 404),
        ("get", f"{MODEL}/versions/7/metadata", 404),
    ],
)
def test_what_is_not_here_is_404_in_json(client: DeviceClient, method: str, path: str, status: int) -> None:
    reply = getattr(client, method)(path, **({"json": {"instances": X.tolist()}} if method == "post" else {}))
    assert (reply.status_code, list(reply.json)) == (status, ["error"])


ASKED, DESCRIBED = {"POST", "OPTIONS"}, {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (f"{MODEL}:predict", ASKED),
        (f"{MODEL}/versions/1000000:classify", ASKED),
        (f"{MODEL}/labels/stable:regress", ASKED),
        (MODEL, DESCRIBED),
        ("/v1/models/a", DESCRIBED),
        (f"{MODEL}/metadata", DESCRIBED),
        (f"{MODEL}/versions/1000000", DESCRIBED),
        (f"{MODEL}/versions/1000000/metadata", DESCRIBED),
    ],
)
def test_allow_names_what_a_path_takes_and_nothing_else(client: DeviceClient, path: str, allowed: set[str]) -> None:
    replies = {method: client.open(path, method=method) for method in ("OPTIONS", "PUT", "POST", "GET", "HEAD")}
    assert replies["OPTIONS"].status_code == 200
    refused = {method: reply for method, reply in replies.items() if method not in allowed}
    assert {reply.status_code for reply in refused.values()} == {405}
    for reply in (replies["OPTIONS"], *refused.values()):
        assert set(reply.headers["Allow"].split(", ")) == allowed


def test_a_model_that_is_still_to_come_is_loading(connect: Connect) -> None:
    registry = ModelRegistry()
    registry.expect("tiny")
    reply = connect(registry).get(MODEL)
    assert reply.status_code == 503
    assert reply.json["model_version_status"][0]["state"] == "LOADING"


BAD = {
    "nothing": {},
    "both": {"instances": [[1, 2, 3, 4]], "inputs": [[1, 2, 3, 4]]},
    "no sample": {"instances": []},
    "another signature": {"signature_name": "other", "instances": [[1, 2, 3, 4]]},
    "too few numbers": {"instances": [[1, 2]]},
    "ragged": {"instances": [[1, 2, 3, 4], [1]]},
    "text": {"instances": ["abcd"]},
    "bytes": {"instances": [{"b64": "AAAA"}]},
    "an unknown input": {"instances": [{"y": [1, 2, 3, 4]}]},
    "columns of another name": {"inputs": {"y": [[1, 2, 3, 4]]}},
    "no list of examples": {"examples": {"x": 1}},
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_400_with_what_was_expected(client: DeviceClient, case: str) -> None:
    reply = client.post(f"{MODEL}:predict", json=BAD[case])
    assert reply.status_code == 400
    assert "expected" in reply.json["error"]


def test_several_inputs_and_outputs_go_by_name() -> None:
    samples = {"instances": [{"a": [1, 2], "b": 3}, {"a": [4, 5], "b": 6}]}
    decoded = decode(Verb.PREDICT, json.dumps(samples).encode(), TWO)
    assert {n: a.tolist() for n, a in decoded.inputs.items()} == {"a": [[1, 2], [4, 5]], "b": [3, 6]}
    outputs = {"y": np.ones((2, 3), np.float32), "z": np.zeros(2, np.float32)}
    answer = json.loads(encode_predictions(outputs, samples=2))
    assert answer == {"predictions": [{"y": [1, 1, 1], "z": 0}] * 2}
    assert json.loads(encode_predictions(outputs, samples=None))["outputs"]["z"] == [0, 0]


def test_classes_and_values() -> None:
    body = json.dumps({"context": {"b": 1}, "examples": [{"a": [1, 2]}, {"a": [3, 4], "b": 2}]}).encode()
    assert decode(Verb.CLASSIFY, body, TWO).inputs["b"].tolist() == [1, 2]
    scores = {"y": np.array([[0.25, 0.75]], np.float32)}
    assert json.loads(encode_classes(scores, ("no", "yes"), samples=1))["results"] == [[["no", 0.25], ["yes", 0.75]]]
    assert json.loads(encode_classes(scores, None, samples=1))["results"] == [[["0", 0.25], ["1", 0.75]]]
    assert json.loads(encode_values({"y": np.array([[1.5], [2.5]])}, samples=2))["results"] == [1.5, 2.5]
    for encode in (partial(encode_classes, labels=("no", "yes")), encode_values):
        with pytest.raises(BadRequestError, match=":predict"):
            encode({"y": np.zeros((2, 3))}, samples=2)


ROWS = json.dumps({"instances": [[1, 2, 3, 4]] * 2}).encode()
EXAMPLES = json.dumps({"examples": [{"x": [1, 2, 3, 4]}] * 2}).encode()


@pytest.mark.parametrize("shape", [(2, -1), (4, -1), (1, 3), ()])
def test_a_model_without_a_row_for_each_sample_is_asked_by_whole_tensors(shape: tuple[int, ...]) -> None:
    signature = Signature(inputs=ONE.inputs, outputs=(tensor("where", *shape),))
    for verb, body in ((Verb.PREDICT, ROWS), (Verb.CLASSIFY, EXAMPLES), (Verb.REGRESS, EXAMPLES)):
        with pytest.raises(BadRequestError, match="does not answer by samples .* send whole tensors as inputs"):
            decode(verb, body, signature)
    columns = json.dumps({"inputs": [[1, 2, 3, 4]] * 2}).encode()
    assert decode(Verb.PREDICT, columns, signature).samples is None


def test_a_fixed_batch_has_a_row_for_each_of_its_samples() -> None:
    fixed = Signature(inputs=(tensor("x", 2, 4),), outputs=(tensor("y", 2, 3),))
    assert decode(Verb.PREDICT, ROWS, fixed).samples == 2
    one = json.dumps({"instances": [[1, 2, 3, 4]]}).encode()
    assert decode(Verb.PREDICT, one, Signature(inputs=ONE.inputs, outputs=(tensor("y", 1, 3),))).samples == 1


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_never_more_or_fewer_answers_than_samples(rows: int) -> None:
    outputs = {"y": np.zeros((rows, 2), np.float32)}
    with pytest.raises(BadRequestError, match=f"y has {rows} rows for 2 of them"):
        encode_predictions(outputs, samples=2)
    for encode in (partial(encode_classes, labels=None), encode_values):
        with pytest.raises(BadRequestError, match=":predict"):
            encode({"y": outputs["y"][:, :1] if encode is encode_values else outputs["y"]}, samples=2)
    assert json.loads(encode_predictions(outputs, samples=None))["outputs"] == outputs["y"].tolist()


def test_nan_and_infinity_are_tokens_both_ways() -> None:
    decoded = decode(Verb.PREDICT, b'{"instances": [[NaN, Infinity, -Infinity, 1]]}', ONE)
    assert np.array_equal(decoded.inputs["x"], [[np.nan, np.inf, -np.inf, 1]], equal_nan=True)
    assert b"NaN" in encode_predictions({"y": np.array([[math.nan]])}, samples=1)


@pytest.mark.parametrize("beside", ["1", "NaN"])
def test_a_number_that_no_float_holds_is_no_infinity(beside: str) -> None:
    with pytest.raises(BadRequestError, match="a number is out of range"):
        decode(Verb.PREDICT, f'{{"instances": [[1e400, {beside}, 2, 3]]}}'.encode(), ONE)


def test_numbers_as_javascript_spells_them_are_numbers() -> None:
    found = decode(Verb.PREDICT, b'{"instances": [[100000000000000000000, 1, -0, 1e-7]]}', ONE).inputs
    assert np.array_equal(found["x"], np.array([[1e20, 1, 0, 1e-7]], np.float32))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["instances", "inputs", "examples", "x", "a", "b", "b64"]), inner)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(list(Verb)),
    st.sampled_from([ONE, TWO]),
)
def test_whatever_comes_is_read_or_refused(body: bytes, verb: Verb, signature: Signature) -> None:
    try:
        found = decode(verb, body, signature).inputs
    except BadRequestError:
        return
    assert set(found) == {spec.name for spec in signature.inputs}


@pytest.mark.parametrize("rest", ["tiny/versions/%0A1", "%0A", "tiny%0A/metadata", "%0A:predict"])
def test_a_line_end_in_a_path_is_no_model(client: DeviceClient, rest: str) -> None:
    for method in ("GET", "POST"):
        assert client.open(f"/v1/models/{rest}", method=method).status_code in {404, 405}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("path", ["a" + ":" * 60_000 + "/", "a" + "/:" * 30_000 + "/", ":" * 60_000])
def test_a_path_of_colons_holds_nobody_up(client: DeviceClient, path: str) -> None:
    assert client.get(f"/v1/models/{path}").status_code in {404, 405}
