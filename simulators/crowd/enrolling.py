"""The enrolment of many devices over the manager's real route, each with a key and a connection of its own."""

from __future__ import annotations

import hashlib
import http.client
import random
import ssl
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec
from securesystemslib.signer import CryptoSigner

from edgemm import __version__
from edgemm.trust import signing
from edgemm.trust.enrolment import ENROL_PATH, EnrolmentRequest, EnrolmentResponse, parse_token
from edgemm.trust.signing import PayloadType

_TIMEOUT_S = 150.0
_AGAIN_S = (0.2, 5.0)
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class RefusedError(Exception):
    """The manager refused a request for good."""


@dataclass(frozen=True)
class Enrolled:
    """One device that is in, and when that was, by the monotonic clock."""

    signer: CryptoSigner
    answer: EnrolmentResponse
    at_s: float
    tries: int


class ManagerHttp:
    """Requests to a manager, each by a connection of its own, as a device makes them; its certificate is pinned."""

    def __init__(self, url: str, fingerprint: str | None) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._fingerprint, self._context = fingerprint, None
        if parts.scheme == "https":
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE

    def ask(self, method: str, paths: list[str], *, bearer: str | None = None, body: bytes | None = None) -> bytes:
        """Ask for paths one after another on one connection; return the last answer's body.

        Raises:
            OSError, http.client.HTTPException: no answer, or one that says to try again.
            RefusedError: another refusal.
        """
        connection = self._connection()
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            headers |= {"Authorization": f"Bearer {bearer}"} if bearer else {}
            for path in paths:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
                if answer.status in _BUSY:
                    raise ConnectionError(f"{path}: {answer.status}")
                if answer.status >= 400 and not path.endswith("root.json"):  # a device looks for the next one, in vain
                    raise RefusedError(f"{path}: {answer.status} {data[:500]!r}")
            return data
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        made = http.client.HTTPSConnection(self._host, self._port, timeout=_TIMEOUT_S, context=self._context)
        made.connect()
        assert isinstance(made.sock, ssl.SSLSocket)
        shown = made.sock.getpeercert(binary_form=True) or b""
        if self._fingerprint and hashlib.sha256(shown).hexdigest() != self._fingerprint:
            made.close()
            raise RefusedError("the manager shows another certificate than the token names")
        return made


def enrol_all(
    manager: ManagerHttp, token: str, names: list[str], *, at_once: int, told: Callable[[Enrolled], None]
) -> None:
    """Enrol devices of these names, so many at a time; `told` is called for each, in threads."""
    secret = parse_token(token).secret.hex()

    def one(name: str) -> None:
        signer = CryptoSigner.generate_ed25519()
        request = EnrolmentRequest(
            secret=secret,
            public_key=signing.key_document(signer.public_key),
            name=name,
            labels={"site": f"plant-{zlib.crc32(name.encode()) % 50}"},
            runtime=__version__,
            platform="simulated",
        )
        body, tries = signing.seal(request, PayloadType.ENROLMENT, signer), 1
        while True:
            try:
                data = manager.ask("POST", [ENROL_PATH], body=body)
                break
            except (OSError, http.client.HTTPException) as err:
                if tries > 100:
                    raise RefusedError(f"{name}: {err}") from err
                time.sleep(min(_AGAIN_S[1], _AGAIN_S[0] * tries) * random.uniform(0.5, 1))
                tries += 1
        answer = msgspec.json.decode(data, type=EnrolmentResponse)
        told(Enrolled(signer, answer, time.monotonic(), tries))

    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(one, name) for name in names]:
            done.result()
