"""TLS contexts that pin the server's certificate, where enrolment or the operator gave the certificate itself."""

from __future__ import annotations

import ssl

_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not name."""


def pinned_context(certificate: str | None) -> ssl.SSLContext:
    """Return a client's context; `certificate` is PEM, None for the system's authorities.

    A certificate that is given is pinned: it must be that very one. Its names and dates then say nothing more, and a
    device that moved, or whose clock is years off, still gets its instructions.

    Raises:
        ssl.SSLError: it is no certificate.
    """
    context = ssl.create_default_context(cadata=certificate)
    if certificate is not None:
        context.check_hostname = False
        context.verify_flags |= _NO_CHECK_TIME
    return context
