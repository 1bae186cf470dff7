"""A camera and a model for it, for the code blocks of docs/raspberry-pi.md."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from msgspec.structs import replace
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgemm.bundle import write_bundle
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import (
    FORMAT,
    Blob,
    DType,
    GoldenSamples,
    Lineage,
    Manifest,
    Precision,
    Preprocessing,
    Resize,
    Signature,
    TensorSpec,
    Tolerance,
    Variant,
    VariantTensor,
)
from edgemm_runtime.tensors.npy import write_npy

SHAPE = (32, 32, 3)
STEPS = Preprocessing(resize=Resize(width=32, height=32), scale=1 / 255)
COLOURS = ("red", "green", "blue")
CAPTURES = 3


class NoMoreFrames(Exception):  # noqa: N818 - not an error: it ends a block that would loop for ever
    """The camera is done."""


class Picamera2:
    """Captures frames that are all blue, in the RGB order that format BGR888 has in memory; then raises."""

    def __init__(self) -> None:
        self._config: dict[str, Any] = {}
        self._left = 0

    def create_video_configuration(self, main: dict[str, Any]) -> dict[str, Any]:
        return main

    def configure(self, config: dict[str, Any]) -> None:
        assert config["format"] == "BGR888"
        self._config = config

    def start(self) -> None:
        self._left = CAPTURES

    def capture_image(self) -> Image.Image:
        return Image.fromarray(self.capture_array())

    def capture_array(self) -> npt.NDArray[np.uint8]:
        if not self._left:
            raise NoMoreFrames
        self._left -= 1
        width, height = self._config["size"]
        frame = np.zeros((height, width, 3), np.uint8)
        frame[..., 2] = 255
        return frame


def camera_module() -> ModuleType:
    """Return a module like picamera2."""
    module = ModuleType("picamera2")
    vars(module).update(Picamera2=Picamera2)
    return module


def write_colour_bundle(
    path: Path, *, labels: tuple[str, ...] | None = COLOURS, steps: Preprocessing | None = None
) -> None:
    """Write a bundle whose model says how red, green and blue float32[−1, 32, 32, 3] frames are, on average.

    `steps` are how a frame is made of an image.
    """
    frames = np.random.default_rng(0).random((2, 1, *SHAPE), np.float32)
    contents = [_mean_of_pixels(), write_npy(frames), write_npy(frames.mean(axis=(2, 3)))]
    blobs = {hashlib.sha256(data).hexdigest(): data for data in contents}
    model, inputs, outputs = blobs
    manifest = _manifest(model, inputs=inputs, outputs=outputs, blobs=blobs)
    declared = {"frame": steps} if steps is not None else None
    write_bundle(path, replace(manifest, labels=labels, preprocessing=declared), blobs)


def _manifest(model: str, *, inputs: str, outputs: str, blobs: Mapping[str, bytes]) -> Manifest:
    frame = TensorSpec(name="frame", dtype=DType.FLOAT32, shape=(-1, *SHAPE))
    colour = TensorSpec(name="colour", dtype=DType.FLOAT32, shape=(-1, 3))
    own = [VariantTensor(name=t.name, tensor=t.name, dtype=t.dtype, shape=t.shape) for t in (frame, colour)]
    variant = Variant(
        id="onnx:float32",
        engine=Engine.ONNX,
        precision=Precision.FLOAT32,
        minimum_engine="1.0",
        blob=model,
        inputs=(own[0],),
        outputs=(own[1],),
    )
    return Manifest(
        format=FORMAT,
        name="camera",
        version="1.0.0",
        minimum_runtime="0.1.0",
        signature=Signature(inputs=(frame,), outputs=(colour,)),
        variants=(variant,),
        parity=(),
        golden=GoldenSamples(
            samples=2,
            inputs={"frame": inputs},
            outputs={"colour": outputs},
            tolerance={variant.id: {"colour": Tolerance(max_abs=1e-4)}},
        ),
        lineage=Lineage(
            source_name="camera.keras", source_digest="0" * 64, source_format="keras", libraries={}, options={}
        ),
        blobs={digest: Blob(size=len(data), media_type="application/octet-stream") for digest, data in blobs.items()},
    )


def _mean_of_pixels() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["frame", "axes"], ["colour"], keepdims=0)],
        "mean",
        [helper.make_tensor_value_info("frame", TensorProto.FLOAT, ["batch", *SHAPE])],
        [helper.make_tensor_value_info("colour", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.array([1, 2], np.int64), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
