"""An environment for each peer: made once in a folder, again when its requirements or the Python change."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements")
_STAMP = "installed.sha256"


def installed(peer: str, folder: Path) -> Path:
    """Return the Python of a peer's environment, with everything in `requirements/PEER.txt`; install where needed.

    Raises:
        SystemExit: pip failed.
    """
    environment, requirements = folder / "environments" / peer, REQUIREMENTS / f"{peer}.txt"
    wanted = stamp(requirements.read_bytes(), sys.version)
    stamped, python = environment / _STAMP, environment / "bin" / "python"
    if stamped.exists() and stamped.read_text() == wanted:
        return python
    print(f"installing {peer} in {environment}", file=sys.stderr, flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [
            str(python),
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--disable-pip-version-check",
            "-r",
            str(requirements),
        ],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"cannot install {peer}: {done.stderr.strip()[-800:]}")
    stamped.write_text(wanted)
    return python


def stamp(requirements: bytes, python: str) -> str:
    """Return what an environment is known by: its requirements and the Python that made it. Pure."""
    return hashlib.sha256(requirements + python.encode()).hexdigest()
