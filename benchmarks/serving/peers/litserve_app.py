"""LitServe: one worker on the CPU, its fast queue, no client file."""

from __future__ import annotations

import os
from typing import Any

import litserve
import numpy as np
from classifier import INPUT, PORT, Classifier, shape


class Images(litserve.LitAPI):
    """Classifies an image: `{"x": [flat]}` → `{"y": [flat]}`."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe calls it so
        """Load the model in the worker."""
        self._classifier, self._shape = Classifier(), shape(INPUT)

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # FastAPI would take a type for a query
        """Return the image of a request."""
        return np.array(request["x"], np.int8).reshape(self._shape)

    def predict(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of an image."""
        scores: np.ndarray[Any, Any] = self._classifier.run(x)
        return scores

    def encode_response(self, output: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Return the answer of scores."""
        return {"y": output.ravel().tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Images(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(os.environ[PORT]), log_level="error", generate_client_file=False)
