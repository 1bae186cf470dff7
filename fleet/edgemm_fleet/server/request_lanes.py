"""The lane of a request, by the table of routes: what takes a person's token never waits behind what devices fetch."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from edgemm.transport.request_head import Head
from edgemm_fleet.api.rights import Right, shown_token
from edgemm_fleet.api.routes import Route
from edgemm_fleet.http.lanes import Lane
from edgemm_fleet.secrets.person_tokens import token_hash
from edgemm_fleet.secrets.wrong_tokens import WrongTokens

_PLACE = re.compile(r"<(path:)?[a-z_]+>")


class RequestLanes:
    """Tells the lane of a request; called in the thread that reads all requests, so it looks nothing up."""

    def __init__(
        self,
        routes: Sequence[Route],
        wrong_tokens: WrongTokens,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wrong_tokens, self._monotonic = wrong_tokens, monotonic
        self._fixed = {(route.method, route.address): _lane(route) for route in routes if not route.places}
        self._variable = [(route.method, _pattern(route.address), _lane(route)) for route in routes if route.places]

    def __call__(self, head: Head, address: str) -> Lane:
        """Return the lane of a request of an address."""
        lane = self._by_route("GET" if head.method == "HEAD" else head.method, head.path.rstrip("/"))
        if lane in {Lane.PUBLIC, Lane.ENROLMENT}:
            return lane
        token = shown_token(head.headers.get("authorization"))
        if token is None:
            return Lane.PUBLIC  # a refusal, which takes no look-up
        doubtful = self._wrong_tokens.doubtful(address, token_hash(token), now_s=self._monotonic())
        return Lane.DOUBTFUL if doubtful else lane

    def _by_route(self, method: str, path: str) -> Lane:
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            return fixed
        for asked, pattern, lane in self._variable:
            if asked == method and pattern.fullmatch(path):
                return lane
        return Lane.PUBLIC  # the page, or nothing


def _lane(route: Route) -> Lane:
    if route.body is bytes:
        return Lane.UPLOADS
    match route.access:
        case Right.PUBLIC:
            return Lane.PUBLIC if route.method == "GET" else Lane.ENROLMENT
        case Right.FETCH:
            return Lane.DEVICES
        case _:
            return Lane.PEOPLE


def _pattern(address: str) -> re.Pattern[str]:
    parts, at = [], 0
    for place in _PLACE.finditer(address):
        parts += [re.escape(address[at : place.start()]), ".+" if place[1] else "[^/]+"]
        at = place.end()
    return re.compile("".join(parts) + re.escape(address[at:]))
