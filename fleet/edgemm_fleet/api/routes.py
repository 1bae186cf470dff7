"""The definition of a route: its address, the right to use it, its request and answer types, and its handler.

The routes of all resources together are one table (`edgemm_fleet.api.table`). The web application dispatches on it and
the OpenAPI document is generated from it, so that the code and the document cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flask import Request, Response
from msgspec import Struct

from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import Nothing
from edgemm_fleet.api.rights import Caller, Right

BodyT = TypeVar("BodyT")
QueryT = TypeVar("QueryT")
_PLACE = re.compile(r"<(?:path:)?([a-z_]+)>")


@dataclass(frozen=True)
class Call(Generic[BodyT, QueryT]):
    """One request after its edge: body and query are decoded, the caller may do this."""

    caller: Caller
    path: dict[str, str]
    query: QueryT
    body: BodyT
    now: float
    request: Request


@dataclass(frozen=True)
class Route:
    """One method of one address.

    `answer` is a Struct that is sent as JSON, or a media type where the handler makes the whole response. A route
    whose `body` is `bytes` reads the request's stream itself; `large_body` raises the limit to a publication's.
    """

    method: str
    address: str
    handler: Callable[[FleetState, Call[Any, Any]], Struct | Response | None]
    access: Right
    answer: Any
    body: Any = Nothing
    query: type[Struct] = Nothing
    status: int = 200
    large_body: bool = False

    @property
    def name(self) -> str:
        """The operation's id: the handler's name."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """What it does: the first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().splitlines()[0]

    @property
    def places(self) -> tuple[str, ...]:
        """The names of the variable parts of the address."""
        return tuple(_PLACE.findall(self.address))

    @property
    def template(self) -> str:
        """The address as OpenAPI writes it."""
        return _PLACE.sub(r"{\1}", self.address)
