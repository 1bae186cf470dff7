"""Programs that nobody here wrote, each in an environment of its own, made of `tests/clients/NAME.txt`."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import venv
from pathlib import Path

from tests.conftest import missing

CLIENTS = Path(__file__).parent
ROOT = CLIENTS.parents[1]


def environment(client: str) -> Path:
    """Return the Python of a client's environment, made of `tests/clients/CLIENT.txt` where it is not there yet."""
    wanted = (CLIENTS / f"{client}.txt").read_text()
    folder = ROOT / ".venv-clients" / client
    folder.mkdir(parents=True, exist_ok=True)
    python, stamp = folder / "bin" / "python", folder / "stamp"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != sys.version + wanted:
            venv.create(folder, with_pip=True, clear=False, symlinks=True)
            install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run(
                [*install, "-r", str(CLIENTS / f"{client}.txt")], capture_output=True, text=True, check=False
            )
            if done.returncode:
                missing(f"{client} cannot be installed: {done.stderr[-400:]}")
            stamp.write_text(sys.version + wanted)
    return python
