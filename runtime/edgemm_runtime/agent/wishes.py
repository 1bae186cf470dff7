"""The desired state of this device: received, verified, judged, and kept byte for byte.

The director's keys come from the TUF target `director.json` and are cached. So a device that comes up without a network
verifies the envelope on its disk and goes on serving.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Protocol

from securesystemslib.signer import Key

from edgemm.errors import EdgemmError, EnvironmentFailure, MessageError, TrustError
from edgemm.messages import Desired
from edgemm.trust.enrolment import DIRECTOR_TARGET
from edgemm.trust.signing import PayloadType, key_from_document, unseal
from edgemm_runtime.agent.acceptance import Acceptance, Whom, judge
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.trusted_time import TrustedTime
from edgemm_runtime.agent.update.trusted_versions import director_document

_log = logging.getLogger(__name__)
_NAME = "desired.json"
_FETCH_PAUSE_S = 10.0


class DirectorSource(Protocol):
    """Where the director's document comes from; `TrustedVersions` in a device."""

    def director(self) -> bytes:
        """Return the document; raises as `TrustedVersions.director`."""


class Wishes:
    """The desired state that this device works towards; used by one thread."""

    def __init__(
        self,
        folder: StateFolder,
        director: DirectorSource,
        whom: Whom,
        *,
        now: Callable[[], TrustedTime],
        monotonic: Callable[[], float],
    ) -> None:
        self._folder, self._director, self._whom, self._now = folder, director, whom, now
        self._monotonic = monotonic
        self._fetch_after_s = -math.inf
        self._keys = self._cached_keys()
        self.current: Desired | None = None

    def restore(self) -> Desired | None:
        """Return the desired state of before the start, if there is one that can be trusted."""
        data = self._folder.read_bytes(_NAME)
        if data is None or self.current is not None:
            return self.current
        try:
            kept = self._unseal(data)
        except (MessageError, TrustError) as err:
            _log.warning("kept desired state not used error=%s", err)
            return None
        if (kept.fleet, kept.device) == (self._whom.fleet, self._whom.device):
            self.current = kept
        return self.current

    def receive(self, data: bytes) -> Acceptance:
        """Verify and judge an envelope; one that is taken is kept as it came.

        Raises:
            MessageError: it is not a `desired` of this version.
            TrustError: the director did not sign it.
        """
        new = self._unseal(data)
        try:
            answer = judge(new, self.current, whom=self._whom, now=self._now())
        except ValueError as err:
            raise MessageError(f"desired: a date that is none: {err}") from err
        if answer.taken:
            self._keep(data)
            self.current = new
        return answer

    def refresh_keys(self) -> bool:
        """Fetch the director's keys; tells whether they were had.

        Not more often than once in a while, whatever a broker sends.
        """
        if self._monotonic() < self._fetch_after_s:
            return False
        self._fetch_after_s = self._monotonic() + _FETCH_PAUSE_S
        try:
            data = self._director.director()
            keys = self._read_keys(data)
        except EdgemmError as err:
            _log.warning("director's keys not fetched error=%s", err)
            return False
        self._keys = keys
        if data != self._folder.read_bytes(DIRECTOR_TARGET):
            try:
                self._folder.write_bytes(DIRECTOR_TARGET, data)
            except EnvironmentFailure as err:
                _log.warning("director's keys not kept error=%s", err)
        return True

    def _unseal(self, data: bytes) -> Desired:
        """Verify with the keys at hand; keys that do not fit may have been replaced, and are fetched anew once."""
        try:
            return unseal(data, PayloadType.DESIRED, Desired, keys=self._keys)
        except TrustError:
            if not self.refresh_keys():
                raise
            return unseal(data, PayloadType.DESIRED, Desired, keys=self._keys)

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
            return self._read_keys(data)
        except TrustError as err:
            _log.warning("cached director's keys not used error=%s", err)
            return []

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
