"""A bundle's model in this process: opens the bundle, chooses a variant, and predicts.

model = load("digits-1.0.0.edgemm")
outputs = model.predict("seven.png")      # or a frame, or the input's own numbers
[[best]] = model.top(outputs)             # Top(label="7", score=0.98)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgemm.bundle import BlobSource, open_bundle
from edgemm.bundle.manifest import DType, Manifest, TensorSpec, Variant
from edgemm.errors import BadRequestError
from edgemm_runtime import engines
from edgemm_runtime.engines import golden
from edgemm_runtime.engines.choice import AUTO, choose, parse_policy
from edgemm_runtime.engines.interface import WatchedModel
from edgemm_runtime.engines.pacing import Rest, no_rest
from edgemm_runtime.models.best_classes import Top, best_classes
from edgemm_runtime.preprocessing import array_inputs, image_inputs, pillow_library
from edgemm_runtime.tensors.comparison import score_labels
from edgemm_runtime.tensors.inputs import batched, check_names, describe
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.numbers import to_array

Given: TypeAlias = Any
"""An input as a program has it: numbers, or an image or a list of them; `Model.predict` says which."""
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
        self._steps = manifest.preprocessing or {}
        if any(image_inputs.takes_images(one) for one in self._steps.values()):
            pillow_library.load_early()

    def predict(self, x: Given | Mapping[str, Given]) -> dict[str, Array]:
        """Return all outputs by name; `x` is the input where there is one, or the inputs by name.

        Lists and arrays become the input's dtype where they are of the same kind and none is out of range. Every input
        has the signature's shape; a single sample may lack the batch, and a column, [n] or [n, 1], be given as either.
        Where the bundle declares `one_hot`, class indices will do, and None where an input takes missing values.

        Where the bundle declares how an input is made of an image (`edgemm convert --preprocess`), it may be one or a
        list of them, a sample each:

        * a frame: uint8 [height, width, 3] in RGB order, [height, width] of grey, or a batch [n, height, width, 3];
        * an image of Pillow's;
        * the path of an image file, or its bytes.

        An array that has the input's dtype and shape already is taken as it is.

        Raises:
            BadRequestError: a name, dtype or shape is not the signature's, or an image cannot be read as one.
            InputError: there is no such file.
            TooLargeError: images are too large together.
            EngineError: the engine failed.
        """
        inputs = self._arrays(x) if isinstance(x, Mapping) else self._array(x)
        with self._turn:
            return self.loaded.run(inputs)

    def top(self, outputs: Mapping[str, Array], count: int = 1) -> list[list[Top]]:
        """Return the best classes of each sample in what `predict` returned, best first.

        Empty where the bundle has no labels of scores.
        """
        return best_classes(outputs, score_labels(self.manifest), count=count)

    def fresh(self) -> Model:
        """Return the same model in the state in which it was loaded; itself where it holds none.

        Raises:
            EngineError: the engine failed, for example for want of memory.
        """
        if not self.manifest.stateful:
            return self
        return Model(self.manifest, self.variant, self.loaded.fresh(), usual_s=self.usual_s)

    def _array(self, x: Given) -> Arrays:
        if self._only is None:
            raise BadRequestError(f"the model takes {describe(self.manifest.signature.inputs)}: give them by name")
        return {self._only.name: self._input(x, self._only)}

    def _arrays(self, inputs: Mapping[str, Given]) -> Arrays:
        check_names(self.manifest.signature, inputs)
        specs = {spec.name: spec for spec in self.manifest.signature.inputs}
        return {name: self._input(value, specs[name]) for name, value in inputs.items()}

    def _input(self, value: Given, spec: TensorSpec) -> Array:
        steps = self._steps.get(spec.name)
        if isinstance(value, np.ndarray):
            return array_inputs.of_array(value, spec, steps)
        if spec.dtype is DType.STRING:  # a text is itself, and no path of an image
            return batched(to_array(value, spec), spec)
        if (frames := image_inputs.frames_in(value, spec, steps)) is not None:
            return image_inputs.of_frames(frames, spec, steps)
        return array_inputs.of_array(to_array(value, spec), spec, steps)


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
