"""The event loop of many devices: connects them, hears and speaks for them, and lets their updates take their time."""

from __future__ import annotations

import heapq
import os
import queue
import random
import select
import ssl
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from edgemm import topics
from edgemm.states import UpdateState
from edgemm.topics import Channel
from edgemm.transport.backoff import Backoff
from simulators.crowd.link import KEEPALIVE_S, READ, WRITE, Link, kind
from simulators.crowd.paced_device import PacedDevice
from simulators.device import Outgoing
from simulators.mqtt_packets import PacketType, published

_RESEND_S = 30.0
_CONNECT_TIMEOUT_S = 10.0
_BACKOFF = Backoff(first_s=1.0, max_s=300.0)
_PACE_S = {
    UpdateState.VERIFIED: 0.05,
    UpdateState.STAGED: 0.05,
    UpdateState.ACTIVATING: 0.05,
    UpdateState.PROBATION: 0.1,
}
"""How long after the state before."""


@dataclass(frozen=True)
class CrowdSettings:
    """How the devices of a process behave."""

    place: tuple[str, int]
    context: ssl.SSLContext | None
    model: str
    probation_s: float
    telemetry_s: float
    download: Callable[[PacedDevice], None] | None
    """What an update fetches, in a thread; None: nothing is fetched."""
    downloads_at_once: int = 8


class CrowdLoop:
    """Runs in one thread; `command` is called with what comes by the pipe."""

    def __init__(self, settings: CrowdSettings, links: list[Link]) -> None:
        self.settings, self.links = settings, links
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, Link] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._fetched: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wakes, self._wake = os.pipe()
        os.set_blocking(self._wakes, False)
        self._pool = ThreadPoolExecutor(settings.downloads_at_once)
        self._epoll.register(self._wakes, READ)
        self.counts: Counter[str] = Counter()
        self.connected_s: list[float] = []
        """When each device was let in last."""
        self.desired_s: dict[str, list[float]] = {}
        """When a `desired` came to a device that was not retained."""
        self.telemetry = False

    def watch(self, descriptor: int, heard: Callable[[], None]) -> None:
        """Have something else than a device's socket looked at."""
        self._others = {descriptor: heard}
        self._epoll.register(descriptor, READ)

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._timers, (time.monotonic() + delay_s, self._count, act))

    def run(self, over: Callable[[], bool]) -> None:
        """Work until it is over."""
        while not over():
            now_s = time.monotonic()
            wait_s = max(0.0, min(1.0, self._timers[0][0] - now_s)) if self._timers else 1.0
            for descriptor, events in self._epoll.poll(wait_s, 1024):
                self._happened(descriptor, events)
            now_s = time.monotonic()
            while self._timers and self._timers[0][0] <= now_s:
                heapq.heappop(self._timers)[2]()

    def connect(self, link: Link) -> None:
        """Connect a device, unless it is."""
        if link.sock is not None:
            return
        descriptor = link.open(self.settings.place, self.settings.context)
        self._by_descriptor[descriptor] = link
        link.watched = READ | WRITE
        self._epoll.register(descriptor, READ | WRITE)
        sock = link.sock
        self.after(_CONNECT_TIMEOUT_S, lambda: self._lose(link) if link.sock is sock and not link.up else None)

    def measure(self, link: Link) -> None:
        """Tell a window of telemetry."""
        self.after(self.settings.telemetry_s, partial(self.measure, link))
        if not self.telemetry:
            return
        link.device.now = time.time()
        self.counts["told"] += 1
        message = link.device.measure()
        if link.up:
            self._say(link, [message])

    def _happened(self, descriptor: int, events: int) -> None:
        link = self._by_descriptor.get(descriptor)
        if link is None:
            self._elsewhere(descriptor)
            return
        try:
            if events & WRITE or (not link.secure and events & READ):
                self._watch(link, link.flush(self.settings.context))
            if events & ~WRITE:
                for first, body in link.read():
                    self._packet(link, first, body)
                if link.sock is not None and link.secure:
                    self._watch(link, link.flush(self.settings.context))
        except (OSError, ValueError):
            self._lose(link)

    def _elsewhere(self, descriptor: int) -> None:
        if descriptor != self._wakes:
            self._others[descriptor]()
            return
        os.read(self._wakes, 4096)
        while True:
            try:
                self._fetched.get_nowait()()
            except queue.Empty:
                return

    def _watch(self, link: Link, events: int) -> None:
        if link.sock is not None and link.watched != events:
            link.watched = events
            self._epoll.modify(link.sock.fileno(), events)

    def _say(self, link: Link, messages: list[Outgoing]) -> None:
        if link.up:
            try:
                link.say(messages)
                self._watch(link, link.flush(self.settings.context))
            except OSError:
                self._lose(link)

    def _lose(self, link: Link) -> None:
        """Come back after a pause, as a device does."""
        if link.sock is None:
            return
        self.counts["lost" if link.up else "refused"] += 1
        lasted = link.up and time.monotonic() - link.in_since_s > KEEPALIVE_S
        link.failures = 1 if lasted else link.failures + 1
        self._by_descriptor.pop(link.sock.fileno(), None)
        self._epoll.unregister(link.sock.fileno())
        link.close()
        pause_s = _BACKOFF.delay_s(link.failures, draw=random.random())
        self.after(pause_s, partial(self.connect, link))

    def _packet(self, link: Link, first: int, body: bytes) -> None:
        match kind(first):
            case PacketType.CONNACK:
                if body[1]:
                    raise ConnectionError("refused")
                self._let_in(link)
            case PacketType.PUBACK:
                link.outstanding -= 1
            case PacketType.PUBLISH:
                topic, payload, message_id, retained = published(first, body)
                link.confirm(message_id)
                self._heard(link, topic, payload, retained=retained)
            case _:
                pass

    def _let_in(self, link: Link) -> None:
        now_s = time.monotonic()
        link.up, link.in_since_s, link.waiting_since_s = True, now_s, now_s
        self.counts["connects"] += 1
        self.connected_s.append(now_s)
        link.subscribe()
        link.device.now = time.time()
        link.say(link.device.connect())
        self.after(KEEPALIVE_S, partial(self._ping, link, link.device.connection))

    def _ping(self, link: Link, connection: int) -> None:
        """Show that the device lives, and say once more what was not acknowledged for long."""
        if not link.up or link.device.connection != connection:
            return
        self.after(KEEPALIVE_S, partial(self._ping, link, connection))
        now_s = time.monotonic()
        if link.device.waiting and now_s - link.waiting_since_s > _RESEND_S:
            self.counts["resent"] += 1
            link.waiting_since_s = now_s
            self._say(link, link.device.unacknowledged())
            return
        try:
            link.ping()
            self._watch(link, link.flush(self.settings.context))
        except OSError:
            self._lose(link)

    def _heard(self, link: Link, topic: str, payload: bytes, *, retained: bool) -> None:
        device, channel = link.device, topics.parse(topic).channel
        device.now = time.time()
        if channel is Channel.DESIRED and not retained:
            self.desired_s.setdefault(device.id, []).append(time.monotonic())
        waiting = device.waiting
        link.say(device.receive(topic, payload))
        if device.waiting < waiting:
            link.waiting_since_s = time.monotonic()
        if device.next_state(self.settings.model) is UpdateState.ACCEPTED:
            self._advance(link)

    def _advance(self, link: Link) -> None:
        """Enter the next state of an update, and have the one after it follow."""
        device, model = link.device, self.settings.model
        state = device.next_state(model)
        if state is None:
            return
        device.now = time.time()
        messages = device.advance(model)
        self.counts["told"] += 1
        if link.up:
            self._say(link, messages)
        if state is UpdateState.DOWNLOADING and self.settings.download is not None:
            self._pool.submit(self._fetch, link)
            return
        wanted = device.next_state(model)
        if wanted is not None:
            self.after(self._pause_s(wanted), partial(self._advance_if, link, wanted))

    def _pause_s(self, wanted: UpdateState) -> float:
        return self.settings.probation_s if wanted is UpdateState.COMMITTED else _PACE_S.get(wanted, 0.02)

    def _advance_if(self, link: Link, wanted: UpdateState) -> None:
        if link.device.next_state(self.settings.model) is wanted:
            self._advance(link)

    def _fetch(self, link: Link) -> None:
        assert self.settings.download is not None
        self.settings.download(link.device)
        self.counts["downloads"] += 1
        self._fetched.put(partial(self._advance_if, link, UpdateState.VERIFIED))
        os.write(self._wake, b".")
