"""The lineage of a bundle: versions of libraries, the commit of the current folder, and the time if one is set."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from edgemm.bundle.manifest import Lineage
from edgemm.errors import InputError
from edgemm_converter.job import source_artifact, variant_plan
from edgemm_converter.job.job import ConversionJob
from edgemm_converter.job.targets import all_targets

LIBRARIES = (
    "edgemm", "keras", "lightgbm", "litert-torch", "numpy", "onnxscript", "scikit-learn", "skl2onnx", "tensorflow",
    "tf-keras", "torch", "xgboost",
    *(library for target in all_targets() for library in target.libraries),
)  # fmt: skip
_GIT_TIMEOUT_S = 10


def of(given: ConversionJob) -> Lineage:
    """Return where the bundle of a conversion comes from."""
    return Lineage(
        source_name=given.source.resolve().name,
        source_digest=source_artifact.digest(given.source),
        source_format=given.format,
        libraries=library_versions(),
        options=_options(given),
        calibration_digest=source_artifact.digest(given.calibration.path) if given.calibration else None,
        evaluation_digest=source_artifact.digest(given.evaluation.path) if given.evaluation else None,
        git_commit=git_commit(),
        parent=given.parent.digest if given.parent is not None else None,
    )


def _options(given: ConversionJob) -> dict[str, str]:
    shapes = (f"{name}={','.join(map(str, shape))}" for name, shape in sorted(given.input_shapes.items()))
    optional = {
        "precision": variant_plan.AUTO if given.search else None,
        "metric": given.metric if given.evaluation is not None else None,
        "max_drop": f"{given.max_drop:g}" if given.max_drop is not None else None,
        "signature": given.signature,
        "monitor": given.monitor if given.evaluation is not None else None,
        "stateful": "true" if given.stateful else None,
        "allow_pickle": "true" if given.allow_pickle else None,
        "input_shapes": ";".join(shapes) or None,
        "columns": ";".join(f"{name}={dtype}" for name, dtype in sorted(given.columns.items())) or None,
    }
    return {
        "variants": ",".join(p.id for p in given.plans),
        "custom_objects": ",".join(given.custom_objects),
        "allow_lambda": str(given.allow_lambda).lower(),
        **{name: value for name, value in optional.items() if value is not None},
    }


def library_versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Return the versions of the libraries that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the current folder; None without one, or where a tracked file differs from it."""
    commit = _git("rev-parse", "--verify", "HEAD")
    clean = _git("status", "--porcelain", "--untracked-files=no") == ""
    return commit if commit and clean else None


def created() -> str | None:
    """Return the time of `SOURCE_DATE_EPOCH` (reproducible-builds.org) in ISO 8601, None where it is not set.

    Raises:
        InputError: it is not a number of seconds.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return None
    try:
        return datetime.fromtimestamp(int(text), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError) as err:
        raise InputError(f"SOURCE_DATE_EPOCH={text!r}: expected seconds since 1970") from err


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, timeout=_GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
