"""A seam at the writes of a model's record, in the process that installs it.

at_write("after:probation", lambda: os.kill(os.getpid(), signal.SIGKILL))
"""

from __future__ import annotations

from collections.abc import Callable

from edgemm_runtime.agent.state.documents import ModelFile
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.update import machine


def at_write(point: str, act: Callable[[], None]) -> None:
    """Act `before:STATE` or `after:STATE` became durable, at the first such write; an empty point is none."""
    when, _, state = point.partition(":")
    write = StateFolder.write_model
    acted = False

    def write_and_act(self: StateFolder, record: ModelFile) -> None:
        nonlocal acted
        due = machine.state(record) == state and not acted
        acted |= due
        if due and when == "before":
            act()
        write(self, record)
        if due and when == "after":
            act()

    if point:
        StateFolder.write_model = write_and_act  # type: ignore[method-assign]  # in this process alone
