"""One login at a broker, to see whether it has read the present password file. It does nothing once it is let in."""

from __future__ import annotations

import socket
from enum import Enum

from edgemm.trust.enrolment import BrokerAccess
from edgemm.trust.tls import pinned_context

_CONNACK = b"\x20\x02"
_CONNACK_BYTES = 4
_KEEPALIVE_S = 10
_STRANGER = b"\x10\x12\x00\x04MQTT\x04\x02\x00\x0a\x00\x06edgemm"
"""A CONNECT without a login, which a broker that takes it at all answers with a CONNACK that refuses it."""


class ProbeAnswer(Enum):
    """What the broker said."""

    LET_IN = "let in"
    REFUSED = "refused"
    SILENT = "no answer"
    """It listens and does not answer, or hung up."""
    PLAIN = "an answer without TLS"
    """It speaks MQTT, and TLS was asked for."""
    ABSENT = "nobody listens"


def probe_login(access: BrokerAccess, *, timeout_s: float) -> ProbeAnswer:
    """Connect, log in and go (MQTT 3.1.1, sections 3.1 and 3.2)."""
    try:
        connection = socket.create_connection((access.host, access.port), timeout=timeout_s)
    except OSError:
        return ProbeAnswer.ABSENT
    answer = _log_in(connection, access)
    plain = answer is ProbeAnswer.SILENT and access.tls and answers_plain(access, timeout_s=timeout_s)
    return ProbeAnswer.PLAIN if plain else answer


def answers_plain(access: BrokerAccess, *, timeout_s: float) -> bool:
    """Tell whether who listens where TLS is expected speaks MQTT without it; no login is sent to find out."""
    try:
        with socket.create_connection((access.host, access.port), timeout=timeout_s) as connection:
            connection.sendall(_STRANGER)
            return _receive(connection)[:2] == _CONNACK
    except OSError:
        return False


def _log_in(plain: socket.socket, access: BrokerAccess) -> ProbeAnswer:
    try:
        with plain, _secured(plain, access) as connection:
            connection.sendall(_connect_packet(access))
            answer = _receive(connection)
            if answer == _CONNACK + b"\0\0":
                connection.sendall(b"\xe0\0")
                return ProbeAnswer.LET_IN
            return ProbeAnswer.REFUSED if answer[:2] == _CONNACK else ProbeAnswer.SILENT
    except OSError:  # an SSLError is one
        return ProbeAnswer.SILENT


def _secured(plain: socket.socket, access: BrokerAccess) -> socket.socket:
    if not access.tls:
        return plain
    return pinned_context(access.ca).wrap_socket(plain, server_hostname=access.host)


def _connect_packet(access: BrokerAccess) -> bytes:
    texts = (access.username, access.username, access.password)
    body = _text("MQTT") + bytes([4, 0b1100_0010, 0, _KEEPALIVE_S]) + b"".join(map(_text, texts))
    length = len(body)
    return bytes([0x10, 0x80 | length % 128, length // 128]) + body


def _receive(connection: socket.socket) -> bytes:
    answer = b""
    while len(answer) < _CONNACK_BYTES and (more := connection.recv(_CONNACK_BYTES - len(answer))):
        answer += more
    return answer


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
