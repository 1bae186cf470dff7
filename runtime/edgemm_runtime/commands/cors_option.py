"""The option `--cors` of `edgemm run`: the web pages that may ask from a browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from edgemm.errors import InputError
from edgemm_runtime.serving import web_origins


def cors_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option; `read_origins` reads what it gives."""
    return click.option(
        "--cors",
        multiple=True,
        metavar="ORIGIN",
        help="Let web pages of this origin ask, such as https://panel.example. Repeatable.",
    )(command)


def read_origins(given: Sequence[str]) -> frozenset[str]:
    """Return the origins as browsers spell them.

    Raises:
        InputError: one is none, or stands for any.
    """
    found = set()
    for text in given:
        origin = web_origins.canonical(text.strip())
        if origin is None:
            why = ": any page that somebody in this network opens could ask: name each" if text.strip() == "*" else ""
            raise InputError(
                f"--cors: expected an origin such as https://panel.example or http://192.0.2.7:3000, without a path, "
                f"found {text!r}{why}"
            )
        found.add(origin)
    return frozenset(found)
