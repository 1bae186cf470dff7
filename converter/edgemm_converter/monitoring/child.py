"""The child process that makes the document by which a model is monitored.

It is run as `python -m edgemm_converter.monitoring.child FOLDER`. It runs one variant in the device's engine on
corrupted data, and trains the committee in NumPy. Its parent gives it one thread, since sums then have one order: the
same job gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgemm.errors import EngineError, RequestError
from edgemm.monitoring import monitor_document
from edgemm.monitoring.monitor_document import HEADS, MAX_BYTES
from edgemm_converter.children import array_files, childside
from edgemm_converter.children.child import Progress
from edgemm_converter.children.protocol import MonitorAnswer, MonitorRequest
from edgemm_converter.data.arrays import Array
from edgemm_converter.job import targets
from edgemm_converter.job.monitor_effort import MonitorEffort
from edgemm_converter.monitoring import fitting, monitor_plan
from edgemm_converter.monitoring.corrupted_pools import CLEAN_POOLS, Run
from edgemm_converter.monitoring.corruptions import families
from edgemm_converter.monitoring.fitting import MonitorSubject
from edgemm_converter.monitoring.monitor_plan import LEAST_OF_CLASS, LEAST_ROWS, MOST_CLASSES, PLANS
from edgemm_converter.monitoring.view_choice import UnmonitoredError, scores_of, view_of
from edgemm_runtime import engines
from edgemm_runtime.monitoring.views import views

_FILE = "monitor.msgpack"
_BATCH = 128


def answer(request: MonitorRequest, folder: Path, progress: Progress) -> MonitorAnswer:
    """Make the document, or say why there is none."""
    try:
        document = _made(request, folder, progress)
    except UnmonitoredError as err:
        return MonitorAnswer(file=None, reason=str(err))
    data = monitor_document.encode(document)
    if len(data) > MAX_BYTES:
        return MonitorAnswer(
            file=None, reason=f"its document would have {len(data):,} bytes, expected at most {MAX_BYTES:,}"
        )
    monitor_document.decode(data)
    (folder / _FILE).write_bytes(data)
    return MonitorAnswer(file=_FILE, reason=document.reason)


def _made(request: MonitorRequest, folder: Path, progress: Progress) -> monitor_document.MonitorDocument:
    progress("choosing how the model is monitored")
    plan = PLANS[MonitorEffort(request.effort)]
    classes = np.load(folder / request.classes)
    inputs = array_files.load(request.inputs, folder)
    places = _places(classes, plan.rows)
    classes, inputs = classes[places], {name: array[places] for name, array in inputs.items()}
    view = view_of(request.signature, inputs, request.preprocessing)
    file = (folder / request.file).read_bytes()
    model = engines.load(request.variant, request.signature, file, threads=1)
    run = _runner(model.run, request.output, _rows_at_once(request))
    first = run({name: array[:_BATCH] for name, array in inputs.items()})
    scores = scores_of(first)
    count = max(2, first.shape[1])
    _check(classes, count)
    numbers = tuple(one.shape[1] for one in views(view, {name: array[:1] for name, array in inputs.items()}))
    hidden = monitor_plan.hidden_units(numbers, count)
    if not hidden:
        raise UnmonitoredError(f"a committee for {count} classes would not fit into {MAX_BYTES // 1024} KiB")
    plan = replace(plan, effort=replace(plan.effort, hidden=hidden))
    pools = CLEAN_POOLS + plan.severities * len(families(view.modality)) + plan.pairs
    work = targets.target_of(request.variant.engine).work_of(file)
    size = sum(array[0].size for array in inputs.values())
    rows = monitor_plan.pool_rows(
        plan, len(classes), pools=pools, work=work, numbers=size, kept=sum(numbers) + (HEADS + 1) * count
    )
    if not rows:
        more = "" if request.effort == MonitorEffort.FULL else ": --monitor full allows more"
        raise UnmonitoredError(
            f"with {size:,} numbers of inputs and {work:.1e} multiplications a row it is too large to be run on "
            f"corrupted data often enough{more}"
        )
    given = MonitorSubject(view, inputs, classes, count, request.output, scores, run)
    return fitting.fit(given, plan, rows_of_pool=rows, progress=progress)


def _places(classes: Array, most: int) -> Array:
    """Return places spread evenly over the rows, at most as many as are used."""
    count = len(classes)
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.int64)


def _check(classes: Array, count: int) -> None:
    """Check that the labelled data are enough to learn from."""
    if count > MOST_CLASSES:
        raise UnmonitoredError(f"it has {count} classes, expected at most {MOST_CLASSES}")
    if classes.min(initial=0) < 0 or classes.max(initial=0) >= count:
        raise UnmonitoredError(f"labels are classes 0 to {int(classes.max())}, and its output has {count} numbers")
    if len(classes) < LEAST_ROWS:
        raise UnmonitoredError(f"there are {len(classes)} labelled rows, expected at least {LEAST_ROWS}")
    found = np.bincount(classes, minlength=count)
    present = found[found > 0]
    if len(present) < 2 or present.min() < LEAST_OF_CLASS:
        raise UnmonitoredError(
            f"a class has {int(present.min())} labelled rows, expected at least {LEAST_OF_CLASS}, of two classes"
        )


def _rows_at_once(request: MonitorRequest) -> int:
    """Return how many rows a run takes: any number where the batch is open, else as many as it is made for."""
    batch = request.signature.inputs[0].shape[0]
    return _BATCH if batch == -1 and request.signature.row_by_row else max(1, batch)


def _runner(run: Callable[..., Mapping[str, Array]], output: str, at_once: int) -> Run:
    """Return a function that runs a model on any number of rows; the last run is filled up with its first row."""

    def runs(inputs: Mapping[str, Array]) -> Array:
        count, found = len(next(iter(inputs.values()))), list[Array]()
        for start in range(0, count, at_once):
            places = np.arange(start, start + at_once)
            places = np.where(places < count, places, start) if at_once != _BATCH else places[places < count]
            try:
                answered = run({name: np.ascontiguousarray(array[places]) for name, array in inputs.items()})[output]
            except (EngineError, RequestError) as err:
                raise UnmonitoredError(f"it fails on corrupted data: {err}") from err
            found.append(answered.reshape(len(places), -1)[: count - start])
        return np.concatenate(found)

    return runs


if __name__ == "__main__":
    childside.serve(MonitorRequest, answer)
