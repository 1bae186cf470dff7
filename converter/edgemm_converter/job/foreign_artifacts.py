"""Artifacts that people bring and that are no source of a conversion: each is named, with the next step. Pure.

Frozen graphs, checkpoints, weights alone, archives around a model, files of other frameworks and of compilers, and what
a failed download leaves behind. A name alone never decides where the content tells.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from edgemm_converter.job import program_files

HEAD_BYTES = 64 * 1024
"""How much of a file is looked at."""

_TENSORFLOW_JS = "a TensorFlow.js model: give the Keras model or SavedModel that it was made from"
_CHECKPOINT = (
    "a checkpoint of TensorFlow, which holds weights alone: load it into the model and save that with model.save()"
)
_ARCHITECTURE = "the architecture of a Keras model without its weights: save the whole model with model.save()"
_BEFORE_COMPILING = "give the .tflite, .onnx or Keras model that it was made from"
_GRAPH_NODE = re.compile(rb"\A\n[\x01-\xff][\x00-\x7f]?\n[\x01-\x7f][\w./^-]+\x12[\x01-\x7f][A-Z]\w+", re.DOTALL)
_MODEL_SUFFIXES = (".keras", ".h5", ".hdf5", ".tflite", ".onnx")

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run git lfs pull"),
    (b"GGUF", "a GGUF file of a language model: edgemm serves Keras, TFLite and ONNX models"),
    (b"\x7fELF", "a program (such as Edge Impulse's .eim), not a model: export the TFLite or ONNX file instead"),
    (b"\x01HEF", f"a file compiled for a Hailo accelerator: {_BEFORE_COMPILING}"),
    (b"RKNN", f"a file compiled for a Rockchip accelerator: {_BEFORE_COMPILING}"),
    (b"ftrt", f"a TensorRT engine: {_BEFORE_COMPILING}"),
    (b"\x1f\x8b", "a gzip archive: unpack it and give what is in it"),
    (b"BZh", "a bzip2 archive: unpack it and give what is in it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it and give what is in it"),
    (b"\xfd7zXZ\x00", "an xz archive: unpack it and give what is in it"),
    (b"Rar!", "a RAR archive: unpack it and give what is in it"),
    (b"\x93NUMPY", "a NumPy array: that is data, for --calibration or --eval"),
    (b"PAR1", "a Parquet table: that is data, not a model"),
)
_SUFFIXES = {
    ".params": "weights of MXNet or NCNN alone: export the whole model to ONNX",
    ".param": "a network of NCNN: export the model to ONNX",
    ".caffemodel": "a Caffe model: convert it to ONNX first",
    ".weights": "weights of Darknet alone: export the model to ONNX",
    ".mlmodel": f"a Core ML model: {_BEFORE_COMPILING}",
    ".engine": f"a TensorRT engine: {_BEFORE_COMPILING}",
    ".plan": f"a TensorRT engine: {_BEFORE_COMPILING}",
    ".blob": f"a file compiled for an accelerator: {_BEFORE_COMPILING}",
}


def of_saved_models_part(name: str, head: bytes) -> str | None:
    """Say so if a file is one of those in a SavedModel's folder."""
    file = PurePosixPath(name)
    if file.name in ("saved_model.pb", "keras_metadata.pb", "fingerprint.pb") or head.startswith(b"\x08\x01\x12"):
        return f"a file of a SavedModel: give its folder, {file.parent}"
    return None


def of_file(name: str, head: bytes) -> str | None:
    """Say what a file is by its first bytes, and by its name where they do not tell; None where neither does."""
    for beginning, what in _BEGINNINGS:
        if head.startswith(beginning):
            return what
    for told in (_of_checkpoint, _of_graph, _of_pickle, _of_safetensors, _of_text):
        if (found := told(name, head)) is not None:
            return found
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it and give what is in it"
    return _SUFFIXES.get(PurePosixPath(name).suffix.lower())


def of_archive(names: Collection[str]) -> str | None:
    """Say what a ZIP file without a Keras `config.json` is, by the names in it; None where they do not tell."""
    paths = [
        PurePosixPath(name) for name in sorted(names) if not name.endswith("/") and not name.startswith("__MACOSX/")
    ]
    last = {path.name for path in paths}
    inside = next((path.parent for path in paths if path.name == "config.json" and len(path.parts) > 1), None)
    models = [str(path) for path in paths if path.suffix.lower() in _MODEL_SUFFIXES]
    kinds = (
        (any(path.parts[0] == "MAR-INF" for path in paths), f"a TorchServe archive: {program_files.ADVICE}"),
        (
            paths and all(path.suffix == ".npy" for path in paths),
            "NumPy arrays (.npz): that is data, for --calibration or --eval, or weights without a model",
        ),
        (
            "saved_model.pb" in last,
            "a ZIP file around a SavedModel: unpack it and give the folder that holds saved_model.pb",
        ),
        (
            inside is not None and "model.weights.h5" in last,
            f"a ZIP file around the folder {inside} of a Keras model: zip the files inside of that folder",
        ),
        (last == {"model.weights.h5"}, "weights alone: save the whole model with model.save()"),
        ("model.json" in last and any(path.suffix == ".bin" for path in paths), f"a ZIP file with {_TENSORFLOW_JS}"),
        (
            models,
            f"a ZIP file around {_few(models)}: unpack it and give {'that' if len(models) == 1 else 'one of them'}",
        ),
    )
    return program_files.other(names) or next((what for holds, what in kinds if holds), None)


def of_folder(path: str, names: Collection[str], inner: Sequence[str]) -> str | None:
    """Say what a folder without `saved_model.pb` is; `inner` are the folders in it that have one."""
    found = set(names)
    models = sorted(name for name in names if name.lower().endswith(_MODEL_SUFFIXES) and not _is_weights(name))
    kinds = (
        (inner, f"a folder around {_few(inner)}: give {path}/{(*inner, '')[0]}"),
        (
            {"config.json", "model.weights.h5"} <= found,
            "an unpacked .keras file: zip its files, or save the model anew",
        ),
        ("Manifest.json" in found and path.endswith(".mlpackage"), f"a Core ML package: {_BEFORE_COMPILING}"),
        ("checkpoint" in found or any(name.endswith(".index") for name in names), _CHECKPOINT),
        ("model.json" in found, _TENSORFLOW_JS),
        (
            "config.json" in found and {"model.safetensors", "pytorch_model.bin", "tf_model.h5"} & found,
            "a folder of Hugging Face weights: export the model to ONNX (optimum-cli export onnx) and give that",
        ),
        (models, f"a folder that holds {_few(models)}: give {path}/{(*models, '')[0]}"),
    )
    return next((what for holds, what in kinds if holds), None)


def _is_weights(name: str) -> bool:
    return name.lower().endswith((".weights.h5", "_weights.h5"))


def _of_checkpoint(name: str, head: bytes) -> str | None:
    file = PurePosixPath(name)
    described = head.startswith(b"model_checkpoint_path:")
    if described or re.search(r"\.(?:index|meta|data-\d+-of-\d+)$", file.name) or file.suffix == ".ckpt":
        return _CHECKPOINT
    return None


def _of_graph(_name: str, head: bytes) -> str | None:
    """A GraphDef begins with its first node: its name, then the name of its operation."""
    if _GRAPH_NODE.match(head):
        return (
            "a frozen TensorFlow graph, which names no inputs and outputs: give the SavedModel or Keras model that it "
            "was made from, or load it in tf.compat.v1 and export a SavedModel"
        )
    return None


def _of_pickle(_name: str, head: bytes) -> str | None:
    """A pickle of protocol 2 to 5 begins with its protocol."""
    return (
        program_files.OLD_PICKLE if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") else None
    )


def _of_safetensors(_name: str, head: bytes) -> str | None:
    """The length of a JSON object in 8 bytes, then the object."""
    if head[8:10] == b'{"' and 0 < int.from_bytes(head[:8], "little") < 2**27:
        return "weights alone (safetensors): export the whole model to ONNX"
    return None


def _of_text(_name: str, head: bytes) -> str | None:
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text[:1] == "<":
        return _of_markup(text.lower())
    if text[:1] == "{":
        return _of_json(text)
    if text.startswith("7767517"):
        return _SUFFIXES[".param"]
    if re.match(r"(?:class_name|backend|config): ?\S*", text):
        return _ARCHITECTURE
    return None


def _of_markup(text: str) -> str:
    if "<net" in text[:2000]:
        return f"a network of OpenVINO: {_BEFORE_COMPILING}"
    return "a page of HTML or XML, as a failed download leaves it: download the file itself"


def _of_json(text: str) -> str | None:
    keys = _keys(text)
    if keys & {"modelTopology", "weightsManifest"} or '"layers-model"' in text or '"graph-model"' in text:
        return _TENSORFLOW_JS
    if "class_name" in keys and "config" in keys:
        return _ARCHITECTURE
    return "a JSON file, which is no model"


def _keys(text: str) -> set[str]:
    """Return the names that occur in a JSON text; all of its own where it is whole."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return set(re.findall(r'"(\w{1,40})"\s*:', text))
    return set(found) if isinstance(found, dict) else set()


def _few(names: Iterable[str]) -> str:
    """Return up to three names."""
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
