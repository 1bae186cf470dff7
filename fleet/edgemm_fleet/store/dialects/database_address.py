"""The place of a fleet's database: SQLite's file in the fleet folder, or an address of PostgreSQL.

    address = PostgresAddress.parse("postgresql://edgemm@db.example/fleet?sslmode=verify-full")

An address never has a password: it is shown, logged and noted in the fleet folder. libpq takes passwords from
`PGPASSWORD`, from the file that `PGPASSFILE` or `?passfile=` names, or from `~/.pgpass`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from edgemm.errors import InputError

_SCHEMES = ("postgresql://", "postgres://")
ADVICE = (
    "leave the password out, for `ps`, logs and the fleet folder show it: put it into ~/.pgpass, into a file that "
    "PGPASSFILE names, or into PGPASSWORD"
)


@dataclass(frozen=True)
class PostgresAddress:
    """A database of a PostgreSQL server, as libpq writes it: postgresql://[USER@]HOST[:PORT]/DATABASE[?OPTION=…]."""

    url: str

    @classmethod
    def parse(cls, text: str, *, what: str = "--db") -> Self:
        """Return the address that a text is; `what` names it in errors.

        Raises:
            InputError: it is none, names no database, or has a password.
        """
        if not text.startswith(_SCHEMES) or re.search(r"[\s\x00-\x1f]", text):
            raise InputError(f"{what}: expected postgresql://[USER@]HOST[:PORT]/DATABASE, found {_shown(text)!r}")
        try:
            parts = urlsplit(text)
            options = dict(parse_qsl(parts.query, keep_blank_values=True))
        except ValueError as err:
            raise InputError(f"{what} {_shown(text)!r}: {err}") from err
        if ":" in parts.netloc.rpartition("@")[0] or any(map(_is_secret, options)):
            raise InputError(f"{what} {_shown(text)!r}: found a password in it; {ADVICE}")
        if not parts.path.strip("/") and "dbname" not in options:
            raise InputError(f"{what} {_shown(text)!r}: expected the database's name behind the host, found none")
        return cls(text)

    def __str__(self) -> str:
        return self.url


DatabaseAddress = Path | PostgresAddress
"""A `Path` is SQLite's file."""


def _is_secret(option: str) -> bool:
    """Tell whether an option of an address has a password, also one that libpq does not know by that spelling."""
    return "passw" in unquote(option).lower()


def _shown(text: str) -> str:
    """Return an address as it may be shown, whatever is in it."""
    hidden = re.sub(r"//[^/?#]*@", "//…@", text)
    return re.sub(r"([^?&#;\s=]+)=[^&]*", lambda one: f"{one[1]}=…" if _is_secret(one[1]) else one[0], hidden)[:200]
