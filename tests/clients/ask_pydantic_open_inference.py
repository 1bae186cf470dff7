"""Open Inference Protocol v2 by typed models; prints what it read as JSON."""

import json
import sys

from pydantic_open_inference import InputsBaseModel, OutputsBaseModel, RemoteModel


class Inputs(InputsBaseModel):
    x: list[tuple[float, float, float, float]]


class Outputs(OutputsBaseModel):
    scores: list[tuple[float, float, float]]


remote = RemoteModel(model_name="tiny", inputs_model=Inputs, outputs_model=Outputs, server_url=sys.argv[1])
found = remote.infer(Inputs(x=json.loads(sys.argv[2])))
print(json.dumps([list(row) for row in found.scores]))
