"""Look at frames and say what is on them, in one process and without a server.

usage: python examples/camera_loop.py BUNDLE [--frames N] [--variant tflite:int8]

The frames are made here. On a Raspberry Pi they come from picamera2: see docs/raspberry-pi.md.
"""

import argparse
import sys
import time

import numpy as np

import edgemm_runtime
from edgemm.errors import EdgemmError

parser = argparse.ArgumentParser(description="Classify made frames with a bundle.")
parser.add_argument("bundle")
parser.add_argument("--frames", type=int, default=100)
parser.add_argument("--variant", default="auto")
arguments = parser.parse_args()
random = np.random.default_rng(0)
times_s = []
try:
    model = edgemm_runtime.load(arguments.bundle, variant=arguments.variant)
    [spec] = model.manifest.signature.inputs
    for _ in range(arguments.frames):
        if model.manifest.preprocessing:  # camera.capture_array() takes this place
            frame = random.integers(0, 256, (480, 640, 3), np.uint8)
        else:
            frame = random.random([abs(n) for n in spec.shape]).astype(spec.dtype.value)
        begin = time.perf_counter()
        outputs = model.predict(frame)
        times_s.append(time.perf_counter() - begin)
        named = [f"{best.label} {best.score:.3f}" for [best] in model.top(outputs)]
        print(*(named or outputs.values()))
except EdgemmError as err:
    sys.exit(str(err))
print(f"{len(times_s)} frames with {model.variant.id}, median {np.median(times_s) * 1e3:.2f} ms each")
