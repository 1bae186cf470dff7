"""The expiries of what a fleet has: signatures, certificates and tokens, and the warning in time. Pure.

Each says when, and what to do before. Snapshot and timestamp are not among them: the manager signs them anew by
itself. Nor are tokens that were made to be short.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from edgemm_fleet.records.records import EnrolmentTokenRecord, PersonToken, Role

WARNED_S = 30 * 86_400.0
"""How long before its end something is warned of; what lasted no longer from its beginning never is."""
MOST_TOKENS = 100
"""Tokens of one kind that are warned of at a time, the next to end."""


_OF_CERTIFICATES = {
    "server": "edgemm fleet cert renew --folder FOLDER; devices go by its fingerprint and not by its dates",
    "broker": "renew it at that broker, and name the new one by --broker-ca",
    "mosquitto": "replace the files of --mosquitto-certificate and --mosquitto-key; Mosquitto is told within a second",
}


class Expiry(Struct, frozen=True, kw_only=True):
    """Something that ends: its kind, its name, when (seconds since the Unix epoch), and what to do before."""

    kind: str
    name: str
    ends_at: float
    advice: str

    def is_near(self, now: float) -> bool:
        """Tell whether it ended, or is to be warned of."""
        return self.ends_at - now < WARNED_S


def of_roles(expiries: Iterable[tuple[str, float]]) -> list[Expiry]:
    """Return the endings of signed TUF roles, given as (role, expiry)."""
    found = []
    for role, ends_at in expiries:
        model = role.removeprefix("model-")
        if role in {"root", "targets"}:
            advice = f"sign it anew with its offline key: edgemm fleet keys renew {role} --folder FOLDER"
        else:
            advice = f"its publisher signs it anew: edgemm fleet models renew {model}"
        found.append(Expiry(kind="signature", name=role, ends_at=ends_at, advice=advice))
    return found


def of_certificates(ends: Iterable[tuple[str, float]]) -> list[Expiry]:
    """Return the endings of certificates, given as (whose, when): `mosquitto`'s in place of the fleet's."""
    return [
        Expiry(
            kind="certificate",
            name=whose,
            ends_at=ends_at,
            advice=_OF_CERTIFICATES.get(whose, "renew it"),
        )
        for whose, ends_at in ends
    ]


def of_tokens(people: Iterable[PersonToken], devices: Iterable[EnrolmentTokenRecord]) -> list[Expiry]:
    """Return the endings of tokens of people and of tokens by which devices join."""
    found = [
        Expiry(
            kind="token",
            name=f"{one.id} of {one.person}",
            ends_at=one.expires_at,
            advice=f"edgemm fleet people add {one.person} --role {one.role.value}",
        )
        for one in people
    ]
    return found + [
        Expiry(kind="enrolment token", name=one.id, ends_at=one.expires_at, advice="edgemm fleet token create")
        for one in devices
    ]


def no_administrator(now: float) -> Expiry:
    """Return the ending of the last administrator's token, which is over."""
    return Expiry(
        kind="token",
        name=Role.ADMIN.value,
        ends_at=now,
        advice="no token of an administrator holds: on the server, edgemm fleet people add NAME --role admin "
        "--folder FOLDER",
    )


def near(endings: Iterable[Expiry], *, now: float) -> list[Expiry]:
    """Return what ended or ends soon, the next first."""
    return sorted((one for one in endings if one.is_near(now)), key=lambda one: (one.ends_at, one.kind, one.name))
