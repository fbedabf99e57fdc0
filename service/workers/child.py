"""A worker process: reads one job at a time from its pipe, and writes one answer for each.

It is started by `service.workers.pool` alone. What it opens, hostile files included, it opens with the limits set here,
confined by `service.workers.confinement`, and without the service's secrets: its environment holds none.

`service.workers.messages` says what a message is. Standard input and output are the pipes at first; both are moved away
before anything else is imported, because a codec that prints would otherwise write into an answer.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import importlib
import inspect
import json
import mmap
import os
import resource
import signal
import socket
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from service.errors import ServiceError, Unavailable
from service.workers.confinement import confine
from service.workers.messages import LENGTH_BYTES, Packed, convert, fill, pack, read_head

# The parent kills a job that is out of time. If the parent is gone as well, the kernel does it this much later.
ALARM_GRACE_SECONDS = 5


def read_message(stream: BinaryIO) -> tuple[Any, list[bytes]] | None:
    """Return the head's value and the blobs of the next message.

    Parameters
    ----------
    stream : BinaryIO
        The pipe that jobs come from.

    Returns
    -------
    tuple or None
        None at the end of the stream, also where a message was cut short.
    """
    length = stream.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        return None
    value, sizes = read_head(stream.read(int.from_bytes(length, "big")))
    blobs = [stream.read(size) for size in sizes]
    return (value, blobs) if [len(blob) for blob in blobs] == sizes else None


def write_message(stream: BinaryIO, packed: Packed) -> None:
    """Write one message to the pipe that answers go to."""
    stream.write(packed.head)
    for blob in packed.blobs:
        stream.write(blob)
    stream.flush()


def map_file(files: socket.socket) -> mmap.mmap | bytes:
    """Return the next file that is handed over, mapped: only what is looked at is read."""
    _, (descriptor, *_), _, _ = socket.recv_fds(files, 1, 1)
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError:
        return b""  # an empty file cannot be mapped
    finally:
        os.close(descriptor)


def is_allowed(module: str, packages: tuple[str, ...]) -> bool:
    """Return whether a module belongs to one of the packages.

    Parameters
    ----------
    module : str
        A dotted module name.
    packages : tuple of str
        Dotted package names.
    """
    return any(module == package or module.startswith(package + ".") for package in packages)


def main() -> None:
    """Serve jobs until the pipe ends."""
    options = json.loads(sys.argv[1])
    packages = tuple(options["packages"])
    # The service decides when a worker ends: Ctrl-C and a process manager's SIGTERM reach the whole group, while
    # requests that need this worker are still being finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    jobs, answers = take_pipes()
    files = socket.socket(fileno=options["files"])
    files.set_inheritable(False)
    limit_process(options["memory_bytes"])
    problem = prepare(options["modules"])
    write_message(answers, pack([problem, confine(packages)]))

    def replace(kind: str, named: Any) -> Any:
        return map_file(files) if kind == "file" else find_function(named[0], named[1], packages)

    while (job := read_message(jobs)) is not None:
        packed, spent = answer(*job, replace)
        write_message(answers, packed)
        del job, packed  # or they would be held until the next job comes
        if spent:
            break


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


def prepare(modules: list[str]) -> str | None:
    """Import what jobs will need.

    Parameters
    ----------
    modules : list of str
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


def answer(job: Any, blobs: list[bytes], replace: Callable[[str, Any], Any]) -> tuple[Packed, bool]:
    """Run one job.

    Parameters
    ----------
    job : list
        Its number, the function, its arguments, and the seconds that it may run.
    blobs : list of bytes
        What stands in it.
    replace : callable
        Of `fill`, for files and functions.

    Returns
    -------
    tuple of (Packed, bool)
        Its number and ("result", value), ("raised", [name, sentence, seconds]), ("memory", None) or ("failed", where);
        and whether this process should end: after a failed allocation its memory is not what it was.
    """
    number = job[0]
    try:
        _, function, arguments, seconds = fill(job, blobs, replace)
        signal.alarm(int(seconds) + 1 + ALARM_GRACE_SECONDS)
        try:
            return pack([number, "result", function(*typed(function, arguments))]), False
        finally:
            signal.alarm(0)
    except MemoryError:
        return pack([number, "memory", None]), True
    except BaseException as error:  # noqa: BLE001 - every job has an answer
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:  # what mmap raises
            return pack([number, "memory", None]), True
        return pack([number, *failure(error)]), False


def typed(function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
    """Return plain arguments as the types that a function takes."""
    hints = typing.get_type_hints(function)
    names = list(inspect.signature(function).parameters)
    wanted = [hints.get(name) if isinstance(value, dict | list) else None for name, value in zip(names, arguments)]  # noqa: B905 - further ones go to *args
    wanted += [None] * (len(arguments) - len(wanted))
    return [value if hint is None else convert(value, hint) for value, hint in zip(arguments, wanted, strict=True)]


def find_function(module: str, name: str, packages: tuple[str, ...]) -> Callable[..., Any]:
    """Return a function by its module and name.

    Raises
    ------
    ImportError
        It is none of the packages'.
    """
    if not is_allowed(module, packages):
        raise ImportError
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def failure(error: BaseException) -> tuple[str, Any]:
    """Return an exception as plain data: one of the service's own as what it says, any other as where it came from."""
    if isinstance(error, ServiceError):
        seconds = error.retry_after if isinstance(error, Unavailable) else None
        names = [each.__name__ for each in type(error).__mro__ if each.__module__ == ServiceError.__module__]
        return "raised", [names[0], error.detail, seconds]
    # The message of a foreign exception may quote a value of the file ("could not convert string to float: ...").
    return "failed", describe(error)


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
