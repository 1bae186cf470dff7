"""Do two machines answer alike? int8 within one quantization step, floats within rounding, the largest class the same.

    python -m benchmarks.arm64.compare FOLDER HERE THERE

HERE and THERE are what `benchmarks.arm64.answers` wrote on each machine. It prints a table for Markdown, and ends with
status 1 where an output differs by more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "runtime"):
    import msgspec
    import numpy as np

    from benchmarks.arm64.answers import Facts, answer_name
    from edgemm.bundle import open_bundle
    from edgemm_runtime.tensors.named_arrays import Array

FLOAT_TOLERANCE = 1e-5
"""Largest difference of a float output, as a share of the largest value that it has."""

ROUNDINGS = 8
"""Times the move of an answer with the last bit of its inputs that two machines may differ by where that is more.

`edgemm convert` allows as much between a source and what was made of it.
"""

_A_STEP = 1 + 1e-6  # dequantized values are float32


@dataclass(frozen=True)
class Answer:
    """One output of a variant, and what it may differ by.

    `step` is the quantization step of the file's output, None where that is a float; `rounding` is how far the answer
    moves with the last bit of its inputs; `golden` the golden samples' errors as a share of their tolerance, `here` and
    `there`.
    """

    name: str
    step: float | None
    rounding: float
    golden: tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """How far an answer is apart on two machines; `largest` and `allowed` are in its own unit."""

    answer: Answer
    values: int
    differing: int
    largest: float
    allowed: float
    rows: int
    other_class: int

    @property
    def holds(self) -> bool:
        """Whether the two machines answer alike, and as the golden samples say."""
        return self.largest <= self.allowed and self.other_class == 0 and max(self.answer.golden) <= 1

    def row(self) -> str:
        """Return a line of the table."""
        step = self.answer.step
        largest = f"{self.largest:.1e}" if step is None else f"{self.largest / step:.0f} steps"
        allowed = f"{self.allowed:.1e}" if step is None else f"{self.allowed / step:.0f} steps"
        here, there = self.answer.golden
        cells = (
            self.answer.name, f"{self.differing:,} of {self.values:,}", largest, allowed,
            f"{self.other_class} of {self.rows}", f"{here:.2f} / {there:.2f}", "yes" if self.holds else "**no**",
        )  # fmt: skip
        return f"| {' | '.join(cells)} |"


def difference(answer: Answer, here: Array, there: Array) -> Difference:
    """Compare two answers, float32[samples, …].

    Raises:
        ValueError: they are not of one shape, or one is not finite.
    """
    if here.shape != there.shape or not (np.isfinite(here).all() and np.isfinite(there).all()):
        raise ValueError(f"{answer.name}: expected finite answers of one shape, found {here.shape} and {there.shape}")
    apart = np.abs(here.astype(np.float64) - there.astype(np.float64))
    classes = (here.argmax(-1) != there.argmax(-1)).reshape(len(here), -1).any(axis=1)
    if answer.step is None:
        allowed = max(FLOAT_TOLERANCE * float(np.abs(here).max(initial=0.0)), ROUNDINGS * answer.rounding)
    else:
        allowed = answer.step * _A_STEP
    return Difference(
        answer, values=here.size, differing=int((apart > 0).sum()), largest=float(apart.max(initial=0.0)),
        allowed=allowed, rows=len(here), other_class=int(classes.sum()),
    )  # fmt: skip


def differences(answers: Iterable[Answer], here: Mapping[str, Array], there: Mapping[str, Array]) -> list[Difference]:
    """Compare all answers.

    Raises:
        ValueError: there are none, or one machine answered what the other did not.
    """
    wanted = list(answers)
    names = {answer.name for answer in wanted}
    if not names or names != set(here) or names != set(there):
        raise ValueError(f"expected answers for {sorted(names)}, found {sorted(here)} and {sorted(there)}")
    return [difference(answer, here[answer.name], there[answer.name]) for answer in wanted]


def table(found: Iterable[Difference], *, here: Facts, there: Facts) -> str:
    """Return a table for Markdown."""
    head = (
        f"| {there.machine} beside {here.machine} | values that differ | by at most | allowed | other class | "
        f"golden error ÷ tolerance, {here.machine} / {there.machine} | holds |"
    )
    return "\n".join([head, "|---|---|---|---|---|---|---|", *(d.row() for d in found)])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("folder", "here", "there"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    here, there = (
        msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Facts)
        for path in (options.here, options.there)
    )
    answers = _answers(options.folder, here, there)
    with np.load(options.here.with_suffix(".npz")) as ours, np.load(options.there.with_suffix(".npz")) as theirs:
        try:
            found = differences(answers, ours, theirs)
        except ValueError as err:
            sys.exit(f"error: {err}")
    for facts in (here, there):
        libraries = ", ".join(f"{name} {version}" for name, version in facts.libraries.items())
        print(f"{facts.machine}: Python {facts.python}, {libraries}")
    print(table(found, here=here, there=there))
    if bad := [d.answer.name for d in found if not d.holds]:
        sys.exit(f"error: {', '.join(bad)}: the machines answer differently: see the table")


def _answers(folder: Path, here: Facts, there: Facts) -> list[Answer]:
    found = []
    for path in sorted(folder.glob("*.edgemm")):
        with open_bundle(path) as bundle:
            for variant in bundle.manifest.variants:
                for tensor in variant.outputs:
                    name = answer_name(bundle, variant, tensor.name)
                    step = tensor.quantization.scale if tensor.quantization else None
                    found.append(Answer(name, step, here.rounding[name], (here.golden[name], there.golden[name])))
    return found


if __name__ == "__main__":
    main()
