"""Weights that no model file can hold, and such that are no numbers; looked at in a process that has TensorFlow."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.tensorflow

LOOK = """
from pathlib import Path
import numpy as np
from edgemm.errors import InputError
from edgemm_converter.sources import weights
try:
    weights.check([np.broadcast_to(np.float32(1), ({rows}, 24_000))], path=Path("m.keras"))
except InputError as err:
    print(err)
"""


TOO_LARGE = (
    "m.keras: the weights take 2.1 GiB; a .tflite or .onnx file holds at most 2 GiB: make the model smaller, or "
    "split it in two\n"
)


@pytest.mark.parametrize(("rows", "said"), [(24_000, TOO_LARGE), (240, "")])
def test_more_than_2_gib_are_refused_before_they_are_copied(rows: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(rows=rows)], capture_output=True, text=True, check=True, timeout=200
    )
    assert done.stdout == said
