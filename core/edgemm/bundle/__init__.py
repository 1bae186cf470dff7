"""Bundles: the manifest, the container, and files of both.

with open_bundle(path) as bundle:
    bundle.manifest.name, bundle.read(digest)
"""

from edgemm.bundle.file import BlobSource, Bundle, open_bundle, write_bundle

__all__ = ["BlobSource", "Bundle", "open_bundle", "write_bundle"]
