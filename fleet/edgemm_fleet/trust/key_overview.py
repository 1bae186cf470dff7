"""The overview of a fleet's keys: each role's, how many must sign, until when, and where the private halves are."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from tuf.api.metadata import Role

from edgemm.errors import InputError
from edgemm.trust.enrolment import DIRECTOR_TARGET
from edgemm_fleet.trust.roles import key_ids_of_director
from edgemm_fleet.trust.version_repository import VersionRepository

_WHAT = {
    "root": "who holds the keys of root, targets, snapshot and timestamp",
    "targets": "who may publish which model, the director's key, and the fleet's addresses",
    "snapshot": "which versions of all roles belong together",
    "timestamp": "which snapshot is the newest",
    "director": "what each device is to run",
}
_RENEWED = "renewed by the manager"


class HeldKey(Struct, frozen=True, kw_only=True):
    """A key by its id, and where its private half is: a path in the fleet folder, or elsewhere."""

    id: str
    where: str


class RoleKeys(Struct, frozen=True, kw_only=True):
    """A role: what it signs, its keys, how many of them must sign, and until when its signature holds."""

    role: str
    what: str
    keys: tuple[HeldKey, ...]
    threshold: int
    until: str

    @property
    def where(self) -> str:
        """Where the private halves are, each place once."""
        return ", ".join(dict.fromkeys(key.where for key in self.keys))


def overview(repository: VersionRepository) -> list[RoleKeys]:
    """Return all roles, those that are trusted most first; models by name."""
    root, targets = repository.root.signed, repository.targets
    found = []
    for name, expires in (("root", root.expires), ("targets", targets.expires)):
        here = {signer.public_key.keyid for signer in repository.keys.offline(root.roles[name].keyids)}
        found.append(_role(name, root.roles[name], here, "offline-keys/", until=_day(expires)))
    found += [
        _role(name, root.roles[name], _online(repository, name), f"keys/{name}.pem", until=_RENEWED)
        for name in ("snapshot", "timestamp")
    ]
    director = Role(_director_keys(repository), 1)
    here = _online(repository, "director")
    found.append(_role("director", director, here, "keys/director.pem", until=_day(targets.expires)))
    delegated = (targets.delegations.roles if targets.delegations else None) or {}
    expiries = dict(repository.expiries())
    for name, role in sorted(delegated.items()):
        until = _day(datetime.fromtimestamp(expiries[name])) if name in expiries else "nothing is published"  # noqa: DTZ006
        found.append(_role(name, role, set(), "", until=until, what=f"versions of {name.removeprefix('model-')}"))
    return found


def _role(name: str, role: Role, here: set[str], place: str, *, until: str, what: str = "") -> RoleKeys:
    publisher = name not in _WHAT
    elsewhere = "its publisher's machine" if publisher else "not here"
    return RoleKeys(
        role=name,
        what=what or _WHAT[name],
        keys=tuple(HeldKey(id=key_id, where=place if key_id in here else elsewhere) for key_id in role.keyids),
        threshold=role.threshold,
        until=until,
    )


def _online(repository: VersionRepository, role: str) -> set[str]:
    try:
        return {repository.keys.online(role).public_key.keyid}
    except InputError:
        return set()  # lost, which is what the overview then shows


def _director_keys(repository: VersionRepository) -> list[str]:
    data = repository.manifest_bytes(repository.targets.targets[DIRECTOR_TARGET])
    return key_ids_of_director(data)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
