"""The entry point of the `edgemm` command and of `python -m edgemm`: imports nothing before Ctrl-C is minded."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    try:
        from edgemm import cli

        cli.main()
    except KeyboardInterrupt:  # while the command line itself was loaded
        sys.stderr.write("interrupted\n")  # noqa: TID251 - nobody else's text, and nothing else is imported yet
        sys.exit(130)


if __name__ == "__main__":
    main()
