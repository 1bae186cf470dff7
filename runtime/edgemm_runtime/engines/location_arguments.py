"""The place of a bundle as arguments of a child process: `--bundle FILE`, or `--manifest FILE --blobs FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgemm_runtime.engines.bundle_source import BundleFile, StoredBundle


def write_location(location: BundleFile | StoredBundle) -> list[str]:
    """Return the arguments that say where a bundle lies."""
    if isinstance(location, BundleFile):
        return ["--bundle", str(location.path)]
    return ["--manifest", str(location.manifest), "--blobs", str(location.blobs)]


def add_location(parser: argparse.ArgumentParser) -> None:
    """Have a child's parser take these arguments."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bundle", type=Path)
    where.add_argument("--manifest", type=Path)
    parser.add_argument("--blobs", type=Path)


def read_location(options: argparse.Namespace) -> BundleFile | StoredBundle:
    """Return where a bundle lies."""
    return BundleFile(options.bundle) if options.bundle else StoredBundle(options.manifest, options.blobs)
