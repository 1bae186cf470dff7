"""A shadow's process as its parent sees it: started at the lowest priority, asked within a deadline, killed.

Nothing of it is shared with the parent: no lock, no memory, no priority. When CPU, memory or the engine run out, the
shadow goes first. SCHED_IDLE and nice 19 let it run only where nobody else wants to, and the kernel's out-of-memory
killer takes it before any other process.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TypeVar

import msgspec
from msgspec import Struct

from edgemm.child_process import ChildProcess, ChildStartError, signal_name
from edgemm.errors import EngineError, EngineUnavailableError, SelfTestError
from edgemm_runtime.engines.bundle_source import BundleFile, StoredBundle
from edgemm_runtime.engines.location_arguments import write_location
from edgemm_runtime.shadow.shadow_protocol import HEAD_BYTES, Burst, BurstAnswer, Ready, Sample, frame, length

_MODULE = "edgemm_runtime.shadow.child"
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_LAST_WORDS_S = 5.0
_IDLE_DATA_BYTES = 128 * 1024 * 1024
"""More than the data segment of an idle shadow: 95 MiB with LiteRT, 104 MiB with ONNX Runtime, mostly untouched."""
_Message = TypeVar("_Message", bound=Struct)


class ShadowLostError(EngineError):
    """The shadow's process crashed, or did not answer in time and was killed."""


class ShadowProcess:
    """One process; `location` and variant are what it loads, `timeout_s` is for each burst.

    Loading has as long, unless `load_timeout_s` is given. It gets no more than `memory_bytes` beyond what an idle one
    needs (None: no limit): a model that wants more fails.

    Raises:
        ShadowLostError: the system has no process or file descriptors left for it.
    """

    def __init__(
        self,
        location: BundleFile | StoredBundle,
        variant_id: str,
        *,
        timeout_s: float,
        load_timeout_s: float | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self._variant_id, self._timeout_s = variant_id, timeout_s
        arguments = [*write_location(location), "--variant", variant_id]
        self._load_timeout_s = timeout_s if load_timeout_s is None else load_timeout_s
        arguments += ["--timeout-s", str(timeout_s), "--load-timeout-s", str(self._load_timeout_s)]
        if memory_bytes is not None:
            arguments += ["--data-bytes", str(memory_bytes + _IDLE_DATA_BYTES)]
        try:
            self._channel, theirs = socket.socketpair()
        except OSError as err:
            raise ShadowLostError(f"shadow {variant_id} cannot be started: {err.strerror or err}") from err
        with theirs:
            try:
                self._child = ChildProcess(_MODULE, arguments, stdin=theirs.fileno())
            except ChildStartError as err:
                self._channel.close()
                raise ShadowLostError(f"shadow {variant_id} cannot be started: {err.reason}") from err
        self._child.give_way()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def ready(self) -> Ready:
        """Wait until it has answered its golden samples.

        Raises:
            SelfTestError: an answer is wrong, or the bundle is damaged.
            EngineUnavailableError: the engine is not here.
            ShadowLostError: it crashed, or did not come up in time.
        """
        found = self._receive(Ready, within_s=self._load_timeout_s)
        if found.error == EngineUnavailableError.__name__:
            raise EngineUnavailableError(found.message)
        if found.error is not None:
            raise SelfTestError(found.message)
        return found

    def ask(self, samples: tuple[Sample, ...]) -> BurstAnswer:
        """Have samples answered and compared.

        Raises:
            ShadowLostError: it crashed, or did not answer in time.
        """
        end_s = time.monotonic() + self._timeout_s
        try:
            self._channel.settimeout(self._timeout_s)
            self._channel.sendall(frame(Burst(samples)))
        except OSError as err:
            raise self._lost(err, within_s=self._timeout_s) from err
        return self._receive(BurstAnswer, within_s=end_s - time.monotonic())

    def kill(self) -> None:
        """End it at once; may be called twice, and from another thread, which lets a call that waits end."""
        self._child.kill()
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it and wait until it is gone."""
        self.kill()
        self._child.close()
        self._channel.close()

    def _receive(self, kind: type[_Message], *, within_s: float) -> _Message:
        end_s = time.monotonic() + within_s
        try:
            expected = length(self._read(HEAD_BYTES, end_s=end_s))
            if expected > _MAX_ANSWER_BYTES:
                raise ShadowLostError(f"shadow {self._variant_id}: an answer of {expected:,} bytes")
            return msgspec.msgpack.decode(self._read(expected, end_s=end_s), type=kind)
        except (OSError, msgspec.DecodeError) as err:
            raise self._lost(err, within_s=self._load_timeout_s if kind is Ready else self._timeout_s) from err

    def _read(self, count: int, *, end_s: float) -> bytes:
        data = bytearray()
        while len(data) < count:
            self._channel.settimeout(max(1e-3, end_s - time.monotonic()))
            piece = self._channel.recv(count - len(data))
            if not piece:
                raise ConnectionResetError("it ended")
            data += piece
        return bytes(data)

    def _lost(self, err: Exception, *, within_s: float) -> ShadowLostError:
        """Say how it was lost; it is dead from then on."""
        if isinstance(err, TimeoutError):
            self.kill()
            return ShadowLostError(f"shadow {self._variant_id}: no answer within {within_s:g} s, killed")
        status = self._child.wait(_LAST_WORDS_S)
        if status is None:
            self.kill()
            return ShadowLostError(f"shadow {self._variant_id}: {err}, killed")
        how = f"killed by {signal_name(status)}" if status < 0 else f"status {status}"
        return ShadowLostError(f"shadow {self._variant_id} crashed: {how}")
