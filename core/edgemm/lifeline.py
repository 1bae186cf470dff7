"""The lifeline of a child process: the kernel kills the child, and all of its process group, when its parent is gone.

    python -m edgemm.lifeline DESCRIPTOR MODULE ARGUMENTS…    # as edgemm.child_process starts each child

DESCRIPTOR is the read end of a pipe that nobody ever writes to. The parent alone holds the write end; however it ends,
the kernel closes that, which is an event on the read end, for which the kernel sends SIGKILL (fcntl(2), F_SETSIG):

* it needs nothing of the child, which may be deep in an engine's code that never returns;
* it is about the parent's process, where PR_SET_PDEATHSIG is about the thread that started the child (prctl(2)) and
  would kill a child whose starter ended in good order;
* it reaches what the child started, too;
* a parent that ended before all this was set up is found out by a look at the pipe afterwards.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import select
import signal
import sys


def hold(descriptor: int) -> None:
    """Have the kernel kill this process's group, which it leads, once the other end of the pipe is closed."""
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(descriptor, 0)
    if poll.poll(0):  # it was closed before, and sends nothing any more
        os.killpg(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Hold on to the lifeline, then be the module."""
    descriptor, module = int(sys.argv[1]), sys.argv[2]
    hold(descriptor)
    sys.argv[1:] = sys.argv[3:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
