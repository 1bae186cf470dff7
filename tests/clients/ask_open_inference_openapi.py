"""Open Inference Protocol v2 by the client that its working group generates; prints what it read as JSON."""

import json
import sys

from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.types import InferenceRequest, RequestInput

rows = json.loads(sys.argv[2])
client = OpenInferenceClient(base_url=sys.argv[1])
client.check_server_liveness()
client.check_server_readiness()
client.check_model_readiness("tiny")
client.check_model_version_readiness("tiny", "1.0.0")
assert client.read_server_metadata().name == "edgemm"
assert client.read_model_metadata("tiny").inputs[0].name == "x"
tensor = RequestInput(name="x", shape=[len(rows), 4], datatype="FP32", data=rows)
answer = client.model_infer("tiny", request=InferenceRequest(id="1", inputs=[tensor]))
[output] = answer.outputs
assert output.shape == [len(rows), 3], output.shape
data = json.loads(output.json())["data"]
print(json.dumps([data[start : start + 3] for start in range(0, len(data), 3)]))
