from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgemm.bundle.manifest import DType, LabelKind, LabelledOutput, Signature, TensorSpec
from edgemm.errors import InputError
from edgemm_converter.data import labels

Floats = npt.NDArray[np.float32]
NAMES = ("cat", "dog", "bird")
RNG = np.random.default_rng(0)
CLASSES = np.array([[[2, 0, 1]], [[1, 1, 0]]], np.float32)
SCORES = RNG.random((2, 1, 3)).astype(np.float32)


def test_lines_and_json_are_read(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("cat\ndog\n bird \n")
    (tmp_path / "l.json").write_text('["cat", "dog", "bird"]')
    assert labels.read(tmp_path / "l.txt") == labels.read(tmp_path / "l.json") == NAMES


def test_a_byte_order_mark_is_no_part_of_the_first_label(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("cat\r\ndog\r\n", encoding="utf-8-sig")
    (tmp_path / "l.json").write_text('["cat", "dog"]', encoding="utf-8-sig")
    assert labels.read(tmp_path / "l.txt") == labels.read(tmp_path / "l.json") == ("cat", "dog")
    (tmp_path / "w.txt").write_text("cat\n", encoding="utf-16")
    with pytest.raises(InputError, match=r"w.txt: expected text in UTF-8, found UTF-16: save it as UTF-8"):
        labels.read(tmp_path / "w.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [("e.txt", b""), ("g.txt", b"cat\n\ndog"), ("d.json", b'{"0": "cat"}'), ("n.json", b"[1]"), ("u.txt", b"\xff\xfe")],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        labels.read(tmp_path / name)


def applied(outputs: Mapping[str, Floats], **options: str) -> tuple[LabelledOutput, ...]:
    """Apply three labels to outputs that gave these values, [runs, *shape]."""
    specs = tuple(TensorSpec(name=n, dtype=DType.FLOAT32, shape=a.shape[1:]) for n, a in outputs.items())
    signature = Signature(inputs=specs[:1], outputs=specs)
    return labels.applied(NAMES, signature, lambda: [outputs], **options)


@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 1, 5, 4, 3)])
def test_scores_along_the_last_axis_are_as_ever(shape: tuple[int, ...]) -> None:
    assert applied({"scores": RNG.random(shape).astype(np.float32)}) == ()


def test_a_detector_names_classes_by_their_index() -> None:
    boxes, count = RNG.random((2, 1, 3, 4)).astype(np.float32), np.full((2, 1), 3, np.float32)
    found = applied({"boxes": boxes, "classes": CLASSES, "scores": SCORES, "count": count})
    assert found == (LabelledOutput(output="classes", kind=LabelKind.INDICES),)  # though there are three boxes too


def test_a_detector_that_found_nothing_names_classes_beside_its_boxes() -> None:
    boxes, none = RNG.random((2, 1, 7, 4)).astype(np.float32), np.zeros((2, 1, 7), np.float32)
    found = applied({"boxes": boxes, "classes": none, "scores": none})
    assert found == (LabelledOutput(output="classes", kind=LabelKind.INDICES),)


def test_what_the_file_says_of_its_outputs_is_held_to() -> None:
    twice = {"first": CLASSES, "second": CLASSES}
    assert [one.output for one in applied(twice, indices="second")] == ["second"]
    with pytest.raises(InputError, match="wrong, which the file says has class indices"):
        applied({"scores": RNG.random((2, 1, 9)).astype(np.float32), "wrong": np.full((2, 1, 9), 7, np.float32)},
                indices="wrong")  # fmt: skip


def test_the_class_is_the_last_of_six_columns() -> None:
    rows = RNG.random((2, 1, 9, 6)).astype(np.float32)
    rows[..., 5] = RNG.integers(0, 3, rows.shape[:-1])
    assert applied({"rows": rows}) == (LabelledOutput(output="rows", kind=LabelKind.INDICES, axis=2, first=5),)
    rows[..., 5] = 3
    with pytest.raises(InputError, match="none has class indices below 3"):
        applied({"rows": rows})


@pytest.mark.parametrize(
    ("shape", "axis", "first"),
    [((1, 3, 9, 9), 1, 0), ((1, 7, 2100), 1, 4), ((1, 2100, 8), 2, 5), ((1, 8, 2100), 1, 5)],
)
def test_scores_may_lie_along_another_axis(shape: tuple[int, ...], axis: int, first: int) -> None:
    found = applied({"map": RNG.random((2, *shape)).astype(np.float32)})
    assert found == (LabelledOutput(output="map", kind=LabelKind.SCORES, axis=axis, first=first),)


def test_a_map_of_classes_is_labelled() -> None:
    spec = TensorSpec(name="classes", dtype=DType.INT64, shape=(-1, 4, 5))
    values = RNG.integers(0, 3, (2, 1, 4, 5))
    found = labels.applied(NAMES, Signature(inputs=(spec,), outputs=(spec,)), lambda: [{"classes": values}])
    assert found == (LabelledOutput(output="classes", kind=LabelKind.INDICES),)


def test_a_count_that_no_output_has_is_refused() -> None:
    scores = RNG.random((2, 1, 2)).astype(np.float32)
    with pytest.raises(InputError, match=r"l\.txt: 3 labels were given, and no output has as many values: digit has 2"):
        applied({"digit": scores}, whose="l.txt")
