"""The versions of a model that were withdrawn, as its TUF role names them for publishers, servers and devices.

    withdrawn_versions(role.unrecognized_fields)     {"2.0.0"}

The role of a model no longer has a withdrawn version among its targets, so no device installs it. The list says why,
and that its number is used up: it is signed with the role, beside the targets.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from edgemm.errors import InputError
from edgemm.versions import Version

WITHDRAWN = "x-edgemm-withdrawn"
"""The field of a model's role, signed with it: a list of versions, absent where there are none."""


def role_name(model: str) -> str:
    """Return the delegated role of a model; never the bare name, for python-tuf accepts a delegate `targets`."""
    return f"model-{model}"


def withdrawn_versions(fields: Mapping[str, Any]) -> frozenset[str]:
    """Return the versions that a role's fields name as withdrawn.

    Raises:
        InputError: they name them in a way that is not known here.
    """
    found = fields.get(WITHDRAWN, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InputError(f"{WITHDRAWN}: expected a list of versions, found {str(found)[:80]}")
    return frozenset(Version(one).text for one in found)


def withdrawn_field(versions: Collection[str]) -> dict[str, list[str]]:
    """Return the fields by which a role names these versions, in one order."""
    return {WITHDRAWN: sorted(versions, key=lambda one: (Version(one), one))} if versions else {}
