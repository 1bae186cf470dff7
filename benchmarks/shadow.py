"""What a shadow costs the active model: latency and throughput with and without one, in one run.

Three servers (`edgemm run`) serve one model: `plain`, `control`, which is the same again and shows the noise of the
machine, and `shadow`, which has a shadow at the default share. `wrk` loads one after the other, in an order that
changes with each round; what is printed are medians over the rounds, and medians of each round's ratio to `plain`.

    python -m benchmarks.shadow FOLDER
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulators import needs

with needs.imports(__name__, "runtime"):
    import msgspec
    import numpy as np
    import urllib3
    from ai_edge_litert.interpreter import Interpreter
    from msgspec import Struct

    from edgemm.bundle import write_bundle
    from edgemm.bundle.engine_facts import Engine
    from edgemm.bundle.manifest import (
        FORMAT,
        Blob,
        DType,
        GoldenSamples,
        Lineage,
        Manifest,
        Precision,
        Signature,
        TensorSpec,
        Tolerance,
        Variant,
        VariantTensor,
    )
    from edgemm_runtime.tensors.npy import write_npy

NAME, VARIANT, INPUT, OUTPUT = "model", "tflite:int8", "x", "y"
_PRECISIONS = {"int8": Precision.INT8, "float32": Precision.FLOAT32}
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Inference-Header-Content-Length"] = "%d"
wrk.headers["Content-Type"] = "application/octet-stream"
local file = assert(io.open("%s", "rb")); wrk.body = file:read("*a"); file:close()
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nresult {"p50_us":%%.1f,"p99_us":%%.1f,"per_s":%%.1f,"failed":%%d}\\n',
    latency:percentile(50), latency:percentile(99), summary.requests / summary.duration * 1e6,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Load(Struct, frozen=True):
    """What one block of `wrk` found."""

    p50_us: float
    p99_us: float
    per_s: float
    failed: int


def make_bundle(path: Path, file: Path, *, version: str) -> Path:
    """Write a bundle around a TFLite file of one input and one output, by its own dtypes; its answers are golden."""
    interpreter = Interpreter(str(file), num_threads=1)
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    x = _noise(into["shape"], into["dtype"])
    interpreter.set_tensor(into["index"], x)
    interpreter.invoke()
    contents = [file.read_bytes(), write_npy(x[None]), write_npy(interpreter.get_tensor(out["index"])[None])]
    digests = [hashlib.sha256(data).hexdigest() for data in contents]
    specs = [_spec(INPUT, into), _spec(OUTPUT, out)]
    tensors = [
        VariantTensor(name=s.name, tensor=d["name"], dtype=s.dtype, shape=s.shape)
        for s, d in zip(specs, (into, out), strict=True)
    ]
    variant = Variant(
        id=VARIANT, engine=Engine.TFLITE, precision=_PRECISIONS[np.dtype(into["dtype"]).name], minimum_engine="1.0",
        blob=digests[0], inputs=(tensors[0],), outputs=(tensors[1],),
    )  # fmt: skip
    manifest = Manifest(
        format=FORMAT,
        name=NAME,
        version=version,
        minimum_runtime="0.1.0",
        signature=Signature(inputs=(specs[0],), outputs=(specs[1],)),
        variants=(variant,),
        golden=GoldenSamples(
            samples=1,
            inputs={INPUT: digests[1]},
            outputs={OUTPUT: digests[2]},
            tolerance={VARIANT: {OUTPUT: Tolerance(max_abs=1.0, min_argmax_agreement=0.5)}},
        ),
        parity=(),
        lineage=Lineage(
            source_name=file.name, source_digest=digests[0], source_format="tflite", libraries={}, options={}
        ),
        blobs={
            d: Blob(size=len(c), media_type="application/octet-stream") for d, c in zip(digests, contents, strict=True)
        },
    )
    write_bundle(path, manifest, dict(zip(digests, contents, strict=True)))
    return path


@contextlib.contextmanager
def serving(*arguments: str | Path) -> Iterator[str]:
    """Run `edgemm run` on a free port; yield its address."""
    command = [sys.executable, "-m", "edgemm", "run", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, "the server did not come up"
            yield found[0]
        finally:
            process.terminate()


def load(address: str, script: Path, *, connections: int, seconds: float) -> Load:
    """Load a server for a while."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script)]
    done = subprocess.run([*command, f"{address}/v2/models/{NAME}/infer"], capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("result "))
    found = msgspec.json.decode(line.removeprefix("result "), type=Load)
    assert not found.failed, done.stdout
    return found


def write_script(folder: Path, file: Path) -> Path:
    """Write the request, one input in binary, and the script that sends it."""
    into = Interpreter(str(file)).get_input_details()[0]
    data = _noise(into["shape"], into["dtype"]).tobytes()
    spec = {"name": INPUT, "shape": [int(n) for n in into["shape"]], "datatype": _datatype(into["dtype"])}
    head = msgspec.json.encode(
        {"inputs": [spec | {"parameters": {"binary_data_size": len(data)}}], "parameters": {"binary_data_output": True}}
    )
    body, script = folder / "body.bin", folder / "request.lua"
    body.write_bytes(head + data)
    script.write_text(_SCRIPT % (len(head), body))
    return script


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--file", type=Path, help="a .tflite; MLPerf Tiny's image classification in int8 by default")
    parser.add_argument("--share", default="0.05")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, action="append")
    options = parser.parse_args()
    file = options.file or needs.shared_path("models/mlperf-tiny/pretrainedResnet_quant.tflite")
    needs.program("wrk")
    options.folder.mkdir(parents=True, exist_ok=True)
    active = make_bundle(options.folder / "active.edgemm", file, version="1.0.0")
    candidate = make_bundle(options.folder / "candidate.edgemm", file, version="2.0.0")
    script = write_script(options.folder, file)
    with contextlib.ExitStack() as stack:
        addresses = {
            "plain": stack.enter_context(serving(active)),
            "control": stack.enter_context(serving(active)),
            "shadow": stack.enter_context(serving(active, "--shadow", candidate, "--shadow-share", options.share)),
        }
        for connections in options.connections or [1, 8]:
            for address in addresses.values():
                load(address, script, connections=connections, seconds=1)
            found = _rounds(addresses, script, connections=connections, options=options)
            _print(found, connections=connections)
        print(_told(urllib3.request("GET", f"{addresses['shadow']}/shadow").json()))


def _rounds(
    addresses: dict[str, str], script: Path, *, connections: int, options: argparse.Namespace
) -> dict[str, list[Load]]:
    found: dict[str, list[Load]] = {name: [] for name in addresses}
    names = list(addresses)
    for number in range(options.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            one = load(addresses[name], script, connections=connections, seconds=options.seconds)
            found[name].append(one)
    return found


def _print(found: dict[str, list[Load]], *, connections: int) -> None:
    print(f"\n{connections} connections | p50 µs | p99 µs | req/s | p50 ratio | p99 ratio | req/s ratio")
    print("---|---|---|---|---|---|---")
    for name, loads in found.items():
        values = [statistics.median(getattr(one, field) for one in loads) for field in ("p50_us", "p99_us", "per_s")]
        ratios = [
            statistics.median(getattr(a, f) / getattr(b, f) for a, b in zip(loads, found["plain"], strict=True))
            for f in ("p50_us", "p99_us", "per_s")
        ]
        print(name, *(f"{value:.0f}" for value in values), *(f"{ratio:.3f}" for ratio in ratios), sep=" | ")


def _told(answer: dict[str, Any]) -> str:
    beside = answer["shadows"][0]["beside"][0]
    return "\nthe shadow: " + ", ".join(
        f"{k} {beside[k]}" for k in ("sampled", "compared", "errors", "dropped", "crashes")
    )


def _noise(shape: Any, dtype: Any) -> Any:
    values = np.random.default_rng(0).uniform(-1, 1, tuple(shape))
    return (values * 127).astype(dtype) if np.dtype(dtype).kind == "i" else values.astype(dtype)


def _spec(name: str, details: dict[str, Any]) -> TensorSpec:
    return TensorSpec(name=name, dtype=DType(np.dtype(details["dtype"]).name), shape=tuple(map(int, details["shape"])))


def _datatype(dtype: Any) -> str:
    return {"int8": "INT8", "float32": "FP32"}[np.dtype(dtype).name]


if __name__ == "__main__":
    main()
