"""Canonical JSON is that of rfc8785, whichever way it is written."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from edgemm import canonical
from edgemm.errors import MessageError
from edgemm.messages import Event, encode_control
from edgemm.trust import signing
from edgemm.trust.signing import PayloadType

pytestmark = pytest.mark.core
SIGNER = CryptoSigner.generate_ed25519()
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**54), 2**54)
    | st.floats()
    | st.sampled_from([0.05, 5.0, 1e-6, 1e-7, 1e16, 1e20, 1e21, 1e22, 1.5e300, 5e-324, -0.0, 2.0**53, 123456.789])
    | st.text(st.characters(codec=None))  # lone surrogates too
)
NAMES = st.text(max_size=6) | st.sampled_from(["a", "B", "é", "\ue000", "\U0001f600", "", "\x00", '"', "\\", "\x7f"])


def documents() -> st.SearchStrategy[Any]:
    return st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=20
    )


@given(documents())
@example({"\ue000": 1, "\U0001f600": 2, "é": 0.1})
@example({"a": [1.0, -0.0, 1e21, 0.1 + 0.2, 1e-7, {"b": '\u2028\x1f\x7f\\"/'}]})
@example({"a": 2**53 - 1, "b": -(2**53) + 1})
@example({"a": 2**53})
@example({"a": float("nan")})
@example({"a": "\ud800"})
@example({"\ud800": 1.5})
def test_a_document_is_written_as_rfc8785_writes_it(document: Any) -> None:
    wanted = None
    with suppress(rfc8785.CanonicalizationError, UnicodeEncodeError):
        wanted = rfc8785.dumps(document)
    if wanted is None:
        with pytest.raises((MessageError, UnicodeEncodeError)):
            canonical.encode(document)
    else:
        assert canonical.encode(document) == wanted


@given(st.text(max_size=30), st.floats(0, 1e9), st.integers(1, 2**53 - 1))
def test_an_envelope_is_written_as_securesystemslib_has_it(detail: str, uptime_s: float, sequence: int) -> None:
    event = Event(
        fleet="lab",
        device="cam-1",
        boot="0" * 16,
        boot_count=1,
        sequence=sequence,
        floor=1,
        time="2026-12-01T00:00:00Z",
        uptime_s=uptime_s,
        cause="update",
        detail=detail,
    )
    envelope = Envelope(encode_control(event), PayloadType.EVENT.value, {})
    envelope.sign(SIGNER)
    assert signing.seal(event, PayloadType.EVENT, SIGNER) == rfc8785.dumps(envelope.to_dict())
    assert encode_control(event) == rfc8785.dumps(msgspec.to_builtins(event))
