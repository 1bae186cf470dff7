"""Exported programs of PyTorch as sources: run by `tests/e2e/test_programs.py` in an environment of their own.

That environment has PyTorch for the CPU with litert-torch, and no TensorFlow.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pickle
import shlex
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.zoo import program_table
from benchmarks.zoo.programs import DECLARED, KEYS, LITE_LEFT_OUT, exported
from edgemm.bundle import open_bundle
from edgemm.errors import EdgemmError
from edgemm_converter import convert
from edgemm_converter.conversion import ConversionResult
from simulators.serving import serving
from tests.docs.pages import DOCS, blocks

pytestmark = [pytest.mark.converter, pytest.mark.timeout(300)]
GOOD = tuple(key for key in KEYS if key not in DECLARED)


def saved(made: Any, path: Path) -> Path:
    torch.export.save(made, str(path))
    return path


def converted(path: Path, **options: Any) -> ConversionResult:
    return convert(path, output=path.with_suffix(".edgemm"), name="model", cache=False, **options)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(EdgemmError) as caught:
        converted(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert "object at 0x" not in line
    assert not path.with_suffix(".edgemm").exists()
    return line


class Touch:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def changed(path: Path, members: Mapping[str, bytes], made: Path) -> Path:
    """Write a file anew with other members, by their names below its folder."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(made, "w") as target:
        root = source.namelist()[0].partition("/")[0]
        left = dict(members)
        for name in source.namelist():
            inner = name.partition("/")[2]
            target.writestr(name, left.pop(inner) if inner in left else source.read(name))
        for name, content in left.items():
            target.writestr(f"{root}/{name}", content)
    return made


def test_nothing_here_needs_tensorflow() -> None:
    assert importlib.util.find_spec("tensorflow") is None


@pytest.mark.parametrize("key", GOOD)
def test_a_model_of_the_zoo_answers_as_its_source_in_both_engines(key: str, tmp_path: Path) -> None:
    found = dict(program_table.ways(key, tmp_path))
    assert found["edgemm onnx"][0] == "pass", found["edgemm onnx"]
    if key in LITE_LEFT_OUT:
        assert LITE_LEFT_OUT[key] in found["edgemm tflite"][1]
    else:
        assert found["edgemm tflite"][0] == "pass", found["edgemm tflite"]


@pytest.mark.parametrize("key", DECLARED)
def test_what_cannot_be_served_is_refused_as_declared(key: str, tmp_path: Path) -> None:
    assert DECLARED[key] in refusal(saved(exported(key), tmp_path / "model.pt2"))


def test_a_bundle_is_served_by_the_names_of_arguments_and_keys(tmp_path: Path) -> None:
    result = converted(saved(exported("torch/several"), tmp_path / "model.pt2"))
    signature = result.manifest.signature
    assert [(s.name, s.dtype.value, s.shape) for s in signature.inputs] == [
        ("left", "float32", (-1, 4)), ("right", "float32", (-1, 3)), ("kind", "int64", (-1,)),
    ]  # fmt: skip
    assert [(s.name, s.dtype.value, s.shape) for s in signature.outputs] == [
        ("score", "float32", (-1, 8)), ("best", "int64", (-1,)), ("both_0", "bool", (-1, 8)),
        ("both_1", "float32", (-1,)),
    ]  # fmt: skip
    assert result.manifest.lineage.libraries["torch"] == torch.__version__
    rng = np.random.default_rng(3)
    given = {
        "left": rng.normal(size=(2, 4)).tolist(), "right": rng.normal(size=(2, 3)).tolist(), "kind": [1, 2],
    }  # fmt: skip
    program = exported("torch/several").module()
    wanted = program(torch.tensor(given["left"]), torch.tensor(given["right"]), 0.5, kind=torch.tensor(given["kind"]))
    with serving(result.path, variant="onnx:float32") as server:
        body = json.dumps({"inputs": given}).encode()
        asked = urllib.request.Request(f"{server.address}/predict", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=30) as reply:
            found = json.load(reply)
    assert np.allclose(found["outputs"]["score"], wanted["score"].detach().numpy(), atol=1e-5)
    assert found["outputs"]["best"] == wanted["best"].tolist()


def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    code, command = [block for block in blocks(DOCS / "converter.md") if block.marker == "program"]
    subprocess.run([sys.executable, "-c", code.text], cwd=tmp_path, check=True, timeout=120)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "samples.npz", input=rng.normal(size=(100, 8)).astype(np.float32))
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command.text)], cwd=tmp_path, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with open_bundle(next(tmp_path.glob("*.edgemm"))) as bundle:
        assert [v.id for v in bundle.manifest.variants] == ["tflite:int8", "tflite:float32", "onnx:float32"]


def test_precisions_search_and_report_are_as_for_keras(tmp_path: Path) -> None:
    path = saved(exported("torch/mlp"), tmp_path / "model.pt2")
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(200, 8)).astype(np.float32)
    labels = exported("torch/mlp").module()(torch.from_numpy(rows)).argmax(1).numpy()
    np.savez(tmp_path / "real.npz", input=rows[:100])
    np.savez(tmp_path / "labelled.npz", input=rows[100:], labels=labels[100:])
    result = converted(
        path, calibration=tmp_path / "real.npz", evaluation=tmp_path / "labelled.npz", precisions=("auto",),
        report=tmp_path / "page.html", labels=("a", "b", "c"), max_drop=0.1,
    )  # fmt: skip
    assert [v.id.partition(":")[0] for v in result.manifest.variants] == ["tflite", "onnx"]
    assert result.trials
    assert result.manifest.evaluation is not None
    assert result.manifest.evaluation.source == 1.0
    assert (tmp_path / "page.html").stat().st_size > 1000


def test_a_repeat_gives_the_same_bundle(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        digests.add(converted(saved(exported("torch/residual"), tmp_path / name / "model.pt2")).digest)
    assert len(digests) == 1


def test_channels_first_are_told_and_images_fit(tmp_path: Path) -> None:
    path = saved(exported("torch/residual"), tmp_path / "model.pt2")
    result = converted(path, targets=("onnx",))
    (said,) = [line for line in result.warnings if "channels before" in line]
    assert 'layout = "chw"' in said
    words = "[image]\nresize = {{ width = 16, height = 16, fit = 'stretch' }}\nchannels = 'rgb'\nlayout = '{}'\n"
    (tmp_path / "chw.toml").write_text(words.format("chw"))
    (tmp_path / "hwc.toml").write_text(words.format("hwc"))
    fits = converted(path, targets=("onnx",), preprocess=tmp_path / "chw.toml")
    assert not [line for line in fits.warnings if "channels before" in line]
    path.with_suffix(".edgemm").unlink()
    assert "change resize, channels, layout" in refusal(path, targets=("onnx",), preprocess=tmp_path / "hwc.toml")


def test_open_lengths_are_fixed_where_tflite_needs_it(tmp_path: Path) -> None:
    class Mean(nn.Module):
        def forward(self, series: Any) -> Any:
            return torch.tanh(series).mean(1)

    shapes = {"series": {0: torch.export.Dim("batch"), 1: torch.export.Dim("steps", max=64)}}
    made = torch.export.export(Mean(), (torch.randn(2, 5, 3),), dynamic_shapes=shapes)
    path = saved(made, tmp_path / "model.pt2")
    result = converted(path)
    assert result.manifest.signature.inputs[0].shape == (-1, -1, 3)
    assert "--input-shape series=-1,N,3" in result.left_out["tflite:float32"]
    fixed = converted(path, input_shapes={"series": (-1, 12, 3)})
    assert fixed.left_out == {}
    assert fixed.manifest.signature.inputs[0].shape == (-1, 12, 3)
    path.with_suffix(".edgemm").unlink()
    assert "of which only the open axes" in refusal(path, input_shapes={"series": (-1, 12, 4)})


def test_no_code_of_a_file_runs(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    path = saved(exported("torch/mlp"), tmp_path / "model.pt2")
    with zipfile.ZipFile(path) as archive:
        read = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    graph, config = read["models/model.json"].decode(), json.loads(read["data/weights/model_weights_config.json"])
    evil = pickle.dumps(Touch(ran))
    call = f"__import__('pathlib').Path({str(ran)!r}).touch()"
    config["config"][next(iter(config["config"]))]["use_pickle"] = True
    guards, held = f'"guards_code": [{json.dumps(call)}]', io.BytesIO()
    torch.save(Touch(ran), held)
    cases: dict[str, Mapping[str, bytes]] = {
        "inputs": {"data/sample_inputs/model.pt": held.getvalue()},
        "weights": {
            "data/weights/model_weights_config.json": json.dumps(config).encode(),
            "data/weights/weight_0": held.getvalue(),
        },
        "constants": {
            "data/constants/opaque_obj_0": evil,
            "data/constants/model_constants_config.json": json.dumps(
                {"config": {"c": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True,
                                  "tensor_meta": None}}}
            ).encode(),
        },
        "guards": {"models/model.json": graph.replace('"guards_code": []', guards).encode()},
        "sizes": {"models/model.json": _with_size(graph, call)},
    }  # fmt: skip
    for name, members in cases.items():
        made = changed(path, members, tmp_path / f"{name}.pt2")
        if name in ("inputs", "guards"):
            converted(made, targets=("onnx",))  # they are left out
        else:
            assert refusal(made)
        assert not ran.exists(), name
    proof = changed(path, cases["inputs"], tmp_path / "proof.pt2")
    subprocess.run(
        [sys.executable, "-c", f"import torch; torch.export.load({str(proof)!r})"], capture_output=True, check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("TORCH_FORCE")}, timeout=120,
    )  # fmt: skip
    assert ran.exists(), "PyTorch itself runs what the test put into a file"


def _with_size(graph: str, call: str) -> bytes:
    one = next(part for part in graph.split('"expr_str": ')[1:])
    text = one.partition('", ')[0] + '"'
    return graph.replace(text, json.dumps(call)).encode()


def test_weights_of_torch_save_and_scripts_are_told_how_to_export(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    torch.save(model, tmp_path / "whole.pt")
    torch.save(model.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(model), str(tmp_path / "script.pt"))
    for name in ("weights.pth", "whole.pt", "old.pt", "script.pt"):
        assert "torch.export.save(torch.export.export(model.eval(), args)" in refusal(tmp_path / name), name


class Answers(nn.Module):
    """Answers with what it was given, in the tree and the shape of its case."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> Any:
        if self.kind == "twice":
            return {"a": {"b": x + 1}, "a_b": x + 2}
        if self.kind == "many":
            return tuple(x + i for i in range(65))
        return x.reshape(-1, *[1] * 8, 4) if self.kind == "deep" else {"y": x + 1, self.kind: x + 2}


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("twice", "an output would be called 'a_b'"),
        ("", "an output would be called ''"),
        ("k" * 257, "an output would be called 'kkk"),
        ("many", "it has 65 outputs, expected at most 64"),
        ("deep", "tensor 'output' has 10 axes, expected at most 8"),
    ],
)
def test_outputs_that_no_signature_has_are_refused(kind: str, says: str, tmp_path: Path) -> None:
    made = torch.export.export(Answers(kind).eval(), (torch.ones(2, 4),))
    assert says in refusal(saved(made, tmp_path / "model.pt2"))


def test_state_is_refused(tmp_path: Path) -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Any) -> Any:
            self.count.add_(1.0)
            return x + self.count

    made = torch.export.export(Counter(), (torch.randn(2, 3),))
    assert "keeps state between calls, in 'count'" in refusal(saved(made, tmp_path / "model.pt2"))


def test_a_limit_ends_the_child(tmp_path: Path) -> None:
    from edgemm_converter.children.child import ChildLimits

    path = saved(exported("torch/mlp"), tmp_path / "model.pt2")
    with pytest.raises(EdgemmError, match=r"--max-memory"):
        converted(path, limits=ChildLimits(max_memory_bytes=64 * 2**20))
