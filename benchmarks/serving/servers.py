"""The servers that are compared: how each is started, and the protocols that it is asked by."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.serving import protocols
from benchmarks.serving.installs import installed
from benchmarks.serving.peers.classifier import INPUT, MODEL, OUTPUT, PORT
from benchmarks.serving.processes import free_port
from benchmarks.serving.protocols import Protocol
from benchmarks.serving.subjects import Subject

PEERS = Path(__file__).with_name("peers")
EDGEMM, EDGEMM_FLOAT, LIMIT = "edgemm", "edgemm-float32", "limit"


@dataclass(frozen=True)
class Files:
    """What servers serve, in one folder."""

    folder: Path
    subject: Subject
    model: Path
    int8: Path
    float32: Path
    sample: Path
    """Sample 0 as an array."""
    constant: Path
    """The answer of the constant server: what edgemm answers to sample 0 in binary."""
    constant_header: Path
    """The value of that answer's `Inference-Header-Content-Length`."""


@dataclass(frozen=True)
class Start:
    """A command, its environment beside this process', and the folder that it starts in."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = Path()


@dataclass(frozen=True)
class Server:
    """One server; `name` is what `--only` takes. A constant server gives one answer whatever it is asked."""

    name: str
    start: Callable[[Files, int], Start]
    protocols: tuple[Protocol, ...]
    is_constant: bool = False


def _edgemm(bundle: Callable[[Files], Path]) -> Callable[[Files, int], Start]:
    def start(files: Files, port: int) -> Start:
        return Start((sys.executable, "-m", "edgemm", "run", str(bundle(files)), "--port", str(port), "--quiet"))

    return start


def _constant(files: Files, port: int) -> Start:
    header = (protocols.LENGTH, files.constant_header.read_text())
    return Start((sys.executable, "-m", "benchmarks.serving.constant", str(port), str(files.constant), *header))


def _peer(name: str, *command: str) -> Callable[[Files, int], Start]:
    """Return a peer's start: `python` stands for its environment's, and other words may be there as programs."""

    def start(files: Files, port: int) -> Start:
        python = installed(name, files.folder)
        program = python if command[0] == "python" else python.with_name(command[0])
        words = (str(program), *(word.format(port=port) for word in command[1:]))
        env = {
            MODEL: str(files.model),
            PORT: str(port),
            INPUT: _words(files.subject.input.shape),
            OUTPUT: _words(files.subject.output.shape),
            "PYTHONPATH": str(PEERS),
            "BENTOML_DO_NOT_TRACK": "True",
        }
        return Start(words, env, PEERS)

    return start


def _words(shape: tuple[int, ...]) -> str:
    return " ".join(map(str, shape))


def _pytriton(files: Files, port: int) -> Start:
    """Let tritonserver's Python find the library of the Python that made the environment, not the system's."""
    started = _peer("pytriton", "python", "pytriton_app.py")(files, port)
    return Start(started.command, {**started.env, "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR")}, started.cwd)


def _mlserver(files: Files, port: int) -> Start:
    """Write MLServer's settings: in this process, and without what it could do beside an inference."""
    folder = files.folder / "mlserver"
    folder.mkdir(exist_ok=True)
    settings = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "parallel_workers": 0, "debug": False,
        "metrics_endpoint": None, "gzip_enabled": False,
    }  # fmt: skip
    model = {"name": protocols.MODEL, "implementation": "mlserver_runtime.LiteRtRuntime"}
    (folder / "settings.json").write_bytes(msgspec.json.encode(settings))
    (folder / "model-settings.json").write_bytes(msgspec.json.encode(model))
    started = _peer("mlserver", "mlserver", "start", str(folder))(files, port)
    return Start(started.command, started.env, folder)


def servers(subject: Subject) -> tuple[Server, ...]:
    """Return the servers that can serve a subject."""
    return (
        Server(LIMIT, _constant, (protocols.V2_BINARY,), is_constant=True),
        Server(EDGEMM, _edgemm(lambda files: files.int8), (protocols.V2_BINARY, protocols.V2_JSON, protocols.PEOPLE)),
        Server(EDGEMM_FLOAT, _edgemm(lambda files: files.float32), (protocols.v2_binary_float(subject),)),
        Server("mlserver", _mlserver, (protocols.V2_JSON,)),
        Server(
            "bentoml",
            _peer("bentoml", "bentoml", "serve", "bentoml_service:Images", "--host", "127.0.0.1", "--port", "{port}"),
            (protocols.BENTO_JSON,),
        ),
        Server("litserve", _peer("litserve", "python", "litserve_app.py"), (protocols.LIT_JSON,)),
        Server("pytriton", _pytriton, (protocols.V2_BINARY, protocols.V2_JSON)),
    )


NAMES = (LIMIT, EDGEMM, EDGEMM_FLOAT, "mlserver", "bentoml", "litserve", "pytriton")
"""Those of all servers."""
