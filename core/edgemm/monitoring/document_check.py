"""The check of a bundle's document `monitor`: parts that fit each other, numbers to reckon with. Pure.

Whoever makes a bundle writes the document. What is not refused here must not divide by zero, nor ask for more memory
than the inputs of a request have: views are no larger than the heads, whose weights lie in the document.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from edgemm.monitoring.monitor_document import (
    CELLS,
    FEATURES,
    TERMS,
    DenseLayer,
    FeatureProfile,
    Modality,
    MonitorDocument,
    floats,
)


def problems(document: MonitorDocument) -> Iterator[str]:
    """Yield what does not fit, as far as it was looked at."""
    yield from _sizes(document)
    yield from _strange(document, "it")
    yield from _layers(document)
    yield from _view(document)
    for feature in document.profile:
        yield from _profile(feature)


def _sizes(document: MonitorDocument) -> Iterator[str]:
    maps, interval = document.maps, document.interval
    sized = {
        "maps.accuracy": (maps.accuracy, len(maps.agreement) // 4),
        "maps.agreement": (maps.agreement, len(maps.agreement) // 4),
        "maps.mean": (maps.mean, FEATURES),
        "maps.scale": (maps.scale, FEATURES),
        "maps.weights": (maps.weights, FEATURES),
        "maps.table": (maps.table, CELLS),
        "interval.scale": (interval.scale, FEATURES),
    }
    for name, (data, count) in sized.items():
        if not data or len(data) != 4 * count:
            yield f"{name} has {len(data)} bytes, expected {4 * count}"
    if not interval.landmarks or len(interval.landmarks) % (4 * FEATURES):
        yield f"interval.landmarks has {len(interval.landmarks)} bytes, expected a multiple of {4 * FEATURES}"
    if len(interval.weights) != TERMS:
        yield f"interval has {len(interval.weights)} weights, expected {TERMS}"
    if document.calibrators and len(document.calibrators) != document.classes:
        yield f"{len(document.calibrators)} calibrators, expected {document.classes}"
    if any(len(one.confidence) != len(one.right) for one in document.calibrators):
        yield "a calibrator has not as many shares as confidences"


def _strange(part: object, name: str) -> Iterator[str]:
    """Yield each number that is none or infinite, and each scale that nothing can be divided by."""
    if isinstance(part, msgspec.Struct):
        for field in part.__struct_fields__:
            if not (isinstance(part, DenseLayer) and field == "weights"):
                yield from _strange(getattr(part, field), field)
    elif isinstance(part, dict):
        yield from _strange(tuple(part.values()), name)
    elif isinstance(part, tuple):
        for one in part:
            yield from _strange(one, name)
    elif isinstance(part, bytes) and len(part) % 4:
        yield f"{name} has {len(part)} bytes, expected a multiple of 4"
    elif isinstance(part, bytes | float):
        numbers: Sequence[float] = floats(part) if isinstance(part, bytes) else (part,)
        if not all(map(math.isfinite, numbers)):
            yield f"{name} has a number that is not finite"
        elif name == "scale" and not all(one > 0 for one in numbers):
            yield "scale has a number that is not above 0"
        elif name in ("agreement", "confidence", "edges") and list(numbers) != sorted(numbers):
            yield f"{name} has numbers that do not rise"


def _layers(document: MonitorDocument) -> Iterator[str]:
    for head in document.heads:
        for layer in (head.hidden, head.classes):
            if len(layer.weights) != layer.inputs * layer.outputs or len(layer.biases) != 4 * layer.outputs:
                yield f"a layer of {layer.inputs} to {layer.outputs} has weights or biases of another size"
        if head.hidden.outputs != head.classes.inputs or head.classes.outputs != document.classes:
            yield "the layers of a head do not fit each other and the classes"


def _view(document: MonitorDocument) -> Iterator[str]:
    """Yield what is wrong with the view, of a modality that is known."""
    view, first = document.view, document.heads[0].hidden.inputs
    centres = len(view.centre) // 4
    if len(view.centre) != len(view.scale):
        yield f"view has {centres} centres and {len(view.scale) // 4} scales, expected as many"
    if not view.modality.known:
        return
    if view.modality is Modality.IMAGE:
        if not view.high > view.low:
            yield f"view has white at {view.high:g} and black at {view.low:g}, expected more"
        if first % (view.rows * view.columns) or document.heads[1].hidden.inputs != view.rows * view.columns:
            yield f"view has {view.rows} × {view.columns} places, and the heads take others"
    elif view.modality is Modality.SIGNAL:
        if view.rows * centres != first:
            yield f"view has {view.rows} × {centres} numbers, and the heads take {first}"
    elif centres != first or (view.features and len(view.features) != first):
        yield f"view has {len(view.features) or centres} features with {centres} centres, and the heads take {first}"


def _profile(feature: FeatureProfile) -> Iterator[str]:
    edges = len(feature.edges) // 4
    if edges < 2 or len(feature.counts) != edges + 2:
        yield f"feature {feature.name!r} has {edges} edges and {len(feature.counts)} counts, expected two more, of two"
