"""What people bring that is no source: one line that says what it is and what to do."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgemm.errors import InputError
from edgemm_converter.job import source_artifact


def frozen_graph() -> bytes:
    """A GraphDef whose first node is a placeholder."""
    return b"\n\x1d\n\x05input\x12\x0bPlaceholder*\x07" + bytes(200)


def tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.keras"))
    return made.getvalue()


def safetensors() -> bytes:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


FILES: dict[str, tuple[bytes, list[str]]] = {
    "frozen_graph.pb": (frozen_graph(), ["frozen TensorFlow graph", "SavedModel"]),
    "graph.bin": (frozen_graph(), ["frozen TensorFlow graph"]),
    "saved_model.pb": (b"\x08\x01\x12\x80\x10" + bytes(200), ["a file of a SavedModel", "give its folder"]),
    "keras_metadata.pb": (b"\n\x10" + bytes(200), ["a file of a SavedModel"]),
    "checkpoint": (b'model_checkpoint_path: "m"\n', ["checkpoint", "model.save()"]),
    "m.ckpt-7.index": (bytes(100), ["checkpoint"]),
    "m.data-00000-of-00001": (bytes(100), ["checkpoint"]),
    "old.pt": (pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2), ["pickle", "torch.export.save("]),
    "model.safetensors": (safetensors(), ["weights alone", "ONNX"]),
    "model.json": (json.dumps({"format": "graph-model", "modelTopology": {}}).encode(), ["TensorFlow.js"]),
    "layers.json": (b'{"format":"layers-model","weights', ["TensorFlow.js"]),
    "architecture.json": (json.dumps({"class_name": "Sequential", "config": {}}).encode(), ["without its weights"]),
    "other.json": (b'{"a": 1}', ["JSON file, which is no model"]),
    "page.keras": (b"\n<!DOCTYPE html><html>404</html>", ["download"]),
    "net.xml": (b'<?xml version="1.0"?><net name="m" version="11">', ["OpenVINO"]),
    "pointer.tflite": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", ["Git LFS", "git lfs pull"]),
    "model.tar": (tar(), ["tar archive", "unpack"]),
    "model.tflite.gz": (b"\x1f\x8b\x08" + bytes(20), ["gzip", "unpack"]),
    "model.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(20), ["7z"]),
    "model.eim": (b"\x7fELF" + bytes(60), ["Edge Impulse"]),
    "model.hef": (b"\x01HEF" + bytes(60), ["Hailo", "made from"]),
    "model.gguf": (b"GGUF" + bytes(60), ["GGUF"]),
    "data.npy": (b"\x93NUMPY" + bytes(60), ["data", "--calibration"]),
    "yolo.weights": (b"\x00\x00\x00\x00\x02" + bytes(60), ["Darknet"]),
    "model.caffemodel": (b"\n\x03net" + bytes(60), ["Caffe"]),
}
ARCHIVES: dict[str, tuple[list[str], list[str]]] = {
    "model.pt": (["archive/data.pkl", "archive/data/0"], ["torch.save", "torch.export.save("]),
    "script.pt": (["m/data.pkl", "m/code/__torch__.py", "m/constants.pkl"], ["TorchScript", "torch.export.save("]),
    "old.pt2": (["serialized_exported_program.json", "version"], ["PyTorch 2.7 or older", "2.8"]),
    "compiled.pt2": (["m/archive_format", "m/data/aotinductor/model/a.so"], ["AOTInductor", "torch.export.save("]),
    "served.mar": (["MAR-INF/MANIFEST.json", "model.pt"], ["TorchServe"]),
    "converted_keras.zip": (["keras_model.h5", "labels.txt"], ["ZIP", "keras_model.h5", "unpack it and give that"]),
    "converted_tflite.zip": (["model_unquant.tflite", "labels.txt"], ["model_unquant.tflite"]),
    "my_model.zip": (["model.json", "weights.bin", "metadata.json"], ["TensorFlow.js"]),
    "saved.zip": (["m/saved_model.pb", "m/variables/variables.index"], ["SavedModel", "saved_model.pb"]),
    "again.keras": (["m/config.json", "m/model.weights.h5"], ["the folder m", "zip the files inside"]),
    "data.npz": (["a.npy", "b.npy"], ["NumPy", "--calibration"]),
    "several.zip": (["a.tflite", "b.onnx", "__MACOSX/x.h5"], ["a.tflite, b.onnx", "one of them"]),
    "weights.keras": (["model.weights.h5"], ["weights alone"]),
}
FOLDERS: dict[str, tuple[list[str], list[str]]] = {
    "nested": (["my_model/saved_model.pb"], ["a folder around my_model", "nested/my_model"]),
    "versions": (["1/saved_model.pb", "2/saved_model.pb"], ["a folder around 1, 2"]),
    "training": (["checkpoint", "m.index", "m.data-00000-of-00001"], ["checkpoint"]),
    "unpacked": (["config.json", "metadata.json", "model.weights.h5"], ["an unpacked .keras file"]),
    "web": (["model.json", "group1-shard1of1.bin"], ["TensorFlow.js"]),
    "bert": (["config.json", "model.safetensors"], ["Hugging Face", "ONNX"]),
    "run": (["final.keras", "history.csv"], ["final.keras", "run/final.keras"]),
    "m.mlpackage": (["Manifest.json", "Data/x"], ["Core ML"]),
    "hollow": ([], ["without saved_model.pb"]),
}


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        source_artifact.detect(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line.split(", found ", 1)[1]


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, tmp_path: Path) -> None:
    content, words = FILES[name]
    (tmp_path / name).write_bytes(content)
    found = refusal(tmp_path / name)
    assert all(word in found for word in words), found


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(name: str, tmp_path: Path) -> None:
    members, words = ARCHIVES[name]
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for member in members:
            archive.writestr(member, b"\x89HDF")
    found = refusal(tmp_path / name)
    assert all(word in found for word in words), found


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(name: str, tmp_path: Path) -> None:
    members, words = FOLDERS[name]
    (tmp_path / name).mkdir()
    for member in members:
        file = tmp_path / name / member
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\x08\x01")
    found = refusal(tmp_path / name)
    assert all(word in found for word in words), found


def test_what_is_no_ordinary_file(tmp_path: Path) -> None:
    assert "no ordinary file" in refusal(Path("/dev/zero"))


def test_an_archive_that_claims_more_than_it_can_hold(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", np.zeros(2**27, np.uint8).tobytes())
    with pytest.raises(InputError, match=r"bomb.keras: its 2 members claim 0\.1 GiB, expected at most"):
        source_artifact.detect(tmp_path / "bomb.keras")
