"""Does a server on the other machine answer what its engines answer there? Open Inference Protocol v2, JSON and binary.

    python -m benchmarks.arm64.served URL FOLDER THERE

The server runs every bundle of FOLDER; THERE is what `benchmarks.arm64.answers` wrote on its machine. Each answer must
be the same to the last bit: HTTP may change no number.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "runtime"):
    import msgspec
    import numpy as np

    from benchmarks.arm64.answers import answer_name
    from benchmarks.arm64.models import inputs_of
    from edgemm.bundle import open_bundle
    from edgemm_runtime.engines.bundle_source import BundleSource
    from edgemm_runtime.tensors.named_arrays import Array
    from simulators.v2_client import encode_request

REQUESTS = 10
_LENGTH = "Inference-Header-Content-Length"
_ANSWER_TIMEOUT_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("there", type=Path)
    parser.add_argument("--ready-within-s", type=float, default=180)
    options = parser.parse_args()
    _await_ready(options.url, within_s=options.ready_within_s)
    asked = 0
    with np.load(options.there.with_suffix(".npz")) as there:
        for path in sorted(options.folder.glob("*.edgemm")):
            with open_bundle(path) as bundle:
                expected = there[_served_name(bundle)][:REQUESTS]
                samples = np.load(options.folder / inputs_of(bundle.manifest.name))[:REQUESTS]
                for binary in (False, True):
                    found = np.concatenate([_ask(options.url, bundle, sample, binary=binary) for sample in samples])
                    if not np.array_equal(found, expected):
                        error = float(np.abs(found - expected).max())
                        sys.exit(f"error: {_served_name(bundle)}, binary={binary}: off by {error:g} over HTTP")
                    asked += len(found)
    print(f"{asked} answers over HTTP, JSON and binary, are those of the engine there to the last bit")


def _served_name(bundle: BundleSource) -> str:
    """Return the name of the answers of the variant that a server chooses."""
    return answer_name(bundle, bundle.manifest.variants[0], bundle.manifest.signature.outputs[0].name)


def _ask(url: str, bundle: BundleSource, sample: Array, *, binary: bool) -> Array:
    signature = bundle.manifest.signature
    body, length = encode_request({signature.inputs[0].name: sample[None]}, binary=binary)
    headers = {"Content-Type": "application/json"} if length is None else {_LENGTH: str(length)}
    request = urllib.request.Request(f"{url}/v2/models/{bundle.manifest.name}/infer", body, headers)
    with urllib.request.urlopen(request, timeout=_ANSWER_TIMEOUT_S) as answer:
        data, head = answer.read(), answer.headers.get(_LENGTH)
    (output,) = msgspec.json.decode(data if head is None else data[: int(head)])["outputs"]
    values = np.array(output["data"], "<f4") if head is None else np.frombuffer(data[int(head) :], "<f4")
    found: Array = values.reshape(output["shape"])
    return found


def _await_ready(url: str, *, within_s: float) -> None:
    end = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=10):
                return
        except (urllib.error.URLError, OSError) as err:
            if time.monotonic() > end:
                sys.exit(f"error: {url} was not ready within {within_s:g} s: {err}")
        time.sleep(0.5)


if __name__ == "__main__":
    main()
