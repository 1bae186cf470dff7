"""The load generator: `wrk`, one thread, keep-alive, a fixed body; what it found comes out of a Lua function as JSON.

`script` and `parse` are pure; `run` starts the process.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from benchmarks.serving.protocols import Request

_MARK = "wrk-result "
_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n%s{"requests":%d,"duration_us":%d,"p50_us":%.1f,"p99_us":%.1f,"failed":%d}\\n', "wrk-result ",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Load(msgspec.Struct, frozen=True):
    """What a run of `wrk` found; `failed` counts statuses over 399, timeouts and broken connections."""

    requests: int
    duration_us: int
    p50_us: float
    p99_us: float
    failed: int

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return self.requests / self.duration_us * 1e6


def script(request: Request, *, body_file: str) -> str:
    """Return the Lua script that sends `request`, whose body lies in `body_file`, again and again."""
    headers = "".join(f"wrk.headers[{_quoted(k)}] = {_quoted(v)}\n" for k, v in _sorted(request.headers))
    read = f'local file = assert(io.open({_quoted(body_file)}, "rb"))\nwrk.body = file:read("*a")\nfile:close()\n'
    return f'wrk.method = "POST"\n{headers}{read}{_DONE}'


def parse(text: str) -> Load:
    """Return what the script printed at the end of wrk's output.

    Raises:
        ValueError: there is no such line.
    """
    for line in text.splitlines():
        if line.startswith(_MARK):
            return msgspec.json.decode(line.removeprefix(_MARK), type=Load)
    raise ValueError(f"expected a line of results from wrk, found: {text.strip()[-300:]!r}")


def run(port: int, request: Request, *, connections: int, seconds: float, folder: Path) -> Load:
    """Load a server on loopback; a run without one finished request is an error.

    Raises:
        ValueError: wrk did not end well.
    """
    body, lua = folder / "wrk-body.bin", folder / "wrk-script.lua"
    body.write_bytes(request.body)
    lua.write_text(script(request, body_file=str(body)))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s", "-s", str(lua)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{request.path}"], capture_output=True, text=True, check=False
    )
    load = parse(done.stdout + done.stderr)
    if not load.requests:
        raise ValueError(f"no request was answered: {done.stdout.strip()[-300:]}")
    return load


def _sorted(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(headers.items())


def _quoted(text: str) -> str:
    """Return text as a Lua literal: JSON's escapes are Lua's for what stands here."""
    return msgspec.json.encode(text).decode()
