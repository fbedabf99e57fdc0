"""A decoder in a process of its own.

On some broken streams GDCM ends the whole process (a C++ exception that nobody catches), and CharLS counts for many
seconds. In a child they end the child.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
from collections.abc import Callable

_CPU_SECONDS = 2
_SAMPLES_PER_SECOND = 1_000_000
"""Decoders manage some ten times as many. A broken stream may count for ever; a small one is given up early."""

_MAX_CPU_SECONDS = 10
_SECONDS = 60


def run_isolated(function: Callable[[], bytes], samples: int) -> bytes:
    """Run a function in a forked child, and return the bytes it returns.

    Parameters
    ----------
    function : callable
        What to run. It must not need the caller's threads.
    samples : int
        How many samples it decodes, by which its time is measured.

    Returns
    -------
    bytes
        What it returned; empty where it failed, ended the child or took too long. A child that only waits is ended too,
        so that it does not outlive a caller that was stopped.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _run_child(function, reader, writer, min(_CPU_SECONDS + samples // _SAMPLES_PER_SECOND, _MAX_CPU_SECONDS))
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        result = pipe.read()
    _, status = os.waitpid(child, 0)
    return result if status == 0 else b""


def _run_child(function: Callable[[], bytes], reader: int, writer: int, seconds: int) -> None:
    """Write what the function returns, and end without the caller's clean-up."""
    code = 1
    try:
        os.close(reader)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        _silence()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(function())
        code = 0
    finally:
        os._exit(code)


def _silence() -> None:
    """Keep what native code prints out of the caller's streams; one of them may carry a protocol."""
    faulthandler.disable()
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a device
        for stream in (1, 2):
            os.dup2(nothing.fileno(), stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
