"""The memory of the server: what gathered bodies, and answers on their way, may take together. Of one thread."""

from __future__ import annotations

from io import BytesIO

from edgemm.transport.request_head import Refusal


class HeldMemory:
    """A sum of bytes under a limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.bytes = 0
        """What is held now."""

    def take(self, count: int, *, share: float = 1.0) -> bool:
        """Hold `count` more bytes; False where that would be more than this share of all."""
        if self.bytes + count > self._most * share:
            return False
        self.bytes += count
        return True

    def give_back(self, count: int) -> None:
        """Hold so many bytes less."""
        self.bytes -= count


class GatheredBody:
    """A body that is gathered before a thread sees the request."""

    def __init__(self, memory: HeldMemory, *, most: int, share: float) -> None:
        self._memory, self._most, self._share = memory, most, share
        self._buffer = BytesIO()
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            Refusal: 413, they are too many; 503, there is no memory for them now.
        """
        if self.size + len(data) > self._most:
            raise Refusal(413, f"the body is larger than {self._most:,} bytes")
        if not self._memory.take(len(data), share=self._share):
            raise Refusal(503, "this server holds too many requests now")
        self.size += len(data)
        self._buffer.write(data)

    def stream(self) -> BytesIO:
        """Return the body, to be read from its beginning."""
        self._buffer.seek(0)
        return self._buffer

    def drop(self) -> None:
        """Give back what it holds."""
        self._memory.give_back(self.size)
        self.size, self._buffer = 0, BytesIO()
