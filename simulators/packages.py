"""An installed package as pip leaves it: its metadata in a folder of `sys.path`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, *, version: str, entry_points: Mapping[str, Mapping[str, str]]) -> None:
    """Write the metadata of a package into a folder; `entry_points` are by group and name."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())])
        for group, entries in entry_points.items()
    ]
    (metadata / "entry_points.txt").write_text("\n\n".join(groups) + "\n")
