from pathlib import Path

import pytest

from edgemm.bundle.manifest import DType, Signature, TensorSpec
from edgemm.errors import InputError
from edgemm_converter.data import labels

MODEL = Signature(
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, 4)),),
    outputs=(TensorSpec(name="digit", dtype=DType.FLOAT32, shape=(-1, 3)),),
)


def test_lines_and_json_are_read(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("cat\ndog\n bird \n")
    (tmp_path / "l.json").write_text('["cat", "dog", "bird"]')
    assert labels.read(tmp_path / "l.txt") == labels.read(tmp_path / "l.json") == ("cat", "dog", "bird")
    labels.check(("cat", "dog", "bird"), MODEL)


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


def test_a_count_that_no_output_has_is_refused() -> None:
    with pytest.raises(InputError, match="2 labels were given, and no output has as many values: digit has 3"):
        labels.check(("cat", "dog"), MODEL)
