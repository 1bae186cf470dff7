"""The converter that saves work makes the bytes that TensorFlow's own makes, in a process of its own for each."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import environment

pytestmark = pytest.mark.tensorflow

CONVERT = """
import hashlib, sys
from pathlib import Path
import keras, tensorflow as tf
from edgemm.bundle.engine_facts import Engine
from edgemm_converter.export import tflite_converter
from edgemm_converter.sources import keras3
model = keras3.serve(keras.models.load_model(sys.argv[1]), path=Path(sys.argv[1]), shapes={})
module = tf.Module()
module.serve = model.frozen(engine=Engine.TFLITE, batch=1).serve
kind = {"edgemm": tflite_converter.FrozenConverter, "tensorflow": tf.lite.TFLiteConverter}[sys.argv[2]]
Path(sys.argv[3]).write_bytes(kind.from_concrete_functions([module.serve.get_concrete_function()], module).convert())
"""


@pytest.mark.parametrize("source", ["cnn.keras", "lstm.keras"])
def test_the_bytes_are_those_of_tensorflows_own_converter(source: str, models: Path, tmp_path: Path) -> None:
    digests = set()
    for kind in ("edgemm", "tensorflow"):
        subprocess.run(
            [sys.executable, "-c", CONVERT, str(models / source), kind, str(tmp_path / kind)],
            env=environment(TF_CPP_MIN_LOG_LEVEL="2", KERAS_BACKEND="tensorflow"), check=True, capture_output=True,
        )  # fmt: skip
        digests.add(hashlib.sha256((tmp_path / kind).read_bytes()).hexdigest())
    assert len(digests) == 1
