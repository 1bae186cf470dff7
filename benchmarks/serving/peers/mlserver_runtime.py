"""MLServer: a custom runtime over LiteRT, in the server's process (`parallel_workers: 0`).

It reads the tensor from the request and builds the answer by hand, which is what MLServer's own NumPy codec does.
"""

from __future__ import annotations

import numpy as np
from classifier import INPUT, Classifier, shape
from mlserver import MLModel
from mlserver.types import Datatype, InferenceRequest, InferenceResponse, ResponseOutput, TensorData


class LiteRtRuntime(MLModel):
    """One `.tflite`."""

    async def load(self) -> bool:
        """Load the model; MLServer calls this."""
        self._classifier, self._shape = Classifier(), shape(INPUT)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request; MLServer calls this."""
        image = np.array(payload.inputs[0].data.root, np.int8).reshape(self._shape)
        scores = self._classifier.run(image)
        output = ResponseOutput(
            name="y", shape=list(scores.shape), datatype=Datatype.INT8, data=TensorData(root=scores.ravel().tolist())
        )
        return InferenceResponse(model_name=self.name, outputs=[output])
