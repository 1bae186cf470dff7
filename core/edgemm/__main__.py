"""The entry point of `python -m edgemm`, which is the `edgemm` command."""

from edgemm.cli import main

if __name__ == "__main__":
    main()
