from pathlib import Path

import pytest
from msgspec.structs import replace

from edgemm.bundle.manifest import (
    ChannelOrder,
    DType,
    ImageFit,
    Layout,
    PadPlace,
    Preprocessing,
    Resize,
    ResizeKernel,
    TensorSpec,
)
from edgemm.errors import InputError
from edgemm_converter.data import preprocessing

IMAGE = (TensorSpec(name="image", dtype=DType.FLOAT32, shape=(-1, 32, 32, 1)),)


def write(folder: Path, text: str) -> Path:
    (folder / "p.toml").write_text(text)
    return folder / "p.toml"


def test_a_declaration_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[image]\nresize = {width = 32, height = 16, fit = "crop"}\nchannels = "gray"\nlayout = "chw"\n'
        "scale = 0.5\nmean = [1]\nstd = [2.0]\n[words]\none_hot = 20\n",
    )
    assert preprocessing.read(path) == {
        "image": Preprocessing(
            resize=Resize(width=32, height=16, fit=ImageFit.CROP), channels=ChannelOrder.GRAY, layout=Layout.CHW,
            scale=0.5, mean=(1.0,), std=(2.0,),
        ),
        "words": Preprocessing(one_hot=20),
    }  # fmt: skip


def test_a_declaration_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[words]\none_hot = 20\n", encoding="utf-8-sig")
    assert preprocessing.read(tmp_path / "p.toml") == {"words": Preprocessing(one_hot=20)}
    (tmp_path / "p.toml").write_text("[words]\none_hot = 20\n", encoding="utf-16")
    with pytest.raises(InputError, match=r"p.toml: expected text in UTF-8, found UTF-16: save it as UTF-8"):
        preprocessing.read(tmp_path / "p.toml")


def test_the_kernel_and_the_padding_are_words(tmp_path: Path) -> None:
    resize = 'width = 8, height = 8, fit = "pad", kernel = "bilinear", pad_colour = 114, pad_place = "top-left"'
    found = preprocessing.read(write(tmp_path, f"[image]\nresize = {{{resize}}}"))["image"].resize
    assert found == Resize(
        width=8, height=8, fit=ImageFit.PAD, kernel=ResizeKernel.BILINEAR, pad_colour=(114,),
        pad_place=PadPlace.TOP_LEFT,
    )  # fmt: skip


def test_words_that_say_what_is_so_anyway_are_left_out(tmp_path: Path) -> None:
    resize = 'width = 8, height = 8, fit = "pad", kernel = "antialias", pad_colour = [0, 0, 0], pad_place = "centre"'
    found = preprocessing.read(write(tmp_path, f"[image]\nresize = {{{resize}}}"))["image"].resize
    assert found == Resize(width=8, height=8, fit=ImageFit.PAD)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[image]\nresize = {width = 3, height = 3, kernel = "lanczos"}',
            "resize.kernel: Invalid enum value 'lanczos'",
        ),
        ('[image]\nresize = {width = 3, height = 3, pad_place = "top-left"}', 'are of fit = "pad", found "stretch"'),
        ('[image]\nresize = {width = 3, height = 3, fit = "pad", pad_colour = [1, 2]}', "expected 1 or 3 numbers"),
        ('[image]\nresize = {width = 3, height = 3, fit = "pad", pad_colour = 256}', "Expected `int` <= 255"),
        ("", "expected a table named after an input"),
        ("[image", "expected TOML"),
        ("image = 3", r"expected a table \[image\], found 3"),
        ("[image]\nscael = 1", r"\[image\] has 'scael'; it may have resize, channels"),
        ("[image]\nresize = {width = 3}", "missing required field `height`"),
        ("[image]\nresize = {width = 3, height = 3, depth = 1}", r"\[image.resize\] has 'depth'"),
        ('[image]\nchannels = "rgba"', "Invalid enum value 'rgba'"),
        ("[image]\nscale = 0", "Expected `float` > 0"),
        ("[image]\nscale = inf", r"\[image\] scale: expected finite numbers, found \[inf\]"),
        ("[image]\nmean = [nan]", r"mean: expected finite numbers, found \[nan\]"),
        ("[image]\nstd = [inf]", r"std: expected finite numbers, found \[inf\]"),
        ("[image]\nmean = [1, 2]", "mean: expected 1 or 3 numbers, found 2"),
        ("[image]\none_hot = 3\nscale = 2", "one_hot is of class indices"),
    ],
)
def test_a_declaration_that_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        preprocessing.read(write(tmp_path, text))


def test_a_declaration_that_the_model_does_not_take() -> None:
    good = Preprocessing(resize=Resize(width=32, height=32), channels=ChannelOrder.GRAY)
    preprocessing.check({"image": good}, IMAGE)
    of_one = replace(IMAGE[0], shape=(1, 32, 32, 1))  # as in nearly every public .tflite file
    preprocessing.check({"image": good}, (of_one,))
    with pytest.raises(InputError, match="declared for 'picture'; the model's inputs are image"):
        preprocessing.check({"picture": good}, IMAGE)
    with pytest.raises(InputError, match=r"makes \[any, any, 3\], the model takes \[32, 32, 1\]"):
        preprocessing.check({"image": Preprocessing()}, IMAGE)
    with pytest.raises(InputError, match="one_hot"):
        preprocessing.check({"image": Preprocessing(one_hot=5)}, IMAGE)
