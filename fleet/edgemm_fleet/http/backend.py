"""The application behind the server, and what it is told of whoever asks."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass

from edgemm.transport.request_head import Head
from edgemm_fleet.http.answers import ServedAnswer, refusal
from edgemm_fleet.http.environ import Origin, ProxiedFiles, WsgiApplication, call
from edgemm_fleet.http.lanes import Lane
from edgemm_fleet.http.places import address_of

_log = logging.getLogger(__name__)
_FORWARDED = "x-forwarded-for"
FAULT = refusal(500, "this server failed", hint="the server's log says more")
LaneOf = Callable[[Head, str], Lane]
"""Which lane a request of an address belongs to; called in the event loop's thread, so it must be quick."""


def people(_head: Head, _address: str) -> Lane:
    """Take every request for one of a person."""
    return Lane.PEOPLE


@dataclass(frozen=True)
class Backend:
    """What answers requests, in a lane's thread."""

    application: WsgiApplication
    host: str
    port: int
    scheme: str = "http"
    lane_of: LaneOf = people
    behind_proxy: bool = False
    """Whether a proxy tells the client's address, in the last part of `X-Forwarded-For`."""
    proxied: ProxiedFiles | None = None

    def address(self, head: Head, host: str) -> str:
        """Return the address that a request came from: as the proxy tells it, else where the connection came from."""
        told = head.headers.get(_FORWARDED, "").rpartition(",")[2].strip()
        return address_of(told) if self.behind_proxy and told else host

    def ask(self, head: Head, body: io.IOBase, address: str) -> ServedAnswer:
        """ServedAnswer a request."""
        origin = Origin(self.scheme, self.host, self.port, address)
        try:
            return call(self.application, head, body, origin, proxied=self.proxied)
        except OSError as err:
            _log.error("request failed path=%s error=%s", head.path[:120], err)
            return refusal(503, "a file of this server could not be read", retry_after_s=5)
