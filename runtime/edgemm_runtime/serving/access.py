"""The access settings of a device's HTTP server: API key, TLS, Unix socket, and the web pages that may ask."""

from __future__ import annotations

from collections.abc import Collection
from hmac import compare_digest
from pathlib import Path

from edgemm_runtime.certificates.server_tls import ServerTls


class ApiKey:
    """The key that clients must show, in `Authorization: Bearer KEY` or `X-API-Key`; health is answered without."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def matches(self, shown: str) -> bool:
        """Whether a client showed this key; takes as long for any other."""
        return compare_digest(shown.encode("utf-8", "replace"), self._key)

    def renew(self, other: ApiKey) -> None:
        """Ask for another key from the next request on."""
        self._key = other._key


class Access:
    """All of it is optional: by default whoever reaches the address may ask, in plain HTTP, but for web pages.

    `tls` is for the port, a Unix socket stays plain; at the path `unix_socket` is served as well.
    `origins` are those of web pages that may ask from a browser, as `web_origins.canonical` spells them.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        tls: ServerTls | None = None,
        unix_socket: Path | None = None,
        origins: Collection[str] = frozenset(),
    ) -> None:
        self.api_key = None if api_key is None else ApiKey(api_key)
        self.tls, self.unix_socket, self.origins = tls, unix_socket, origins

    def renew(self, other: Access) -> None:
        """Take certificate and key of other settings of the same kind while requests are answered."""
        if self.tls is not None and other.tls is not None:
            self.tls.renew(other.tls)
        if self.api_key is not None and other.api_key is not None:
            self.api_key.renew(other.api_key)
