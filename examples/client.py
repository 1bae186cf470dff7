"""Ask a served model with binary tensors over Open Inference Protocol v2, with NumPy and the standard library.

usage: python examples/client.py MODEL [URL]

`edgemm run BUNDLE` is the server; `tritonclient.http.InferenceServerClient("127.0.0.1:8080")` speaks to it as it is.
"""

import json
import sys
import urllib.error
import urllib.request

import numpy as np
import numpy.typing as npt

DTYPES = {"FP32": "<f4", "FP16": "<f2", "INT8": "i1", "UINT8": "u1", "INT32": "<i4", "INT64": "<i8", "BOOL": "?"}
HEADER = "Inference-Header-Content-Length"


def infer(url: str, inputs: dict[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.generic]]:
    """Send float32 inputs and return all outputs by name; `url` is the model's: …/v2/models/NAME."""
    tensors = [
        {"name": k, "shape": v.shape, "datatype": "FP32", "parameters": {"binary_data_size": v.nbytes}}
        for k, v in inputs.items()
    ]
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    body = head + b"".join(v.astype("<f4").tobytes() for v in inputs.values())
    with urllib.request.urlopen(urllib.request.Request(f"{url}/infer", body, {HEADER: str(len(head))})) as answer:
        end, data, outputs = int(answer.headers[HEADER]), answer.read(), {}
    for tensor in json.loads(data[:end])["outputs"]:
        begin, end = end, end + tensor["parameters"]["binary_data_size"]
        outputs[tensor["name"]] = np.frombuffer(data[begin:end], DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
    return outputs


if __name__ == "__main__":
    address = f"{(*sys.argv, 'http://127.0.0.1:8080')[2]}/v2/models/{sys.argv[1]}"
    try:
        with urllib.request.urlopen(address) as metadata:
            specs = json.load(metadata)["inputs"]
        made = {s["name"]: np.random.default_rng(0).random([abs(n) for n in s["shape"]], np.float32) for s in specs}
        print({name: array.tolist() for name, array in infer(address, made).items()})
    except urllib.error.HTTPError as err:
        sys.exit(json.load(err)["error"])
    except urllib.error.URLError as err:
        sys.exit(f"{address}: {err.reason}: is `edgemm run BUNDLE` running?")
