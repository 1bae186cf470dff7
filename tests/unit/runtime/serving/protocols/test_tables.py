"""Tables of mixed columns over HTTP: every protocol answers them, and says which row and column it cannot take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import tritonclient.http as triton

from edgemm.errors import TooLargeError
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.memory.memory_budget import UNBOUNDED, MemoryBudget
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.mqtt.asking import MqttRequest, payload_of, read
from edgemm_runtime.serving.protocols.endpoints import answer as ask
from edgemm_runtime.serving.protocols.predict.endpoint import PredictEndpoint
from edgemm_runtime.serving.server import ModelServer
from simulators.device_client import DeviceClient
from simulators.serving import activate
from simulators.tables import LABELS, ROWS, VARIANT, answer, arrays, make_table
from tests.unit.runtime.conftest import LIMITS, Connect

TOLD = answer(ROWS)
COLUMNS: dict[str, Any] = {name: [getattr(row, name) for row in ROWS] for name in ("age", "visits", "city", "member")}
RECORDS = [row._asdict() for row in ROWS]
V1 = "/v1/models/visits:predict"
CSV = "city,member,age,visits\nGraz,true,31,2\nWien,0,,40\nBerlin,false,27.5,0\n"


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    make_table(tmp_path / "visits.edgemm")
    registry = ModelRegistry()
    activate(registry, tmp_path / "visits.edgemm", variant=VARIANT)
    return registry


@pytest.fixture
def client(registry: ModelRegistry, connect: Connect) -> DeviceClient:
    return connect(registry, limits=LIMITS)


@pytest.fixture
def server(registry: ModelRegistry) -> Iterator[ModelServer]:
    with ModelServer(registry, limits=ServingLimits(loops=1)) as server:
        yield server


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": COLUMNS}, {"X": COLUMNS}, {"instances": COLUMNS}, RECORDS, {"inputs": RECORDS},
        {"instances": RECORDS}, {"inputs": {name: [[one] for one in values] for name, values in COLUMNS.items()}},
    ],
)  # fmt: skip
def test_predict_takes_columns_and_records(client: DeviceClient, body: Any) -> None:
    reply = client.post("/predict", json=body)
    assert (reply.status_code, reply.json["outputs"]) == (200, TOLD)


def test_a_single_row_needs_no_lists(client: DeviceClient) -> None:
    row = {"age": 31, "visits": 2, "city": "Graz", "member": True}
    assert client.post("/predict", json={"inputs": row}).json["outputs"] == answer(ROWS[:1])


@pytest.mark.parametrize("kind", ["text/csv", "application/x-www-form-urlencoded", "application/vnd.ms-excel", ""])
@pytest.mark.parametrize("change", ["", "semicolons", "tabs", "a mark", "blanks", "UTF-16"])
def test_predict_takes_csv_with_columns_in_any_order(client: DeviceClient, kind: str, change: str) -> None:
    table = CSV
    if change == "semicolons":
        table = CSV.replace(",", ";").replace("27.5", "27,5")
    elif change == "tabs":
        table = CSV.replace(",", "\t")
    elif change == "blanks":
        table = CSV.replace("city,member", " city , member").replace("31", " 31 ")
    data = table.encode("utf-16" if change == "UTF-16" else "utf-8-sig" if change == "a mark" else "utf-8")
    reply = client.post("/predict", data=data, content_type=kind)
    assert (reply.status_code, reply.json["outputs"]) == (200, TOLD)


@pytest.mark.parametrize("separator", "\t;,")
def test_a_table_of_empty_cells_that_takes_too_much_memory_is_refused(registry: ModelRegistry, separator: str) -> None:
    holding = MemoryBudget(64 * 2**20).holding()
    body = f"city{separator}member\n".encode() + separator.encode() * 3_900_000
    request = read(MqttRequest("t", body, content_type="text/csv"), "visits", holding).request
    with pytest.raises(TooLargeError, match="bytes of memory"):
        ask(PredictEndpoint(registry, ServingLimits(), "visits"), request)
    assert holding.held_bytes < 32 * 2**20  # refused before anything is made of it


def test_a_form_has_a_table_or_a_part_for_each_input(client: DeviceClient) -> None:
    def form(*parts: tuple[str, str]) -> bytes:
        named = [f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{data}\r\n" for head, data in parts]
        return ("".join(named) + "--b--\r\n").encode()

    whole = form(('name="file"; filename="visits.csv"', CSV))
    cities = ('name="city"; filename="city.csv"', 'city\n"Graz"\nWien\nBerlin\n')
    each = form(*((f'name="{name}"', json.dumps(COLUMNS[name])) for name in ("age", "visits", "member")), cities)
    for body in (whole, each):
        reply = client.post("/predict", data=body, content_type="multipart/form-data; boundary=b")
        assert (reply.status_code, reply.json.get("outputs")) == (200, TOLD), reply.json


def test_tensorflow_serving_takes_them(client: DeviceClient) -> None:
    path = "/v1/models/visits"
    rows = [
        {"label": label, "score": score, "seen": seen}
        for label, score, seen in zip(TOLD["label"], TOLD["score"], TOLD["seen"], strict=True)
    ]
    assert client.post(f"{path}:predict", json={"instances": RECORDS}).json == {"predictions": rows}
    assert client.post(f"{path}:predict", json={"inputs": COLUMNS}).json == {"outputs": TOLD}
    encoded = {**COLUMNS, "city": [{"b64": "R3Jheg=="}, "Wien", {"b64": "QmVybGlu"}]}
    assert client.post(f"{path}:predict", json={"inputs": encoded}).json == {"outputs": TOLD}
    scores = [score for [score] in TOLD["score"]]
    assert client.post(f"{path}:regress", json={"examples": RECORDS}).json == {"results": scores}
    tensors = client.get(f"{path}/metadata").json["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert (tensors["inputs"]["city"]["dtype"], tensors["outputs"]["label"]["dtype"]) == ("DT_STRING", "DT_STRING")


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_sends_and_gets_strings(server: ModelServer, binary: bool) -> None:
    odd = ["Graz", "", "ö😀\0", *["x" * 5000] * 3]
    given: dict[str, np.ndarray] = {
        "age": np.full((6, 1), 20, np.float32), "visits": np.arange(6).reshape(-1, 1), "member": np.ones(6, bool),
        "city": np.array([[one.encode()] for one in odd], object),
    }  # fmt: skip
    types = {"age": "FP32", "visits": "INT64", "member": "BOOL", "city": "BYTES"}
    with triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        about = {one["name"]: one for one in client.get_model_metadata("visits")["inputs"]}
        assert about["city"]["datatype"] == "BYTES"
        assert about["age"]["parameters"] == {"missing": True}
        assert {one["name"]: one["data_type"] for one in client.get_model_config("visits")["input"]}["city"] == (
            "TYPE_STRING"
        )
        inputs = [triton.InferInput(name, list(array.shape), types[name]) for name, array in given.items()]
        wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "seen", "score")]
        for turn in range(3):  # nothing that is remembered of strings fits the next ones
            given["city"] = np.roll(given["city"], turn)
            for one, array in zip(inputs, given.values(), strict=True):
                one.set_data_from_numpy(array, binary_data=binary)
            found = client.infer("visits", inputs, outputs=wanted)
            told = found.as_numpy("seen")
            seen = [one.decode() if isinstance(one, bytes) else one for one in told.ravel().tolist()]
            assert seen == [one.decode() for one in given["city"].ravel().tolist()]
            assert found.as_numpy("label").shape == (6,)


def test_null_in_v2_is_a_missing_value(client: DeviceClient) -> None:
    reply = client.post("/v2/models/visits/infer", json=_tensors(COLUMNS))
    assert {one["name"]: one["data"] for one in reply.json["outputs"]}["score"] == [one for [one] in TOLD["score"]]


def _tensors(columns: dict[str, Any], *, other_axes: bool = False) -> dict[str, Any]:
    flat = "member"
    types = {"age": "FP32", "visits": "INT64", "member": "BOOL", "city": "BYTES"}
    return {
        "inputs": [
            {
                "name": name,
                "datatype": types[name],
                "shape": [len(values), *[1] * ((name != flat) != other_axes)],
                "data": values,
            }
            for name, values in columns.items()
        ]
    }


BAD_VALUES = {
    "null among integers": ("visits", [2, None, 0], "null"),
    "null among strings": ("city", ["Graz", None, ""], "null"),
    "null among booleans": ("member", [True, None, False], "null"),
    "a number among strings": ("city", ["Graz", 5, ""], "5"),
    "a string among numbers": ("age", [31, "32", 5], '"32"'),
    "a boolean among numbers": ("age", [31, True, 5], "true"),
    "a fraction among integers": ("visits", [2, 0.5, 1], "0.5"),
}


@pytest.mark.parametrize("case", BAD_VALUES)
@pytest.mark.parametrize("form", ["columns", "records", "v1"])
def test_what_a_column_does_not_take_is_named_with_its_row(client: DeviceClient, case: str, form: str) -> None:
    name, values, found = BAD_VALUES[case]
    columns = {**COLUMNS, name: values}
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path, body = {
        "columns": ("/predict", {"inputs": columns}),
        "records": ("/predict", records),
        "v1": ("/v1/models/visits:predict", {"instances": records}),
    }[form]
    reply = client.post(path, json=body)
    assert reply.status_code == 400
    assert reply.json["error"].startswith(f"input {name!r}, row 1 (from 0): expected ")
    assert f"found {found}" in reply.json["error"]


@pytest.mark.parametrize("case", BAD_VALUES)
def test_v2_refuses_it_too(client: DeviceClient, case: str) -> None:
    name, values, _ = BAD_VALUES[case]
    reply = client.post("/v2/models/visits/infer", json=_tensors({**COLUMNS, name: values}))
    assert reply.status_code == 400
    assert reply.json["error"].startswith(f"input {name!r}")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("city,member,age\nGraz,1,2\n", "found missing: 'visits'"),
        ("city,member,age,visits,size\nGraz,1,2,3,4\n", "found unknown: 'size'"),
        ("city,member,age,visits,age\nGraz,1,2,3,4\n", "found there twice: 'age'"),
        ("city,a,b,b,age\n1,2,3,4,5\n", "found there twice: 'b'; unknown: 'a', 'b'; missing: 'member', 'visits'"),
        (",city,member,age,visits\n0,Graz,1,2,3\n", "a column without a name, such as an index"),
        ("city,member,age,visits\n", "expected at least one line below the names"),
        ("", "found missing: 'age', 'city', 'member', 'visits'"),
        ("city,member,age,visits\nGraz,1,2\n", "line 2: expected 4 cells, as many as there are names, found 3"),
        ("city,member,age,visits\nGraz,1,2,3\nGraz,1,2,x\n", "line 3, column 'visits': expected an integer, found 'x'"),
        ("city,member,age,visits\nGraz,1,2,\n", "line 2, column 'visits': expected an integer, found an empty cell"),
        ("city,member,age,visits\nGraz,1,2,0.5\n", "line 2, column 'visits': expected an integer, found '0.5'"),
        ("city,member,age,visits\nGraz,,2,1\n", "line 2, column 'member': expected true or false, found an empty cell"),
        ("city,member,age,visits\nGraz,1,1e400,1\n", "line 2, column 'age': expected a number within range"),
        ('city,member,age,visits\n"Graz,1,2,1\n', "line 2: expected a line of CSV, its quotes closed"),
        (f"city,member,age,visits\n{'x' * 70_000},1,2,1\n", "expected at most 65,536 characters, found 70,000"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line_with_its_place(client: DeviceClient, table: str, said: str) -> None:
    reply = client.post("/predict", data=table.encode(), content_type="text/csv")
    assert reply.status_code == 400
    assert said in reply.json["error"]
    assert "\n" not in reply.json["error"]


@pytest.mark.parametrize(
    ("path", "data", "kind", "said"),
    [
        ("/predict", b"city,member,age,visits\nGr\xe4z,1,2,3\n", "text/csv", "found bytes that are none from byte 25"),
        ("/predict", b'{"inputs": {"age": 1, "visits": 1, "member": true, "city": "\xff"}}', "", "no UTF-8"),
        ("/predict", b'{"inputs": {"age": 1, "visits": 1, "member": true, "city": "\\ud800"}}', "", "half a surrogate"),
        ("/predict", b'{"inputs": {"age": 1, "visits": 1, "member": true, "city": "\\udc00"}}', "", "half a surrogate"),
        (V1, b'{"instances": [{"age": 1, "visits": 1, "member": true, "city": "\\ud800"}]}', "", "half a surrogate"),
        (V1, b'{"instances": [{"age": 1, "visits": 1, "member": true, "city": {"b64": "/w=="}}]}', "", "of base64 of"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_400(client: DeviceClient, path: str, data: bytes, kind: str, said: str) -> None:
    reply = client.post(path, data=data, content_type=kind)
    assert reply.status_code == 400
    assert said in reply.json["error"]


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        (b"\4\0\0\0Gr\xe4z", "element 0 (from 0): expected text of UTF-8"),
        (b"\4\0\0\0Gra", "found one that is cut short"),
        (b"\xff\xff\xff\xffGraz", "found one that is cut short"),
        (b"\4\0\0", "expected 1 elements of type BYTES, found 3 bytes"),
        (b"\1\0\0\0ab", "expected 1 elements, found 1 bytes behind"),
        (b"\x71\x11\1\0" + b"x" * 70_001, "expected at most 65,536 characters, found 70,001"),
    ],
)
def test_bytes_that_are_no_strings_are_400(client: DeviceClient, behind: bytes, said: str) -> None:
    message = _tensors({"age": [1], "visits": [1], "member": [True], "city": []})
    del message["inputs"][-1]["data"]
    message["inputs"][-1] |= {"shape": [1, 1], "parameters": {"binary_data_size": len(behind)}}
    head = json.dumps(message).encode()
    reply = client.post(
        "/v2/models/visits/infer",
        data=head + behind,
        headers={"Inference-Header-Content-Length": str(len(head))},
        content_type="application/octet-stream",
    )
    assert reply.status_code == 400
    assert said in reply.json["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([{**RECORDS[0], "size": 1}], "row 0 (from 0): expected the inputs"),
        ([RECORDS[0], {"age": 1}], "row 1 (from 0): expected the inputs"),
        ([RECORDS[0], 5], "expected inputs by name"),
        ({"inputs": {**COLUMNS, "city": ["Graz"]}}, "expected one length of the first dimension of all inputs"),
        ({"inputs": {"age": [1]}}, "expected the inputs"),
        ({"inputs": {**COLUMNS, "city": [["a", "b"], ["c", "d"], ["e", "f"]]}}, "expected shape [-1, 1]"),
        ({"inputs": {**COLUMNS, "city": [["a"], "b", "c"]}}, "input 'city'"),
        ({"inputs": {**COLUMNS, "city": []}}, "no values: send at least one sample"),
    ],
)
def test_what_is_no_table_is_400(client: DeviceClient, body: Any, said: str) -> None:
    reply = client.post("/predict", json=body)
    assert reply.status_code == 400
    assert said in reply.json["error"]


def test_the_document_says_what_is_taken(client: DeviceClient) -> None:
    paths = client.get("/openapi.json").json["paths"]

    def schema(path: str) -> Any:
        return paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]

    bodies: dict[str, list[Any]] = {
        "/predict/visits": [{"inputs": COLUMNS}, RECORDS, {"instances": RECORDS}],
        "/v1/models/visits:predict": [{"instances": RECORDS}, {"inputs": COLUMNS}],
        "/v2/models/visits/infer": [_tensors(COLUMNS), _tensors(COLUMNS, other_axes=True)],
    }
    for path, right in bodies.items():
        validator = jsonschema.Draft202012Validator(schema(path))
        for body in right:
            assert validator.is_valid(body), (path, body)
            assert client.post(path, json=body).status_code == 200
        assert not validator.is_valid({"inputs": {**COLUMNS, "city": [5, 6, 7]}})


def test_small_requests_are_answered_together(registry: ModelRegistry) -> None:
    served = registry.get("visits")
    assert served.together
    requests = [arrays([row]) for row in ROWS]  # golden samples were of one row too, so that the form is known
    answers = served.predict_together(requests)
    assert answers is not None
    assert [one["label"].tolist() for one in answers] == [[label] for label in TOLD["label"]]
    assert set(TOLD["label"]) == set(LABELS)


def test_late_labels_are_not_kept_of_strings(client: DeviceClient) -> None:
    client.post("/predict", json={"inputs": COLUMNS}, headers={"X-Request-Id": "a"})
    reply = client.post("/v2/feedback", json={"id": "a", "row": 0, "label": "bleibt"})
    assert (reply.status_code, "names no classes" in reply.json["error"]) == (400, True)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [({"id": 7, "inputs": COLUMNS}, ""), ({"id": 7, "instances": RECORDS}, ""), (CSV, "text/csv")],
)
def test_a_message_over_mqtt_is_the_same_request(registry: ModelRegistry, payload: Any, kind: str) -> None:
    body = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
    message = MqttRequest("home/visits/predict", body, content_type=kind, user={"id": "7"} if kind else {})
    question = read(message, "visits", UNBOUNDED.holding())
    reply = ask(PredictEndpoint(registry, ServingLimits(), "visits"), question.request)
    told = json.loads(payload_of(reply, question.id))
    assert (str(told["id"]), told["outputs"]) == ("7", TOLD)
