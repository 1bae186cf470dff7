"""The end of a certificate, read from its PEM by the standard library alone. Pure.

    certificate_end(Path("cert.pem").read_bytes())   # 2027-03-01 12:00:00+00:00

Python's `ssl` reads a certificate only of a connection that is open, and what else could is 8 MB of memory.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

SOON_S = 30 * 86_400
"""A certificate that ends within this time is spoken of."""
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_SEQUENCE, _EXPLICIT_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_LONG_FORM = 0x80
_BEFORE_VALIDITY = 3
"""Serial number, signature's algorithm and issuer stand before it (RFC 5280, section 4.1)."""


def certificate_end(pem: bytes) -> datetime:
    """Return the end of the first certificate in a PEM, which is the server's own (RFC 5280, section 4.1.2.5).

    Raises:
        ValueError: there is no certificate, or it is malformed.
    """
    _, begun, rest = pem.partition(_BEGIN)
    body, ended, _ = rest.partition(_END)
    if not (begun and ended):
        raise ValueError("no certificate in PEM")
    der = ssl.PEM_cert_to_DER_cert((_BEGIN + body + _END).decode("ascii"))
    fields = _inside(_inside(der, _SEQUENCE), _SEQUENCE)
    tag, _, after = _element(fields)
    fields = after if tag == _EXPLICIT_VERSION else fields
    for _ in range(_BEFORE_VALIDITY):
        _, _, fields = _element(fields)
    _, _, not_after = _element(_inside(fields, _SEQUENCE))
    tag, text, _ = _element(not_after)
    return _time(tag, text.decode("ascii"))


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:
        # Two digits from 50 on are of the last century (RFC 5280, section 4.1.2.5.1).
        text = ("19" if text >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time where a certificate's end should be")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _inside(data: bytes, expected: int) -> bytes:
    tag, content, _ = _element(data)
    if tag != expected:
        raise ValueError("no certificate in DER")
    return content


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Return tag, content and what follows of the first element in DER."""
    if len(data) < 2:
        raise ValueError("a certificate that is cut short")
    length, start = data[1], 2
    if length & _LONG_FORM:
        start += length & ~_LONG_FORM
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise ValueError("a certificate that is cut short")
    return data[0], data[start : start + length], data[start + length :]
