"""What a file carries is read, held to its shapes, and never trusted."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgemm.bundle.manifest import ChannelOrder, DType, Layout, Preprocessing, Resize, ResizeKernel, VariantTensor
from edgemm.errors import InputError
from edgemm_converter.job import file_metadata
from edgemm_converter.metadata import carried, properties
from edgemm_converter.metadata.carried import Carried, Settled
from simulators import tflite
from simulators.carried import (
    AXIS_LABELS,
    VALUE_LABELS,
    Said,
    metadata,
    with_buffer,
    with_metadata,
    with_properties,
    zipped,
)

MODEL = tflite.conv_float32(np.ones((3, 3, 3, 2), np.float32), np.zeros(2, np.float32))
NAMES = "cat\ndog\n"
INPUT, OUTPUT = tflite.INPUT, tflite.OUTPUT


def tensor(name: str, *shape: int) -> VariantTensor:
    return VariantTensor(name=name.split(":", maxsplit=1)[0], tensor=name, dtype=DType.FLOAT32, shape=shape)


def read(folder: Path, data: bytes, engine: str = "tflite") -> Carried | None:
    (folder / "model").write_bytes(data)
    return file_metadata.read(folder / "model", engine)


def settled(found: Carried | None, shape: tuple[int, ...] = (1, 9, 9, 3), **given: object) -> Settled:
    options = {"has_labels": False, "declared": (), **given}
    return carried.settle(found, [tensor(INPUT, *shape)], [tensor(OUTPUT, 1, 7, 7, 2)], **options)  # type: ignore[arg-type]


def image(**said: object) -> bytes:
    return with_metadata(MODEL, [Said(image=True, **said)], [Said()], {})  # type: ignore[arg-type]


def test_labels_mean_and_std_of_a_tflite_file(tmp_path: Path) -> None:
    said = Said(image=True, mean=[127.5], std=[127.5])
    data = with_metadata(MODEL, [said], [Said(labels=[("l.txt", AXIS_LABELS, "")])], {"l.txt": NAMES})
    found = settled(read(tmp_path, data))
    assert found.labels == ("cat", "dog")
    assert found.indices is None
    assert found.preprocessing == {"serving_default_x": Preprocessing(mean=(127.5,), std=(127.5,))}
    assert [line.partition(":")[0] for line in found.lines] == ["from the file"] * 2
    assert "2 labels (cat, dog, …) from l.txt, of the scores of output" in found.lines[0]
    assert "mean 127.5, std 127.5" in found.lines[1]


def test_labels_of_values_are_class_indices(tmp_path: Path) -> None:
    data = with_metadata(MODEL, [Said()], [Said(labels=[("l.txt", VALUE_LABELS, "")])], {"l.txt": NAMES})
    assert settled(read(tmp_path, data)).indices == "StatefulPartitionedCall"


def test_english_comes_before_other_languages(tmp_path: Path) -> None:
    files = [("de.txt", AXIS_LABELS, "de"), ("en.txt", AXIS_LABELS, "en-GB")]
    data = with_metadata(MODEL, [Said()], [Said(labels=files)], {"de.txt": "Katze\nHund", "en.txt": NAMES})
    assert settled(read(tmp_path, data)).labels == ("cat", "dog")


def test_what_the_user_gives_wins(tmp_path: Path) -> None:
    data = with_metadata(
        MODEL, [Said(image=True, gray=True)], [Said(labels=[("l.txt", AXIS_LABELS, "")])], {"l.txt": NAMES}
    )
    found = settled(read(tmp_path, data), has_labels=True, declared=("serving_default_x",))
    assert (found.labels, found.preprocessing) == (None, {})
    assert ["not taken" in line for line in found.lines] == [True, True]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"gray": True}, r"makes \[any, any, 1\], the model takes \[9, 9, 3\]"),
        ({"mean": [1, 2], "std": [1]}, "mean: expected 1 or 3 numbers, found 2"),
    ],
)
def test_a_contradiction_to_the_shapes_is_refused(tmp_path: Path, said: Mapping[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why) as raised:
        settled(read(tmp_path, image(**said)))
    assert "or give --preprocess" in str(raised.value)


@pytest.mark.parametrize("said", [{"std": [0.0]}, {"mean": [float("nan")]}])
def test_numbers_that_are_none_are_told_and_left_out(tmp_path: Path, said: Mapping[str, object]) -> None:
    found = settled(read(tmp_path, image(**said)))
    assert found.preprocessing == {}
    assert "not read: TFLITE_METADATA" in found.lines[0]


def test_an_image_is_told_by_its_shape_where_the_file_says_no_colours(tmp_path: Path) -> None:
    model = tflite.conv_float32(np.ones((1, 1, 1, 2), np.float32), np.zeros(2, np.float32))
    for said in (Said(image=True, gray=None), Said(mean=[127.5], std=[127.5])):
        found = settled(read(tmp_path, with_metadata(model, [said], [Said()], {})), shape=(1, 9, 9, 1))
        assert found.preprocessing["serving_default_x"].channels is ChannelOrder.GRAY


def test_metadata_of_another_number_of_tensors_are_told(tmp_path: Path) -> None:
    data = with_metadata(MODEL, [Said(image=True)] * 2, [Said(labels=[("l", AXIS_LABELS, "")])], {"l": NAMES})
    found = settled(read(tmp_path, data))
    assert (found.labels, found.preprocessing) == (("cat", "dog"), {})
    assert found.lines[0] == "from the file: not read: TFLITE_METADATA of 2 inputs: the model has 1"


def test_a_plain_file_carries_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, MODEL) is None
    assert settled(None) == Settled()


def test_a_missing_or_huge_file_of_labels_is_told(tmp_path: Path) -> None:
    said = [Said(labels=[("l.txt", AXIS_LABELS, "")])]
    bomb = b"a\n" * (1 << 20)  # two megabytes that are two kilobytes when they are packed
    for files in ({}, {"l.txt": bomb}):
        found = settled(read(tmp_path, with_metadata(MODEL, [Said()], said, files)))
        assert found.labels is None
        assert "not read: labels 'l.txt'" in found.lines[0]
    many = "\n".join(map(str, range(10_001)))
    assert "10,001 lines" in settled(read(tmp_path, with_metadata(MODEL, [Said()], said, {"l.txt": many}))).lines[0]


def test_damaged_metadata_are_told_and_never_crash(tmp_path: Path) -> None:
    assert settled(read(tmp_path, with_buffer(MODEL, b"\xff" * 40))).lines[0].startswith("from the file: not read")
    good = bytearray(with_metadata(MODEL, [Said(image=True)], [Said(labels=[("l", AXIS_LABELS, "")])], {"l": NAMES}))
    rng = random.Random(0)
    for _ in range(300):
        data = bytearray(good)
        for _ in range(8):
            data[rng.randrange(len(data))] = rng.randrange(256)
        cut = data[: rng.randrange(16, len(data))] if rng.random() < 0.5 else data
        read(tmp_path, bytes(cut))


def test_ultralytics_puts_names_behind_the_model(tmp_path: Path) -> None:
    text = json.dumps({"names": {"0": "person", "2": "car"}, "imgsz": [9, 9], "stride": 32})
    found = settled(read(tmp_path, zipped(MODEL, {"metadata.json": text})))
    assert found.labels == ("person", "???", "car")
    assert "images of 9 × 9" in found.lines[1]
    with pytest.raises(InputError, match="the file says images of 9 × 9, and its input"):
        settled(read(tmp_path, zipped(MODEL, {"metadata.json": text})), shape=(1, 8, 8, 3))


def test_a_zip_may_lie_behind_a_large_model(tmp_path: Path) -> None:
    """Only the end of the file is looked at."""
    large = with_buffer(MODEL, metadata([Said()], [Said(labels=[("l.txt", AXIS_LABELS, "")])]))
    found = settled(read(tmp_path, zipped(large + b"\0" * (20 << 20), {"l.txt": NAMES})))
    assert found.labels == ("cat", "dog")


def model_of(*shape: object) -> bytes:
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n in ("images", "output0")]
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [2.0])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Mul", ["images", "w"], ["output0"])], "g", values[:1], values[1:], [weights]
    )
    return bytes(onnx.helper.make_model(graph).SerializeToString())


def test_the_properties_of_an_onnx_file(tmp_path: Path) -> None:
    said = {"names": "{0: 'person', 1: 'bicycle'}", "imgsz": "[4, 6]", "mean": "[0.5, 0.4, 0.3]", "std": "[0.2]"}
    found = read(tmp_path, with_properties(model_of("batch", 3, 4, 6), said), "onnx")
    taken = carried.settle(
        found, [tensor("images", -1, 3, 4, 6)], [tensor("output0", 1, 2)], has_labels=False, declared=()
    )
    assert taken.labels == ("person", "bicycle")
    assert taken.preprocessing == {
        "images": Preprocessing(
            resize=Resize(width=6, height=4), channels=ChannelOrder.RGB, layout=Layout.CHW, scale=1 / 255,
            mean=(0.5, 0.4, 0.3), std=(0.2,),
        )
    }  # fmt: skip


def test_an_onnx_file_with_nothing_to_say(tmp_path: Path) -> None:
    assert read(tmp_path, model_of(1, 3, 4, 6), "onnx") is None
    assert read(tmp_path, with_properties(model_of(1, 3, 4, 6), {"author": "me", "stride": "32"}), "onnx") is None


def test_a_damaged_onnx_file_never_crashes(tmp_path: Path) -> None:
    good = with_properties(model_of(1, 3, 4, 6), {"names": "['a']", "mean": "[1]"})
    rng = random.Random(0)
    for _ in range(300):
        data = bytearray(good[: rng.randrange(2, len(good))])
        data[rng.randrange(len(data))] = rng.randrange(256)
        read(tmp_path, bytes(data), "onnx")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getpid()",
        "(" * 5_000,
        "[" * 100_000,
        "{0: 'a', -1: 'b'}",
        "{0: 'a', 99999999: 'b'}",
        "{}",
        "3",
    ],
)
def test_names_that_are_none(text: str) -> None:
    found = properties.carried({"names": properties.literal(text)}, found_in="here")
    assert found is None or found.labels is None or found.labels.names == (text,)


@pytest.mark.parametrize("text", ["[1e999, -5, 10**10]", "{0: 'a', 1: b}", " ('a', 'b'", "{" * 100_000])
def test_a_list_that_is_damaged_is_not_taken_for_names_with_commas(text: str) -> None:
    found = properties.carried({"names": properties.literal(text)}, found_in="here")
    assert found is not None
    assert (found.labels, len(found.unread)) == (None, 1)


@pytest.mark.parametrize(
    ("name", "count", "output", "indices"),
    [
        ("coco_ssd_mobilenet_v1_1.0_quant_2018_06_29", 90, "TFLite_Detection_PostProcess:1", True),
        ("deeplabv3", 21, "ResizeBilinear_3", False),
        ("yamnet", 521, "tower0/network/layer32/final_output", False),
        ("mobilenet_v1_0.25_224_1_metadata_1", 1001, "MobilenetV1/Predictions/Reshape_1", False),
    ],
)
def test_published_files(shared: Path, name: str, count: int, output: str, indices: bool) -> None:
    folder = shared / "models" / "task-library"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    found = file_metadata.read(folder / f"{name}.tflite", "tflite")
    assert found is not None
    assert found.labels is not None
    assert len(found.labels.names) == count
    assert (found.labels.tensor, found.labels.are_of_values) == (output, indices)
    if name == "yamnet":
        assert found.images == ()
        return
    [one] = found.images
    mean = 128.0 if indices else 127.5  # of a uint8 input each pixel is its own code
    assert (one.steps.mean, one.steps.std) == ((mean,), (mean,))
    assert one.steps.resize is not None
    assert one.steps.resize.kernel is ResizeKernel.BILINEAR
