"""A device agent in a process of its own that can kill itself, by SIGKILL, at a given write of a model's record.

`python -m simulators.agent_process URL STATE_DIR PORT TOKEN MORE`, where TOKEN may be `-`, and MORE is JSON: `kill` is
`-` or, for example, `after:probation`: right after the record with that state became durable; `limits` go over those
here, and `name` is what people call it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "runtime"):
    import urllib3

    from edgemm_runtime.agent.main import run_agent
    from edgemm_runtime.agent.state.agent_options import AgentLimits, AgentOptions
    from simulators.record_writes import at_write

LIMITS = AgentLimits(backoff_first_s=0.05, backoff_max_s=0.5, telemetry_interval_s=1.0, reserve_bytes=0)


class AgentProcess:
    """The process as its parent sees it."""

    def __init__(
        self,
        url: str,
        state_dir: Path,
        *,
        port: int,
        token: str = "-",
        kill: str = "-",
        limits: Mapping[str, float] | None = None,
    ) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self._log = (state_dir.parent / f"{state_dir.name}.log").open("ab")
        command = [
            sys.executable, "-m", "simulators.agent_process", url, str(state_dir), str(port), token,
            json.dumps({"kill": kill, "limits": limits or {}}),
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait for the end; return the exit status, negative for a signal."""
        status = self._process.wait(timeout_s)
        self._log.close()
        return status

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.wait()

    def answer(self) -> tuple[int, str]:
        """Ask for a prediction; return the HTTP status (0: nobody listens) and the version that answered."""
        try:
            with urllib3.PoolManager(retries=False) as pool:
                answer = pool.request(
                    "POST", f"{self.address}/predict/tiny", json={"inputs": [[0.1, 0.2, 0.3, 0.4]]}, timeout=60
                )
                return answer.status, answer.json().get("version", "")
        except urllib3.exceptions.HTTPError:
            return 0, ""


def main(url: str, state_dir: str, port: str, token: str, more: str) -> None:
    """Be the agent."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    told = json.loads(more)
    if told["kill"] != "-":
        at_write(told["kill"], lambda: os.kill(os.getpid(), signal.SIGKILL))
    run_agent(
        AgentOptions(
            fleet_url=url,
            state_dir=Path(state_dir),
            token=None if token == "-" else token,
            name=told.get("name", "pi"),
            port=int(port),
            limits=replace(LIMITS, **told["limits"]),
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
