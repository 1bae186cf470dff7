"""The enrolment of this device: once in its life it shows its token and public key, and learns its identity.

The key is made and durable before it is sent. The same token and key get the same answer, so that a crash before the
answer was kept does no harm: the next start asks again.
"""

from __future__ import annotations

import logging
import platform
import socket
from pathlib import Path

import msgspec
from securesystemslib.signer import CryptoSigner

from edgemm import __version__
from edgemm.canonical import sha256
from edgemm.errors import InputError, TrustError, UnreachableError
from edgemm.transport.address import check_url
from edgemm.trust.enrolment import (
    ENROL_PATH,
    EnrolmentRequest,
    EnrolmentResponse,
    EnrolmentToken,
    Labels,
    parse_token,
)
from edgemm.trust.signing import PayloadType, create_key, key_document, load_key, seal
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection
from edgemm_runtime.agent.connection.root_chain import follows
from edgemm_runtime.agent.state.agent_options import AgentOptions
from edgemm_runtime.agent.state.documents import IdentityFile
from edgemm_runtime.agent.state.state_folder import StateFolder

_log = logging.getLogger(__name__)
KEY_NAME = "device.key"
_NAME = "identity.json"
_MAX_NAME = 128


def check_options(options: AgentOptions) -> None:
    """Refuse what can never work, before a folder is made or a port is opened; asks nobody.

    Raises:
        InputError: no URL of a fleet, not a token, none where one is needed, or labels that no server takes.
    """
    check_url(options.fleet_url)
    _check_labels(options)
    if options.token is not None:
        parse_token(options.token)
    elif _is_new(options.state_dir):
        raise _no_token()


def identify(folder: StateFolder, options: AgentOptions) -> IdentityFile:
    """Return who this device is; enrols when it does not know yet, or is given a token it did not enrol with.

    Raises:
        InputError: no token where one is needed, not a token, or one of another fleet.
        PermissionDeniedError: the token is unknown, expired or used up.
        TrustError: the server's TUF root is not the one that the token pins.
        EnvironmentFailure: the server is out of reach, or the disk is full.
    """
    url = check_url(options.fleet_url)
    known = folder.read(_NAME, IdentityFile)
    if known is None and folder.path(_NAME).exists():
        raise InputError(f"{folder.path(_NAME)}: damaged; remove it and enrol again with a new token")
    token = parse_token(options.token) if options.token is not None else None
    if known is not None and (token is None or token.id == known.token_id):
        return _moved(folder, known, url)
    if token is None:
        raise _no_token()
    return _enrol(folder, options, url=url, token=token, known=known)


def _enrol(
    folder: StateFolder, options: AgentOptions, *, url: str, token: EnrolmentToken, known: IdentityFile | None
) -> IdentityFile:
    server = _connection(url, token, options)
    request = _request(folder, options, token)
    try:
        answer = server.post(ENROL_PATH, request)
    except UnreachableError as err:
        if known is None:
            raise
        _log.warning("cannot enrol again now, going on as before device=%s error=%s", known.device, err)
        return known
    response = _read(answer, url)
    if (found := sha256(response.root.encode())) != token.root_digest:
        raise TrustError(
            f"{url}: the token pins the TUF root sha256 {token.root_digest[:12]}…, found {found[:12]}…: "
            "this is not the server that made the token; ask its operator for a new one"
        )
    if known is not None and not follows(
        known.root.encode(), token.root_digest, _connection(url, token, options, bearer=response.bearer)
    ):
        raise InputError(
            f"state folder {folder.folder} belongs to a device of another fleet ({known.fleet}): "
            "give this device its own --state-dir"
        )
    identity = IdentityFile(
        url=url,
        tls_fingerprint=token.tls_fingerprint,
        token_id=token.id,
        fleet=response.fleet,
        device=response.device,
        bearer=response.bearer,
        broker=response.broker,
        root=response.root,
    )
    folder.write(_NAME, identity, mode=0o600)
    _log.info("enrolled device=%s fleet=%s url=%s", identity.device, identity.fleet, url)
    return identity


def _connection(
    url: str, token: EnrolmentToken, options: AgentOptions, *, bearer: str | None = None
) -> FleetConnection:
    return FleetConnection(
        url,
        tls_fingerprint=token.tls_fingerprint,
        connect_timeout_s=options.limits.connect_timeout_s,
        read_timeout_s=options.limits.read_timeout_s,
        bearer=bearer,
        slow_s=options.limits.slow_s,
        document_s=options.limits.document_s,
    )


def device_key(folder: StateFolder) -> CryptoSigner:
    """Return the device's key pair.

    Raises:
        InputError: it is missing or damaged.
    """
    return load_key(folder.path(KEY_NAME), next_step="remove it, and enrol again with a new token")


def _request(folder: StateFolder, options: AgentOptions, token: EnrolmentToken) -> bytes:
    _check_labels(options)
    path = folder.path(KEY_NAME)
    signer = device_key(folder) if path.exists() else create_key(path)
    request = EnrolmentRequest(
        secret=token.secret.hex(),
        public_key=key_document(signer.public_key),
        name=(options.name or socket.gethostname() or "device")[:_MAX_NAME],
        labels=dict(options.labels),
        runtime=__version__,
        platform=platform.platform()[:_MAX_NAME],
    )
    return seal(request, PayloadType.ENROLMENT, signer)


def _check_labels(options: AgentOptions) -> None:
    try:
        msgspec.convert(dict(options.labels), Labels)
    except msgspec.ValidationError as err:
        raise InputError(f"cannot enrol with these labels: {err}") from err


def _is_new(folder: Path) -> bool:
    try:
        return not (folder / _NAME).exists()
    except OSError:  # what is wrong with the folder is told by who opens it
        return False


def _no_token() -> InputError:
    return InputError(
        "this device is not enrolled yet: expected --token emt1_…; `edgemm fleet token create` prints one on the server"
    )


def _read(answer: bytes, url: str) -> EnrolmentResponse:
    try:
        return msgspec.json.decode(answer, type=EnrolmentResponse)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise TrustError(f"{url}: its answer to the enrolment is none ({err}): is this a fleet manager?") from err


def _moved(folder: StateFolder, known: IdentityFile, url: str) -> IdentityFile:
    """Follow a fleet manager that has a new address; who it is stays pinned."""
    if known.url == url:
        return known
    moved = msgspec.structs.replace(known, url=url)
    folder.write(_NAME, moved, mode=0o600)
    return moved
