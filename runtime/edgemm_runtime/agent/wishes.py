"""The desired state of this device: received, verified, judged, and kept byte for byte.

The director's keys come from the TUF target `director.json` and are cached. So a device that comes up without a network
verifies the envelope on its disk and goes on serving. Keys that do not fit may have been replaced: they are fetched in
a thread of its own, and the envelope waits for them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from securesystemslib.signer import Key

from edgemm.bundle.manifest import Manifest
from edgemm.errors import EnvironmentFailure, MessageError, TrustError, UnreachableError
from edgemm.messages import (
    MAX_CONTROL_BYTES,
    ORDERED_KINDS,
    Action,
    ActionOrder,
    Desired,
    DesiredModel,
    decode_control,
    hash_of_payload,
)
from edgemm.trust.enrolment import DIRECTOR_TARGET
from edgemm.trust.signing import PayloadType, key_from_document, open_envelope, unseal
from edgemm_runtime.agent.acceptance import Acceptance, Whom, judge
from edgemm_runtime.agent.director_keys import KeyFetch
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.trusted_time import TrustedTime
from edgemm_runtime.agent.update.trusted_versions import TrustedVersions, director_document

_log = logging.getLogger(__name__)
_NAME = "desired.json"
_MAX_WAITING = 16
"""Envelopes that may wait for keys, each of at most 32 KiB."""


@dataclass(frozen=True)
class WaitingEnvelope:
    """An envelope that waited for keys; `late` where it came while they were being fetched: they may be older."""

    data: bytes
    late: bool


class Wishes:
    """The desired state that this device works towards; used by one thread."""

    def __init__(
        self,
        folder: StateFolder,
        fetch: KeyFetch,
        whom: Whom,
        *,
        now: Callable[[], TrustedTime],
    ) -> None:
        self._folder, self._fetch, self._whom, self._now = folder, fetch, whom, now
        self._waiting: deque[WaitingEnvelope] = deque(maxlen=_MAX_WAITING)
        self._refused: bytes | None = None
        """The latest that no key at hand fitted: it is looked at again once there are others."""
        self.director: bytes | None = None
        """The director's document that is believed; None where none was fetched."""
        self._keys = self._cached_keys()
        self._envelope = b""
        self.current: Desired | None = None
        self.current_hash: str | None = None
        """The `content_hash` of the current one, of its bytes as they came."""

    def restore(self) -> Desired | None:
        """Return the desired state of before the start, if there is one that can be trusted.

        Where the keys at hand do not fit it, they are asked for; it may be restored once they have come.
        """
        data = self._folder.read_bytes(_NAME)
        if data is None or self.current is not None:
            return self.current
        try:
            kept, digest = self._unseal(data)
        except (MessageError, TrustError) as err:
            _log.warning("kept desired state not used error=%s", err)
            if isinstance(err, TrustError):
                self.ask_for_keys()
            return None
        if (kept.fleet, kept.device) == (self._whom.fleet, self._whom.device):
            self.current, self.current_hash, self._envelope = kept, digest, data
        return self.current

    def receive(self, data: bytes, *, again: bool = False) -> Acceptance | None:
        """Verify and judge an envelope; one that is taken is kept as it came.

        None: the keys at hand do not fit it, and it waits for others (`take_keys`); not so where it comes `again`,
        after a look for keys that began later than it came.

        Raises:
            MessageError: it is not a `desired` of this version.
            TrustError: the director did not sign it.
        """
        if len(data) > MAX_CONTROL_BYTES:
            raise MessageError(f"desired: more than {MAX_CONTROL_BYTES} bytes, which is the limit")
        try:
            new, digest = self._unseal(data)
        except TrustError:
            late = self._fetch.under_way
            if again or not self.ask_for_keys():
                self._refused = data
                raise
            if all(one.data != data for one in self._waiting):
                self._waiting.append(WaitingEnvelope(data, late=late))
            return None
        try:
            answer = judge(new, self.current, whom=self._whom, now=self._now())
        except ValueError as err:
            raise MessageError(f"desired: a date that is none: {err}") from err
        self._refused = None
        if answer.taken:
            self._keep(data)
            self.current, self.current_hash, self._envelope = new, digest, data
        return answer

    def ordered(self, data: bytes, *, boot: str) -> Action:
        """Verify a message with one action, for this start of this device, and return the action.

        Raises:
            MessageError: it is no order of this version, or of a kind that does not come this way.
            TrustError: the director did not sign it, or it is for another device, or another start.
        """
        try:
            order = unseal(data, PayloadType.ACTION, ActionOrder, keys=self._keys)
        except TrustError:
            self.ask_for_keys()  # the fleet sends it again when this device reports
            raise
        if (order.fleet, order.device, order.boot) != (self._whom.fleet, self._whom.device, boot):
            raise TrustError(f"action: expected one for start {boot} of this device, found {order.device} {order.boot}")
        if order.action.kind not in ORDERED_KINDS:
            raise MessageError(f"action: expected one of {', '.join(ORDERED_KINDS)}, found {order.action.kind!r}")
        return order.action

    def ask_for_keys(self) -> bool:
        """Have the director's keys fetched, unless that was done a moment ago; tells whether they are on their way."""
        return self._fetch.begin()

    def take_keys(self, data: bytes | None) -> list[WaitingEnvelope]:
        """Take the director's document, None where none came; return the envelopes that waited, to be received again.

        What the device works towards is given up where none of the keys signed it: the director's key was replaced,
        and whoever has the old one may have said it, under any generation. What runs goes on. Other keys than before
        may fit what was refused last.
        """
        waiting = list(self._waiting)
        self._waiting.clear()
        try:
            keys = self._read_keys(data) if data is not None else None
        except TrustError as err:
            _log.warning("director's keys not used error=%s", err)
            keys = None
        if data is not None and keys is not None:
            if data != self.director and self._refused is not None:
                waiting.append(WaitingEnvelope(self._refused, late=False))
                self._refused = None
            self._keys, self.director = keys, data
            self._keep_keys(data)
            self._give_up_unsigned()
        return waiting

    def _give_up_unsigned(self) -> None:
        if self.current is None:
            return
        try:
            self._unseal(self._envelope)
        except (MessageError, TrustError):
            _log.warning("desired given up, its key was replaced generation=%d", self.current.generation)
            self.current, self.current_hash, self._envelope = None, None, b""

    def _keep_keys(self, data: bytes) -> None:
        if data == self._folder.read_bytes(DIRECTOR_TARGET):
            return
        try:
            self._folder.write_bytes(DIRECTOR_TARGET, data)
        except EnvironmentFailure as err:
            _log.warning("director's keys not kept error=%s", err)

    def _unseal(self, data: bytes) -> tuple[Desired, str]:
        payload = open_envelope(data, PayloadType.DESIRED, keys=self._keys)
        return decode_control(payload, Desired), hash_of_payload(payload)

    def _keep(self, data: bytes) -> None:
        try:
            self._folder.write_bytes(_NAME, data)
        except EnvironmentFailure as err:
            # Obeyed all the same: the fleet sends it again after a start.
            _log.error("desired state not kept error=%s", err)

    def _cached_keys(self) -> list[Key]:
        data = self._folder.read_bytes(DIRECTOR_TARGET)
        if data is None:
            return []
        try:
            keys = self._read_keys(data)
        except TrustError as err:
            _log.warning("cached director's keys not used error=%s", err)
            return []
        self.director = data
        return keys

    def _read_keys(self, data: bytes) -> list[Key]:
        document = director_document(data, fleet=self._whom.fleet)
        found, refused = list[Key](), list[str]()
        for key in document.keys:
            try:
                found.append(key_from_document(key))
            except TrustError as err:  # of a kind that a later version knows: it vouches for nothing here
                refused.append(str(err))
        if not found:
            raise TrustError(f"{DIRECTOR_TARGET}: none of its keys can be used here: {'; '.join(refused)}")
        if refused:
            _log.warning("director's keys passed over error=%s", "; ".join(refused))
        return found


class AskedManifests:
    """Manifests of what the director still asks for: nothing new is installed for a key that was replaced."""

    def __init__(self, versions: TrustedVersions, wishes: Wishes) -> None:
        self._versions, self._wishes = versions, wishes

    def manifest(self, wanted: DesiredModel) -> tuple[Manifest, bytes]:
        """Return the manifest that `wanted` names and its bytes; raises as `TrustedVersions.manifest`."""
        if self._wishes.current is None:
            raise UnreachableError("the director's key was replaced, and what it wants now is not heard yet")
        return self._versions.manifest(wanted)
