import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle.manifest import DType, TensorSpec
from edgemm.errors import InputError
from edgemm_converter.data import arrays
from edgemm_runtime.tensors import npy

IMAGE = TensorSpec(name="image", dtype=DType.FLOAT32, shape=(-1, 4, 4, 1))
WORDS = TensorSpec(name="words", dtype=DType.INT32, shape=(-1, -1))
STATE = TensorSpec(name="state", dtype=DType.FLOAT32, shape=(1, 8))


def test_one_array_for_one_input_may_have_any_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", whatever=np.zeros((3, 4, 4, 1), np.float32))
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 4, 1), np.float32))
    for file in ("a.npz", "a.npy"):
        found = arrays.match(arrays.read(tmp_path / file), (IMAGE,), path=file)
        assert found["image"].shape == (3, 4, 4, 1)


def test_arrays_go_to_inputs_by_name() -> None:
    given = {"words": np.ones((2, 5), np.int64), "image": np.zeros((2, 4, 4, 1))}
    found = arrays.match(given, (IMAGE, WORDS), path="data.npz")
    assert found["words"].dtype == np.int32
    assert found["image"].dtype == np.float32


def test_an_input_with_a_fixed_batch_takes_samples_of_its_whole_shape() -> None:
    assert arrays.match({"": np.zeros((6, 1, 8))}, (STATE,), path="x")["state"].shape == (6, 1, 8)


def test_samples_of_a_fixed_batch_may_come_one_by_one(tmp_path: Path) -> None:
    eight = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(8, 2, 2))
    found = arrays.match({"": np.zeros((20, 2, 2))}, (eight,), path="x")["x"]
    assert (found.shape, arrays.rows_together(eight, found)) == ((20, 2, 2), 8)
    whole = arrays.match({"": np.zeros((3, 8, 2, 2))}, (eight,), path="x")["x"]
    assert (whole.shape, arrays.rows_together(eight, whole)) == ((3, 8, 2, 2), None)
    for width, shape in ((4, (5, 2, 2)), (32, (5, 8, 2, 2))):
        assert arrays.match({"": np.zeros((5, width))}, (eight,), path="x.csv")["x"].shape == shape
    with pytest.raises(InputError, match=r"expected shape \[samples, 2, 2\], found \[20, 2, 3\]"):
        arrays.match({"": np.zeros((20, 2, 3))}, (eight,), path="x")


def test_a_run_of_one_sample_needs_no_axis_for_it_and_a_scalar_none_at_all() -> None:
    assert arrays.match({"": np.zeros((6, 8))}, (STATE,), path="x")["state"].shape == (6, 1, 8)
    gain = TensorSpec(name="gain", dtype=DType.FLOAT32, shape=())
    assert arrays.match({"": np.zeros(6)}, (gain,), path="x")["gain"].shape == (6,)


def test_samples_of_two_batches_are_refused() -> None:
    eight, state = (TensorSpec(name=n, dtype=DType.FLOAT32, shape=s) for n, s in (("x", (8, 2)), ("s", (2, 8, 3))))
    given = {"x": np.zeros((20, 2)), "s": np.zeros((20, 2, 8, 3))}
    with pytest.raises(InputError, match=r"one fixed batch for all inputs, found x 8, s no batch: give what a"):
        arrays.match(given, (eight, state), path="data.npz")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"": np.zeros((3, 4, 4))}, r"input 'image': expected shape \[samples, 4, 4, 1\], found \[3, 4, 4\]"),
        ({"": np.zeros((3, 4, 5, 1))}, r"found \[3, 4, 5, 1\]"),
        ({"": np.zeros((3, 4, 4, 1), np.complex64)}, "expected dtype float32, found complex64"),
        ({"": np.full((3, 4, 4, 1), np.nan)}, "found NaN or infinity"),
        ({"": np.zeros((0, 4, 4, 1))}, "at least one sample"),
        ({"a": np.zeros(1), "b": np.zeros(1)}, "one array for each input, image; found a, b"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(given: dict[str, arrays.Array], message: str) -> None:
    with pytest.raises(InputError, match=message):
        arrays.match(given, (IMAGE,), path="data.npz")


def test_floats_are_no_indices() -> None:
    with pytest.raises(InputError, match="expected dtype int32, found float64"):
        arrays.match({"": np.zeros((3, 4))}, (WORDS,), path="data.npy")


def test_integers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="do not fit"):
        arrays.match({"": np.full((3, 4), 2**40)}, (WORDS,), path="data.npy")


def test_inputs_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="as many samples"):
        arrays.match(
            {"image": np.zeros((2, 4, 4, 1)), "words": np.zeros((3, 5), np.int32)}, (IMAGE, WORDS), path="data.npz"
        )


def test_a_file_that_is_no_array_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.savez(tmp_path / "whole.npz", a=np.arange(100))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    for file in ("text.npz", "empty.npy", "cut.npz", "objects.npy", "missing.npy"):
        with pytest.raises(InputError, match=file):
            arrays.read(tmp_path / file)


def test_spread_takes_evenly_and_never_more_than_there_are() -> None:
    assert arrays.spread(10, limit=4).tolist() == [0, 3, 6, 9]
    assert arrays.spread(3, limit=16).tolist() == [0, 1, 2]


def _claiming(shape: tuple[int, ...]) -> bytes:
    """A `.npy` file of 1 KiB whose header claims an array of `shape`."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(1024)


def test_a_file_that_claims_more_than_it_holds_is_refused_before_room_is_made(tmp_path: Path) -> None:
    (tmp_path / "terabyte.npy").write_bytes(_claiming((2**38,)))
    (tmp_path / "overflow.npy").write_bytes(_claiming((2**62, 2**62)))
    (tmp_path / "negative.npy").write_bytes(_claiming((-1, 4)))
    with zipfile.ZipFile(tmp_path / "terabyte.npz", "w") as archive:
        archive.writestr("x.npy", _claiming((2**38,)))
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for file in ("terabyte.npy", "overflow.npy", "negative.npy", "terabyte.npz", "text.npz"):
        with pytest.raises(InputError, match=f"{file}: expected a .npz or .npy file of numbers"):
            arrays.read(tmp_path / file)


def test_arrays_that_take_more_than_there_is_room_for_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", x=np.zeros(2**20))
    with pytest.raises(InputError, match=r"zeros.npz: its arrays take 0\.0 GiB of memory, expected at most"):
        npy.load(tmp_path / "zeros.npz", max_bytes=2**20)
    assert npy.load(tmp_path / "zeros.npz", max_bytes=2**23)["x"].shape == (2**20,)
