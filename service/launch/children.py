"""Child processes: started so that they end with this process, ended in two steps, started again at growing intervals.

The local database, the service processes of a supervisor and the workers are all children of this kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

BACK_OFF_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)

_LAUNCHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("kernel.py")))


async def start_child(*command: str, ending: signal.Signals = signal.SIGKILL, **options: Any) -> Process:
    """Return a child that, on Linux, ends with this process however that ends.

    The kernel ties it to the *thread* that starts it: call this in a thread that lives as long as the process.

    Parameters
    ----------
    *command : str
        The path of the program, and its arguments.
    ending : signal, optional
        What the kernel sends it when this process is gone.
    **options
        Of `asyncio.create_subprocess_exec`.

    Raises
    ------
    OSError
        The system has no room for another process.
    """
    return await asyncio.create_subprocess_exec(*_LAUNCHER, str(os.getpid()), str(int(ending)), *command, **options)


async def end_child(process: Process, grace: float) -> None:
    """End a child: ask it to, and have the kernel end it when it has not done so within `grace` seconds."""
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            # A paused process does not see the request. The request comes last: before it sends a signal, `subprocess`
            # looks whether the child has ended, and takes its status away from asyncio where it has.
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await process.wait()
                return


class BackOff:
    """How long to wait before a child that ended is started again.

    Parameters
    ----------
    settled : float
        Seconds; a child that has lived longer did not die at once.

    Attributes
    ----------
    deaths : int
        How many died at once, one after another.
    """

    def __init__(self, settled: float) -> None:
        self.deaths = 0
        self._settled = settled

    def after(self, lived: float) -> float:
        """Return the seconds to wait, after a child that lived for some seconds has ended."""
        self.deaths = 0 if lived > self._settled else self.deaths + 1
        return BACK_OFF_SECONDS[min(max(self.deaths - 1, 0), len(BACK_OFF_SECONDS) - 1)]
