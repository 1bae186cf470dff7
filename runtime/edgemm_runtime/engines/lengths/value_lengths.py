"""The decision whether the lengths in a model follow the values of its inputs, rather than their shapes. Pure.

    follow_values(graph, ONNX)    # True where n is how far a Range goes; False where an Expand goes by another's shape

Where they do, a request of a few bytes makes the engine allocate gigabytes, so that its memory needs a limit of its
own. A tensor follows values where it is computed of an input in another way than by its shape. An operation is at fault
where a tensor that says how long its output is follows values. What only shortens (NonZero, TopK, Slice, Unique) is
bounded by the shape of what it is given.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from edgemm.errors import UncomputableLengthError

_DEEPEST = 16


class GraphNode(NamedTuple):
    """One operation: its kind, the tensors that it takes ("" where one is left out) and makes, and graphs within it."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bodies: tuple[Graph, ...] = ()


class Graph(NamedTuple):
    """Operations in the order in which they are computed; tensors of a body may be those of the graph around it."""

    inputs: tuple[str, ...]
    steps: tuple[GraphNode, ...]


class Rules(NamedTuple):
    """The operations of one engine: `lengths` has for each kind which of its inputs say how long its outputs are.

    `loops` are those that run a body again and again; of them too, each such input says how often. `shapes` tell the
    shape of a tensor, whatever its values are.
    """

    lengths: Mapping[str, tuple[int, ...]]
    shapes: Collection[str]
    loops: Collection[str] = ()


ONNX = Rules(
    MappingProxyType(
        {
            "AffineGrid": (1,), "BlackmanWindow": (0,), "CenterCropPad": (1,), "Col2Im": (1, 2),
            "ConstantOfShape": (0,), "DFT": (1,), "Expand": (1,), "HammingWindow": (0,), "HannWindow": (0,),
            "ImageDecoder": (0,), "Loop": (0,), "MaxUnpool": (2,), "MelWeightMatrix": (0, 1), "OneHot": (1,),
            "Pad": (1,), "Range": (0, 1, 2), "Resize": (1, 2, 3), "STFT": (1, 3), "Tile": (1, 2), "Upsample": (1,),
            "CropAndResize": (3,), "BeamSearch": (1,), "GreedySearch": (1,), "Sampling": (1,),
            "WhisperBeamSearch": (1,),
        }
    ),
    shapes=frozenset({"Shape", "Size"}),
    loops=frozenset({"Loop"}),
)  # fmt: skip
TFLITE = Rules(
    MappingProxyType(
        {
            "BATCH_TO_SPACE_ND": (1, 2), "BROADCAST_TO": (1,), "FILL": (0,), "MIRROR_PAD": (1,), "MULTINOMIAL": (1,),
            "NON_MAX_SUPPRESSION_V4": (2,), "NON_MAX_SUPPRESSION_V5": (2,), "ONE_HOT": (1,), "PAD": (1,),
            "PADV2": (1,), "RANDOM_STANDARD_NORMAL": (0,), "RANDOM_UNIFORM": (0,), "RANGE": (0, 1, 2),
            "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,), "RFFT2D": (1,), "SCATTER_ND": (2,),
            "SEGMENT_SUM": (1,), "SPACE_TO_BATCH_ND": (1, 2), "SPARSE_TO_DENSE": (1,), "TILE": (1,),
            "TRANSPOSE_CONV": (0,), "UNSORTED_SEGMENT_MAX": (2,), "UNSORTED_SEGMENT_MIN": (2,),
            "UNSORTED_SEGMENT_PROD": (2,), "UNSORTED_SEGMENT_SUM": (2,),
        }
    ),
    shapes=frozenset({"SHAPE", "RANK"}),
)  # fmt: skip


def follow_values(graph: Graph, rules: Rules) -> bool:
    """Tell whether a length in a model follows values; of graphs within graphs without end, that it may."""
    return _follow(graph, rules, set(graph.inputs), depth=0)


def too_long(limit_bytes: int) -> UncomputableLengthError:
    """Return what a request gets whose values ask for more than one may have."""
    return UncomputableLengthError(
        f"the model needs more memory for these values than the {limit_bytes:,} bytes that a request may have: send "
        "values that ask for less"
    )


def _follow(graph: Graph, rules: Rules, known: set[str], *, depth: int) -> bool:
    """Tell it of a graph; `known` are the tensors that follow values, and is extended."""
    if depth > _DEEPEST:
        return True
    for step in graph.steps:
        if any(_is_at(step, at, known) for at in rules.lengths.get(step.kind, ())):
            return True
        if step.kind in rules.loops and not step.inputs[0]:
            return True  # it ends when a value says so
        follows = any(name in known for name in step.inputs)
        for body in step.bodies:
            # How often it ran before is bounded by then, and is the first input of a loop's body.
            carried = body.inputs[1:] if step.kind in rules.loops else body.inputs
            within = known | set(carried)
            if _follow(body, rules, within, depth=depth + 1):
                return True
            follows = True
        if follows and step.kind not in rules.shapes:
            known.update(step.outputs)
    return False


def _is_at(step: GraphNode, at: int, known: Collection[str]) -> bool:
    return at < len(step.inputs) and step.inputs[at] in known
