"""The entrance: takes clients, and makes room for them."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import time

from edgemm_fleet.http.conversations import Conversations
from edgemm_fleet.http.intake import Intake
from edgemm_fleet.http.means import Means
from edgemm_fleet.http.open_files import connections_within, moved_up
from edgemm_fleet.http.peer import Peer
from edgemm_fleet.http.places import OwnerPlaces, address_of, giving_way
from edgemm_fleet.http.reactor import READABLE

_AT_ONCE = 32
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_UNSENT_BYTES = 128 * 1024
"""What the kernel keeps of an answer beyond what is on its way to the client."""


class Entrance:
    """Listens; `tls` may be replaced while it does: a connection keeps the certificate that it began with."""

    def __init__(
        self,
        listener: socket.socket,
        means: Means,
        conversations: Conversations,
        *,
        tls: ssl.SSLContext | None,
        proxied: bool,
    ) -> None:
        self._listener, self._conversations, self.tls = listener, conversations, tls
        self._reactor, self._counts, limits = means.reactor, means.counts, means.limits
        most = connections_within(limits.connections, files=limits.downloads)
        share = min(most, limits.address_connections * most // limits.connections)
        self._places = OwnerPlaces(most=most, most_of_one=most if proxied else max(1, share))
        self._head_bytes = limits.head_bytes
        self._full = False
        conversations.on_close = lambda peer: self._places.give_back(peer.address)

    def __len__(self) -> int:
        return len(self._places)

    def open(self) -> None:
        """Begin to take clients."""
        self._listener.settimeout(0)
        self._reactor.register(self._listener.fileno(), self._accept)

    def leave(self) -> None:
        """Take the clients that wait, and then no more: others are refused at once. In the event loop's thread."""
        while not self._full and self._listener.fileno() >= 0 and _has_client(self._listener):
            self._accept(READABLE)
        self.close()

    def close(self) -> None:
        """Take no more clients; once is enough."""
        if self._listener.fileno() >= 0:
            self._reactor.forget(self._listener.fileno())
            self._listener.close()

    def sweep(self) -> None:
        """Take clients again, where there was no room for any."""
        if self._full and self._listener.fileno() >= 0:
            self._full = False
            self._reactor.watch(self._listener.fileno(), READABLE)

    def _accept(self, _events: int) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, (host, *_) = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as err:
                if err.errno not in _EXHAUSTED:
                    continue  # the client is gone again: accept(2) tells of it so
                self._counts["no_descriptor"] += 1
                self._full = True  # until the next sweep: it would be told again at once
                self._reactor.watch(self._listener.fileno(), 0)
                return
            self._welcome(sock, host)

    def _welcome(self, sock: socket.socket, host: str) -> None:
        address = address_of(host)
        if not self._make_room(address):
            self._counts["no_place"] += 1
            sock.close()
            return
        try:
            sock = socket.socket(fileno=moved_up(sock.detach()))
            sock.settimeout(0)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
            if self.tls is not None:
                sock.getpeername()  # of one that was reset, `ssl` would leave the descriptor to the garbage collector
                sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            intake = Intake(max_head_bytes=self._head_bytes)
            peer = Peer(sock, host=host, address=address, intake=intake, now_s=time.monotonic())
            self._conversations.begin(peer)
        except OSError:
            sock.close()
            return
        self._places.take(address)

    def _make_room(self, address: str) -> bool:
        """Tell whether there is a place for one more of an address, after others were closed for it if need be."""
        crowd = self._places.crowded_by(address)
        if crowd is None:
            return True
        for peer in giving_way(self._conversations.peers.values(), crowd, now_s=time.monotonic()):
            assert isinstance(peer, Peer)
            self._counts["gave_way"] += 1
            self._conversations.close(peer)
        return self._places.crowded_by(address) is None


def _has_client(listener: socket.socket) -> bool:
    """Tell whether a client waits to be accepted."""
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    return bool(waiting.poll(0))
