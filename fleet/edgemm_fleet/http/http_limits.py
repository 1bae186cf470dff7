"""The limits of the manager's HTTP server, in one place."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1024 * 1024


@dataclass(frozen=True)
class HttpLimits:
    """What the server bears of its clients, all of them and each."""

    connections: int = 4096
    """Open at a time; for one more, one that nobody misses is closed, of the address that has most."""

    address_connections: int = 3072
    """Of them, those of one address: thousands of devices may be behind one, and others find room beside them."""

    downloads: int = 512
    """Files that are being sent; beyond it 503 with Retry-After."""

    token_downloads: int = 256
    """Of them, those with one token; where all are taken, who has most gives way to who has fewer."""

    head_bytes: int = 64 * 1024
    """Largest head of a request."""

    gathered_bytes: int = 256 * 1024
    """Largest body that is gathered before a thread sees the request; a larger one is read by its thread, at last."""

    memory_bytes: int = 64 * _MIB
    """What gathered bodies and answers on their way take together; people may use all of it, others half."""

    handshake_s: float = 15.0
    """A TLS handshake that is not done by then is given up."""

    head_s: float = 15.0
    """A head that is not whole by then, from the end of the handshake or the first byte on, is refused."""

    body_s: float = 15.0
    """What a gathered body may take in any case, and `min_bytes_per_s` beyond it."""

    min_bytes_per_s: int = 1024
    """What is slower is given up: a device at 5 kB/s is not."""

    pace_s: float = 60.0
    """Over so long a time the speed of a download, or of a body that a thread reads, is looked at."""

    answer_s: float = 120.0
    """A request that is not answered by then is answered 504."""

    idle_s: float = 300.0
    """A connection without a request for so long is closed."""

    linger_s: float = 5.0
    """How long a client that was refused may go on sending; closed at once, TCP would reset what it has yet to read."""

    drain_s: float = 5.0
    """How long a stopping server lets requests in flight finish."""
