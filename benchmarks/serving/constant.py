"""edgemm's own HTTP server around an application that reads each request and answers the same bytes.

    python -m benchmarks.serving.constant PORT ANSWER_FILE [HEADER VALUE]

With a bare invocation this is the limit of what serving by this server can reach. All that knows how the server is
built is `start`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from simulators import needs

with needs.imports(__name__, "runtime"):
    from edgemm_runtime.http.exchange import Reply, Request
    from edgemm_runtime.models.registry import ModelRegistry
    from edgemm_runtime.serving import server
    from edgemm_runtime.serving.dispatch import Dispatcher


def start(port: int, answer: bytes, headers: tuple[tuple[str, str], ...]) -> server.ModelServer:
    """Start the server; every request is read whole and answered alike, in the thread that read it."""
    reply = Reply(200, answer, "application/octet-stream", headers)

    class Constant(Dispatcher):
        def quick(self, requests: Sequence[Request]) -> list[Reply]:
            return [reply] * len(requests)

    with patch.object(server, "Dispatcher", Constant):
        return server.ModelServer(ModelRegistry(), port=port)


def main() -> None:
    port, path, *header = sys.argv[1:]
    headers = ((header[0], header[1]),) if header else ()
    with start(int(port), Path(path).read_bytes(), headers):
        threading.Event().wait()


if __name__ == "__main__":
    main()
