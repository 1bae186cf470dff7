"""A device's client of the version repository as tuf-conformance's suite drives it: one command a run.

    python -m simulators.tuf_client --metadata-dir DIR init ROOT
    python -m simulators.tuf_client --metadata-dir DIR --metadata-url URL refresh
    python -m simulators.tuf_client --metadata-dir DIR --metadata-url URL --target-name NAME… --target-dir DIR download

What is tried is `TrustedVersions` over a `FleetConnection`. `scripts/tuf-conformance` runs the suite. Exit status 1 and
one line on standard error: refused.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from simulators import needs

with needs.imports(__name__, "runtime"):
    from tuf.api.exceptions import DownloadError, RepositoryError

    from edgemm.errors import EdgemmError, TrustError
    from edgemm.transport.https import HttpAnswer
    from edgemm.trust.enrolment import TUF_METADATA_PATH, TUF_TARGETS_PATH
    from edgemm_runtime.agent.connection.fleet_connection import FleetConnection
    from edgemm_runtime.agent.state.trusted_time import trusted_time
    from edgemm_runtime.agent.update.trusted_versions import TrustedVersions

_BUILD_TIME_S = 1_704_067_200.0
"""2024-01-01: the software of a device that the suite's recordings, of February 2025, were still new to."""
_PLACES: Mapping[str, str] = {TUF_METADATA_PATH: "/metadata/", TUF_TARGETS_PATH: "/targets/"}
"""Where a fleet manager has the documents → where the suite's repositories have them."""


class _Repository(FleetConnection):
    """One of the suite's repositories, in the place of a fleet manager."""

    @contextmanager
    def open(self, method: str, path: str, **more: Any) -> Iterator[HttpAnswer]:
        for ours, theirs in _PLACES.items():
            path = path.replace(ours, theirs, 1) if path.startswith(ours) else path
        with super().open(method, path, **more) as answer:
            yield answer


def _versions(asked: argparse.Namespace) -> TrustedVersions:
    url = asked.metadata_url.removesuffix("/").removesuffix("/metadata")
    server = _Repository(url, tls_fingerprint=None, connect_timeout_s=10.0, read_timeout_s=30.0)
    return TrustedVersions(
        asked.metadata_dir,
        server,
        root=_pinned(asked.metadata_dir).read_bytes(),
        now=lambda: trusted_time(time.time(), last_s=0.0, build_s=_BUILD_TIME_S),
    )


def _pinned(metadata: Path) -> Path:
    """Where the root lies that enrolment gave: not among what is fetched."""
    return metadata.with_name("enrolled-root.json")


def _init(asked: argparse.Namespace) -> None:
    for kept in (_pinned(asked.metadata_dir), asked.metadata_dir / "root.json"):
        kept.write_bytes(asked.root.read_bytes())


def _refresh(asked: argparse.Namespace) -> None:
    with _versions(asked).look() as updater:
        updater.refresh()


def _download(asked: argparse.Namespace) -> None:
    with _versions(asked).look() as updater:
        for name in asked.target_name:
            target = updater.get_targetinfo(name)
            if target is None:
                raise TrustError(f"{name}: expected a target of the repository, found none")
            path = str(asked.target_dir / quote(name, safe=""))
            if updater.find_cached_target(target, path) is None:
                updater.download_target(target, path)


def main() -> int:
    """Do what the suite asks for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append")
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--target-base-url")
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("init")
    first.add_argument("root", type=Path)
    first.set_defaults(run=_init)
    commands.add_parser("refresh").set_defaults(run=_refresh)
    commands.add_parser("download").set_defaults(run=_download)
    asked = parser.parse_args()
    try:
        asked.run(asked)
    except (EdgemmError, RepositoryError, DownloadError) as err:
        sys.stderr.write(f"error: {err}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
