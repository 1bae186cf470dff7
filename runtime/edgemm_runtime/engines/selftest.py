"""The self-test in a child process: a model that crashes its engine must not take the device with it.

    selftest.run_in_child(StoredBundle(manifest, blobs), "tflite:int8", timeout_s=60)

It runs the golden samples. The child is `python -m edgemm_runtime.engines.selftest`; it prints one JSON document and
exits with 0 or 1. It is killed at its deadline, and ends itself soon after if its parent is gone by then.
"""

from __future__ import annotations

import argparse
import math
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from edgemm.errors import EdgemmError, EngineUnavailableError, SelfTestError
from edgemm_runtime.engines import golden, load
from edgemm_runtime.engines.bundle_source import BundleFile, StoredBundle, opened

_MODULE = "edgemm_runtime.engines.selftest"


class SelfTestVerdict(msgspec.Struct, frozen=True):
    """What the child prints: `error` is None, or the name of the error's class."""

    variant: str
    error: str | None = None
    message: str = ""


def check(location: BundleFile | StoredBundle, variant_id: str, *, threads: int = 1) -> None:
    """Load a variant in this process and run all golden samples.

    Raises:
        SelfTestError: an answer is wrong.
        EngineError: the engine is missing or failed.
        BundleError: the bundle is damaged.
    """
    with opened(location) as source:
        variant = source.manifest.variant(variant_id)
        model = load(variant, source.manifest.signature, source.read(variant.blob), threads=threads)
        golden.check(source, variant, model)


def run_in_child(location: BundleFile | StoredBundle, variant_id: str, *, timeout_s: float, threads: int = 1) -> None:
    """Do what `check` does in a child process.

    Raises:
        SelfTestError: a wrong answer, a damaged bundle, a crash (names the signal) or no end within `timeout_s`.
        EngineUnavailableError: the engine is not here.
    """
    command = [sys.executable, "-P", "-m", _MODULE, *_arguments(location), "--variant", variant_id]
    command += ["--timeout-s", str(timeout_s), "--threads", str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as err:
        raise SelfTestError(f"self-test of {variant_id} did not end within {timeout_s:g} s and was killed") from err
    verdict = _read_verdict(done, variant_id)
    if verdict.error == EngineUnavailableError.__name__:
        raise EngineUnavailableError(verdict.message)
    if verdict.error is not None:
        raise SelfTestError(verdict.message)


def main(argv: list[str] | None = None) -> int:
    """Run the child: load, check, print a `SelfTestVerdict`, return the exit status."""
    options = _parser().parse_args(argv)
    signal.alarm(math.ceil(options.timeout_s) + 1)
    _die_first()
    location = BundleFile(options.bundle) if options.bundle else StoredBundle(options.manifest, options.blobs)
    verdict = SelfTestVerdict(options.variant)
    try:
        check(location, options.variant, threads=options.threads)
    except EdgemmError as err:
        verdict = SelfTestVerdict(options.variant, type(err).__name__, str(err))
    except MemoryError:
        verdict = SelfTestVerdict(
            options.variant, SelfTestError.__name__, f"self-test of {options.variant} ran out of memory"
        )
    sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")
    return int(verdict.error is not None)


def _die_first() -> None:
    """Let a model that takes all memory cost this child and no other process, and a crash no core file on a card."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _read_verdict(done: subprocess.CompletedProcess[bytes], variant_id: str) -> SelfTestVerdict:
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        raise SelfTestError(f"self-test of {variant_id} crashed: killed by {name}{hint}")
    try:
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=SelfTestVerdict)
    except (IndexError, msgspec.DecodeError) as err:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise SelfTestError(
            f"self-test of {variant_id} ended with status {done.returncode} and no verdict: {last[0][:200]}"
        ) from err


def _arguments(location: BundleFile | StoredBundle) -> list[str]:
    if isinstance(location, BundleFile):
        return ["--bundle", str(location.path)]
    return ["--manifest", str(location.manifest), "--blobs", str(location.blobs)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_MODULE, description="Run a bundle's golden samples; used by the runtime.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bundle", type=Path)
    where.add_argument("--manifest", type=Path)
    parser.add_argument("--blobs", type=Path)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timeout-s", type=float, default=60.0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
