"""A job is checked before anything heavy starts, also where no command line did it first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemm.errors import InputError
from edgemm_converter.job import job


@pytest.mark.parametrize("drop", [float("nan"), -0.5])
def test_a_drop_that_is_none_is_refused(tmp_path: Path, drop: float) -> None:
    source, data = tmp_path / "model.h5", tmp_path / "data.npz"
    source.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    np.savez(data, input=np.zeros((4, 2), np.float32), labels=np.zeros(4, np.int64))
    with pytest.raises(InputError, match=f"--max-drop {drop:g}: expected 0 or more"):
        job.check(source, {"evaluation": data, "max_drop": drop})


def test_a_shape_that_no_engine_could_hold_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "model.h5"
    source.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for shape in ((10**20, 4), (-1, 2**16, 2**16)):
        with pytest.raises(InputError, match=r"--input-shape x=.*: expected at most 2,147,483,647 values in it"):
            job.check(source, {"input_shapes": {"x": shape}})


def test_options_without_effect_are_told(tmp_path: Path) -> None:
    source = tmp_path / "model.h5"
    source.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert job.check(source, {"metric": "f1"}).unused == ("--metric has no effect without --eval",)
    assert job.check(source, {"custom_objects": ["m"], "allow_lambda": True}).unused == ()
    finished = tmp_path / "model.onnx"
    finished.write_bytes(b"\x08\x08" + bytes(100))
    given = job.check(finished, {"custom_objects": ["m"], "allow_lambda": True, "signature": "s"}).unused
    assert [line.split(" has")[0] for line in given] == ["--custom-objects", "--allow-lambda", "--signature"]
    assert job.check(finished, {}).unused == ()
