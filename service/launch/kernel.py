"""What the kernel is asked to do for a process, by prctl(2): elsewhere than on Linux nothing is asked.

Run as a script, in isolated mode: ``python -I -S kernel.py PARENT_PID SIGNAL PROGRAM [ARGUMENT …]``. It asks the kernel
for that signal at its parent's end, and becomes the program; the request outlives the change. It does so in a process
of its own, because code between fork and exec of a process with threads can hang.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4


def hide_memory() -> bool:
    """Return whether the memory and the environment of this process are hidden from others of the same user.

    The kernel then gives ``/proc/PID/mem`` and ``/proc/PID/environ`` to root, lets nobody without CAP_SYS_PTRACE
    attach, and writes no core file. It holds until the process becomes another program.
    """
    return prctl(PR_SET_DUMPABLE, 0)


def prctl(option: int, value: int) -> bool:
    """Return whether the kernel did what it was asked."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)


def launch(parent: int, number: int, command: list[str]) -> None:
    """Become the program, unless the parent is gone already."""
    prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before the request was made
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    launch(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
