"""A label that comes later is counted once, for the model that made the prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemm.errors import BadRequestError, EnvironmentFailure, NotFoundError
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.awaited import Awaited, class_output
from edgemm_runtime.models.feedback import Feedback, FeedbackLimits
from edgemm_runtime.models.prediction_log import ClassOutput
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.tensors.named_arrays import Arrays
from simulators.device_client import DeviceAnswer, DeviceClient
from simulators.models import Dense, make_bundle
from simulators.serving import activate
from tests.unit.runtime.conftest import Connect

KEY = ServedKey("tiny", "1.0.0", "0" * 64, "tflite:float32")
LABELS = ("ant", "bee", "cat")
CLASSES = ClassOutput(KEY, "y", LABELS, columns=3)
ROW = [0.5, -0.5, 0.25, 1.0]
RIGHT = LABELS[int(Dense.random(0).predict(np.array([ROW], np.float32)).argmax())]
WRONG = next(label for label in LABELS if label != RIGHT)


def ask(client: DeviceClient, request_id: str | None, *, rows: int = 1, **headers: str) -> DeviceAnswer:
    tensor = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": ROW * rows}
    body: dict[str, Any] = {"inputs": [tensor]} | ({} if request_id is None else {"id": request_id})
    reply = client.post(
        "/v2/models/tiny/infer", json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    assert reply.status_code == 200
    return reply


def tell(client: DeviceClient, **body: Any) -> tuple[int, dict[str, Any]]:
    reply = client.post("/v2/feedback", json=body)
    return reply.status_code, reply.json


def scores(index: int) -> Arrays:
    return {"y": np.eye(3, dtype=np.float32)[[index]]}


def remember(
    feedback: Feedback, request_id: str, outputs: Arrays, *, classes: ClassOutput = CLASSES, made: bool = False
) -> None:
    awaited = Awaited(classes, lambda: None)
    awaited.remember(request_id, outputs, made=made)
    awaited.settle(feedback._given, feedback._made)


def told(feedback: Feedback) -> list[tuple[str, int, int]]:
    return [(one.key.version, one.agreed, one.disagreed) for one in feedback.counts()]


def test_the_model_is_told_right_or_wrong_once(client: DeviceClient) -> None:
    for request_id in ("1", "2", "3"):
        assert ask(client, request_id).headers["X-Request-Id"] == request_id
    expected = {"id": "1", "model": "tiny", "version": "1.0.0", "predicted": RIGHT, "agreed": True}
    assert tell(client, id="1", label=RIGHT) == (200, expected)
    assert tell(client, id="2", label=WRONG, model="tiny")[1]["agreed"] is False
    assert tell(client, id="3", label=LABELS.index(RIGHT))[1]["agreed"] is True
    status, answer = tell(client, id="1", label=RIGHT)
    assert status == 404
    assert "awaits a label any more" in answer["error"]
    metrics = client.get("/metrics").text
    labels = 'model="tiny",variant="tflite:float32",version="1.0.0"'
    assert f'edgemm_feedback_total{{agreed="true",{labels}}} 2.0' in metrics
    assert "edgemm_feedback_unmatched_total 1.0" in metrics
    assert "edgemm_feedback_dropped_total 0.0" in metrics
    assert "edgemm_feedback_damaged_files_total 0.0" in metrics
    assert f'edgemm_feedback_total{{agreed="false",{labels}}} 1.0' in metrics


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict/tiny", {"inputs": [ROW]}),
        ("/predict", [ROW]),
        ("/v1/models/tiny:predict", {"instances": [ROW]}),
        ("/v1/models/tiny:classify", {"examples": [{"x": ROW}]}),
        ("/v2/models/tiny/infer", {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW}]}),
    ],
)
def test_every_protocol_takes_and_returns_an_id(client: DeviceClient, path: str, body: Any) -> None:
    for given in ("door-17", None, None):  # the first may be answered in a thread, the others by the loop
        reply = client.post(path, json=body, headers={"X-Request-Id": given} if given else {})
        assert reply.status_code == 200, reply.text
        known_by = reply.headers["X-Request-Id"]
        assert given in {known_by, None}
        assert tell(client, id=known_by, label=RIGHT)[1] == {
            "id": known_by, "model": "tiny", "version": "1.0.0", "predicted": RIGHT, "agreed": True
        }  # fmt: skip


def test_whatever_is_answered_has_an_id(client: DeviceClient) -> None:
    given = {"X-Request-Id": "mine"}
    assert client.get("/healthz", headers=given).headers["X-Request-Id"] == "mine"
    assert client.post("/predict/tiny", data=b"{", headers=given).headers["X-Request-Id"] == "mine"
    assert client.get("/nowhere", headers=given).headers["X-Request-Id"] == "mine"
    made = {client.get("/nowhere").headers["X-Request-Id"] for _ in range(3)}
    assert len(made) == 3


def test_an_id_that_cannot_be_one_is_replaced_and_cannot_forge_a_header(client: DeviceClient) -> None:
    for given in ("x" * 129, "two words", "caf\xe9"):
        known_by = ask(client, None, X_Request_Id=given).headers["X-Request-Id"]
        assert known_by != given
        assert tell(client, id=known_by, label=RIGHT)[0] == 200
    assert ask(client, "in the body", X_Request_Id="in-the-header").headers["X-Request-Id"] == "in%20the%20body"
    assert tell(client, id="in the body", label=RIGHT)[0] == 200
    forged = ask(client, "a\r\nX-Evil: 1")
    assert "X-Evil" not in forged.headers
    assert tell(client, id="a\r\nX-Evil: 1", label=RIGHT)[0] == 200
    known_by = ask(client, "x" * 129).headers["X-Request-Id"]
    assert tell(client, id=known_by, label=RIGHT)[0] == 200
    assert tell(client, id="x" * 129, label=RIGHT)[0] == 404


def test_each_row_of_a_batch_has_a_label(client: DeviceClient) -> None:
    ask(client, "batch", rows=3)
    for row in (0, 2):
        assert tell(client, id="batch", label=RIGHT, row=row)[1] == {
            "id": "batch", "model": "tiny", "row": row, "version": "1.0.0", "predicted": RIGHT, "agreed": True
        }  # fmt: skip
    assert tell(client, id="batch", label=RIGHT, row=2)[0] == 404
    for body in ({}, {"row": 3}, {"row": -1}, {"row": "1"}):
        assert tell(client, id="batch", label=RIGHT, **body)[0] == 400
    assert tell(client, id="batch", label=WRONG, row=1)[1]["agreed"] is False


def test_what_cannot_be_counted_is_refused_and_may_be_told_again(client: DeviceClient) -> None:
    assert tell(client, id="1", label=RIGHT)[0] == 404  # before its prediction
    ask(client, "1")
    for body, status in (
        ({"id": "1", "label": "dog"}, 400),
        ({"id": "1", "label": 3}, 400),
        ({"id": "1", "label": 0.5}, 400),
        ({"id": "1"}, 400),
        ({"id": 1.0, "label": "ant"}, 400),
        ({"id": 2, "label": "ant"}, 404),
        ({"id": "none", "label": "ant"}, 404),
        ({"id": "", "label": "ant"}, 404),
        ({"id": "1", "label": "ant", "model": "other"}, 404),
    ):
        assert tell(client, **body)[0] == status, body
    assert tell(client, id="1", label=RIGHT)[0] == 200


def test_of_two_predictions_with_one_id_the_later_counts() -> None:
    feedback = Feedback()
    for index in (0, 1):
        remember(feedback, "7", scores(index))
    assert feedback.label("tiny", "7", "bee").agreed
    remember(feedback, "7", scores(2))
    assert not feedback.label("tiny", "7", "bee").agreed
    assert told(feedback) == [("1.0.0", 1, 1)]


def test_requests_that_nobody_labels_drop_none_that_somebody_may() -> None:
    feedback = Feedback(FeedbackLimits(given_bytes=4096, made_bytes=4096))
    remember(feedback, "mine", scores(1))
    for number in range(2000):
        remember(feedback, f"made-{number}", scores(0), made=True)
    assert feedback.label("tiny", "mine", "bee").agreed
    assert feedback.label("tiny", "made-1999", "ant").agreed
    with pytest.raises(NotFoundError, match="dropped"):
        feedback.label("tiny", "made-0", "ant")
    assert 1500 < feedback.dropped < 2000
    for number in range(2000):
        remember(feedback, f"given-{number}", scores(0))
    with pytest.raises(NotFoundError, match="dropped"):
        feedback.label("tiny", "mine", "bee")


def test_a_model_that_names_no_classes_says_so(tmp_path: Path, connect: Connect) -> None:
    manifest = make_bundle(tmp_path / "bundle", labels=("one",))
    assert class_output(KEY, manifest) is None
    registry = ModelRegistry()
    activate(registry, tmp_path / "bundle")
    client = connect(registry)
    ask(client, "7")
    status, answer = tell(client, id="7", label=0.25)
    assert status == 400
    status, answer = tell(client, id="7", label=1)
    assert (status, "'tiny' names no classes" in answer["error"]) == (400, True)


def test_a_bundle_without_labels_has_indices(tmp_path: Path, connect: Connect) -> None:
    make_bundle(tmp_path / "bundle", labels=None)
    registry = ModelRegistry()
    activate(registry, tmp_path / "bundle")
    client = connect(registry)
    ask(client, "7")
    assert tell(client, id="7", label="ant")[0] == 400
    assert tell(client, id="7", label=LABELS.index(RIGHT))[1]["predicted"] == LABELS.index(RIGHT)


def test_many_requests_are_noted_together_and_raw_integers_too(client: DeviceClient) -> None:
    for number in range(600):
        ask(client, f"n-{number}")
    assert all(tell(client, id=f"n-{number}", label=RIGHT)[1]["agreed"] for number in range(0, 600, 37))


def test_large_and_odd_outputs_are_remembered_or_passed_over() -> None:
    feedback = Feedback()
    wide = np.zeros((2, 5000), np.float32)
    wide[0, 4000] = wide[1, 1] = 1
    unnamed = ClassOutput(KEY, "y", None)
    for request_id, array in (("wide", wide), ("none", np.zeros((0, 3))), ("column", np.zeros((2, 1)))):
        remember(feedback, request_id, {"y": array}, classes=unnamed, made=False)
    assert feedback.label("tiny", "wide", 4000, row=0).agreed
    assert feedback.label("tiny", "wide", 1, row=1).agreed
    for request_id in ("none", "column"):
        with pytest.raises(NotFoundError):
            feedback.label("tiny", request_id, 0)
    with pytest.raises(BadRequestError, match="names no classes"):
        feedback.label("tiny", "wide", "ant", row=0)


def test_labels_come_after_a_restart_and_count_once(tmp_path: Path) -> None:
    feedback = Feedback.kept_in(tmp_path)
    for number in range(200):
        remember(feedback, f"given {number}", scores(number % 3))
        remember(feedback, f"made-{number}", scores(number % 3), made=True)
    assert feedback.label("tiny", "given 0", "ant").agreed
    feedback.close()
    feedback = Feedback.kept_in(tmp_path)
    assert feedback.label("tiny", "given 1", "bee").agreed
    assert not feedback.label("tiny", "made-2", "bee").agreed
    with pytest.raises(NotFoundError, match="counts once"):
        feedback.label("tiny", "given 0", "ant")
    assert told(feedback) == [("1.0.0", 1, 1)]
    feedback.close()
    feedback = Feedback.kept_in(tmp_path)
    for request_id in ("given 0", "given 1", "made-2"):
        with pytest.raises(NotFoundError, match="counts once"):
            feedback.label("tiny", request_id, "ant")
    feedback.close()


def test_a_label_is_on_the_disk_before_it_is_answered(tmp_path: Path) -> None:
    feedback = Feedback.kept_in(tmp_path)
    remember(feedback, "7", scores(1))
    feedback.label("tiny", "7", "bee")
    _crash(feedback)
    feedback = Feedback.kept_in(tmp_path)
    with pytest.raises(NotFoundError, match="counts once"):
        feedback.label("tiny", "7", "bee")
    feedback.close()


def test_what_is_damaged_is_dropped_and_counted(tmp_path: Path) -> None:
    feedback = Feedback.kept_in(tmp_path)
    remember(feedback, "first", scores(1))
    feedback.label("tiny", "first", "bee")
    remember(feedback, "second", scores(1))
    remember(feedback, "own-1", scores(1), made=True)
    feedback.close()
    [given] = (tmp_path / "feedback").glob("given-*.log")
    given.write_bytes(given.read_bytes()[:-3])
    [made] = (tmp_path / "feedback").glob("made-*.log")
    made.write_bytes(b"\x00" * 100)
    (tmp_path / "feedback" / "given-other.log").write_bytes(b"of nobody")
    feedback = Feedback.kept_in(tmp_path)
    assert feedback.damaged == 2
    assert not made.exists()
    with pytest.raises(NotFoundError, match="counts once"):
        feedback.label("tiny", "first", "bee")
    for lost in ("second", "own-1"):
        with pytest.raises(NotFoundError, match="dropped"):
            feedback.label("tiny", lost, "bee")
    remember(feedback, "third", scores(1))
    feedback.close()
    feedback = Feedback.kept_in(tmp_path)
    assert feedback.damaged == 0
    assert feedback.label("tiny", "third", "bee").agreed
    feedback.close()


def test_any_byte_that_storage_changes_costs_what_follows_and_nothing_else(tmp_path: Path) -> None:
    feedback = Feedback.kept_in(tmp_path)
    for number in range(4):
        remember(feedback, str(number), scores(1))
        feedback.label("tiny", str(number), "bee")
    feedback.close()
    [file] = (tmp_path / "feedback").glob("given-*.log")
    whole = file.read_bytes()
    for at in range(0, len(whole), 7):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        feedback = Feedback.kept_in(tmp_path)
        assert feedback.damaged == 1
        for number in range(4):
            with pytest.raises(NotFoundError):
                feedback.label("tiny", str(number), "bee")
        _crash(feedback)


def test_what_a_newer_agent_wrote_is_put_aside(tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    folder.mkdir()
    newer = folder / "given-00000001.log"
    newer.write_bytes(b"edgemm-feedback 2\nanything")
    feedback = Feedback.kept_in(tmp_path)
    assert feedback.damaged == 0
    remember(feedback, "7", scores(1))
    feedback.close()
    assert (folder / "given-00000001.log.v2").read_bytes().endswith(b"anything")
    assert newer.exists()


def test_the_disk_holds_no_more_than_its_bytes_and_is_written_within_the_budget(tmp_path: Path) -> None:
    limits = FeedbackLimits(given_bytes=64 * 1024, made_bytes=4096, write_bytes_per_day=400_000)
    for _ in range(12):
        feedback = Feedback.kept_in(tmp_path, limits)
        for number in range(3000):
            remember(feedback, f"number-{number}", scores(1))
        feedback.close()
        written = [path.stat().st_size for path in (tmp_path / "feedback").glob("*.log")]
        assert sum(written) < 100_000  # a quarter of a day's budget at once, however often it is started
    assert len(written) <= 40


def test_a_folder_is_one_process_own(tmp_path: Path) -> None:
    feedback = Feedback.kept_in(tmp_path)
    with pytest.raises(EnvironmentFailure, match="in use"):
        Feedback.kept_in(tmp_path)
    feedback.close()
    feedback.close()
    Feedback.kept_in(tmp_path).close()


def test_a_disk_that_takes_nothing_costs_the_restart_alone(tmp_path: Path) -> None:
    feedback = Feedback.kept_in(tmp_path)
    (tmp_path / "feedback" / "given-00000001.log").mkdir()
    remember(feedback, "7", scores(1))
    assert feedback.label("tiny", "7", "bee").agreed
    feedback.close()


def _crash(feedback: Feedback) -> None:
    """Leave the folder as SIGKILL would: nothing more is written."""
    assert feedback._files is not None
    feedback._files.close()
    feedback._files = None
