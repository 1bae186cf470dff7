"""TensorFlow Serving's REST by OpenVINO's client; prints what it read as JSON."""

import json
import sys

import numpy as np
from ovmsclient import make_http_client

address, rows = sys.argv[1].removeprefix("http://"), json.loads(sys.argv[2])
client = make_http_client(address)
found = client.predict({"x": np.array(rows, np.float32)}, "tiny")
metadata = client.get_model_metadata("tiny")
status = client.get_model_status("tiny")
assert metadata["inputs"]["x"]["shape"] == [-1, 4], metadata
assert status[1000000]["state"] == "AVAILABLE", status
print(json.dumps(np.asarray(found).tolist()))
