"""Serve estimators by edgemm and by MLServer's scikit-learn runtime, and compare: `python -m benchmarks.estimators`.

    python -m benchmarks.estimators FOLDER [--rounds 3] [--seconds 2] [--only boosting] [--json]

A random forest of 100 trees on scikit-learn's digits (64 columns, 10 classes) and gradient boosting of 300 trees on its
breast cancer data (30 columns, 2 classes) are trained, saved by joblib and converted. In each of `--rounds` rounds both
servers are started by turns, timed to their first right probabilities, loaded over 1 and 8 connections with the same
row, weighed and ended; a figure is the median of the rounds, a ratio the median of the rounds' ratios. Beside them, the
bundle's file and what skl2onnx alone writes are run in ONNX Runtime in this process. FOLDER keeps MLServer's
environment, with the versions in `serving/requirements/mlserver-sklearn.txt`. A wrong answer or a failed request ends
with exit status 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulators import needs

with needs.imports(__name__, "onnx,runtime,sklearn"):
    import joblib
    import numpy as np
    import onnxruntime
    from sklearn import datasets, ensemble

    from benchmarks.serving import wrk
    from benchmarks.serving.installs import installed
    from benchmarks.serving.memory import MIB, Memory
    from benchmarks.serving.processes import ServerProcess, free_port, post
    from benchmarks.serving.protocols import LENGTH, Request
    from benchmarks.serving.wrk import Load
    from edgemm.bundle import open_bundle
    from edgemm_converter import convert
    from edgemm_converter.estimators.estimator import INPUT, PROBABILITIES

PEER = "mlserver-sklearn"
CONNECTIONS, BATCHES = (1, 8), (1, 32, 1000)
_START_TIMEOUT_S, _SAME, _TIMED_S = 90.0, 1e-5, 1.0


@dataclass(frozen=True)
class Subject:
    """One trained model and the rows [rows, columns] that it is asked about, in a folder of its own."""

    name: str
    folder: Path
    rows: Any
    model: Any

    @property
    def bundle(self) -> Path:
        """The converted model."""
        return self.folder / f"{self.name}-1.0.0.edgemm"

    def is_right(self, probabilities: Any) -> bool:
        """Tell whether these are the model's own for the first row."""
        expected = self.model.predict_proba(self.rows[:1].astype(np.float64))
        return np.allclose(np.reshape(probabilities, expected.shape), expected, atol=_SAME)


@dataclass(frozen=True)
class Round:
    """One server with one protocol in one round; `loads` by the number of connections."""

    start_s: float
    memory: Memory
    loads: Mapping[int, Load]


def _subjects(folder: Path, only: str | None) -> list[Subject]:
    """Train, save and convert the models."""
    made = []
    for name, data, model in (
        ("forest", datasets.load_digits(), ensemble.RandomForestClassifier(100, random_state=0)),
        ("boosting", datasets.load_breast_cancer(), ensemble.GradientBoostingClassifier(n_estimators=300)),
    ):
        if only not in (None, name):
            continue
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        rows = data.data.astype(np.float32)
        found = Subject(name, place, rows, model.fit(rows[::2], data.target[::2]))
        joblib.dump(model, place / "model.joblib")
        convert(place / "model.joblib", output=found.bundle, name=name, version="1.0.0", allow_pickle=True)
        made.append(found)
    return made


def _edgemm(subject: Subject, port: int) -> ServerProcess:
    command = (sys.executable, "-m", "edgemm", "run", str(subject.bundle), "--port", str(port), "--quiet")
    return ServerProcess(command, env={}, cwd=Path(), port=port, log=subject.folder / "edgemm.log")


def _mlserver(subject: Subject, port: int) -> ServerProcess:
    """Start MLServer in one process, without what it could do beside an inference."""
    python = installed(PEER, subject.folder.parent)
    settings = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "parallel_workers": 0, "debug": False,
        "metrics_endpoint": None, "gzip_enabled": False,
    }  # fmt: skip
    model = {
        "name": subject.name, "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }  # fmt: skip
    (subject.folder / "settings.json").write_text(json.dumps(settings))
    (subject.folder / "model-settings.json").write_text(json.dumps(model))
    command = (str(python.with_name("mlserver")), "start", str(subject.folder))
    log = subject.folder / "mlserver.log"
    return ServerProcess(command, env={"PYTHONPATH": ""}, cwd=subject.folder, port=port, log=log)


def _json(answer: str) -> Callable[[Subject], Request]:
    def ask(subject: Subject) -> Request:
        row = subject.rows[:1]
        tensor = {"name": INPUT, "shape": row.shape, "datatype": "FP32", "data": row.ravel().tolist()}
        body = {"inputs": [tensor], "outputs": [{"name": answer}]}
        return _request(subject, json.dumps(body).encode(), {"Content-Type": "application/json"})

    return ask


def _binary(subject: Subject) -> Request:
    row = subject.rows[:1].astype("<f4")
    tensor = {"name": INPUT, "shape": row.shape, "datatype": "FP32", "parameters": {"binary_data_size": row.nbytes}}
    wanted = {"name": PROBABILITIES, "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [wanted]}).encode()
    headers = {LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    return _request(subject, head + row.tobytes(), headers)


def _request(subject: Subject, body: bytes, headers: Mapping[str, str]) -> Request:
    return Request(f"/v2/models/{subject.name}/infer", body, headers)


def _read(body: bytes, headers: Mapping[str, str]) -> Any:
    """Return the probabilities of an answer, in JSON or behind it."""
    length = {name.lower(): value for name, value in headers.items()}.get(LENGTH.lower())
    return json.loads(body)["outputs"][0]["data"] if length is None else np.frombuffer(body[int(length) :], "<f4")


EDGEMM, MLSERVER = "edgemm", "MLServer"
WAYS = {
    EDGEMM: (_edgemm, {"v2 JSON": _json(PROBABILITIES), "v2 binary": _binary}),
    MLSERVER: (_mlserver, {"v2 JSON": _json("predict_proba")}),
}


def _measured(subject: Subject, server: str, *, seconds: float) -> dict[str, Round]:
    """Start a server, load it and end it; return what was found by protocol.

    Raises:
        RuntimeError: it does not start, or answers wrong.
        ValueError: the load generator failed.
    """
    start, protocols = WAYS[server]
    process, found, start_s = start(subject, free_port()), dict[str, Round](), 0.0
    try:
        for name, ask in protocols.items():
            request = ask(subject)

            def is_answered(request: Request = request) -> bool:
                answer = post(process.port, request)
                return answer.status == 200 and subject.is_right(_read(answer.body, answer.headers))

            def load(connections: int, seconds: float, request: Request = request) -> Load:
                return wrk.run(process.port, request, connections=connections, seconds=seconds, folder=subject.folder)

            start_s = start_s or process.wait_until(is_answered, timeout_s=_START_TIMEOUT_S)
            load(8, 1)
            loads = {number: load(number, seconds) for number in CONNECTIONS}
            if not is_answered():
                raise RuntimeError(f"{server}, {subject.name}: wrong probabilities after the load")
            found[name] = Round(start_s, process.memory(), loads)
    finally:
        process.stop()
    return found


def _graphs(subject: Subject) -> dict[str, dict[int, float]]:
    """Return the median µs of a run of each file in ONNX Runtime with one thread, by the number of rows."""
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType

    with open_bundle(subject.bundle) as bundle:
        ours = bundle.read(bundle.manifest.variants[0].blob)
    given = [(INPUT, FloatTensorType([None, subject.rows.shape[1]]))]
    bare = skl2onnx.to_onnx(subject.model, initial_types=given, options={"zipmap": False}).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {
        name: onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        for name, file in (("the bundle's", ours), ("skl2onnx's", bare))
    }
    found: dict[str, dict[int, float]] = {name: {} for name in sessions}
    for batch in BATCHES:
        rows = np.resize(subject.rows, (batch, subject.rows.shape[1]))
        times: dict[str, list[float]] = {name: [] for name in sessions}
        end = time.perf_counter() + _TIMED_S
        while time.perf_counter() < end:  # by turns: what else the machine does slows both
            for name, session in sessions.items():
                started = time.perf_counter()
                session.run(None, {INPUT: rows})
                times[name].append(time.perf_counter() - started)
        for name, taken in times.items():
            found[name][batch] = 1e6 * statistics.median(taken)
    return found


def _rows(rounds: Sequence[Mapping[str, Mapping[str, Round]]]) -> list[dict[str, str | float]]:
    """Return medians of the rounds, and ratios to MLServer."""
    rows = []
    for server, protocol in [(server, protocol) for server, (_, asked) in WAYS.items() for protocol in asked]:
        taken = [one[server][protocol] for one in rounds]
        pairs = [(one, peer[MLSERVER]["v2 JSON"]) for one, peer in zip(taken, rounds, strict=True)]
        row: dict[str, str | float] = {
            "server": server,
            "protocol": protocol,
            "p50 µs": statistics.median(one.loads[1].p50_us for one in taken),
            "p99 µs": statistics.median(one.loads[1].p99_us for one in taken),
            "MLServer's p50 ÷ it": statistics.median(b.loads[1].p50_us / a.loads[1].p50_us for a, b in pairs),
            "req/s, 8": statistics.median(one.loads[8].per_s for one in taken),
            "÷ MLServer's": statistics.median(a.loads[8].per_s / b.loads[8].per_s for a, b in pairs),
            "PSS MiB": statistics.median(one.memory.pss_bytes for one in taken) / MIB,
            "start s": statistics.median(one.start_s for one in taken),
            "failed": sum(load.failed for one in taken for load in one.loads.values()),
        }
        rows.append(row)
    return rows


def _print(name: str, rows: Sequence[Mapping[str, str | float]], graphs: Mapping[str, Mapping[int, float]]) -> None:
    print(f"\n{name}\n\n| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        cells = [f"{v:.2f}" if isinstance(v, float) and v < 20 else f"{v:,.0f}" if not isinstance(v, str) else v
                 for v in row.values()]  # fmt: skip
        print(f"| {' | '.join(cells)} |")
    print(f"\n| file, in ONNX Runtime | {' | '.join(f'{n} rows, µs' for n in BATCHES)} |\n|{'---|' * 4}")
    for file, times in graphs.items():
        print(f"| {file} | {' | '.join(f'{took:,.0f}' for took in times.values())} |")


def main() -> None:
    """Measure and print; exit status 1 where a request failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of load for each number of connections and round")
    parser.add_argument("--only", choices=("forest", "boosting"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    needs.program("wrk")
    found: dict[str, dict[str, Any]] = {}
    for subject in _subjects(given.folder.resolve(), given.only):
        rounds = []
        for number in range(given.rounds):
            print(f"{subject.name}: round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
            order = list(WAYS) if number % 2 == 0 else list(WAYS)[::-1]
            rounds.append({server: _measured(subject, server, seconds=given.seconds) for server in order})
        found[subject.name] = {"rows": _rows(rounds), "graphs_us": _graphs(subject)}
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for name, one in found.items():
            _print(name, one["rows"], one["graphs_us"])
    raise SystemExit(any(row["failed"] for one in found.values() for row in one["rows"]))


if __name__ == "__main__":
    main()
