"""The version repository on disk: a TUF repository that is consistent at every moment, also after a SIGKILL.

`timestamp.json` alone says what is current: it names the snapshot, which names the version of every targets role. A
change writes new files under new names first and replaces `timestamp.json` last. A process that is killed in between
leaves the older state and a few files that nobody refers to; the next change writes over them.

    repository = VersionRepository(folder)
    repository.publish(publication, now=datetime.now(UTC))

A change of root or targets is written down as a whole before it is made (`trust-change.json`): whoever changes the
repository next ends one that was cut short. Processes and threads change a repository one after the other, a running
manager and a command on its folder too, and each looks first at what the others did.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets

from edgemm import durable
from edgemm.errors import BadRequestError, ConflictError, EnvironmentFailure, NotFoundError, PermissionDeniedError
from edgemm.trust.withdrawn import role_name
from edgemm_fleet.trust import proposal as proposals
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.metadata_files import DEFAULT_LIMITS, check_snapshot_size, check_targets_size, serialize
from edgemm_fleet.trust.model_role import check_published, minimum_version
from edgemm_fleet.trust.proposal import Proposal
from edgemm_fleet.trust.proposal_changes import changes, check
from edgemm_fleet.trust.publication import Publication, check_extension, check_renewal
from edgemm_fleet.trust.repository_view import RepositoryState, RepositoryView
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES, Lifetimes
from edgemm_fleet.trust.withdrawal import check_withdrawal

logger = logging.getLogger(__name__)


class VersionRepository(RepositoryView):
    """Reads and changes the TUF repository of a fleet folder."""

    def __init__(self, folder: FleetFolder, *, lifetimes: Lifetimes = DEFAULT_LIFETIMES) -> None:
        """Read what is current; raises as `RepositoryView`."""
        super().__init__(folder, lifetimes=lifetimes)
        self._lock = threading.Lock()
        self._told = set[str]()

    def time_signer(self) -> CryptoSigner:
        """Return the key that states the time: that of the timestamp role."""
        return self.keys.online("timestamp")

    def publish(self, publication: Publication, *, now: datetime) -> bool:
        """Make a checked version a target; False where exactly this was published already.

        Raises:
            PermissionDeniedError: no key that may publish this model signed it.
            ConflictError: it is not the version that follows, or changes what was published.
            BadRequestError: it contradicts itself.
            EnvironmentFailure: the disk is full.
        """
        with self._changing(now):
            current = self.role(publication.manifest.name)
            if current is not None and current == publication.role:
                return False
            check_extension(self.targets, current.signed if current else None, publication, now=now)
            if current is None:
                check_snapshot_size(len(serialize(self._state.snapshot)))
            self._files.write_target(publication.path, publication.manifest_bytes)
            self._replace_role(publication.manifest.name, publication.role, now=now)
        logger.info("published model=%s version=%s", publication.manifest.name, publication.manifest.version)
        return True

    def renew(self, model: str, role: Metadata[Targets], *, now: datetime) -> None:
        """Take over a model's role that was signed anew, with the same versions in it; raises as `publish`."""
        with self._changing(now):
            current = self.role(model)
            if current == role:
                return
            check_renewal(self.targets, model, current.signed if current else None, role, now=now)
            self._replace_role(model, role, now=now)
        logger.info("renewed model=%s", model)

    def withdraw(self, model: str, role: Metadata[Targets], *, now: datetime) -> None:
        """Take over a model's role from which an administrator withdrew versions; raises as `publish`."""
        with self._changing(now):
            current = self.role(model)
            if current == role:
                return
            gone = check_withdrawal(self.targets, model, current.signed if current else None, role, now=now)
            self._replace_role(model, role, now=now)
        logger.info("withdrew model=%s versions=%s minimum=%s", model, sorted(gone), minimum_version(role.signed))

    def authorise(self, model: str, key: Key, *, now: datetime, by_admin: bool = True) -> None:
        """Let `key` publish a model, with the targets keys that lie in `offline-keys/`; others only where no key may.

        Raises:
            PermissionDeniedError: another key may, and no administrator asks.
            ConflictError: the targets key was taken offline, or devices would not take so many authorisations.
        """
        with self._changing(now):
            if key.keyid in (known := roles.model_keys(self.targets, model)):
                return
            if known and not by_admin:
                raise PermissionDeniedError(
                    f"model {model}: another key publishes it; an administrator may add yours: "
                    f"edgemm fleet models authorize {model} --publisher-key PUB"
                )
            signer, *others = self._targets_signers(model)
            following = roles.authorise(
                self._state.targets, model, key, signer=signer, now=now, lifetimes=self.lifetimes
            )
            for one in others:
                following.sign(one, append=True)
            check_targets_size(len(serialize(following)), by_admin=by_admin)
            self._replace_targets(following, now=now)
        logger.info("authorised model=%s key=%s", model, key.keyid)

    def deprive(self, model: str, key_id: str, *, now: datetime) -> None:
        """Let a key no longer publish a model, with the targets keys that lie in `offline-keys/`.

        Raises:
            NotFoundError: it may not anyhow.
            ConflictError: what is published would lose its last good signature, or the targets key was taken offline.
        """
        with self._changing(now):
            if key_id not in roles.model_keys(self.targets, model):
                raise NotFoundError(f"model {model}: no key {key_id[:12]}… may publish it")
            following = roles.deprive(self._state.targets, model, key_id, now=now, lifetimes=self.lifetimes)
            check_published(following.signed, self.published_roles())
            for signer in self._targets_signers(model):
                following.sign(signer, append=True)
            self._replace_targets(following, now=now)
        logger.info("deprived model=%s key=%s", model, key_id)

    def withdraw_unused(self, *, now: datetime) -> list[str]:
        """Have nobody publish the models any more that were never published; return them.

        Raises:
            ConflictError: the targets key was taken offline.
        """
        with self._changing(now):
            if names := self.unused():
                following = roles.withdrawn(self._state.targets, names, now=now, lifetimes=self.lifetimes)
                for signer in self._targets_signers(names[0]):
                    following.sign(signer, append=True)
                self._replace_targets(following, now=now)
        logger.info("withdrew unused authorisations models=%d", len(names))
        return names

    def shrink(self, *, now: datetime) -> None:
        """Make a targets role that has outgrown what devices take small again, where its key is here; else say so."""
        if (size := len(serialize(self._state.targets))) <= DEFAULT_LIMITS.targets_bytes:
            return
        logger.error("targets_too_large bytes=%d: devices take less; unused authorisations are withdrawn", size)
        try:
            self.withdraw_unused(now=now)
        except ConflictError as err:
            logger.error("targets_not_shrunk error=%s; withdraw them: edgemm fleet models tidy --targets-key FILE", err)  # noqa: TRY400

    def accept_targets(self, following: Metadata[Targets], *, now: datetime) -> None:
        """Take over a top-level targets role that was signed elsewhere, with an offline key.

        Raises:
            PermissionDeniedError: the root does not trust its signature.
            ConflictError: it is not the version that follows, or what is published would lose its last good signature,
                or it is larger than devices take.
            BadRequestError: it has expired, or names other targets than the current one.
        """
        with self._changing(now):
            try:
                self.root.signed.verify_delegate("targets", following.signed_bytes, following.signatures)
            except RepositoryError as err:
                raise PermissionDeniedError(f"targets role: not signed by the targets key: {err}") from err
            expected = self.targets.version + 1
            if following.signed.version != expected:
                raise ConflictError(
                    f"targets role: expected version {expected}, found {following.signed.version}; fetch it again"
                )
            _check_issued(following.signed, now=now)
            if following.signed.is_expired(now) or following.signed.targets != self.targets.targets:
                raise BadRequestError("targets role: expected one that has not expired, with the same targets")
            check_published(following.signed, self.published_roles())
            check_targets_size(len(serialize(following)), by_admin=True)
            self._replace_targets(following, now=now)
        logger.info("accepted targets role version=%d", following.signed.version)

    def apply(self, proposal: Proposal, *, now: datetime) -> None:
        """Make a change of root and targets that is wholly signed; from its first write on it is ended in any case.

        Raises:
            ConflictError: root or targets changed since it was proposed, or a key that it needs is not here.
            PermissionDeniedError: signatures are missing.
        """
        with self._changing(now):
            self._check_change(proposal, now)
            durable.write(self.folder.trust_change, proposals.encode(proposal))
            self._finish(now)
        logger.info("trust changed: %s", "; ".join(changes(proposal)))

    def refresh(self, *, now: datetime, reissue: bool = False) -> bool:
        """Re-sign snapshot and timestamp where less than half of their life is left; tell whether anything was.

        With `reissue`, so are targets that were signed by a clock ahead of this one, if their key is here: devices'
        times cannot be lowered behind that. This clock has to be one to go by.
        """
        with self._changing(now):
            if reissue:
                self._reissue(now=now)
            state, lives = self._state, self.lifetimes
            if roles.is_due(state.snapshot.signed.expires, lifetime=lives.snapshot, now=now):
                self._advance({}, state.targets, now=now)
            elif roles.is_due(state.timestamp.signed.expires, lifetime=lives.timestamp, now=now):
                self._write_timestamp(state.snapshot, state.targets, now=now)
            else:
                return False
        logger.info("refreshed timestamp=%d", self._state.timestamp.signed.version)
        return True

    def resume(self, *, now: datetime) -> None:
        """Re-sign snapshot and timestamp whatever is left of their life: the folder may be a restored backup."""
        with self._changing(now):
            self._advance({}, self._state.targets, now=now)

    def catch_up(self, *, now: datetime) -> None:
        """Look at what another process changed, and end what it began and could not end."""
        with self._changing(now):
            pass

    @contextmanager
    def _changing(self, now: datetime) -> Iterator[None]:
        """Be the only thread of the only process that changes the repository, which is looked at anew."""
        with self._lock, self.folder.trust_held():
            if self.is_stale():
                self._state = self._load()
            if self.folder.trust_change.exists():
                self._finish(now)
            yield

    def _check_change(self, proposal: Proposal, now: datetime) -> None:
        if proposal.fleet != self.folder.read_config().name:
            raise ConflictError(f"the proposal is for fleet {proposal.fleet!r}; this is another one")
        now_held = (self.root, self._state.targets)
        if now_held == (proposal.new_root or proposal.old_root, proposal.new_targets or proposal.old_targets):
            raise ConflictError("root or targets changed since this was proposed, to just that; nothing is to be done")
        if now_held != (proposal.old_root, proposal.old_targets):
            raise ConflictError(
                "root or targets changed since this was proposed; propose it anew, and discard its keys: "
                "edgemm fleet keys list"
            )
        if lacking := proposals.missing(proposal):
            raise PermissionDeniedError(f"not wholly signed: {'; '.join(lacking)}; edgemm fleet keys sign")
        check(proposal, now=now)
        for role, key_id in proposal.online_keys.items():
            if not self.keys.has(role, key_id):
                raise ConflictError(f"{role}: its new key {key_id[:12]}… is not in {self.folder.root}; propose it anew")
        if (root := proposal.new_root) is not None:
            _check_issued(root.signed, now=now)
        if (targets := proposal.new_targets) is not None:
            _check_issued(targets.signed, now=now)
            check_published(targets.signed, self.published_roles())
            check_targets_size(len(serialize(targets)), by_admin=True)

    def _finish(self, now: datetime) -> None:
        try:
            self._make_change(now)
        except EnvironmentFailure as err:
            reason = str(err).replace("nothing was changed", "the rest of the change of keys is still to be made")
            raise EnvironmentFailure(f"{reason}; the manager does it, or the next command here") from err

    def _make_change(self, now: datetime) -> None:
        """Make the change that is written down; each step may be repeated.

        Keys that go sign too, where they are here, so that at every moment what is there can be verified by a device
        that knows the old root, and by one that knows the new. The director's key comes last: a device that hears of
        it finds it in the metadata.
        """
        proposal = proposals.decode(self.folder.trust_change.read_bytes(), name=str(self.folder.trust_change))
        online = dict(proposal.online_keys)
        director = online.pop("director", None)
        for role, key_id in online.items():
            self.keys.take_up(role, key_id)
        for path, document in proposal.documents.items():
            self._files.write_target(path, document.encode())
        if (targets := proposal.new_targets) is not None:
            self._replace_targets(targets, now=now)
        else:
            self._advance({}, self._state.targets, now=now)
        if (root := proposal.new_root) is not None:
            self._files.write("root", root)
        if director is not None:
            self.keys.take_up("director", director)
        self._state = self._load()
        self.keys.retire_offline(_offline_keys(proposal.old_root) - _offline_keys(self.root))
        self.keys.forget_prepared(proposal.online_keys)
        self.folder.trust_change.unlink()
        durable.sync_folder(self.folder.root)

    def _reissue(self, *, now: datetime) -> None:
        if roles.issued_in_future(self.root.signed, now=now):
            self._tell_once("root: it was signed by a clock that was ahead; a new root has a time of its own")
        if not roles.issued_in_future(self._state.targets.signed, now=now):
            return
        role = self.root.signed.roles["targets"]
        signers = self.keys.offline(role.keyids)
        if len(signers) < role.threshold:
            self._tell_once("targets: signed by a clock that was ahead; authorise a publisher again, where its key is")
            return
        following = roles.renewed(self._state.targets, now=now, lifetimes=self.lifetimes)
        for signer in signers:
            following.sign(signer, append=True)
        self._replace_targets(following, now=now)
        logger.warning("targets signed anew, for the clock was ahead version=%d", following.signed.version)

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            logger.error("clocks_not_helped signed=%s: a device whose clock leaps is not helped back behind that", text)

    def _targets_signers(self, model: str) -> list[CryptoSigner]:
        role = self.root.signed.roles["targets"]
        found = self.keys.offline(role.keyids)
        if len(found) < role.threshold:
            raise ConflictError(
                f"model {model}: the targets key was taken offline, so the server cannot authorise a publisher; where "
                f"the key is, run: edgemm fleet models authorize {model} --publisher-key PUB --targets-key FILE"
            )
        return found

    def _replace_role(self, model: str, role: Metadata[Targets], *, now: datetime) -> None:
        self._files.write(role_name(model), role)
        self._advance({role_name(model): role.signed.version}, self._state.targets, now=now)

    def _replace_targets(self, following: Metadata[Targets], *, now: datetime) -> None:
        self._files.write("targets", following)
        self._advance({"targets": following.signed.version}, following, now=now)

    def _advance(self, versions: dict[str, int], targets: Metadata[Targets], *, now: datetime) -> None:
        known = {name.removesuffix(".json"): file for name, file in self._state.snapshot.signed.meta.items()}
        bare = {role: file.version for role, file in known.items() if not file.hashes}  # of before there were any
        files = {role: self._files.described(role, version) for role, version in (bare | versions).items()}
        snapshot = roles.next_snapshot(
            self._state.snapshot, files, signer=self.keys.online("snapshot"), now=now, lifetimes=self.lifetimes
        )
        if (before := self.keys.signing_too("snapshot")) is not None:
            snapshot.sign(before, append=True)
        self._files.write("snapshot", snapshot)
        self._write_timestamp(snapshot, targets, now=now)

    def _write_timestamp(self, snapshot: Metadata[Snapshot], targets: Metadata[Targets], *, now: datetime) -> None:
        timestamp = roles.next_timestamp(
            self._state.timestamp,
            snapshot.signed.version,
            signer=self.keys.online("timestamp"),
            now=now,
            lifetimes=self.lifetimes,
        )
        if (before := self.keys.signing_too("timestamp")) is not None:
            timestamp.sign(before, append=True)
        self._files.write_timestamp(timestamp)
        self._state = RepositoryState(self.root, timestamp, snapshot, targets)
        self._see()


def _check_issued(signed: Root | Targets, *, now: datetime) -> None:
    if roles.issued_in_future(signed, now=now):
        raise BadRequestError(
            f"{signed.type} role: it says that it was signed later than now: set the clock where it was signed, or "
            "here, and sign it again"
        )


def _offline_keys(root: Metadata[Root]) -> set[str]:
    return {key_id for role in ("root", "targets") for key_id in root.signed.roles[role].keyids}
