"""Look at frames and say what is on them, in one process and without a server.

usage: python examples/camera_loop.py BUNDLE [--frames N] [--variant tflite:int8]

The frames are made here. On a Raspberry Pi they come from picamera2: see docs/raspberry-pi.md.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

import edgemm_runtime


def made_frames(shape: tuple[int, ...], count: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield random frames in [0, 1]; a loop around `camera.capture_array()` takes this place."""
    random = np.random.default_rng(0)
    for _ in range(count):
        yield random.random(shape, np.float32)


parser = argparse.ArgumentParser(description="Classify made frames with a bundle.")
parser.add_argument("bundle")
parser.add_argument("--frames", type=int, default=100)
parser.add_argument("--variant", default="auto")
arguments = parser.parse_args()
model = edgemm_runtime.load(arguments.bundle, variant=arguments.variant)
spec, labels = model.manifest.signature.inputs[0], model.manifest.labels
times_s = []
for frame in made_frames(tuple(abs(n) for n in spec.shape), arguments.frames):
    begin = time.perf_counter()
    scores = next(iter(model.predict(frame).values()))
    times_s.append(time.perf_counter() - begin)
    best = int(scores.argmax())
    print(labels[best] if labels else best, f"{scores.flat[best]:.3f}")
print(f"{len(times_s)} frames with {model.variant.id}, median {np.median(times_s) * 1e3:.2f} ms each")
