"""A process of many devices, and what another one asks of it by a pipe."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from msgspec import structs
from securesystemslib.signer import CryptoSigner

from edgemm.trust.signing import key_document, key_from_document
from edgemm.trust.tls import pinned_context
from simulators.crowd.enrolling import Enrolled, ManagerHttp, enrol_all
from simulators.crowd.link import Link
from simulators.crowd.loop import CrowdLoop, CrowdSettings
from simulators.crowd.paced_device import PacedDevice
from simulators.crowd.tally import Tally

_ANSWER_S = 900.0
_AGAIN_S = 0.5


@dataclass(frozen=True)
class Crowd:
    """What the devices of a process are."""

    url: str
    fingerprint: str | None
    token: str
    names: list[str]
    director: dict[str, Any]
    """The document of the key that signs `desired`."""
    model: str
    probation_s: float
    telemetry_s: float
    download: list[str]
    """Paths that an update fetches, one after another over one connection; none: what it needs is there."""
    enrolling: int
    """How many enrol at a time."""


class CrowdProcess:
    """Starts it, asks it, and ends it."""

    def __init__(self, crowd: Crowd) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_main, args=(crowd, other), daemon=True)
        self._process.start()
        other.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def begin(self, what: str, **more: Any) -> None:
        """Ask for something; `answer` waits for what comes of it."""
        self._pipe.send((what, more))

    def answer(self) -> Any:
        """Wait for the answer to what was asked for last."""
        if not self._pipe.poll(_ANSWER_S):
            raise TimeoutError("a process of devices does not answer")
        found = self._pipe.recv()
        if isinstance(found, Exception):
            raise found
        return found

    def ask(self, what: str, **more: Any) -> Any:
        """Ask, and wait."""
        self.begin(what, **more)
        return self.answer()

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()


def _main(crowd: Crowd, pipe: Connection) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _Served(crowd, pipe).run()


class _Served:
    """The process's side; each public method is something that can be asked for."""

    def __init__(self, crowd: Crowd, pipe: Connection) -> None:
        self._crowd, self._pipe = crowd, pipe
        self._http = ManagerHttp(crowd.url, crowd.fingerprint)
        self._enrolled: list[Enrolled] = []
        self._loop: CrowdLoop | None = None
        self._over = False

    def run(self) -> None:
        while self._loop is None:
            self.asked()
        self._loop.watch(self._pipe.fileno(), self.asked)
        self._loop.run(lambda: self._over)

    def asked(self) -> None:
        try:
            what, more = self._pipe.recv()
            found = getattr(self, what)(**more)
        except EOFError:
            self._over = True
            os._exit(0)
        except Exception as err:  # noqa: BLE001 - the boundary to the other process, which raises it
            found = err
        self._pipe.send(found)

    def enrol(self) -> list[tuple[float, int]]:
        """Enrol all; return when each was in, and how many tries it took."""
        enrol_all(
            self._http, self._crowd.token, self._crowd.names, at_once=self._crowd.enrolling, told=self._enrolled.append
        )
        return [(one.at_s, one.tries) for one in self._enrolled]

    def keys(self, *, count: int) -> list[dict[str, Any]]:
        """Make the keys of the first devices, which somebody else enrols; return their documents by name."""
        made = [(name, CryptoSigner.generate_ed25519()) for name in self._crowd.names[:count]]
        self._made = dict(made)
        self._crowd = replace(self._crowd, names=self._crowd.names[count:])
        return [
            {"name": name, "key": key_document(signer.public_key), "id": signer.public_key.keyid}
            for name, signer in made
        ]

    def enrolled(self, *, passwords: dict[str, str]) -> None:
        """Take over devices that somebody enrolled: each by its name, and with its password; they have no bearer."""
        like = self._enrolled[0]
        for name, password in passwords.items():
            broker = structs.replace(like.answer.broker, username=name, password=password)
            answer = structs.replace(like.answer, device=name, broker=broker)
            self._enrolled.append(replace(like, signer=self._made[name], answer=answer))

    def prepare(self) -> int:
        """Make the loop; nobody connects yet."""
        director = key_from_document(self._crowd.director)
        links = [self._link(one, director) for one in self._enrolled]
        self._bearers = {one.answer.device: one.answer.bearer for one in self._enrolled}
        broker = self._enrolled[0].answer.broker
        settings = CrowdSettings(
            place=("127.0.0.1" if broker.host == "localhost" else broker.host, broker.port),
            context=pinned_context(broker.ca) if broker.tls else None,
            model=self._crowd.model,
            probation_s=self._crowd.probation_s,
            telemetry_s=self._crowd.telemetry_s,
            download=self._download if self._crowd.download else None,
        )
        self._enrolled.clear()
        self._loop = CrowdLoop(settings, links)
        gc.collect()
        gc.freeze()  # thousands of devices that stay are not walked again and again
        return len(links)

    def connect(self, rate: float) -> None:
        """Connect all, so many a second."""
        assert self._loop is not None
        for number, link in enumerate(self._loop.links):
            self._loop.after(number / rate, partial(self._loop.connect, link))
        self._loop.connected_s.clear()

    def connected(self) -> list[float]:
        """Return when devices were let in since this was asked last."""
        assert self._loop is not None
        found, self._loop.connected_s = self._loop.connected_s, []
        return found

    def measure(self, *, on: bool) -> None:
        """Begin to send windows, spread over the interval; or stop."""
        loop = self._loop
        assert loop is not None
        if on and not loop.counts["measuring"]:
            loop.counts["measuring"] = 1
            step_s = self._crowd.telemetry_s / len(loop.links)
            for number, link in enumerate(loop.links):
                loop.after(number * step_s, partial(loop.measure, link))
        loop.telemetry = on

    def desired(self) -> dict[str, list[float]]:
        """Return when each device was sent a `desired` since this was asked last."""
        assert self._loop is not None
        found, self._loop.desired_s = self._loop.desired_s, {}
        return found

    def ids(self) -> list[str]:
        """Return who the devices are."""
        assert self._loop is not None
        return [link.device.id for link in self._loop.links]

    def tally(self) -> Tally:
        """Return how they are."""
        loop = self._loop
        assert loop is not None
        states = Counter(
            str(reported.state.value) if (reported := link.device.reported.get(self._crowd.model)) else "none"
            for link in loop.links
        )
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Tally(
            devices=len(loop.links),
            connected=sum(link.up for link in loop.links),
            connects=loop.counts["connects"],
            refused=loop.counts["refused"],
            lost=loop.counts["lost"],
            unacknowledged=sum(link.device.waiting for link in loop.links),
            unconfirmed=sum(link.outstanding for link in loop.links if link.up),
            told=loop.counts["told"],
            resent=loop.counts["resent"],
            states=dict(states),
            downloads=loop.counts["downloads"],
            cpu_s=usage.ru_utime + usage.ru_stime,
            rss_bytes=usage.ru_maxrss * 1024,
        )

    def _link(self, one: Enrolled, director: Any) -> Link:
        answer = one.answer
        device = PacedDevice(answer.fleet, answer.device, signer=one.signer, director=[director], now=time.time())
        return Link(device, (answer.broker.username, answer.broker.password))

    def _download(self, device: PacedDevice) -> None:
        while True:
            with suppress(OSError):
                self._http.ask("GET", self._crowd.download, bearer=self._bearers[device.id])
                return
            time.sleep(_AGAIN_S)
