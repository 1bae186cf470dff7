"""Sources and data that cannot be converted: one clear line, the right status, no file."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.programs import environment
from tests.unit.converter.conftest import Conversions, refused, run_convert

pytestmark = pytest.mark.tensorflow
Convert = Callable[..., str]


@pytest.fixture
def without_tensorflow(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """Convert what is refused, in a process in which TensorFlow cannot be imported."""
    modules = tmp_path_factory.mktemp("modules")
    (modules / "tensorflow.py").write_text("raise ImportError('it was imported')")
    path = f"{modules}{os.pathsep}{environment()['PYTHONPATH']}"

    def convert(*arguments: object) -> str:
        return refused(lambda: run_convert(*arguments, folder=tmp_path, PYTHONPATH=path), folder=tmp_path)

    return convert


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("lambda.keras", "Lambda layer lambda: it holds Python code that would run on loading; give --allow-lambda"),
        ("lambda.h5", "give --allow-lambda"),
        ("custom.keras", "does not know PlainLayer, a custom object: name the module"),
        ("nan.keras", "weight broken/kernel has 1 value that is NaN or infinite"),
        ("only.weights.h5", "found weights only: save it with model.save()"),
    ],
)
def test_sources_that_can_never_work(
    source: str, message: str, models: Path, conversions: Conversions, tmp_path: Path
) -> None:
    assert message in conversions.refused(models / source, folder=tmp_path, status=2)


def test_truncated_models(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    for name in ("cnn.keras", "cnn.h5"):
        whole = (models / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
        assert "cut short or damaged" in conversions.refused(name, folder=tmp_path, status=2)


def test_a_damaged_saved_model(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes((models / "cnn_saved" / "saved_model.pb").read_bytes()[:500])
    assert "the SavedModel does not open" in conversions.refused("broken", folder=tmp_path, status=2)


def test_files_that_are_no_models_need_no_tensorflow(without_tensorflow: Convert, tmp_path: Path) -> None:
    (tmp_path / "empty.keras").write_bytes(b"")
    assert "found an empty file" in without_tensorflow("empty.keras")
    assert "No such file" in without_tensorflow("missing.keras")


def test_calibration_data_that_do_not_fit(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    found = conversions.refused(models / "cnn.keras", "--calibration", models / "words.npy", folder=tmp_path, status=2)
    assert "words.npy: input 'image': expected shape [samples, 8, 8, 1], found [40, 6]" in found


def test_data_files_that_are_none_need_no_tensorflow(without_tensorflow: Convert, models: Path, tmp_path: Path) -> None:
    (tmp_path / "data.npz").write_text("hello")
    for option in ("--calibration", "--eval"):
        assert "data.npz: expected a .npz or .npy" in without_tensorflow(models / "cnn.keras", option, "data.npz")


def test_labels_of_another_count(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    found = conversions.refused(
        models / "cnn.keras", "--labels", "labels.txt", "--target", "onnx", folder=tmp_path, status=2
    )
    assert "2 labels were given, and no output has as many values: digit has 10" in found


def test_a_model_whose_converted_outputs_are_wrong(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    found = conversions.refused(
        models / "impure.keras", "--custom-objects", "simulators.odd_layers", folder=tmp_path, status=1
    )
    assert "tflite:float32, output 'y': the max error on random data is" in found
    assert "no bundle was written" in found
    assert "the first layer to part from the source is 'impure_layer'" in found


def test_an_output_folder_that_is_missing(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    found = conversions.refused(models / "cnn.keras", "-o", "nowhere/x.edgemm", folder=tmp_path, status=1)
    assert "cannot write nowhere/x.edgemm" in found


def test_a_full_disk_is_told_and_leaves_nothing(models: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgemm", "convert", str(models / "cnn.keras"), "--target", "onnx"]
    limited = f"ulimit -f 8; exec {' '.join(command)}"
    done = subprocess.run(
        ["bash", "-c", limited], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "error: cannot " in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_conversion_leaves_no_process_and_no_file(
    how: signal.Signals, models: Path, tmp_path: Path
) -> None:
    temporary, output = tmp_path / "tmp", tmp_path / "out"
    temporary.mkdir()
    output.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "edgemm", "convert", str(models / "cnn.keras")],
        cwd=output, env=environment(TMPDIR=str(temporary)), stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    while b"loading" not in process.stderr.readline():
        assert process.poll() is None
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    os.kill(process.pid, how)
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    assert list(output.iterdir()) == []
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert list(temporary.iterdir()) == []


def test_a_layer_that_writes_to_a_variable_when_it_runs(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    found = conversions.refused(
        models / "counting.keras", "--custom-objects", "simulators.odd_layers", folder=tmp_path, status=2
    )
    assert "layer 'counter' changes its variable 'counter/count' when it runs" in found
    assert "return the value as an output" in found


def test_a_saved_model_that_writes_to_a_variable_when_it_runs(
    models: Path, conversions: Conversions, tmp_path: Path
) -> None:
    found = conversions.refused(models / "counting_saved", folder=tmp_path, status=2)
    assert "changes its variable 'total' when it runs" in found


def test_a_layer_that_draws_random_numbers_when_it_runs(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    found = conversions.refused(
        models / "noisy.keras", "--custom-objects", "simulators.odd_layers", folder=tmp_path, status=2
    )
    assert "layer 'noise' draws random numbers when it runs" in found


def test_random_numbers_smaller_than_rounding_are_found(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    found = conversions.refused(
        models / "quiet-noise.keras", "--custom-objects", "simulators.odd_layers", folder=tmp_path, status=2
    )
    assert "RandomStandardNormal (layer 'whisper') draws random numbers when it runs" in found
    assert "take the random numbers as an input" in found


def test_a_lambda_that_uses_a_name_of_its_module_says_which(
    models: Path, conversions: Conversions, tmp_path: Path
) -> None:
    found = conversions.refused(models / "named-lambda.keras", "--allow-lambda", folder=tmp_path, status=2)
    assert "a Lambda layer uses 'FACTOR' of the module that it was written in" in found
    assert "give --custom-objects MODULE:FACTOR" in found


def test_where_both_targets_fail_both_reasons_are_given(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    options = ("--custom-objects", "simulators.odd_layers")
    found = conversions.refused(models / "factor.keras", *options, folder=tmp_path, status=1)
    assert "TFLite: the model cannot be expressed in builtin operations: Cholesky (layer 'factor')" in found
    assert "; and ONNX: no ONNX operation for Cholesky (layer 'factor')" in found


@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_an_operation_that_no_engine_has_is_named_with_its_layer(
    target: str, models: Path, conversions: Conversions, tmp_path: Path
) -> None:
    options = ("--custom-objects", "simulators.odd_layers", "--target", target)
    found = conversions.refused(models / "factor.keras", *options, folder=tmp_path, status=1)
    assert "Cholesky (layer 'factor')" in found
    assert "leave" in found
