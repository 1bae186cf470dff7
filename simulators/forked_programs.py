"""Programs of this checkout that start in milliseconds: forked off a server that has imported TensorFlow.

Importing TensorFlow takes longer than converting a tiny model. A program (`python -m MODULE …`) is a process of its own
all the same, and so is each child that `edgemm convert` starts: watched, limited and killed as in production. One
starts afresh: the child of a Keras 2 model, in which TensorFlow must be imported in another way.

    with ProgramServer(os.environ) as server:
        status = server.run("edgemm", ["convert", "cnn.keras"], folder=folder, env=env, out=out_path, err=err_path)
"""

from __future__ import annotations

import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn, Self, TypeAlias

from simulators import needs

with needs.imports(__name__, "converter"):
    import msgspec
    from msgspec import Struct

_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}  # fmt: skip
"""A server's own: no thread of OpenBLAS, which a fork would lose, and what the converter gives its children."""


_Given: TypeAlias = int | IO[bytes] | None


class _Asked(Struct, frozen=True):
    """A program for the server: a module, what follows it on the command line, and where it runs."""

    module: str
    arguments: list[str]
    folder: str
    env: dict[str, str]
    out: str
    err: str


class ProgramServer:
    """Runs one program after the other; its process starts with the first, and ends with the block."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = {**env, **_ENVIRONMENT}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End the server and what it runs; the kernel ends their children."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def run(
        self, module: str, arguments: Sequence[object], *, folder: Path, env: Mapping[str, str], out: Path, err: Path
    ) -> int:
        """Run `python -m MODULE` in `folder`, its output into files; return its exit status, negative for a signal."""
        asked = _Asked(module, list(map(str, arguments)), str(folder), dict(env), str(out), str(err))
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(asked) + b"\n")
            process.stdin.flush()
            return int(process.stdout.readline())
        except BaseException:  # what is interrupted would answer the next question
            self.kill()
            raise

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "simulators.forked_programs"], env=self._env, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        return self._process


class _Forked:
    """A child of a program, forked off it: as much of `subprocess.Popen` as the converter's own children need."""

    def __init__(
        self, command: Sequence[str], *, stdin: _Given = None, stdout: _Given = None, stderr: _Given = None,
        env: Mapping[str, str], pass_fds: Sequence[int] = (), start_new_session: bool = False,
        process_group: int | None = None,
    ) -> None:  # fmt: skip
        self.returncode: int | None = None
        ends = [_ends(given, number) for number, given in enumerate((stdin, stdout, stderr))]
        ready, set_up = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                if start_new_session:
                    os.setsid()
                if process_group is not None:
                    os.setpgid(0, process_group)
                _keep_alone([theirs for theirs, _ in ends], pass_fds)
                if _is_keras_2(command):
                    for descriptor in pass_fds:
                        os.set_inheritable(descriptor, True)  # noqa: FBT003 - the standard library's signature
                    os.execve(command[0], list(command), dict(env))
                _be(command[3], command[4:], env)
            finally:  # whatever went wrong, it must not go on as its parent
                traceback.print_exc()
                os._exit(1)
        for number, (theirs, _) in enumerate(ends):
            if theirs != number and (stdin, stdout, stderr)[number] in {subprocess.DEVNULL, subprocess.PIPE}:
                os.close(theirs)
        os.close(set_up)
        os.read(ready, 1)  # nothing comes; it ends when the child has closed all that is not its own
        os.close(ready)
        self.stdin, self.stdout, self.stderr = (
            None if ours is None else os.fdopen(ours, "rb", buffering=0) for _, ours in ends
        )

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int | None:
        if timeout is not None and self.returncode is None:
            ended = os.pidfd_open(self.pid)
            try:
                if not select.select([ended], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("a forked child", timeout)
            finally:
                os.close(ended)
        return self._reap(0)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def _ends(given: _Given, number: int) -> tuple[int, int | None]:
    """Return the child's descriptor of a stream, and the parent's end of it, if it has one."""
    match given:
        case None:
            return number, None
        case subprocess.DEVNULL:
            return os.open(os.devnull, os.O_RDWR), None
        case subprocess.PIPE:
            assert number, "no child is written to"
            ours, theirs = os.pipe()
            return theirs, ours
        case int():
            return given, None
    return given.fileno(), None


def _keep_alone(streams: Sequence[int], kept: Sequence[int]) -> None:
    """Have three streams and some more descriptors, and no others, as a process has that was started with them."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if descriptor > 2 and descriptor not in kept:
            with suppress(OSError):  # that of the listing itself
                os.close(descriptor)


def main() -> None:
    """Be the server: a program a line on stdin, an exit status a line on stdout."""
    _import_everything()
    for line in sys.stdin.buffer:
        asked = msgspec.json.decode(line, type=_Asked)
        if not (pid := os.fork()):
            _begin(asked)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _import_everything() -> None:
    """Import what children import, but not the modules that they are: those run as `__main__`."""
    import tensorflow as tf  # noqa: F401

    import edgemm_converter.export.export
    import edgemm_converter.sources.keras3  # noqa: F401


def _begin(asked: _Asked) -> NoReturn:
    real = subprocess.Popen

    def popen(command: Any, *more: Any, **options: Any) -> Any:
        return _Forked(command, **options) if _is_ours(command) else real(command, *more, **options)

    subprocess.Popen = popen  # type: ignore[assignment, misc]  # a function in the place of a class
    written = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    streams = (os.open(os.devnull, os.O_RDONLY), os.open(asked.out, written), os.open(asked.err, written))
    _keep_alone(streams, ())
    os.chdir(asked.folder)
    _be(asked.module, asked.arguments, asked.env)


def _is_ours(command: Any) -> bool:
    """Tell whether a command is a child of the converter, whatever starts it."""
    if not isinstance(command, list) or command[:3] != [sys.executable, "-P", "-m"]:
        return False
    return any(str(word).startswith("edgemm_converter.") for word in command[3:6])


def _be(module: str, arguments: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Be `python -m MODULE ARGUMENTS` in an environment, and end as it ends."""
    status = 1
    try:
        os.environ.clear()
        os.environ.update(env)
        sys.argv, tempfile.tempdir = [module, *arguments], None
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as err:
        if isinstance(err.code, str):
            sys.stderr.write(f"{err.code}\n")
        status = err.code if isinstance(err.code, int) else int(err.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does where a process ends
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _is_keras_2(command: Sequence[str]) -> bool:
    """Tell whether a child of the converter gets a source of Keras 2."""
    from edgemm_converter.children.protocol import REQUEST
    from edgemm_converter.job import keras_version

    (path,) = (path for word in command if (path := Path(word) / REQUEST).is_file())
    request = msgspec.msgpack.decode(path.read_bytes())
    export = request["source"] if isinstance(request.get("source"), dict) else request
    if "format" not in export:
        return False
    return keras_version.is_keras_2(Path(export["source"]), str(export["format"]))


if __name__ == "__main__":
    main()
