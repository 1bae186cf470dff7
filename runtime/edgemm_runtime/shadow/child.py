"""The shadow's own process: `python -m edgemm_runtime.shadow.child`; its socket is file descriptor 0.

It loads one variant, answers the golden samples, says `Ready`, and answers each `Burst` with a `BurstAnswer`. It is an
`edgemm.child_process`, which the kernel kills when its parent is gone. If a burst does not end in time, its own alarm
kills it, even when native code hangs.
"""

from __future__ import annotations

import argparse
import math
import resource
import signal
import socket
import sys
import time
from typing import BinaryIO

import msgspec

from edgemm.errors import BadRequestError, EdgemmError, EngineError, SelfTestError
from edgemm.outlet.log_lines import log_to_stderr
from edgemm_runtime.engines import LoadedModel, golden, load
from edgemm_runtime.engines.bundle_source import BundleSource, opened
from edgemm_runtime.engines.location_arguments import add_location, read_location
from edgemm_runtime.shadow.agreement import Agreement, merge
from edgemm_runtime.shadow.counting import Comparison, Kind, compare, comparisons
from edgemm_runtime.shadow.shadow_protocol import HEAD_BYTES, Burst, BurstAnswer, Ready, Sample, frame, length, unpack

MODULE = "edgemm_runtime.shadow.child"
_STDIN = 0


def main(argv: list[str] | None = None) -> int:
    """Run the child until its parent closes the socket; return the exit status."""
    options = _parser().parse_args(argv)
    if options.data_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (options.data_bytes, options.data_bytes))
    log_to_stderr(level="warning")
    alarm_s = math.ceil(options.timeout_s) + 1
    load_alarm_s = math.ceil(options.load_timeout_s) + 1
    location = read_location(options)
    with socket.socket(fileno=_STDIN) as channel:
        signal.alarm(load_alarm_s)
        try:
            with opened(location) as source:
                model, how = _loaded(source, options.variant)
        except (EdgemmError, MemoryError) as err:
            error = SelfTestError.__name__ if isinstance(err, MemoryError) else type(err).__name__
            channel.sendall(frame(Ready(error, str(err) or "out of memory")))
            return 1
        channel.sendall(frame(Ready(ranges={c.output: c.range for c in how if c.kind is Kind.VALUES})))
        signal.alarm(0)
        stream = channel.makefile("rb")
        while (burst := _receive(stream)) is not None:
            signal.alarm(alarm_s)
            channel.sendall(frame(answer(burst, model, how)))
            signal.alarm(0)
    return 0


def answer(burst: Burst, model: LoadedModel, how: tuple[Comparison, ...]) -> BurstAnswer:
    """Run a burst; a sample that fails counts as an error and stops nothing."""
    found: dict[str, Agreement] = {}
    errors, message, begun_s = 0, "", time.process_time()
    for sample in burst.samples:
        try:
            found = merge(found, _run(sample, model, how))
        except (BadRequestError, EngineError, MemoryError) as err:
            errors, message = errors + 1, str(err)[:400] or "out of memory"
    cpu_s = time.process_time() - begun_s
    return BurstAnswer(len(burst.samples) - errors, errors, cpu_s, found, message)


def _run(sample: Sample, model: LoadedModel, how: tuple[Comparison, ...]) -> dict[str, Agreement]:
    return compare(how, unpack(sample.outputs), model.run(unpack(sample.inputs)))


def _loaded(source: BundleSource, variant_id: str) -> tuple[LoadedModel, tuple[Comparison, ...]]:
    variant = source.manifest.variant(variant_id)
    model = load(variant, source.manifest.signature, source.read(variant.blob))
    golden.check(source, variant, model)
    return model, comparisons(source.manifest, golden.read_samples(source).outputs)


def _receive(stream: BinaryIO) -> Burst | None:
    """Return the next burst; None where the parent is gone."""
    head = stream.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return None
    body = stream.read(expected := length(head))
    return msgspec.msgpack.decode(body, type=Burst) if len(body) == expected else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=MODULE, description="Answer requests beside the active model; internal.")
    add_location(parser)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    parser.add_argument("--load-timeout-s", type=float, required=True)
    parser.add_argument("--data-bytes", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
