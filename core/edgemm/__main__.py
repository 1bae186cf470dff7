"""The entry point of the `edgemm` command and of `python -m edgemm`: imports nothing before signals are minded."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    if os.getpid() == 1:
        _end_by_sigterm()
    try:
        from edgemm import cli

        cli.main()
    except KeyboardInterrupt:  # while the command line itself was loaded
        sys.stderr.write("interrupted\n")  # noqa: TID251 - nobody else's text, and nothing else is imported yet
        sys.exit(130)


def _end_by_sigterm() -> None:
    """End by SIGTERM until a server minds it: of the first process of a container, the kernel takes no default."""
    import signal

    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


if __name__ == "__main__":
    main()
