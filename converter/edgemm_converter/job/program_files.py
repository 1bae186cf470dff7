"""PyTorch's files, told by the names in their ZIP archive: exported programs (`.pt2`), and what is none of them. Pure.

`torch.export.save` writes one folder, named after the file, that holds the graph as JSON, weights as bytes, and its
example inputs as a pickle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

FORMAT, VERSION = "archive_format", "archive_version"
"""Members that say that an archive is of `torch.export`, and of which version."""

MODELS = "models"
"""The folder of graphs."""

NAMES = "a PyTorch exported program (.pt2)"
"""What such files are called, for the middle of a sentence."""

EXPORT = 'torch.export.save(torch.export.export(model.eval(), args), "model.pt2")'
"""How a model becomes one."""

ADVICE = f"where the model is defined, save an exported program, {EXPORT}, and give that"
OLD_PICKLE = f"an old PyTorch .pt, a Python pickle, which is code: {ADVICE}"
_OLD = frozenset({"serialized_exported_program.json"})


def root_of(names: Iterable[str]) -> str | None:
    """Return the folder of an archive's exported program; None where it holds none."""
    for name in sorted(names):
        path = PurePosixPath(name)
        if path.suffix == ".json" and len(path.parts) == 3 and path.parts[1] == MODELS:
            return path.parts[0]
    return None


def is_program(names: Collection[str]) -> bool:
    """Tell an archive that `torch.export.save` wrote by the names in it."""
    root = root_of(names)
    return root is not None and f"{root}/{FORMAT}" in names


def other(names: Collection[str]) -> str | None:
    """Say what an archive of PyTorch is that is no exported program; None where it is not PyTorch's."""
    paths = [PurePosixPath(name) for name in names]
    if _OLD & {path.name for path in paths}:
        return (
            "an exported program of PyTorch 2.7 or older, whose format is no longer read: open it there with "
            "torch.export.load() and run torch.export.save() with PyTorch 2.8 or newer"
        )
    if any("aotinductor" in path.parts for path in paths):
        return f"a PyTorch model compiled for one kind of processor (AOTInductor): {ADVICE}"
    if not any(path.name == "data.pkl" for path in paths):
        return None
    if any(path.name == "constants.pkl" or "code" in path.parts for path in paths):
        return f"a TorchScript file, of which no exported program can be made: {ADVICE}"
    return f"a PyTorch file of torch.save, which holds weights, or code that only PyTorch reads: {ADVICE}"
