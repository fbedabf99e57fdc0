"""A worker process: reads one job at a time from its pipe, and writes one answer for each.

It is started by `service.workers.pool` alone. What it opens, hostile files included, it opens with the limits set here,
and without the service's secrets: its environment holds none.

A message is 8 bytes of length, big-endian, and a pickle. Standard input and output are the pipes at first; both are
moved away before anything else is imported, because a codec that prints would otherwise write into an answer.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import gc
import importlib
import os
import pickle
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

LENGTH_BYTES = 8
# The parent kills a job that is out of time. If the parent is gone as well, the kernel does it this much later.
ALARM_GRACE_SECONDS = 5
PR_SET_PDEATHSIG = 1


def read_message(stream: BinaryIO) -> bytes | None:
    """Read one message.

    Parameters
    ----------
    stream : BinaryIO
        The pipe that jobs come from.

    Returns
    -------
    bytes or None
        The pickle, or None at the end of the stream, also where a message was cut short.
    """
    header = stream.read(LENGTH_BYTES)
    if len(header) < LENGTH_BYTES:
        return None
    length = int.from_bytes(header, "big")
    body = stream.read(length)
    return body if len(body) == length else None


def write_message(stream: BinaryIO, body: bytes) -> None:
    """Write one message.

    Parameters
    ----------
    stream : BinaryIO
        The pipe that answers go to.
    body : bytes
        The pickle.
    """
    stream.write(len(body).to_bytes(LENGTH_BYTES, "big"))
    stream.write(body)
    stream.flush()


def is_allowed(module: str, packages: tuple[str, ...]) -> bool:
    """Return whether a module belongs to one of the packages.

    Parameters
    ----------
    module : str
        A dotted module name.
    packages : tuple of str
        Dotted package names.

    Returns
    -------
    bool
        Whether a job, or a class in an answer, may come from that module.
    """
    return any(module == package or module.startswith(package + ".") for package in packages)


def main() -> None:
    """Serve jobs until the pipe ends."""
    options = pickle.loads(bytes.fromhex(sys.argv[1]))  # noqa: S301 - written by the parent process
    die_with_parent(options["parent"])
    jobs, answers = take_pipes()
    limit_process(options["memory_bytes"])
    write_message(answers, pickle.dumps(prepare(options["modules"]), protocol=5))
    while (message := read_message(jobs)) is not None:
        body, spent = answer(message, options["packages"])
        write_message(answers, body)
        if spent:
            break


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when the service ends, however it ends.

    Parameters
    ----------
    parent : int
        The service's process id.
    """
    # The service decides when a worker ends: Ctrl-C and a process manager's SIGTERM reach the whole group, while
    # requests that need this worker are still being finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the pipes away from the standard streams, and leave /dev/null in their place.

    Returns
    -------
    tuple of BinaryIO
        Where jobs come from, and where answers go.
    """
    jobs, answers, complaints = os.dup(0), os.dup(1), os.dup(2)
    # What a codec prints may quote the file it reads. Only the interpreter's own words on a crash, which name
    # functions and lines, go where the service may log them.
    faulthandler.enable(complaints)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    return os.fdopen(jobs, "rb"), os.fdopen(answers, "wb")


def limit_process(memory_bytes: int) -> None:
    """Bound what a hostile file can make this process take.

    Parameters
    ----------
    memory_bytes : int
        How much memory it may allocate.
    """
    # RLIMIT_DATA where it counts private memory (Linux): a large upload is mapped read-only from its spool file, and
    # RLIMIT_AS would count the mapping.
    bound = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    with contextlib.suppress(OSError, ValueError):  # a lower hard limit is already there, or the system has none
        resource.setrlimit(bound, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's pixels
    with contextlib.suppress(OSError):  # when memory is short a worker goes before the service and its database
        Path("/proc/self/oom_score_adj").write_text("500")


def prepare(modules: tuple[str, ...]) -> str | None:
    """Import what jobs will need.

    Parameters
    ----------
    modules : tuple of str
        Names of modules.

    Returns
    -------
    str or None
        What went wrong, else None.
    """
    try:
        for module in modules:
            importlib.import_module(module)
    except BaseException:  # noqa: BLE001 - whatever it is, the service logs it and goes on
        return traceback.format_exc()
    gc.collect()
    gc.freeze()
    return None


def answer(message: bytes, packages: tuple[str, ...]) -> tuple[bytes, bool]:
    """Run one job.

    Parameters
    ----------
    message : bytes
        The pickle of (module, function, arguments, seconds).
    packages : tuple of str
        The packages that a function may come from.

    Returns
    -------
    tuple of (bytes, bool)
        The pickle of ("result", value), ("raised", exception), ("memory", None) or ("failed", where), and whether this
        process should end: after a failed allocation its memory is not what it was.
    """
    try:
        module, name, arguments, seconds = pickle.loads(message)  # noqa: S301 - written by the parent process
        function = find_function(module, name, packages)
        signal.alarm(int(seconds) + 1 + ALARM_GRACE_SECONDS)
        try:
            return pickle.dumps(("result", function(*arguments)), protocol=5), False
        finally:
            signal.alarm(0)
    except MemoryError:
        return pickle.dumps(("memory", None), protocol=5), True
    except BaseException as error:  # noqa: BLE001 - every job has an answer
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:  # what mmap raises
            return pickle.dumps(("memory", None), protocol=5), True
        return failure(error, packages), False


def find_function(module: str, name: str, packages: tuple[str, ...]) -> Callable[..., Any]:
    """Find a job's function.

    Parameters
    ----------
    module, name : str
        Where it is, and what it is called.
    packages : tuple of str
        The packages that it may come from.

    Returns
    -------
    callable
        The function.

    Raises
    ------
    ImportError
        It is none of theirs.
    """
    if not is_allowed(module, packages):
        raise ImportError
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def failure(error: BaseException, packages: tuple[str, ...]) -> bytes:
    """Pack an exception for the service.

    Parameters
    ----------
    error : BaseException
        What the job raised.
    packages : tuple of str
        The packages whose exceptions go back as they are.

    Returns
    -------
    bytes
        The pickle of ("raised", exception) or ("failed", where).
    """
    if is_allowed(type(error).__module__, packages):
        with contextlib.suppress(Exception):
            return pickle.dumps(("raised", error), protocol=5)
    # The message of a foreign exception may quote a value of the file ("could not convert string to float: ...").
    return pickle.dumps(("failed", describe(error)), protocol=5)


def describe(error: BaseException) -> str:
    """Return where an exception came from, without its message.

    Parameters
    ----------
    error : BaseException
        Any exception.

    Returns
    -------
    str
        Its type and the functions it went through.
    """
    frames: Any = traceback.extract_tb(error.__traceback__)[-20:]
    places = "".join(f"\n  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    return f"{type(error).__module__}.{type(error).__qualname__}{places}"


if __name__ == "__main__":
    main()
