"""A Debian with systemd as its first process, in a container of systemd-nspawn with a network of its own.

    with BootedDebian(Path("root")) as debian:
        debian.run("systemctl", "is-system-running")

What it writes is in memory and gone at the end; the root folder is only read. Needs root.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOT_S = 120
_STOP_S = 60


class BootedDebian:
    """Booted from `root`, which `scripts/test-systemd` makes."""

    def __init__(self, root: Path) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the container
        self._container = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--volatile=overlay",
             "--boot", "--directory", root],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._leader = 0
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._container.terminate()  # an orderly shutdown
        try:
            self._container.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._container.kill()
            self._container.wait()
        self._log.close()

    def start(
        self, *command: str, user: str | None = None, folder: str = "/", env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command in it; its output is a pipe."""
        words = ["nsenter", "--target", str(self._leader), "--all", f"--wdns={folder}"]
        if user is not None:
            words += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        variables = {"PATH": _PATH, "HOME": f"/home/{user}" if user else "/root", "LC_ALL": "C.UTF-8", **(env or {})}
        words += ["env", "--ignore-environment", *(f"{name}={value}" for name, value in variables.items())]
        return subprocess.Popen([*words, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(
        self,
        *command: str,
        status: int | None = 0,
        user: str | None = None,
        folder: str = "/",
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command in it and return what it printed; `status` None: however it ends."""
        process = self.start(*command, user=user, folder=folder, env=env)
        said, _ = process.communicate(timeout=_BOOT_S)
        assert status is None or process.returncode == status, (
            f"{shlex.join(command)} ended with {process.returncode}: {said}"
        )
        return said

    def write(self, path: str, text: str, *, mode: str = "644") -> None:
        """Write a file of root in it, and the folders above."""
        script = 'mkdir -p "$(dirname "$1")"; printf %s "$2" > "$1"; chmod "$3" "$1"'
        self.run("sh", "-c", script, "sh", path, text, mode)

    def _wait(self) -> None:
        deadline_s = time.monotonic() + _BOOT_S
        while time.monotonic() < deadline_s and self._container.poll() is None:
            children = Path(f"/proc/{self._container.pid}/task/{self._container.pid}/children").read_text().split()
            if children:
                self._leader = int(children[0])
                if Path(f"/proc/{self._leader}/root/run/systemd/private").exists():
                    state = self.run("systemctl", "is-system-running", "--wait", status=None)
                    if state.strip() in {"running", "degraded"}:
                        return
            time.sleep(0.2)
        self._log.seek(0)
        raise AssertionError(f"it did not boot: {self._log.read()[-4000:].decode(errors='replace')}")
