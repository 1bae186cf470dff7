"""What of an exported program's file reaches PyTorch: no pickle, no code, no path outside of it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgemm.errors import InputError
from edgemm_converter.programs import archive, vetting
from simulators import program_files
from simulators.program_files import tree, weights, write

pytestmark = pytest.mark.converter


def copied(path: Path, *, allow_pickle: bool = False) -> zipfile.ZipFile:
    folder = path.parent / "copy"
    folder.mkdir()
    made = archive.copied(path, folder, known=(8, 20), installed="2.13.0", allow_pickle=allow_pickle)
    return zipfile.ZipFile(made)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        copied(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_the_copy_holds_no_pickle_no_code_and_no_device(tmp_path: Path) -> None:
    made = copied(write(tmp_path / "model.pt2"))
    assert made.read("model/data/sample_inputs/model.pt") == b""
    assert made.read("model/data/weights/weight_0") == bytes(4)
    graph = json.loads(made.read("model/models/model.json"))
    assert graph["guards_code"] == []
    text = json.dumps(graph)
    assert "os.system" not in text
    assert "train.py" not in text
    assert "cuda" not in text
    assert graph["graph_module"]["graph"]["nodes"][0]["metadata"] == {"nn_module_stack": "a,b,c"}
    assert "cuda" not in made.read("model/data/weights/model_weights_config.json").decode()


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"size": "__import__('os').system('touch ran')"}, "no arithmetic"),
        ({"size": "Symbol('s0').__class__"}, "no arithmetic"),
        ({"size": "(lambda: 1)()"}, "no arithmetic"),
        ({"size": "S('open(1)')"}, "no arithmetic"),
        ({"target": "torch.ops.load_library"}, "none of PyTorch's own operators"),
        ({"target": "torch.hub.load"}, "none of PyTorch's own operators"),
        ({"target": "torch.ops.aten.__class__.mro"}, "none of PyTorch's own operators"),
        ({"target": "torch.ops.aten.from_file.default"}, "none of PyTorch's own operators"),
        ({"target": "torch.ops.mine.op.default"}, "none of PyTorch's own operators"),
        ({"target": "_operator.attrgetter"}, "none of PyTorch's own operators"),
        ({"target": "#mine:op"}, "none of PyTorch's own operators"),
        ({"out_spec": tree("collections.defaultdict", '{"default_factory_module": "os"}')}, "arranged in"),
        ({"out_spec": tree("builtins.dict", '[{"__enum__": 1, "fqn": "os:x", "name": "y"}]')}, "arranged in"),
        ({"out_spec": "no tree"}, "arranged in"),
    ],
)
def test_what_runs_code_is_refused(described: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refusal(write(tmp_path / "model.pt2", **described), allow_pickle=True)


@pytest.mark.parametrize("config", [weights(pickled=True), weights("opaque_obj_0"), weights("custom_obj_0")])
def test_pickles_are_refused_unless_allowed(config: dict[str, Any], tmp_path: Path) -> None:
    name = f"data/weights/{config['config']['w']['path_name']}"
    members: dict[str, bytes | str] = {
        "data/weights/model_weights_config.json": json.dumps(config), name: b"a pickle",
    }  # fmt: skip
    path = write(tmp_path / "model.pt2", members)
    line = refusal(path)
    assert "--allow-pickle" in line
    assert "were not opened" in line
    (tmp_path / "copy").rmdir()
    assert copied(path, allow_pickle=True).read(f"model/{name}") == b"a pickle"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"archive_version": "1"}, "version 1 of its archive"),
        ({"models/other.json": "{}"}, "expected one exported program, found 2"),
        ({"models/model.json": "{"}, "cut short or damaged"),
        ({"models/model.json": "[" * 100_000}, "cut short or damaged"),
        ({"data/weights/model_weights_config.json": json.dumps(weights("../../x"))}, "--allow-pickle"),
        (
            {"models/model.json": json.dumps({**program_files.graph(), "schema_version": {"major": 9}})},
            "written by PyTorch '2.13.0', in version 9 of its format",
        ),
    ],
)
def test_what_is_newer_or_damaged_is_one_line(members: dict[str, bytes | str], words: str, tmp_path: Path) -> None:
    assert words in refusal(write(tmp_path / "model.pt2", members))


def test_no_path_leads_out_of_the_archive(tmp_path: Path) -> None:
    config = json.dumps(weights("../../x", pickled=True))
    path = write(tmp_path / "model.pt2", {"data/weights/model_weights_config.json": config})
    assert "damaged" in refusal(path, allow_pickle=True)


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Mul(Integer(8), Symbol('s77', positive=True, integer=True))",
        "2*s0 + 1",
        "FloorDiv(s0 - 1, 2) + 1",
        "Eq(Mod(s0, 4), 0)",
        "Max(1, u0) >= 3",
        "(s0 - 1)//2",
    ],
)
def test_sizes_that_pytorch_writes_are_taken(text: str) -> None:
    assert vetting.is_arithmetic(text)
