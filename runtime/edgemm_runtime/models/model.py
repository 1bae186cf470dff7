"""A bundle's model in this process: opens the bundle, chooses a variant, and predicts.

model = load("digits-1.0.0.edgemm")
scores = model.predict(image)["scores"]
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemm.bundle import BlobSource, open_bundle
from edgemm.bundle.manifest import Manifest, TensorSpec, Variant
from edgemm.errors import BadRequestError
from edgemm_runtime import engines
from edgemm_runtime.engines import golden
from edgemm_runtime.engines.choice import AUTO, choose, parse_policy
from edgemm_runtime.engines.interface import WatchedModel
from edgemm_runtime.engines.pacing import Rest, no_rest
from edgemm_runtime.tensors.inputs import check_names, describe
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.numbers import to_array

_QUICK_S = 0.002
_TUNING_SAMPLES = 4


class Model:
    """A loaded variant of a bundle; safe to call from many threads.

    Of a stateful bundle it is one sequence, whose next step each call of `predict` is; `fresh` begins another one.
    """

    def __init__(self, manifest: Manifest, variant: Variant, loaded: WatchedModel, *, usual_s: float) -> None:
        self.manifest, self.variant, self.loaded = manifest, variant, loaded
        self._turn = threading.Lock() if manifest.stateful else nullcontext()
        self.usual_s = usual_s
        """How long a golden sample took once the engine was warm, in seconds."""
        inputs = manifest.signature.inputs
        self._only = inputs[0] if len(inputs) == 1 else None

    def predict(self, x: npt.ArrayLike | Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """Return all outputs by name; `x` is the input where there is one, or the inputs by name.

        Lists are converted to the input's dtype; arrays must have it, and every input the signature's shape.

        Raises:
            BadRequestError: a name, dtype or shape is not the signature's.
            EngineError: the engine failed.
        """
        inputs = self._arrays(x) if isinstance(x, Mapping) else self._array(x)
        with self._turn:
            return self.loaded.run(inputs)

    def fresh(self) -> Model:
        """Return the same model in the state in which it was loaded; itself where it holds none.

        Raises:
            EngineError: the engine failed, for example for want of memory.
        """
        if not self.manifest.stateful:
            return self
        return Model(self.manifest, self.variant, self.loaded.fresh(), usual_s=self.usual_s)

    def _array(self, x: npt.ArrayLike) -> Arrays:
        if self._only is None:
            raise BadRequestError(f"the model takes {describe(self.manifest.signature.inputs)}: give them by name")
        return {self._only.name: _array(x, self._only)}

    def _arrays(self, inputs: Mapping[str, npt.ArrayLike]) -> Arrays:
        check_names(self.manifest.signature, inputs)
        specs = {spec.name: spec for spec in self.manifest.signature.inputs}
        return {name: _array(value, specs[name]) for name, value in inputs.items()}


def load(path: str | os.PathLike[str], *, variant: str = AUTO, threads: int = 1) -> Model:
    """Open and verify a bundle file and load one of its variants; it has answered a golden sample when this returns.

    `variant` is `auto` or ids with commas between them, in order of preference.

    Raises:
        InputError: no such file or variant.
        BundleError: the file is damaged.
        EngineError: no variant's engine is here, or the golden sample came out wrong.
    """
    with open_bundle(Path(path)) as source:
        chosen = choose(source.manifest, policy=parse_policy(variant), engines=engines.available()).require()
        return load_variant(source, chosen, threads=threads)


def load_variant(source: BlobSource, variant: Variant, *, threads: int = 1, rest: Rest = no_rest) -> Model:
    """Load one variant; it has answered a golden sample when this returns. `rest` is called between the steps.

    Raises:
        BundleError: a blob is damaged.
        EngineError: the engine is not here, or the golden sample came out wrong.
    """
    blob = source.read(variant.blob)
    rest()
    stateful = bool(source.manifest.stateful)
    loaded = engines.load(variant, source.manifest.signature, blob, threads=threads, stateful=stateful)
    rest()
    expected = golden.expectation(source, variant)
    # The first inference makes an engine warm, and takes as long as none after it.
    took_s = [0.0]
    begun_s = time.perf_counter()

    def answered() -> None:
        nonlocal begun_s
        took_s.append(time.perf_counter() - begun_s)
        rest()
        begun_s = time.perf_counter()

    expected.check(loaded, samples=2, answered=answered)
    usual_s = took_s[-1]
    if usual_s <= _QUICK_S:
        samples = [expected.samples.input(index) for index in range(min(_TUNING_SAMPLES, expected.samples.count))]
        loaded.tune(samples, rest=rest)
    return Model(source.manifest, variant, loaded.fresh(), usual_s=usual_s)


def _array(value: npt.ArrayLike, spec: TensorSpec) -> Array:
    return value if isinstance(value, np.ndarray) else to_array(value, spec)
