"""The metadata that a model file carries, by the names of its own tensors, and what a conversion takes of them. Pure.

    found = file_metadata.read(path, "tflite")      # None where the file says nothing
    taken = carried.settle(found, inputs, outputs, has_labels=False, declared=())

What the user gives wins. What is taken contradicts no shape, or is refused; each thing is told in a line.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from edgemm.bundle.manifest import Preprocessing, Resize, TensorSpec, VariantTensor
from edgemm.errors import InputError
from edgemm_converter.data import preprocessing

MOST_LABELS = 10_000
MOST_BYTES = 1 << 20
"""Bytes of one thing that a file carries, such as its labels, when it is unpacked."""


class CarriedLabels(msgspec.Struct, frozen=True, kw_only=True):
    """Labels, where they lay in the file, and the tensor that they are of; "" where the file does not say."""

    names: tuple[str, ...]
    found_in: str
    tensor: str = ""
    are_of_values: bool = False
    """Whether the tensor's values are places in the labels."""


class CarriedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An input that is an image, with what a device does with one."""

    tensor: str
    steps: Preprocessing
    found_in: str


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """All that is read of what a file carries."""

    labels: CarriedLabels | None = None
    images: tuple[CarriedImage, ...] = ()
    size: tuple[int, int] | None = None
    """Height and width of its images."""

    unread: tuple[str, ...] = ()
    """What could not be read, and why."""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What a conversion takes from a file: by the names of the signature, with a line on each thing."""

    labels: tuple[str, ...] | None = None
    indices: str | None = None
    """The output whose values are places in the labels, where the file says so."""

    preprocessing: dict[str, Preprocessing] = {}
    lines: tuple[str, ...] = ()


def settle(
    found: Carried | None,
    inputs: Sequence[VariantTensor],
    outputs: Sequence[VariantTensor],
    *,
    has_labels: bool,
    declared: Collection[str],
) -> Settled:
    """Return what is taken; `has_labels` and `declared` say which labels and inputs the user gave.

    Raises:
        InputError: what the file carries contradicts its shapes.
    """
    if found is None:
        return Settled()
    lines = [f"not read: {reason}" for reason in found.unread]
    labels, output = found.labels, None
    if labels is not None:
        by_tensor = {tensor.tensor: tensor.name for tensor in outputs}
        output = by_tensor.get(labels.tensor)
        lines.append(_on_labels(labels, output, taken=not has_labels))
    images: dict[str, Preprocessing] = {}
    names = {tensor.tensor: tensor for tensor in inputs}
    for image in found.images:
        if (tensor := names.get(image.tensor)) is not None:
            taken = tensor.name not in declared
            if taken:
                _check_image(image, tensor)
            lines.append(_on_image(image, tensor.name, taken=taken))
            images |= {tensor.name: image.steps} if taken else {}
    if found.size is not None and not declared:
        lines.append(_on_size(found.size, inputs))
    return Settled(
        labels=None if has_labels or labels is None else labels.names,
        indices=output if labels is not None and labels.are_of_values and not has_labels else None,
        preprocessing=images,
        lines=tuple(f"from the file: {line}" for line in lines),
    )


def _check_image(image: CarriedImage, tensor: VariantTensor) -> None:
    spec = TensorSpec(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape)
    try:
        preprocessing.check({tensor.name: image.steps}, (spec,))
        preprocessing.check_numbers(tensor.name, image.steps, whose=image.found_in)
    except InputError as err:
        raise InputError(
            f"what the file says of its input contradicts it ({image.found_in}): {err}, or give --preprocess"
        ) from err


def _on_labels(labels: CarriedLabels, output: str | None, *, taken: bool) -> str:
    of = f", of the {'class indices' if labels.are_of_values else 'scores'} of output {output!r}" if output else ""
    first = ", ".join(labels.names[:3])
    what = f"{len(labels.names)} labels ({first}, …) from {labels.found_in}{of}"
    return what if taken else f"{what}: not taken, since --labels was given"


def _on_image(image: CarriedImage, name: str, *, taken: bool) -> str:
    steps = image.steps
    figures = [f"{what} {_numbers(values)}" for what, values in (("mean", steps.mean), ("std", steps.std)) if values]
    scaled = [f"scale {steps.scale:g}"] if steps.scale != 1 else []
    how = ", ".join([*scaled, *figures]) or "pixels as they are"
    resize = steps.resize
    size = f" of {resize.width} × {resize.height}" if resize is not None else ""
    kernel = f", resized {resize.kernel}" if isinstance(resize, Resize) and resize.kernel else ""
    what = f"input {name!r} is an image ({steps.channels}, {steps.layout}){size}{kernel}: {how}, from {image.found_in}"
    return what if taken else f"{what}: not taken, since --preprocess declares that input"


def _on_size(size: tuple[int, int], inputs: Sequence[VariantTensor]) -> str:
    images = [tensor for tensor in inputs if len(tensor.shape) == _IMAGE_RANK]
    said = f"images of {size[1]} × {size[0]}"
    for tensor in images:
        inner = [side for side in tensor.shape[1:] if side > 0]
        if len(inner) == _IMAGE_RANK - 1 and not set(size) <= set(inner):
            raise InputError(
                f"the file says {said}, and its input {tensor.name!r} has shape {list(tensor.shape)}: export the model "
                "again, or give --preprocess"
            )
    return said


_IMAGE_RANK = 4


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
