"""Data of every form, and what is wrong with data that do not fit."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgemm.bundle.manifest import ChannelOrder, DType, ImageFit, Layout, Preprocessing, Resize, TensorSpec
from edgemm.errors import InputError
from edgemm_converter.data import arrays, datasets, images
from edgemm_converter.data.preprocessing import Declared
from tests.unit.runtime.preprocessing.pictures import png, tiff

RED = Preprocessing(resize=Resize(width=4, height=2), scale=1 / 255)


def read(
    path: Path, declared: Declared | None = None, labels: list[str] | None = None, labelled: bool = True
) -> datasets.Dataset:
    return datasets.read(path, declared=declared or {}, labels=labels, labelled=labelled)


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_csv_with_names_of_columns_and_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "a,labels,b\n1.5,cat,2\n3,dog,4\n")
    found = read(path, labels=["dog", "cat"])
    assert found.arrays[""].tolist() == [[1.5, 2.0], [3.0, 4.0]]
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0]
    assert read(path, labelled=False).labels is None


def test_a_csv_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("labels,a\n1,2.5\n", encoding="utf-8-sig")
    found = read(tmp_path / "d.csv")
    assert found.labels is not None
    assert (found.arrays[""].tolist(), found.labels.tolist()) == ([[2.5]], [1])
    (tmp_path / "w.csv").write_text("1,2\n", encoding="utf-16")
    with pytest.raises(InputError, match=r"w.csv: expected text in UTF-8, found UTF-16: save it as UTF-8"):
        read(tmp_path / "w.csv")


def test_a_csv_of_whole_numbers_is_one_of_integers(tmp_path: Path) -> None:
    found = read(write(tmp_path / "d.csv", "1,2\n3,4\n"))
    assert found.arrays[""].dtype == np.int32


def test_a_line_of_a_csv_is_a_sample_of_any_shape(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "1,2,3,4\n5,6,7,8\n")
    spec = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, 2, 2, 1))
    found = arrays.match(read(path).arrays, (spec,), path=str(path))
    assert found["x"].tolist() == [[[[1], [2]], [[3], [4]]], [[[5], [6]], [[7], [8]]]]
    with pytest.raises(InputError, match=r"expected shape \[samples, 2, 3, 1\], found \[2, 4\]"):
        wider = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, 2, 3, 1))
        arrays.match(read(path).arrays, (wider,), path=str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected lines of numbers, found none"),
        ("a,b\n", "expected lines of numbers, found none"),
        ("1,2\n3\n", r"d\.csv, line 2: expected 2 cells as in the first, found 1"),
        ("a,b\n1,2\n3,x\n", r"d\.csv, line 3: expected numbers, found 'x'"),
        ("a,labels\n1,cat\n", "has names, such as 'cat': give --labels"),
    ],
)
def test_a_csv_that_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "d.csv", text))


def test_a_class_that_is_no_label(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "a,labels\n1,cat\n")
    with pytest.raises(InputError, match="'cat' in column 'labels' is none of the labels: ant, bee"):
        read(path, labels=["ant", "bee"])


def test_a_folder_of_images_goes_through_the_declared_steps(tmp_path: Path) -> None:
    picture(tmp_path / "red" / "a.png", (255, 0, 0))
    picture(tmp_path / "blue" / "b.png", (0, 0, 255), size=(20, 30))
    found = read(tmp_path, {"image": RED})
    assert found.arrays["image"].shape == (2, 2, 4, 3)
    assert found.arrays["image"][:, 0, 0].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]
    labels = read(tmp_path, {"image": RED}, labels=["red", "blue"]).labels
    assert labels is not None
    assert labels.tolist() == [1, 0]


def test_channels_layout_mean_and_deviation(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (255, 0, 51))
    steps = Preprocessing(channels=ChannelOrder.BGR, layout=Layout.CHW, scale=1 / 51, mean=(1, 0, 2), std=(1, 1, 2))
    found = read(tmp_path, {"x": steps}).arrays["x"]
    assert found.shape == (1, 3, 6, 8)
    assert found[0, :, 0, 0].tolist() == pytest.approx([0, 0, 1.5])


@pytest.mark.parametrize(("fit", "corner"), [(ImageFit.STRETCH, 255), (ImageFit.CROP, 255), (ImageFit.PAD, 0)])
def test_another_aspect_ratio(fit: ImageFit, corner: int, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (255, 255, 255), size=(40, 10))
    steps = Preprocessing(resize=Resize(width=8, height=8, fit=fit), channels=ChannelOrder.GRAY)
    assert read(tmp_path, {"x": steps}).arrays["x"][0, 0, 0, 0] == corner


def test_images_need_a_declaration_and_must_be_whole(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (1, 2, 3))
    with pytest.raises(InputError, match="a folder of images needs --preprocess"):
        read(tmp_path)
    picture(tmp_path / "b.png", (1, 2, 3), size=(5, 5))
    with pytest.raises(InputError, match=r"b\.png: expected all images of one size"):
        read(tmp_path, {"x": Preprocessing()})
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(InputError, match=r"b\.png: the PNG image is damaged, cut short"):
        read(tmp_path, {"x": RED})


def test_a_folder_without_images_or_with_unknown_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder of images"):
        read(tmp_path, {"x": RED})
    picture(tmp_path / "cat" / "a.png", (1, 2, 3))
    with pytest.raises(InputError, match="folder 'cat' is none of the labels: dog"):
        read(tmp_path, {"x": RED}, labels=["dog"])


def test_integers_become_one_hot_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.array([[0, 2], [1, 1]]))
    found = read(tmp_path / "w.npy", {"words": Preprocessing(one_hot=3)}).arrays[""]
    assert found.tolist() == np.eye(3)[[[0, 2], [1, 1]]].tolist()
    with pytest.raises(InputError, match=r"input 'words': expected integers from 0 to 1 \(one_hot = 2\), found 0 to 2"):
        read(tmp_path / "w.npy", {"words": Preprocessing(one_hot=2)})


def test_values_that_no_image_has_after_the_declared_steps(tmp_path: Path) -> None:
    pixels = np.full((2, 2, 4, 3), 200.0)
    np.savez(tmp_path / "named.npz", image=pixels)
    np.savez(tmp_path / "other.npz", x=pixels, labels=[0, 1])
    np.save(tmp_path / "unnamed.npy", pixels)
    for file in ("named.npz", "other.npz", "unnamed.npy"):
        with pytest.raises(InputError, match="makes values from 0 to 1, found 200 to 200"):
            read(tmp_path / file, {"image": RED})


def test_samples_that_are_in_both_sets_are_counted() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(10, 3)), rng.normal(size=(6, 3))
    assert datasets.shared_samples({"x": a}, {"x": b}) == 0
    assert datasets.shared_samples({"x": a}, {"x": np.concatenate([b, a[:4]])}) == 4


def test_one_input_may_be_constant_where_another_varies() -> None:
    varied, zeros = np.arange(6, dtype=np.float32).reshape(3, 2), np.zeros((3, 2), np.float32)
    datasets.check_scales({"x": varied, "state": zeros}, {"x": varied, "state": zeros}, path="c.npz")
    datasets.check_scales({"x": varied, "none": zeros[:, :0]}, {}, path="c.npz")
    with pytest.raises(InputError, match=r"c.npz: input 'x' is 0 in every sample: expected real, varied inputs"):
        datasets.check_scales({"x": zeros, "state": zeros}, {}, path="c.npz")


def test_data_of_another_scale_are_refused() -> None:
    rng = np.random.default_rng(0)
    small = {"x": rng.random((9, 4))}
    datasets.check_scales(small, {"x": small["x"] * 2}, path="c")
    with pytest.raises(InputError, match="input 'x' ranges over .* scale both as the model expects"):
        datasets.check_scales({"x": small["x"] * 255}, small, path="c")
    with pytest.raises(InputError, match="input 'x' is 1 in every sample"):
        datasets.check_scales({"x": np.ones((4, 2))}, {}, path="c")


def test_data_that_would_fill_the_memory_are_refused_before_they_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        picture(tmp_path / "images" / f"{number}.png", (9, 9, 9))
    monkeypatch.setattr(images, "half_of_memory", lambda: 2 * 4 * 2 * 3 * 4)
    with pytest.raises(InputError, match=r"images: its images take 0\.0 GiB of memory as arrays, expected at most"):
        read(tmp_path / "images", {"x": RED})
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InputError, match=r"huge.csv: 1024 MiB, expected a CSV of at most 256 MiB: give the numbers"):
        read(tmp_path / "huge.csv")


def test_a_file_with_an_images_name_is_decoded_as_an_image_alone(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(InputError, match="page.png: expected an image"):
        read(tmp_path, {"x": RED})


def test_arrays_of_two_inputs_that_were_swapped_are_found() -> None:
    rng = np.random.default_rng(0)
    real = {"load": rng.random((200, 4)), "wind": 8 * rng.random((200, 4)), "age": rng.random((200, 2))}
    wrong = {"load": real["wind"], "wind": real["load"], "age": real["age"]}
    assert datasets.swapped(real, real) == []
    assert datasets.swapped({**real, "load": 2 * real["load"]}, real) == []
    assert datasets.swapped(wrong, real) == [("load", "wind")]
    far = {"load": real["load"], "wind": 300 * real["wind"]}
    with pytest.raises(InputError, match="the arrays of 'load' and 'wind' look swapped: check their names"):
        datasets.check_scales({"load": far["wind"], "wind": far["load"]}, far, path="c")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT32, DType.FLOAT32])
def test_images_become_inputs_of_integers_too(dtype: DType, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (255, 128, 0))
    found = read(tmp_path, declared={"image": Preprocessing()})
    spec = TensorSpec(name="image", dtype=dtype, shape=(1, 6, 8, 3))
    [array] = arrays.match(found.arrays, (spec,), path="p").values()
    assert array.dtype == dtype.value
    assert array[0, 0, 0, 0].tolist() == [255, 128, 0]


def test_images_of_16_bits_and_tiff_are_read_as_devices_do(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (5, 4, 3), np.uint16)
    (tmp_path / "a.png").write_bytes(png(deep))
    (tmp_path / "b.tif").write_bytes(tiff(deep))
    (tmp_path / "folder.png").mkdir()
    found = read(tmp_path, {"x": Preprocessing()})
    assert np.array_equal(found.arrays["x"], [deep >> 8] * 2)
    (tmp_path / "c.tiff").write_bytes(tiff(deep.astype(np.float32)))
    with pytest.raises(InputError, match=r"c\.tiff: the TIFF image has 32-bit floating-point values"):
        read(tmp_path, {"x": Preprocessing()})


@pytest.mark.parametrize("text", ["a;b;labels\n,5;1;0\n0,25;2;1\n", "a\tb\tlabels\r\n.5\t1\t0\r\n\r\n.25\t2\t1\r\n"])
def test_csv_is_written_as_a_device_takes_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    found = read(tmp_path / "x.csv", labelled=True)
    assert next(iter(found.arrays.values())).tolist() == [[0.5, 1], [0.25, 2]]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]
