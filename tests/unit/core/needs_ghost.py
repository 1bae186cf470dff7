"""A command module whose library is not installed."""

import ghost_of_a_library  # type: ignore[import-not-found]  # noqa: F401 - it is missing on purpose
