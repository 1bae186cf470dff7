"""Ed25519 keys in PEM files, and DSSE envelopes around control messages.

Keys, signatures and the envelope are securesystemslib's; a public key travels as the key document of the TUF
specification (`{"keytype", "scheme", "keyval"}`), and its key id is computed, never believed. An envelope as `seal`
writes it is read and checked without securesystemslib's own classes, which take as long as the check of the signature;
any other one by them. This module needs the runtime or the fleet extra.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, Key, Signature, SSlibKey

from edgemm import durable
from edgemm.errors import InputError, MessageError, TrustError
from edgemm.messages import MAX_CONTROL_BYTES, Natural, decode_control, encode_control
from edgemm.trust.enrolment import EnrolmentRequest

Message = TypeVar("Message", bound=Struct)


_ENVELOPE = b'{"payload":"%b","payloadType":"%b","signatures":[{"keyid":"%b","sig":"%b"}]}'
"""An envelope of one signature as canonical JSON; none of its parts has anything to escape."""


class _Signed(Struct, forbid_unknown_fields=True):
    keyid: str
    sig: str


class _Written(Struct, forbid_unknown_fields=True, rename={"kind": "payloadType"}):
    """An envelope as it is nearly always written."""

    payload: str
    kind: str
    signatures: list[_Signed]


_DECODER = msgspec.json.Decoder(_Written)


class _Opened(NamedTuple):
    """What is in an envelope that nobody has checked yet; signatures by the id of their key."""

    payload: bytes
    kind: str
    signatures: Mapping[str, bytes]


class _Numbered(Struct):
    """What of a `desired` tells it apart in words about it."""

    generation: Natural


class PayloadType(StrEnum):
    """What a DSSE payload is; signed along with it, so that no message passes for another kind."""

    DESIRED = "application/vnd.edgemm.desired.v1+json"
    REPORTED = "application/vnd.edgemm.reported.v1+json"
    EVENT = "application/vnd.edgemm.event.v1+json"
    ENROLMENT = "application/vnd.edgemm.enrolment.v1+json"
    ACTION = "application/vnd.edgemm.action.v1+json"
    TIME = "application/vnd.edgemm.time.v1+json"


def create_key(path: Path) -> CryptoSigner:
    """Make an Ed25519 key pair and keep it in a PEM file that only its owner can read."""
    signer = CryptoSigner.generate_ed25519()
    durable.write(path, signer.private_bytes, mode=0o600)
    return signer


def load_key(path: Path, *, next_step: str = "put it back from a copy") -> CryptoSigner:
    """Read a key pair back; `next_step` is what to do where there is none.

    Raises:
        InputError: the file is missing, or holds no Ed25519 key.
    """
    try:
        data = path.read_bytes()
    except OSError as err:
        raise _no_key(path, f"nothing to read ({err.strerror})", next_step) from err
    try:
        key = load_pem_private_key(data, None)
    except TypeError as err:
        raise _no_key(path, "one under a password", next_step) from err
    except (ValueError, UnsupportedAlgorithm) as err:
        found = f"{len(data):,} bytes without a whole one" if data.strip() else "an empty file"
        raise _no_key(path, found, next_step) from err
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "a key of another kind", next_step)
    return CryptoSigner(key)


def _no_key(path: Path, found: str, next_step: str) -> InputError:
    return InputError(f"{path}: expected an Ed25519 private key in PEM, found {found}; {next_step}")


def key_document(key: Key) -> dict[str, Any]:
    """Return the public document of a key, as TUF writes it."""
    return dict(key.to_dict())


def key_from_document(document: dict[str, Any]) -> Key:
    """Read a public key; its id is computed from its content.

    Raises:
        TrustError: it is not an Ed25519 key document.
    """
    try:
        if document["keytype"] != "ed25519" or document["scheme"] != "ed25519":
            raise TrustError(f"key: expected ed25519, found {str(document['scheme'])[:40]!r}")
        bare = SSlibKey("", "ed25519", "ed25519", {"public": str(document["keyval"]["public"])})
        return SSlibKey.from_crypto(bare._crypto_key())  # noqa: SLF001 - the only way to have its id computed
    except (KeyError, TypeError, ValueError) as err:
        raise TrustError(f"key: expected an ed25519 key document: {err}") from err


def seal(message: Struct, kind: PayloadType, signer: CryptoSigner) -> bytes:
    """Sign a control message and return its envelope as canonical JSON.

    Raises:
        MessageError: the envelope would be larger than `MAX_CONTROL_BYTES`.
    """
    payload = encode_control(message)
    signature = signer.sign(Envelope(payload, kind.value, {}).pae())
    data = _ENVELOPE % (
        b64encode(payload),
        kind.value.encode(),
        signature.keyid.encode(),
        b64encode(bytes.fromhex(signature.signature)),
    )
    if len(data) > MAX_CONTROL_BYTES:
        raise MessageError(
            f"{type(message).__name__}: {len(data)} bytes in its envelope, the limit is {MAX_CONTROL_BYTES}"
        )
    return data


def unseal(
    data: bytes, kind: PayloadType, message: type[Message], *, keys: Sequence[Key], threshold: int = 1
) -> Message:
    """Check an envelope's signatures by `threshold` of `keys`, then read the message in it.

    Raises:
        MessageError: it is not an envelope, or holds another kind of message.
        TrustError: too few of the keys signed it.
    """
    return decode_control(open_envelope(data, kind, keys=keys, threshold=threshold), message)


def open_envelope(data: bytes, kind: PayloadType, *, keys: Sequence[Key], threshold: int = 1) -> bytes:
    """Check an envelope's signatures; return the message in it as it came. Raises as `unseal`."""
    envelope = _open(data, kind)
    _verify(envelope, kind, keys=keys, threshold=threshold)
    return envelope.payload


def claimed_generation(data: bytes) -> int | None:
    """Return the generation that an envelope claims for its `desired`, whoever signed it; None where it has none."""
    found = claimed(data, PayloadType.DESIRED, _Numbered)
    return None if found is None else found.generation


def claimed(data: bytes, kind: PayloadType, message: type[Message]) -> Message | None:
    """Return what an envelope claims, whoever signed it: nothing to believe. None where that is no such message."""
    try:
        return decode_control(_open(data, kind).payload, message)
    except MessageError:
        return None


def unseal_enrolment(data: bytes) -> tuple[EnrolmentRequest, Key]:
    """Read a request to enrol and return it with its key, which signed it.

    Raises:
        MessageError: it is not an envelope, or holds something else.
        TrustError: the key in it is no key, or did not sign it.
    """
    envelope = _open(data, PayloadType.ENROLMENT)
    request = decode_control(envelope.payload, EnrolmentRequest)
    key = key_from_document(request.public_key)
    _verify(envelope, PayloadType.ENROLMENT, keys=[key])
    return request, key


def _open(data: bytes, kind: PayloadType) -> _Opened:
    if len(data) > MAX_CONTROL_BYTES:
        raise MessageError(f"envelope: {len(data)} bytes, the limit is {MAX_CONTROL_BYTES}")
    found = _as_written(data) or _in_any_form(data)
    if found.kind != kind.value:
        raise MessageError(f"envelope: expected {kind.value}, found {found.kind[:80]!r}")
    return found


def _as_written(data: bytes) -> _Opened | None:
    """Read an envelope in the form that `seal` gives it; None: it has another one, or is none."""
    try:
        found = _DECODER.decode(data)
        signatures = {one.keyid: b64decode(one.sig, validate=True) for one in found.signatures}
        payload = b64decode(found.payload, validate=True)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return _Opened(payload, found.kind, signatures) if len(signatures) == len(found.signatures) else None


def _in_any_form(data: bytes) -> _Opened:
    try:
        envelope = Envelope.from_dict(json.loads(data))
        signatures = {keyid: bytes.fromhex(one.signature) for keyid, one in envelope.signatures.items()}
        return _Opened(envelope.payload, str(envelope.payload_type), signatures)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise MessageError(f"expected a DSSE envelope: {err}") from err


def _verify(envelope: _Opened, kind: PayloadType, *, keys: Sequence[Key], threshold: int = 1) -> None:
    signed = Envelope(envelope.payload, kind.value, {}).pae()
    valid = set[str]()
    for key in keys:
        signature = envelope.signatures.get(key.keyid)
        if signature is not None and key.keyid not in valid and _verifies(key, signature, signed):
            valid.add(key.keyid)
    if not 0 < threshold <= len(valid):
        raise TrustError(f"{kind.name.lower()}: not signed by the key that is trusted for it")


def _verifies(key: Key, signature: bytes, signed: bytes) -> bool:
    try:
        if (key.keytype, key.scheme) == ("ed25519", "ed25519"):
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"])).verify(signature, signed)
        else:
            key.verify_signature(Signature(key.keyid, signature.hex()), signed)
    except (InvalidSignature, UnverifiedSignatureError, VerificationError, ValueError):
        return False
    return True
