"""edgemm's own HTTP server around an application that reads each request and answers the same bytes.

    python -m benchmarks.serving.constant PORT ANSWER_FILE [HEADER VALUE]

With a bare invocation this is the limit of what serving by this server can reach. All that knows how the server is
built is `start`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edgemm_runtime.serving import server
from edgemm_runtime.serving.registry import ModelRegistry


def start(port: int, answer: bytes, headers: list[tuple[str, str]]) -> server.ModelServer:
    """Start the server; it answers every request alike."""
    all_headers = [*headers, ("Content-Length", str(len(answer)))]

    def application(environ: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        respond("200 OK", all_headers)
        return [answer]

    module: Any = server
    module.create_app = lambda *_args, **_options: application
    return server.ModelServer(ModelRegistry(), port=port)


def main() -> None:
    port, path, *header = sys.argv[1:]
    headers = [("Content-Type", "application/octet-stream"), *([(header[0], header[1])] if header else [])]
    with start(int(port), Path(path).read_bytes(), headers):
        threading.Event().wait()


if __name__ == "__main__":
    main()
