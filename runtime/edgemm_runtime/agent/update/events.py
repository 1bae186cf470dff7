"""What can happen to a model's update. Values only; `machine.decide` says what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from edgemm.messages import DesiredModel


@dataclass(frozen=True)
class Wanted:
    """The fleet wants this version; told at every new desired state, and after each update ended."""

    model: DesiredModel


@dataclass(frozen=True)
class Unwanted:
    """The model is absent from the desired state: it is to be stopped."""


@dataclass(frozen=True)
class Prepared:
    """The manifest is here and trusted, a variant can run, and its bytes fit onto the disk."""

    variant: str


@dataclass(frozen=True)
class Fetched:
    """All blobs of the variant are here, each with its digest checked."""


@dataclass(frozen=True)
class SelfTested:
    """The golden samples came out right in a child process."""


@dataclass(frozen=True)
class Proceed:
    """Nothing speaks against activating what is staged."""


@dataclass(frozen=True)
class Activated:
    """The new model answered a golden sample in the serving process and serves."""


@dataclass(frozen=True)
class Passed:
    """Probation is over and the model stays."""


@dataclass(frozen=True)
class RolledBack:
    """What was active before serves again, or nothing where there was nothing."""


@dataclass(frozen=True)
class Trouble:
    """A step cannot be completed; `reason` is a code such as `no_space`."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Restarted:
    """The agent started again and found the update where it is."""


@dataclass(frozen=True)
class Stopping:
    """The agent is about to end on purpose."""


@dataclass(frozen=True)
class Lost:
    """What is active cannot be loaded any more: its bytes rotted, or its engine is gone."""

    detail: str


Event: TypeAlias = (
    Wanted
    | Unwanted
    | Prepared
    | Fetched
    | SelfTested
    | Proceed
    | Activated
    | Passed
    | RolledBack
    | Trouble
    | Restarted
    | Stopping
    | Lost
)
