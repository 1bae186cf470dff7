"""A command module whose library is not installed."""

import ghost_of_a_library  # noqa: F401
