"""The events of a model's update. Values only; `machine.decide` says what follows."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from edgemm.messages import DesiredModel
from edgemm.reasons import Reason


class Wanted(msgspec.Struct, frozen=True):
    """The fleet wants this version; told at every new desired state, and after each update ended."""

    model: DesiredModel


class Unwanted(msgspec.Struct, frozen=True):
    """The model is absent from the desired state: it is to be stopped."""


class Prepared(msgspec.Struct, frozen=True):
    """The manifest is here and trusted, a variant can run, and its bytes fit onto the disk."""

    variant: str


class Fetched(msgspec.Struct, frozen=True):
    """All blobs of the variant are here, each with its digest checked."""


class SelfTested(msgspec.Struct, frozen=True):
    """The golden samples came out right in a child process."""


class Proceed(msgspec.Struct, frozen=True):
    """Nothing speaks against activating what is staged."""


class Activated(msgspec.Struct, frozen=True):
    """The new model answered a golden sample in the serving process and serves."""


class Passed(msgspec.Struct, frozen=True):
    """Probation is over and the model stays."""


class RolledBack(msgspec.Struct, frozen=True):
    """What was active before serves again, or nothing where there was nothing."""


class Trouble(msgspec.Struct, frozen=True):
    """A step cannot be completed."""

    reason: Reason
    detail: str = ""


class Restarted(msgspec.Struct, frozen=True):
    """The agent started again and found the update where it is."""


class Stopping(msgspec.Struct, frozen=True):
    """The agent is about to end on purpose."""


class Lost(msgspec.Struct, frozen=True):
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
