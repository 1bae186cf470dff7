"""Secrets never need a command line, which every user of a machine can see."""

from __future__ import annotations

import click

from edgemm_fleet.commands.people import login
from edgemm_fleet.commands.serve import serve
from edgemm_runtime.commands.run import run


def test_no_secret_option_is_without_a_file() -> None:
    """Each option that takes a secret has a sibling that takes a file, and says that `ps` shows what is typed."""
    for command, option, file in (
        (run, "token", "token_file"),
        (login, "token", "token_file"),
        (serve, "device_login", "device_login_file"),
        (serve, "broker", "broker_login_file"),
    ):
        params = {one.name: one for one in command.params}
        typed = params[option]
        assert isinstance(typed, click.Option)
        assert "`ps` shows" in (typed.help or ""), option
        assert file in params
