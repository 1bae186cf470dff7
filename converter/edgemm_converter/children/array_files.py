"""The exchange of arrays between a conversion and its child processes: files in their common folder.

It also runs a model on such arrays. Every array has shape [runs, …]: run i of a model takes `array[i]` of each input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgemm.errors import InputError
from edgemm_converter.children.protocol import SampleSet
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_runtime.tensors.element_types import OBJECT

_NO_ARRAYS: Mapping[str, Array] = {}
_SUFFIX = {False: ".npy", True: ".strings"}
"""By whether an array is of strings, whose lengths differ too much for a `.npy` file."""


def save(values: Mapping[str, Array], folder: Path, *, prefix: str) -> dict[str, str]:
    """Write each array into `folder`; return the file of each name."""
    files = {name: f"{prefix}{i}{_SUFFIX[array.dtype is OBJECT]}" for i, (name, array) in enumerate(values.items())}
    for name, array in values.items():
        if array.dtype is OBJECT:
            strings = _Strings(array.shape, array.ravel().tolist())
            (folder / files[name]).write_bytes(msgspec.msgpack.encode(strings))
        else:
            np.save(folder / files[name], np.ascontiguousarray(array), allow_pickle=False)
    return files


def load(files: Mapping[str, str], folder: Path) -> dict[str, Array]:
    """Read what `save` wrote."""
    return {name: _loaded(folder / file) for name, file in files.items()}


class _Strings(msgspec.Struct, frozen=True):
    shape: tuple[int, ...]
    values: list[str]


def _loaded(file: Path) -> Array:
    if file.suffix != _SUFFIX[True]:
        array: Array = np.load(file, allow_pickle=False)
        return array
    strings = msgspec.msgpack.decode(file.read_bytes(), type=_Strings)
    found = np.empty(len(strings.values), OBJECT)
    found[:] = strings.values
    return found.reshape(strings.shape)


def stored(
    given: InputSet,
    outputs: Mapping[str, Array],
    folder: Path,
    *,
    number: int,
    noise: Mapping[str, Array] = _NO_ARRAYS,
    moved: Mapping[str, Array] | None = None,
    undecided: Mapping[str, Array] = _NO_ARRAYS,
) -> SampleSet:
    """Write a sample set and what the source answers to it; `number` tells it from others in `folder`.

    `noise` is how far rounding moves each value of one run's outputs.
    """
    return SampleSet(
        id=given.id, kind=given.kind, runs=given.runs, samples=given.samples, seeds=given.seeds,
        inputs=save(given.arrays, folder, prefix=f"set{number}-in"),
        outputs=save(outputs, folder, prefix=f"set{number}-out"),
        noise={name: float(array.max(initial=0.0)) for name, array in noise.items()},
        rows=given.rows,
        names=given.names,
        families=given.families,
        moved=save(noise if moved is None else moved, folder, prefix=f"set{number}-moved"),
        undecided=save(undecided, folder, prefix=f"set{number}-undecided"),
    )  # fmt: skip


def each_run(inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Yield what each run of a model takes, of arrays [runs, …]."""
    for i in range(len(next(iter(inputs.values())))):
        # `...` keeps a value of rank 0 an array, where plain indexing makes a NumPy scalar, which engines do not take.
        yield {name: array[i, ...] for name, array in inputs.items()}


def answers(run: Callable[[dict[str, Array]], Mapping[str, Array]], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs [runs, …] by name of a model that is run once for each run of `inputs`."""
    found = [run(one) for one in each_run(inputs)]
    for name in found[0]:
        check_lengths(name, [one[name].shape for one in found])
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def check_lengths(name: str, shapes: Sequence[tuple[int, ...]]) -> None:
    """Check that an output has one shape in all runs, whose inputs have one.

    Raises:
        InputError: its length depends on the data.
    """
    other = next((shape for shape in shapes if shape != shapes[0]), None)
    if other is not None:
        raise depends_on_data(name, f"it has shape {list(shapes[0])} for one sample and {list(other)} for another")


def depends_on_data(name: str, reason: str, *, advice: str = "") -> InputError:
    """Return what to tell of an output whose length depends on the data; `advice` ends it."""
    return InputError(
        f"output {name!r}: its length depends on the data ({reason}), and a bundle's outputs have lengths that follow "
        "from their inputs: return it at a fixed length with a count beside it, as "
        f"tf.image.non_max_suppression_padded does, or end the model before that step{advice}"
    )
