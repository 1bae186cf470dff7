"""Serve one `.tflite` with edgemm and its peers, load all alike, print latency, throughput, memory and ratios.

    python -m benchmarks.serving FOLDER [--model autoencoder] [--only edgemm --only mlserver] [--seconds 3] [--json]

The model is MLPerf Tiny's int8 image classifier, or its int8 autoencoder, which takes a few microseconds: both lie in
the folder that EDGEMM_SHARED names. FOLDER keeps the peers' environments between runs. In each of `--rounds` every
server is started, timed to its first right answer, compared with the bare interpreter on 3 samples, loaded with each
number of `--connections`, weighed and ended; figures are medians of the rounds. A wrong answer or a failed request is
reported and ends with exit status 1. Absolute times do not travel from one machine to another, ratios within a run do.

    python -m benchmarks.serving FOLDER --against CHECKOUT [--rounds 4] [--pairs 5] [--seconds 1]

Instead, edgemm of this checkout against that of another one, in interleaved pairs: see `against`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "runtime"):
    import msgspec
    import numpy as np

    from benchmarks.serving import against, bundles, report, startup, wrk
    from benchmarks.serving.figures import Local, Round, Row, row
    from benchmarks.serving.inprocess import InProcess, Started
    from benchmarks.serving.memory import MIB
    from benchmarks.serving.processes import post
    from benchmarks.serving.protocols import LENGTH, V2_BINARY, Request
    from benchmarks.serving.servers import EDGEMM, NAMES, Files, Server, servers
    from benchmarks.serving.subjects import SUBJECTS, Int8, Wanted
    from benchmarks.serving.wrk import Load

_WARM_UP_S = 1
SIGNATURES = ("int8", "float32")


def main() -> None:
    options = _parser().parse_args()
    model = needs.shared_path(SUBJECTS[options.model].file, folder=options.shared)
    needs.program("wrk")
    files = _prepare(options.folder.resolve(), model, options.model)
    if options.against is not None:
        _compare(files, options)
        return
    wanted = [s for s in servers(files.subject) if not options.only or s.name in options.only]
    answers = bundles.expected(files.model, files.subject)
    rounds: dict[tuple[str, str], list[Round]] = {}
    local: dict[str, list[tuple[InProcess, float]]] = {signature: [] for signature in SIGNATURES}
    broken: dict[str, str] = {}
    for number in range(1, options.rounds + 1):
        _measure_local(options.model, files, answers, local)
        for server in wanted:
            if server.name in broken:
                continue
            print(f"round {number} of {options.rounds}: {server.name}", file=sys.stderr, flush=True)
            try:
                found = _measure(server, files, answers, seconds=options.seconds, connections=options.connections)
            except (RuntimeError, ValueError) as err:
                broken[server.name] = str(err)
                continue
            for protocol, taken in found.items():
                rounds.setdefault((server.name, protocol), []).append(taken)
    rows = {key: row(*key, taken) for key, taken in rounds.items()}
    _print(rows, local, files.subject.wanted, as_json=options.json)
    for name, reason in broken.items():
        print(f"\n{name} was not measured: {reason}", file=sys.stderr)
    raise SystemExit(1 if broken or any(r.failed for r in rows.values()) else 0)


def _compare(files: Files, options: argparse.Namespace) -> None:
    """Print this checkout's figures against another's; SystemExit 1 where one is worse than wanted."""
    found = against.measure(files, options.against, rounds=options.rounds, pairs=options.pairs, seconds=options.seconds)
    print(against.as_text(found))
    raise SystemExit(0 if all(against.ratios(pairs).reached for pairs in found.values()) else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", action="append", choices=NAMES, help="repeatable; all by default")
    parser.add_argument("--model", choices=SUBJECTS, default="classifier")
    parser.add_argument("--connections", type=_numbers, default=(1, 2, 8), metavar="N,N", help="with 1 and 8 in it")
    parser.add_argument("--seconds", type=int, default=3, help="of load for each number of connections and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="the root of another checkout of edgemm")
    parser.add_argument("--pairs", type=int, default=5, help="with --against: of loads, in each round")
    parser.add_argument("--shared", type=Path, help="the folder of published models; EDGEMM_SHARED by default")
    parser.add_argument("--json", action="store_true")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    found = tuple(sorted({int(word) for word in text.split(",")} | {1, 8}))
    if found[0] < 1:
        raise argparse.ArgumentTypeError(f"expected numbers of at least 1, found {text}")
    return found


def _prepare(folder: Path, model: Path, name: str) -> Files:
    """Make the bundles, and take down what edgemm answers in binary for the server that answers nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    subject = SUBJECTS[name]
    files = Files(
        folder=folder,
        subject=subject,
        model=model.resolve(),
        int8=bundles.make_int8(folder / f"{name}-int8.edgemm", model, subject),
        float32=bundles.make_float32(folder / f"{name}-float32.edgemm", model, subject),
        sample=folder / "sample.npy",
        constant=folder / "constant.bin",
        constant_header=folder / "constant.txt",
    )
    sample = subject.samples()[0]
    np.save(files.sample, sample)
    edgemm = next(s for s in servers(subject) if s.name == EDGEMM)
    process = startup.start(edgemm, files)
    try:
        startup.wait(process, V2_BINARY, subject, bundles.expected(files.model, subject)[0])
        answer = post(process.port, V2_BINARY.ask(sample))
    finally:
        process.stop()
    files.constant.write_bytes(answer.body)
    files.constant_header.write_text(answer.headers[LENGTH])
    return files


def _measure(
    server: Server, files: Files, answers: Int8, *, seconds: int, connections: Sequence[int]
) -> dict[str, Round]:
    """Return what one round found, by protocol.

    Raises:
        RuntimeError: it did not start, or answered wrongly.
        ValueError: the load generator failed.
    """
    process, found = startup.start(server, files), {}
    try:
        cold_start_s = startup.wait(process, server.protocols[0], files.subject, answers[0])
        for protocol in server.protocols:
            known = 1 if server.is_constant else len(answers)
            startup.check(process, protocol, files.subject, answers[:known])
            request = protocol.ask(files.subject.samples()[0])

            def load(connections: int, seconds: int, request: Request = request) -> Load:
                return wrk.run(process.port, request, connections=connections, seconds=seconds, folder=files.folder)

            load(8, _WARM_UP_S)
            loads = {number: load(number, seconds) for number in connections}
            startup.check(process, protocol, files.subject, answers[:known])
            found[protocol.name] = Round(loads, cold_start_s, process.memory())
    finally:
        process.stop()
    return found


def _measure_local(model: str, files: Files, answers: Int8, local: dict[str, list[tuple[InProcess, float]]]) -> None:
    for signature in SIGNATURES:
        bundle = files.int8 if signature == "int8" else files.float32
        command = (
            sys.executable,
            "-m",
            "benchmarks.serving.inprocess",
            model,
            str(files.model),
            str(bundle),
            str(files.sample),
        )
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            started = msgspec.json.decode(process.stdout.readline(), type=Started)
            start_s = time.perf_counter() - start
            taken = msgspec.json.decode(process.stdout.readline(), type=InProcess)
        if started.scores != answers[0].ravel().tolist():
            raise SystemExit(f"in process, {signature}: expected {answers[0].tolist()}, found {started.scores}")
        local[signature].append((taken, start_s))


def _print(
    rows: dict[tuple[str, str], Row],
    local: dict[str, list[tuple[InProcess, float]]],
    wanted: Wanted,
    *,
    as_json: bool,
) -> None:
    found = [_local(signature, taken) for signature, taken in local.items()]
    bare_us = statistics.median(one.bare_us for one in found)
    print((report.as_json if as_json else report.as_text)(rows, found, bare_us, wanted))


def _local(signature: str, taken: Sequence[tuple[InProcess, float]]) -> Local:
    return Local(
        signature=signature,
        bare_us=statistics.median(one.bare_us for one, _ in taken),
        predict_us=statistics.median(one.predict_us for one, _ in taken),
        over_us=statistics.median(one.predict_us - one.bare_us for one, _ in taken),
        start_s=statistics.median(start_s for _, start_s in taken),
        pss_mib=statistics.median(one.memory.pss_bytes for one, _ in taken) / MIB,
        rss_mib=statistics.median(one.memory.rss_bytes for one, _ in taken) / MIB,
    )


if __name__ == "__main__":
    main()
