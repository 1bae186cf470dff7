"""A label that comes later is counted once, for the model that made the prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgemm.errors import NotFoundError
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.feedback import Feedback, Prediction, predicted
from simulators.device_client import DeviceClient
from simulators.models import Dense

KEY = ServedKey("tiny", "1.0.0", "0" * 64, "tflite:float32")
LABELS = ("ant", "bee", "cat")
ROW = [0.5, -0.5, 0.25, 1.0]
RIGHT = LABELS[int(Dense.random(0).predict(np.array([ROW], np.float32)).argmax())]
WRONG = next(label for label in LABELS if label != RIGHT)


def ask(client: DeviceClient, request_id: str | None, *, rows: int = 1) -> None:
    tensor = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": ROW * rows}
    body: dict[str, Any] = {"inputs": [tensor]} | ({} if request_id is None else {"id": request_id})
    assert client.post("/v2/models/tiny/infer", json=body).status_code == 200


def tell(client: DeviceClient, **body: Any) -> tuple[int, dict[str, Any]]:
    reply = client.post("/v2/feedback", json=body)
    return reply.status_code, reply.json


def test_the_model_is_told_right_or_wrong_once(client: DeviceClient) -> None:
    for request_id in ("1", "2", "3"):
        ask(client, request_id)
    expected = {"id": "1", "model": "tiny", "version": "1.0.0", "predicted": RIGHT, "agreed": True}
    assert tell(client, id="1", label=RIGHT) == (200, expected)
    assert tell(client, id="2", label=WRONG, model="tiny")[1]["agreed"] is False
    assert tell(client, id="3", label=LABELS.index(RIGHT))[1]["agreed"] is True
    status, answer = tell(client, id="1", label=RIGHT)
    assert status == 404
    assert "awaits a label" in answer["error"]
    metrics = client.get("/metrics").text
    labels = 'model="tiny",variant="tflite:float32",version="1.0.0"'
    assert f'edgemm_feedback_total{{agreed="true",{labels}}} 2.0' in metrics
    assert "edgemm_feedback_unmatched_total 1.0" in metrics
    assert f'edgemm_feedback_total{{agreed="false",{labels}}} 1.0' in metrics


def test_what_cannot_be_counted_is_refused_and_may_be_told_again(client: DeviceClient) -> None:
    ask(client, "1")
    ask(client, "batch", rows=2)
    for body, status in (
        ({"id": "1", "label": "dog"}, 400),
        ({"id": "1", "label": 3}, 400),
        ({"id": "1"}, 400),
        ({"id": 1, "label": "ant"}, 400),
        ({"id": "batch", "label": "ant"}, 404),
        ({"id": "none", "label": "ant"}, 404),
        ({"id": "1", "label": "ant", "model": "other"}, 404),
    ):
        assert tell(client, **body)[0] == status, body
    assert tell(client, id="1", label=RIGHT)[0] == 200


def test_only_the_last_predictions_are_remembered() -> None:
    feedback = Feedback(most_awaited=3)
    for number in range(5):
        feedback.remember(str(number), Prediction(KEY, 0, LABELS))
    feedback.remember("x" * 1000, Prediction(KEY, 0, LABELS))
    for forgotten in ("0", "1", "x" * 1000):
        with pytest.raises(NotFoundError, match="last 3"):
            feedback.label("tiny", forgotten, "ant")
    assert [feedback.label("tiny", str(number), "ant")[1] for number in (2, 3, 4)] == [True] * 3
    assert [(c.agreed, c.disagreed) for c in feedback.counts()] == [(3, 0)]


def test_a_model_without_classes_predicts_none() -> None:
    assert predicted(KEY, {"y": np.zeros((1, 1))}, None) is None
    assert predicted(KEY, {"y": np.zeros((1, 4))}, LABELS) is None
    found = predicted(KEY, {"y": np.array([[0.1, 0.9]])}, None)
    assert found is not None
    assert (found.name, found.agrees(1)) == (1, True)
