"""KServe's client, protocols v1 and v2; prints what it read as JSON."""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

address, rows = sys.argv[1], json.loads(sys.argv[2])


async def ask() -> list[list[float]]:
    v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await v2.is_server_live(address)
    assert await v2.is_server_ready(address)
    assert await v2.is_model_ready(address, "tiny")
    found = []
    for binary in (True, False):
        tensor = InferInput("x", [len(rows), 4], "FP32")
        tensor.set_data_from_numpy(np.array(rows, np.float32), binary_data=binary)
        answer = await v2.infer(address, InferRequest("tiny", [tensor]), model_name="tiny")
        found.append(answer.outputs[0].as_numpy().reshape(len(rows), 3))
    assert np.allclose(found[0], found[1], atol=1e-6)
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    assert await v1.is_model_ready(address, "tiny")
    predictions = (await v1.infer(address, {"instances": rows}, model_name="tiny"))["predictions"]
    assert np.allclose(predictions, found[0], atol=1e-6)
    await v1.close()
    await v2.close()
    scores: list[list[float]] = found[0].tolist()
    return scores


print(json.dumps(asyncio.run(ask())))
