"""Child processes: `python -m MODULE ARGUMENTS…`, for work that can crash, hang or take too much.

    measured = ask("edgemm_runtime.bench.measuring", ["m.tflite"], answer=Measurement, timeout_s=600)    # the parent
    sys.exit(reply(lambda: measure(path)))                                                                 # the child

Two layers: a `ChildProcess` is started, followed and killed; `ask` has one do one piece of work and returns its answer.

* A child leads a process group, so that a Ctrl-C in a terminal reaches the parent alone. It stays in its parent's
  session: by sessions Linux shares the CPU out first (sched(7), autogroup), and the lowest priority in a session of
  its own would be as good as any.
* When its time is up, when it has ended, and when the parent is interrupted, its whole group is killed.
* When the parent is gone, however that came about, the kernel kills the group (`edgemm.lifeline`).
* What it prints is read as it comes and never kept without bound: an answer has a limit, of stderr the end is kept.
"""

from __future__ import annotations

import fcntl
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from edgemm import errors, lifeline
from edgemm.errors import EdgemmError, EnvironmentFailure

_log = logging.getLogger(__name__)
PIPE = subprocess.PIPE
_LOOK_S = 0.2
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.05
_READ_BYTES = 64 * 1024
_KEPT_BYTES = 20_000
_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_NICEST = 19
_FIRST_TO_GO = "1000"
_FIRST_BESIDE = 3
T = TypeVar("T")


class ChildStartError(EnvironmentFailure):
    """No child process can be started: the system has no process, memory or file descriptors left.

    `reason` is the system's.
    """

    def __init__(self, err: OSError) -> None:
        self.reason = err.strerror or str(err)
        super().__init__(f"cannot start a child process: {self.reason}: end other programs, or raise the limits")


class ChildError(EdgemmError):
    """A child process gave no answer; `said` is the end of its stderr."""

    def __init__(self, message: str, *, said: str = "") -> None:
        super().__init__(message)
        self.said = said

    @property
    def last_line(self) -> str:
        """The last line of its stderr; "" where it said nothing."""
        return (self.said.strip().splitlines() or [""])[-1]


class ChildTimeoutError(ChildError):
    """A child process did not end in time, and was killed."""


class ChildCrashError(ChildError):
    """A child process was killed by a signal, whose name is `signal`."""

    def __init__(self, module: str, *, status: int, said: str) -> None:
        self.status, self.signal = status, signal_name(status)
        super().__init__(f"{module} was killed by {self.signal}", said=said)


class ChildAnswerError(ChildError):
    """A child process ended by itself and gave no answer, one that is none, or too much of one."""

    def __init__(self, message: str, *, status: int | None = None, said: str = "") -> None:
        super().__init__(message, said=said)
        self.status = status


class ChildWorkError(ChildError):
    """The work of a child process failed for a known reason; `error` is the name of that error's class."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class ChildProcess:
    """A child from the moment it is made until it is closed; `kill` and `pid` may be used from any thread.

    Its streams are /dev/null, but for stderr, which is its parent's, unless they are given: as descriptors, or `PIPE`
    for both stdout and stderr, which `follow` reads. `environment` is all of its environment; None: its parent's.

    Raises:
        ChildStartError: no process can be started.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stderr: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._module, self._said = module, b""
        self._status: int | None = None
        self._lock = threading.Lock()
        try:
            theirs, ours = _pipe_beside_the_streams()
            # A file, so that it is closed, and the child killed, should an exception keep this from being returned.
            self._lifeline = os.fdopen(ours, "wb", buffering=0)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", lifeline.__name__, str(theirs), module, *arguments],
                    stdin=stdin, stdout=stdout, stderr=stderr,
                    env=environment, pass_fds=(theirs,), process_group=0,
                )  # fmt: skip
            except BaseException:
                self._lifeline.close()
                raise
            finally:
                os.close(theirs)
        except OSError as err:
            raise ChildStartError(err) from err

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, or minus the signal that killed it; None while it runs."""
        if self._status is None:
            # It is left to be waited for: until then nobody else has its process id, and a kill meets no stranger.
            self._look_for_its_end(os.WNOHANG)
        return self._status

    @property
    def said(self) -> str:
        """The end of what it said on stderr, where that is followed."""
        return self._said.decode(errors="replace")

    def give_way(self) -> None:
        """Lower its claims to nothing; what this system does not offer is left as it is.

        It runs where no other process wants to, and where memory is short it is the first that the kernel kills.
        """
        with suppress(OSError, AttributeError):
            os.sched_setscheduler(self.pid, os.SCHED_IDLE, os.sched_param(0))
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.pid, _NICEST)
        with suppress(OSError):
            Path(f"/proc/{self.pid}/oom_score_adj").write_text(_FIRST_TO_GO)

    def follow(
        self, *, timeout_s: float, received: Callable[[bytes], None], look: Callable[[], None] = lambda: None
    ) -> int:
        """Hand on what it prints until it has ended; return its status. What it started and left is killed then.

        `look` is called several times a second; like `received`, it may raise to put an end to it.

        Raises:
            ChildTimeoutError: it took longer.
        """
        assert self._process.stdout is not None, "stdout and stderr are to be PIPE"
        assert self._process.stderr is not None, "stdout and stderr are to be PIPE"
        end_s = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ, received)
            selector.register(self._process.stderr, selectors.EVENT_READ, self._keep)
            while selector.get_map():
                over = self.status is not None
                if over:
                    self.kill()
                if not self._pass_on(selector, end_s) and over:
                    break  # another process, which left the group, holds the pipes
                self._look(end_s, timeout_s, look)
        while (status := self.wait(min(_LOOK_S, end_s - time.monotonic()))) is None:
            self._look(end_s, timeout_s, look)
        self.kill()
        return status

    def wait(self, timeout_s: float) -> int | None:
        """Wait until it has ended; return its status, None where it has not."""
        end_s, pause_s = time.monotonic() + timeout_s, _SHORTEST_PAUSE_S
        while self.status is None and (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return self.status

    def kill(self) -> None:
        """Kill it, with all that it started; may be called again, and after it was closed."""
        with self._lock, suppress(ProcessLookupError):
            if self._process.returncode is None:
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill it and wait until it is gone; nothing of it is left."""
        self.kill()
        if self._said and _log.isEnabledFor(logging.DEBUG):
            for line in self.said.splitlines():
                _log.debug("%s said: %s", self._module, line)
        if self._status is None:
            self._look_for_its_end()
        with self._lock:
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr, self._lifeline):
            if stream is not None:
                stream.close()

    def _look_for_its_end(self, options: int = 0) -> None:
        try:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | options)
        except ChildProcessError:  # this process was started with SIGCHLD ignored: nobody can know how it ended
            self._status = self._process.returncode = 0
            return
        if found is not None:
            self._status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def _pass_on(self, selector: selectors.BaseSelector, end_s: float) -> bool:
        """Wait a moment for what it prints and hand that on; tell whether there was anything."""
        ready = selector.select(max(0.0, min(_LOOK_S, end_s - time.monotonic())))
        for key, _ in ready:
            data = os.read(key.fd, _READ_BYTES)
            if data:
                key.data(data)
            else:
                selector.unregister(key.fileobj)
        return bool(ready)

    def _look(self, end_s: float, timeout_s: float, look: Callable[[], None]) -> None:
        look()
        if time.monotonic() >= end_s:
            raise ChildTimeoutError(f"{self._module} did not end within {timeout_s:g} s and was killed", said=self.said)

    def _keep(self, data: bytes) -> None:
        self._said = (self._said + data)[-_KEPT_BYTES:]


def _pipe_beside_the_streams() -> tuple[int, int]:
    """Return the read and the write end of a pipe, neither of which has the number of a standard stream.

    In a process that was started without its streams it would: the child's own streams would then take the place of
    the one, and what this process prints would go into the other.
    """
    read, write = os.pipe()
    try:
        theirs = fcntl.fcntl(read, fcntl.F_DUPFD_CLOEXEC, _FIRST_BESIDE)
        try:
            return theirs, fcntl.fcntl(write, fcntl.F_DUPFD_CLOEXEC, _FIRST_BESIDE)
        except BaseException:
            os.close(theirs)
            raise
    finally:
        os.close(read)
        os.close(write)


class _Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child writes: its answer, or the class and words of a known error."""

    answer: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    message: str = ""


def ask(
    module: str,
    arguments: Sequence[str] = (),
    *,
    answer: type[T],
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> T:
    """Have a child do one piece of work, and return what its `reply` says.

    Raises:
        ChildWorkError: its work failed for a known reason, in whose words.
        ChildTimeoutError: it did not end within `timeout_s`.
        ChildCrashError: it was killed by a signal.
        ChildAnswerError: it ended without an answer of that type.
        ChildStartError: no process can be started.
    """
    found = bytearray()

    def take(data: bytes) -> None:
        if len(found) + len(data) > _MAX_ANSWER_BYTES:
            raise ChildAnswerError(f"{module} answered with more than {_MAX_ANSWER_BYTES:,} bytes and was killed")
        found.extend(data)

    with ChildProcess(module, arguments, stdout=PIPE, stderr=PIPE, environment=environment) as child:
        status = child.follow(timeout_s=timeout_s, received=take)
    if status < 0:
        raise ChildCrashError(module, status=status, said=child.said)
    try:
        told = msgspec.json.decode(found, type=_Reply)
        if told.error is None:
            return msgspec.json.decode(told.answer, type=answer)
    except msgspec.DecodeError as err:
        message = f"{module} ended with status {status} and no answer"
        raise ChildAnswerError(message, status=status, said=child.said) from err
    raise ChildWorkError(told.error, told.message)


def reply(work: Callable[[], object]) -> int:
    """Do a child's piece of work, tell its parent the result on stdout, and return the exit status, 0 or 1.

    Known errors are the answer; whatever else is raised ends the child, with a traceback on stderr.
    """
    pipe = own_stdout()
    try:
        told = _Reply(msgspec.Raw(msgspec.json.encode(work())))
    except EdgemmError as err:
        told = _Reply(error=type(err).__name__, message=str(err))
    with os.fdopen(pipe, "wb") as stream:
        stream.write(msgspec.json.encode(told) + b"\n")
    return int(told.error is not None)


def own_stdout() -> int:
    """Keep stdout for what a child tells its parent, and return its descriptor; what libraries print goes to stderr."""
    pipe = os.dup(1)
    os.dup2(2, 1)
    return pipe


def known_error(name: str, message: str, *, otherwise: type[EdgemmError] = EdgemmError) -> EdgemmError:
    """Return the error of `edgemm.errors` that is called so, `otherwise` where none is.

    Of an error that takes more than words it is what that is a kind of.
    """
    found = getattr(errors, name, None)
    if not (isinstance(found, type) and issubclass(found, EdgemmError)):
        return otherwise(message)
    kinds = [kind for kind in found.__mro__ if issubclass(kind, EdgemmError)]
    own = [index for index, kind in enumerate(kinds) if "__init__" in vars(kind)]
    return kinds[max(own, default=-1) + 1](message)


def signal_name(status: int) -> str:
    """Return the name of the signal that ended a process of this negative status."""
    try:
        return signal.Signals(-status).name
    except ValueError:  # one of the real-time signals between
        return f"signal {-status}"
