"""The plan of float tails: which layers stay float, in the order in which it is tried. Pure.

1. The layers that give an output, and those before them, step by step: the output is float then, and what a
   concatenation puts together keeps the range that each part has.
2. With two steps of them, the layers that quantization harms most: mixed precision.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from edgemm_converter.formats.layers import Layer

_DEPTHS = (1, 2, 3, 4, 6, 8)
_HARMFUL = (1, 2, 4)
_DEPTH_BESIDE_HARM = 2


def tails(layers: Sequence[Layer], outputs: Collection[str]) -> Iterator[tuple[Layer, ...]]:
    """Yield the layers that stay float, fewest first; `outputs` are the names of the tensors that must be float."""
    before: tuple[Layer, ...] = ()
    for depth in _DEPTHS:
        found = tail(layers, outputs, depth=depth)
        if found != before:
            yield found
        before = found


def with_harmful(
    layers: Sequence[Layer], outputs: Collection[str], harmful: Sequence[Layer]
) -> Iterator[tuple[Layer, ...]]:
    """Yield a short tail with the most harmful layers, in the order of the file."""
    last = tail(layers, outputs, depth=_DEPTH_BESIDE_HARM)
    for count in _HARMFUL:
        if count <= len(harmful):
            scopes = {layer.scope for layer in (*last, *harmful[:count])}
            yield tuple(layer for layer in layers if layer.scope in scopes)


def tail(layers: Sequence[Layer], outputs: Collection[str], *, depth: int) -> tuple[Layer, ...]:
    """Return the layers that are at most `depth` steps from the given tensors, in the order of the file."""
    wanted, chosen = set(outputs), set[str]()
    for _ in range(depth):
        makers = [layer for layer in layers if wanted & set(layer.outputs)]
        chosen |= {layer.scope for layer in makers}
        wanted = {name for layer in makers for name in layer.inputs}
    return tuple(layer for layer in layers if layer.scope in chosen)
