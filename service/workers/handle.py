"""One worker process as the service sees it: starting it, its messages, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.errors import WorkerLost
from service.workers.child import LENGTH_BYTES, is_allowed

PIPE_BYTES = 1 << 20
COMPLAINT_BYTES = 8192  # of a crash's traceback, from its beginning
LARGEST_ANSWER = 1 << 30
PROJECT = str(Path(__file__).resolve().parents[2])

# What a worker needs of the environment. The rest, secrets among it, stays here: workers open hostile files.
INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "SYSTEMROOT",
    "VIRTUAL_ENV",
    "TZ",
)
# One job is one core: the pool is the parallelism.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "MALLOC_ARENA_MAX"), "1"
)
# Types that are built by a function or method of their own when they are unpickled, and can do no harm.
PLAIN_TYPES = {
    ("builtins", "bytearray"),
    ("builtins", "complex"),
    ("builtins", "frozenset"),
    ("builtins", "range"),
    ("builtins", "set"),
    ("builtins", "slice"),
    ("collections", "OrderedDict"),
    ("datetime", "date"),
    ("datetime", "datetime"),
    ("datetime", "timedelta"),
    ("datetime", "timezone"),
    ("decimal", "Decimal"),
    ("uuid", "UUID"),
}


class WorkerProcess(asyncio.SubprocessProtocol):
    """One process and its pipes: messages out, messages in, and the end."""

    def __init__(self) -> None:
        self.jobs = 0
        self.lost = False
        self._transport: asyncio.SubprocessTransport | None = None
        self._incoming = bytearray()
        self._complaints = bytearray()
        self._waiting: asyncio.Future[bytes] | None = None
        self._gone = asyncio.get_running_loop().create_future()

    @property
    def transport(self) -> asyncio.SubprocessTransport:
        """The process's transport."""
        assert self._transport is not None  # noqa: S101 - set before anybody holds this object
        return self._transport

    @property
    def pid(self) -> int:
        """The process id."""
        return self.transport.get_pid()

    @property
    def exit_status(self) -> int | None:
        """The exit status; negative for the signal that killed it."""
        return self.transport.get_returncode()

    @property
    def complaints(self) -> str:
        """The interpreter's last words."""
        return self._complaints.decode("utf-8", "replace")

    async def ask(self, request: bytes) -> bytes:
        """Send a job and wait for its answer.

        Raises
        ------
        WorkerLost
            The process ended before it answered.
        """
        self.jobs += 1
        if not self.lost:
            pipe: Any = self.transport.get_pipe_transport(0)
            pipe.writelines((len(request).to_bytes(LENGTH_BYTES, "big"), request))
        return await self.message()

    async def message(self) -> bytes:
        """Wait for the next message.

        Raises
        ------
        WorkerLost
            The process ended before it sent one.
        """
        self._waiting = asyncio.get_running_loop().create_future()
        self._deliver()
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def kill(self) -> None:
        """End the process now, whatever it does."""
        self.lost = True
        with contextlib.suppress(ProcessLookupError):
            self.transport.kill()

    async def stop(self) -> None:
        """End the process and wait until it is gone.

        An idle one ends by itself when its pipe ends; one that does not within a second is killed.
        """
        self.lost = True
        pipe = self.transport.get_pipe_transport(0)
        if pipe is not None:
            pipe.close()
        try:
            async with asyncio.timeout(1):
                await asyncio.shield(self._gone)
        except TimeoutError:
            self.kill()
            await asyncio.shield(self._gone)
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Gather an answer, or what the interpreter says when it crashes."""
        if fd == 2:
            # The first ones say where it crashed, and they may come in any number of pieces.
            self._complaints += data[: COMPLAINT_BYTES - len(self._complaints)]
            return
        self._incoming += data
        self._deliver()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Take the end of the answers for the end of the process: all it wrote has been read by now."""
        if fd == 1:
            self.lost = True
            self._deliver()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Note that the process is gone and its pipes are closed."""
        self.lost = True
        if not self._gone.done():
            self._gone.set_result(None)

    def _deliver(self) -> None:
        if self._waiting is None or self._waiting.done():
            return
        length = int.from_bytes(self._incoming[:LENGTH_BYTES], "big")
        end = LENGTH_BYTES + length
        if len(self._incoming) >= LENGTH_BYTES and length > LARGEST_ANSWER:
            self.kill()
        elif len(self._incoming) >= max(end, LENGTH_BYTES):
            body = bytes(memoryview(self._incoming)[LENGTH_BYTES:end])
            self._incoming = self._incoming[end:]
            self._waiting.set_result(body)
            return
        if self.lost:
            self._waiting.set_exception(WorkerLost("A worker process ended in the middle of its job."))


async def start_worker(options: dict[str, Any]) -> WorkerProcess:
    """Start a worker process.

    Parameters
    ----------
    options : dict
        What `service.workers.child.main` takes.

    Returns
    -------
    WorkerProcess
        The process. Its first message says whether it is ready.

    Raises
    ------
    OSError
        The system has no room for another process.
    """
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | ONE_THREAD
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (PROJECT, os.environ.get("PYTHONPATH"))))
    _, worker = await asyncio.get_running_loop().subprocess_exec(
        WorkerProcess,
        sys.executable,
        "-P",  # the directory that the service was started in is no place to import from
        "-m",
        "service.workers.child",
        pickle.dumps(options).hex(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        pipesize=PIPE_BYTES if sys.platform == "linux" else -1,
    )
    return worker


def pack_job(function: Callable[..., Any], args: tuple[Any, ...], timeout: float, packages: tuple[str, ...]) -> bytes:
    """Pack a job for a worker.

    Parameters
    ----------
    function : callable
        A module-level function.
    args : tuple
        Its arguments.
    timeout : float
        Seconds that it may run.
    packages : tuple of str
        The packages that it may come from.

    Returns
    -------
    bytes
        The message.

    Raises
    ------
    ValueError
        The function is of another package, or a worker could not find it by its name.
    """
    module, name = function.__module__, function.__qualname__
    if not is_allowed(module, packages) or not name.isidentifier():
        raise ValueError(f"{module}.{name} cannot run in a worker process")
    return pickle.dumps((module, name, args, timeout), protocol=5)


def unpack_answer(body: bytes, packages: tuple[str, ...]) -> tuple[str, Any]:
    """Unpack what a worker answered.

    A worker opens hostile files with codecs written in C. If one of them takes a worker over, its answers must not
    take over the service, so only the project's own classes and plain values are unpickled.

    Parameters
    ----------
    body : bytes
        The message.
    packages : tuple of str
        The packages whose classes are taken.

    Returns
    -------
    tuple of (str, object)
        The kind of answer, and the value or the exception.

    Raises
    ------
    pickle.UnpicklingError
        It names anything else.
    """
    kind, value = _Unpickler(io.BytesIO(body), packages).load()
    if kind == "raised" and not isinstance(value, Exception):
        raise pickle.UnpicklingError("not an exception")
    return kind, value


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows plain values and the classes of some packages."""

    def __init__(self, source: io.BytesIO, packages: tuple[str, ...]) -> None:
        super().__init__(source)
        self._packages = packages

    def find_class(self, module: str, name: str) -> Any:
        """Return a class that an answer may hold."""
        if (module, name) in PLAIN_TYPES:
            return getattr(importlib.import_module(module), name)
        if is_allowed(module, self._packages) and name.isidentifier():
            found = getattr(sys.modules.get(module) or importlib.import_module(module), name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"an answer may not hold {module}.{name}")
