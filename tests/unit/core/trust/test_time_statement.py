"""A statement of time answers one question, by the key that states it, and passes for nothing else."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm.errors import MessageError, TrustError
from edgemm.messages import Event
from edgemm.trust.signing import PayloadType, seal, unseal
from edgemm.trust.time_statement import (
    ISSUED,
    MAX_STATEMENT_BYTES,
    TimeStatement,
    issue_time_s,
    new_nonce,
    read_statement,
)

pytestmark = [pytest.mark.core, pytest.mark.runtime, pytest.mark.fleet]
SIGNER = CryptoSigner.generate_ed25519()
NONCE = new_nonce()
STATEMENT = TimeStatement(fleet="home", nonce=NONCE, time="2026-11-30T00:00:00Z")


def sealed(statement: TimeStatement = STATEMENT, signer: CryptoSigner = SIGNER) -> bytes:
    return seal(statement, PayloadType.TIME, signer)


def read(data: bytes, *, fleet: str = "home", nonce: str = NONCE, threshold: int = 1) -> int:
    return read_statement(data, fleet=fleet, nonce=nonce, keys=[SIGNER.public_key], threshold=threshold)


def test_it_tells_the_time() -> None:
    assert read(sealed()) == 1_795_996_800
    assert len(sealed(replace(STATEMENT, fleet="f" * 63))) < MAX_STATEMENT_BYTES / 4


def test_nonces_differ() -> None:
    assert len({new_nonce() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("data", "how"),
    [
        (sealed(replace(STATEMENT, nonce="0" * 32)), {}),
        (sealed(), {"nonce": "0" * 32}),
        (sealed(), {"fleet": "away"}),
        (sealed(signer=CryptoSigner.generate_ed25519()), {}),
        (sealed(), {"threshold": 2}),
    ],
    ids=["another question's", "asked otherwise", "another fleet's", "another key's", "too few keys'"],
)
def test_what_proves_nothing(data: bytes, how: dict[str, object]) -> None:
    with pytest.raises(TrustError):
        read(data, **how)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize("data", [b"", b"{}", sealed()[:-9], sealed(replace(STATEMENT, time="2026-02-31T00:00:00Z"))])
def test_what_is_no_statement(data: bytes) -> None:
    with pytest.raises(MessageError):
        read(data)


def test_it_passes_for_no_other_message() -> None:
    with pytest.raises(MessageError, match=r"expected .*event"):
        unseal(sealed(), PayloadType.EVENT, Event, keys=[SIGNER.public_key])
    with pytest.raises(MessageError, match=r"expected .*time"):
        read(seal(STATEMENT, PayloadType.DESIRED, SIGNER))


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [({}, 0), ({ISSUED: "2026-11-30T00:00:00Z"}, 1_795_996_800), ({ISSUED: "soon"}, 0), ({ISSUED: 3}, 0)],
)
def test_metadata_that_does_not_say_when_it_was_signed_sets_no_bound(fields: dict[str, object], seconds: int) -> None:
    assert issue_time_s(fields) == seconds
