"""The self-test in a child process: a model that crashes its engine must not take the device with it.

    selftest.run_in_child(StoredBundle(manifest, blobs), "tflite:int8", timeout_s=60)

It runs the golden samples. The child is `python -m edgemm_runtime.engines.selftest`, an `edgemm.child_process`. It is
killed at its deadline, and ends itself soon after if its parent does not come to that.
"""

from __future__ import annotations

import argparse
import math
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

from edgemm import library_errors
from edgemm.child_process import ChildAnswerError, ChildCrashError, ChildTimeoutError, ChildWorkError, ask, reply
from edgemm.errors import EngineUnavailableError, SelfTestError, SelfTestTimeoutError
from edgemm_runtime.engines import golden, load
from edgemm_runtime.engines.bundle_source import BundleFile, StoredBundle, opened
from edgemm_runtime.engines.location_arguments import add_location, read_location, write_location

_MODULE = "edgemm_runtime.engines.selftest"


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
    arguments = [*write_location(location), "--variant", variant_id]
    arguments += ["--timeout-s", str(timeout_s), "--threads", str(threads)]
    what = f"self-test of {variant_id}"
    try:
        ask(_MODULE, arguments, answer=type(None), timeout_s=timeout_s)
    except ChildTimeoutError as err:
        raise SelfTestTimeoutError(f"{what} did not end within {timeout_s:g} s and was killed") from err
    except ChildCrashError as err:
        hint = " (out of memory?)" if err.signal == "SIGKILL" else ""
        raise SelfTestError(f"{what} crashed: killed by {err.signal}{hint}") from err
    except ChildAnswerError as err:
        raise SelfTestError(
            f"{what} ended with status {err.status} and no verdict (--verbose prints its last words)"
        ) from err
    except ChildWorkError as err:
        unavailable = err.error == EngineUnavailableError.__name__
        raise (EngineUnavailableError if unavailable else SelfTestError)(str(err)) from err


def main(argv: list[str] | None = None) -> int:
    """Run the child: load, check, tell the parent, return the exit status."""
    library_errors.follow_parent()
    options = _parser().parse_args(argv)
    signal.alarm(math.ceil(options.timeout_s) + 1)
    _die_first()
    location = read_location(options)

    def work() -> None:
        try:
            check(location, options.variant, threads=options.threads)
        except MemoryError as err:
            raise SelfTestError(f"self-test of {options.variant} ran out of memory") from err

    return reply(work)


def _die_first() -> None:
    """Let a model that takes all memory cost this child and no other process, and a crash no core file on a card."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_MODULE, description="Run a bundle's golden samples; used by the runtime.")
    add_location(parser)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timeout-s", type=float, default=60.0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
