"""Private keys in a fleet folder that sign nothing: of a change that is not made yet, was cut short, or is over.

leftovers(folder, root)          each with what it is of, and what to do about it
discard(folder, root, ["9ffb"])  deletes them
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Root

from edgemm import durable
from edgemm.errors import InputError
from edgemm.trust import signing
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.key_files import OVERLAP_S
from edgemm_fleet.trust.keys import ONLINE

_MOST_FILES = 100
_WRITTEN_S = 60.0
"""A file that is this old is not being written any more."""
_ADVICE = "edgemm fleet keys discard"


@dataclass(frozen=True)
class LeftoverKey:
    """A file with a private key, whole or a part of it; `key_id` is empty where none can be read from it.

    `kept` where it is not to be deleted yet.
    """

    path: Path
    key_id: str
    what: str
    advice: str
    kept: bool = False

    def place(self, folder: FleetFolder) -> str:
        """Return its path in the folder."""
        return self.path.relative_to(folder.root).as_posix()


def leftovers(folder: FleetFolder, root: Root) -> list[LeftoverKey]:
    """Return all private keys in a fleet folder that nothing signs by, at most 100 of each place."""
    keys = folder.root / "keys"
    found = [*_written(folder), *_previous(folder), *_prepared(folder, keys / "next")]
    return [*found, *_offline(folder, root), *_halves(folder)]


def discard(folder: FleetFolder, root: Root, wanted: Sequence[str]) -> list[LeftoverKey]:
    """Delete those that are meant by the beginning of a key's id, or by a path; all where `wanted` is empty.

    Raises:
        InputError: one of them is no such key, or still signs; nothing is deleted.
        EnvironmentFailure: a file cannot be deleted.
    """
    found = leftovers(folder, root)
    chosen = [one for one in found if not one.kept] if not wanted else []
    for text in wanted:
        meant = [one for one in found if _is_meant(one, text, folder)]
        if not meant:
            raise InputError(
                f"{text!r}: expected the beginning of the id, or the path, of a key that is left over: "
                "edgemm fleet keys list"
            )
        if len({one.key_id or one.path for one in meant}) > 1:
            raise InputError(f"{text!r}: {len(meant)} keys begin with this; give more of the id, or the path")
        if (kept := next((one for one in meant if one.kept), None)) is not None:
            raise InputError(f"{text!r}: {kept.what}; {kept.advice}")
        chosen += [one for one in meant if one not in chosen]
    for one in chosen:
        one.path.unlink(missing_ok=True)
    for place in {one.path.parent for one in chosen}:
        durable.sync_folder(place)
    return chosen


def _is_meant(one: LeftoverKey, text: str, folder: FleetFolder) -> bool:
    beginning = text.rstrip("…")
    return (bool(beginning) and one.key_id.startswith(beginning)) or text in {one.place(folder), str(one.path)}


def _written(folder: FleetFolder) -> Iterator[LeftoverKey]:
    """Yield what was being written into places of keys when the process was killed."""
    for place in (
        folder.root / "keys",
        folder.root / "keys" / "next",
        folder.root / "offline-keys",
        folder.root / "tls",
    ):
        for path in _files(place, f"{durable.TEMPORARY_PREFIX}*"):
            try:
                fresh = 0 <= time.time() - path.stat().st_mtime < _WRITTEN_S
            except OSError:
                continue  # it has its name by now
            what = "it is being written" if fresh else "a write that was cut short"
            yield LeftoverKey(path, _key_id(path), what, "look again in a minute" if fresh else _ADVICE, kept=fresh)


def _previous(folder: FleetFolder) -> Iterator[LeftoverKey]:
    for role in ONLINE:
        path = folder.root / "keys" / f"{role}.previous.pem"
        try:
            fresh = 0 <= time.time() - path.stat().st_mtime < OVERLAP_S
        except OSError:
            continue
        what = f"the {role} key of before" + (", which signs too for ten minutes" if fresh else "")
        advice = "the manager deletes it" if fresh else f"the manager deletes it when it signs next; or: {_ADVICE}"
        yield LeftoverKey(path, _key_id(path), what, advice, kept=fresh)


def _prepared(folder: FleetFolder, place: Path) -> Iterator[LeftoverKey]:
    changing = folder.trust_change.exists()
    for path in _files(place, "*.pem"):
        role = path.name.partition("-")[0] if "-" in path.name else "server"
        if changing:
            what, advice = f"a {role} key of a change that was cut short", f"to end that: {_ADVICE}"
        else:
            what = f"a {role} key of a change that was proposed and not made, or cut short"
            advice = f"edgemm fleet keys apply FILE, where it was proposed; else {_ADVICE}"
        yield LeftoverKey(path, _key_id(path), what, advice)


def _offline(folder: FleetFolder, root: Root) -> Iterator[LeftoverKey]:
    trusted = {key_id for role in ("root", "targets") for key_id in root.roles[role].keyids}
    for path in _files(folder.root / "offline-keys", "*"):
        if path.name.startswith(durable.TEMPORARY_PREFIX) or not (key_id := _key_id(path)) or key_id in trusted:
            continue
        role = next((role for role in ("root", "targets") if path.name.startswith(role)), "root or targets")
        if path.name.endswith(".retired"):
            yield LeftoverKey(path, key_id, f"a {role} key that was replaced, and that nothing trusts", _ADVICE)
        else:
            what = f"a {role} key of a change that was proposed and not made, or cut short"
            yield LeftoverKey(
                path, key_id, what, f"edgemm fleet keys apply FILE, where it was proposed; else {_ADVICE}"
            )


def _halves(folder: FleetFolder) -> Iterator[LeftoverKey]:
    """Yield keys of certificates that are not there: `edgemm fleet cert show` tells of whole pairs."""
    for name, advice in (("next", "edgemm fleet cert renew makes another"), ("previous", "of no use")):
        key, certificate = (folder.certificate.with_name(f"{name}{end}") for end in ("-key.pem", ".pem"))
        if key.exists() and not certificate.exists() and not folder.certificate.with_name("switch").exists():
            what = f"the key of a {name} certificate that is not there"
            yield LeftoverKey(key, "", what, f"{advice}; {_ADVICE}")


def _files(place: Path, pattern: str) -> Iterable[Path]:
    return sorted(path for path in place.glob(pattern) if path.is_file())[:_MOST_FILES]


def _key_id(path: Path) -> str:
    try:
        return str(signing.load_key(path).public_key.keyid)
    except InputError:
        return ""
