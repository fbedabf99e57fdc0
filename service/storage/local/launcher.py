"""Start a program that ends when the process that started it ends, whatever ends that.

Run as a script, in isolated mode: ``python -I -S launcher.py PARENT_PID SIGNAL PROGRAM [ARGUMENT …]``. It asks the
kernel (Linux) for that signal at its parent's end, and becomes the program; the request outlives the change. It does
so in a process of its own, because code between fork and exec of a process with threads can hang.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def launch(parent: int, number: int, command: list[str]) -> None:
    """Become the program, unless the parent is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the request was made
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    launch(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
