"""The shapes of a device's state files, each with its number, and what becomes of one that a newer agent wrote. Pure.

A shape's number is MAJOR.MINOR. The major is `v` in the file: a reader takes any minor of its own major, and passes
over fields that it does not know. Whoever changes a shape raises the minor where the agents of before still read what
is written, else the major; a test compares each shape with the fingerprint of its number in
`tests/golden/device/shapes.toml`, and wants a golden file of it.

A file of a newer major is never read. A device must come up, so what it can do without, or have again, is put aside
as `NAME.vMAJOR` and begun anew, and the fleet is told; the file is there for the newer agent. Only who the device is
has no second source: then the start is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from edgemm.trust.addresses import FleetAddresses
from edgemm_runtime.agent.state.documents import (
    ActionsFile,
    BootFile,
    DirectorFile,
    IdentityFile,
    ModelFile,
    TimeFile,
)


class WhenNewer(StrEnum):
    """What becomes of a file of a newer major."""

    REFUSE = "refuse"
    """The agent does not start, and says why; the file stays."""
    PUT_ASIDE = "put aside"
    """It gets another name, and the agent begins a new one."""
    FETCH = "fetch"
    """It is a copy of what the fleet has: it is not used, and fetched again."""


@dataclass(frozen=True)
class StateFile:
    """One kind of file: its document, its shape's number, and what becomes of a newer one."""

    kind: type[Struct]
    shape: str
    when_newer: WhenNewer


STATE_FILES = {
    "identity.json": StateFile(IdentityFile, "1.0", WhenNewer.REFUSE),
    # Its number is then taken from the trusted time, as where storage lost it: no start is numbered twice.
    "boot.json": StateFile(BootFile, "1.0", WhenNewer.PUT_ASIDE),
    # The system clock and the time of the build are believed, as on a first start, and the fleet is told.
    "time.json": StateFile(TimeFile, "1.1", WhenNewer.PUT_ASIDE),
    "director.json": StateFile(DirectorFile, "1.0", WhenNewer.FETCH),
    "addresses.json": StateFile(FleetAddresses, "1.0", WhenNewer.FETCH),
    # What the fleet still asks for is done again: each action can be repeated.
    "actions.json": StateFile(ActionsFile, "1.0", WhenNewer.PUT_ASIDE),
    # The model is installed anew, as where storage lost the record; what the newer agent began is not gone on with.
    "models": StateFile(ModelFile, "1.1", WhenNewer.PUT_ASIDE),
}
"""By name in the state folder; `models` for each of `models/NAME.json`.

`desired.json` is an envelope of the wire, as are `manifests` and `tuf`; they have versions of their own, and the spool
has its number beside its tables.
"""


def state_file(name: str) -> StateFile:
    """Return what a file of the state folder is, by its path in it.

    Raises:
        KeyError: no document has this name.
    """
    return STATE_FILES[name.split("/", maxsplit=1)[0]]
