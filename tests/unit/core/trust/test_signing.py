import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import CryptoSigner

from edgemm.errors import InputError, MessageError, TrustError
from edgemm.messages import Status
from edgemm.trust.signing import PayloadType, create_key, key_document, key_from_document, load_key, seal, unseal

STATUS = Status(online=True, boot="0" * 16, boot_count=1, connection=1)


@pytest.fixture
def signer(tmp_path: Path) -> CryptoSigner:
    return create_key(tmp_path / "device.key")


def test_what_was_sealed_can_be_unsealed(signer: CryptoSigner) -> None:
    data = seal(STATUS, PayloadType.EVENT, signer)
    assert unseal(data, PayloadType.EVENT, Status, keys=[signer.public_key]) == STATUS


def test_a_key_file_is_private_and_reads_back(tmp_path: Path, signer: CryptoSigner) -> None:
    path = tmp_path / "device.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).public_key == signer.public_key


def test_a_public_key_travels_as_its_document(signer: CryptoSigner) -> None:
    assert key_from_document(key_document(signer.public_key)) == signer.public_key


def test_a_key_document_cannot_choose_its_own_id(signer: CryptoSigner, tmp_path: Path) -> None:
    other = create_key(tmp_path / "other.key").public_key
    document = {**key_document(other), "keyid": signer.public_key.keyid}
    assert key_from_document(document).keyid == other.keyid


def test_another_key_is_not_trusted(signer: CryptoSigner, tmp_path: Path) -> None:
    other = create_key(tmp_path / "other.key")
    with pytest.raises(TrustError, match="not signed by the key"):
        unseal(seal(STATUS, PayloadType.EVENT, other), PayloadType.EVENT, Status, keys=[signer.public_key])
    with pytest.raises(TrustError):
        unseal(seal(STATUS, PayloadType.EVENT, other), PayloadType.EVENT, Status, keys=[])


def test_a_changed_payload_is_not_trusted(signer: CryptoSigner) -> None:
    envelope = json.loads(seal(STATUS, PayloadType.EVENT, signer))
    payload = base64.b64decode(envelope["payload"]).replace(b"true", b"null")
    envelope["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(TrustError):
        unseal(json.dumps(envelope).encode(), PayloadType.EVENT, Status, keys=[signer.public_key])


def test_one_kind_of_message_does_not_pass_for_another(signer: CryptoSigner) -> None:
    data = seal(STATUS, PayloadType.EVENT, signer)
    with pytest.raises(MessageError, match="expected application/vnd.edgemm.desired"):
        unseal(data, PayloadType.DESIRED, Status, keys=[signer.public_key])
    relabelled = data.replace(PayloadType.EVENT.encode(), PayloadType.DESIRED.encode())
    with pytest.raises(TrustError):
        unseal(relabelled, PayloadType.DESIRED, Status, keys=[signer.public_key])


def test_an_envelope_that_is_spelled_in_another_way_is_read_and_checked_alike(
    signer: CryptoSigner, tmp_path: Path
) -> None:
    status = Status(online=True, boot="0" * 16, boot_count=2**40, connection=1)
    envelope = json.loads(seal(status, PayloadType.EVENT, signer))
    envelope["signatures"][0]["more"] = 1
    urlsafe = base64.urlsafe_b64encode(base64.b64decode(envelope["signatures"][0]["sig"])).decode()
    envelope["signatures"][0]["sig"] = urlsafe
    spelled = json.dumps(envelope, indent=1).encode("utf-16")
    assert unseal(spelled, PayloadType.EVENT, Status, keys=[signer.public_key]) == status
    with pytest.raises(TrustError):
        unseal(spelled, PayloadType.EVENT, Status, keys=[create_key(tmp_path / "other.key").public_key])


def test_as_many_keys_have_to_sign_as_are_asked_for_and_each_counts_once(signer: CryptoSigner, tmp_path: Path) -> None:
    other = create_key(tmp_path / "other.key")
    one, two = (json.loads(seal(STATUS, PayloadType.EVENT, by)) for by in (signer, other))
    keys = [signer.public_key, signer.public_key, other.public_key]
    both = json.dumps(one | {"signatures": one["signatures"] + two["signatures"]}).encode()
    assert unseal(both, PayloadType.EVENT, Status, keys=keys, threshold=2) == STATUS
    for data, threshold in ((json.dumps(one).encode(), 2), (both, 3), (both, 0)):
        with pytest.raises(TrustError):
            unseal(data, PayloadType.EVENT, Status, keys=keys, threshold=threshold)
    twice = json.dumps(one | {"signatures": one["signatures"] * 2}).encode()
    with pytest.raises(MessageError, match="expected a DSSE envelope"):
        unseal(twice, PayloadType.EVENT, Status, keys=keys)


@pytest.mark.parametrize(
    "data",
    [
        *[b"", b"{}", b"[]", b"null", b"\xff", b"[" * 20_000, b" " * 40_000],
        b'{"payload":1,"payloadType":"x","signatures":[]}',
        b'{"payload":"e30=","payloadType":"x","signatures":[{"sig":"%%"}]}',
    ],
)
def test_what_is_no_envelope_is_refused(signer: CryptoSigner, data: bytes) -> None:
    with pytest.raises(MessageError, match="envelope"):
        unseal(data, PayloadType.EVENT, Status, keys=[signer.public_key])


@pytest.mark.parametrize(
    "document",
    [{}, {"keytype": "rsa", "scheme": "x"}, {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "zz"}}],
)
def test_what_is_no_key_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(TrustError, match="key"):
        key_from_document(document)


def _pem(key: PrivateKeyTypes, password: bytes = b"") -> bytes:
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)


ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(32))
PEM = _pem(ED25519)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (None, "nothing to read (No such file or directory)"),
        (b"", "an empty file"),
        (b"\n", "an empty file"),
        (b"hello", "5 bytes without a whole one"),
        (PEM[:40], "40 bytes without a whole one"),
        (PEM[: len(PEM) // 2], f"{len(PEM) // 2} bytes without a whole one"),
        (bytes(len(PEM)), f"{len(PEM)} bytes without a whole one"),
        (_pem(ED25519, b"secret"), "one under a password"),
        (_pem(generate_private_key(SECP256R1())), "a key of another kind"),
    ],
)
def test_a_file_that_is_no_key(tmp_path: Path, data: bytes | None, found: str) -> None:
    path = tmp_path / "k"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError) as refused:
        load_key(path, next_step="do this")
    assert str(refused.value) == f"{path}: expected an Ed25519 private key in PEM, found {found}; do this"
