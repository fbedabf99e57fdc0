"""One worker process as the service sees it: starting it, its messages, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import WorkerLost
from service.launch.children import start_child
from service.workers.messages import LENGTH_BYTES, MAX_HEAD_BYTES, Packed, Stretch, Unreadable, fill, read_head

PIPE_BYTES = 1 << 20
PIECE_BYTES = 1 << 18
LARGE_HEAD_BYTES = 1 << 16
"""A longer head is read in a thread."""

COMPLAINT_BYTES = 8192  # of a crash's traceback, from its beginning
END_SECONDS = 1.0
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

Sink = Callable[[int, bytes], None]
"""Takes a piece and where it stands among all bytes of an answer; the same piece may come twice."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is done with the bytes of an answer.

    Parameters
    ----------
    largest : int
        How many there may be.
    sink : callable or None
        Takes them piece by piece, in a thread; None: they become part of the answer.
    abandoned : callable
        Returns whether nobody waits for them any more.
    """

    largest: int
    sink: Sink | None = None
    abandoned: Callable[[], bool] = lambda: False


class WorkerProcess:
    """One process and its pipes: messages out, messages in, and the end.

    Parameters
    ----------
    process : Process
        The process.
    files : socket
        Descriptors of files go to it here.
    """

    def __init__(self, process: Process, files: socket.socket) -> None:
        self.jobs = 0
        self._process = process
        self._files = files
        self._killed = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status; negative for the signal that killed it."""
        return self._process.returncode

    @property
    def lost(self) -> bool:
        """Whether it takes no more jobs."""
        return self._killed or self._process.returncode is not None or self._answers.at_eof()

    @property
    def _answers(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        return self._process.stdout

    async def ask(self, request: Packed, delivery: Delivery) -> Any:
        """Send a job and return its answer.

        Raises
        ------
        WorkerLost
            The process ended before it answered.
        Unreadable
            It sent what is no message.
        OSError
            A file cannot be handed over, or the sink takes nothing more.
        """
        self.jobs += 1
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._hand_over(request.files)
        with contextlib.suppress(ConnectionError):  # the answer that does not come says so too
            self._process.stdin.writelines([request.head, *request.blobs])
            await self._process.stdin.drain()
        return await self.message(delivery)

    async def message(self, delivery: Delivery) -> Any:
        """Return the value of the next message.

        Raises
        ------
        WorkerLost
            The process ended before it sent one.
        Unreadable
            It sent what is none.
        OSError
            The sink takes nothing more.
        """
        try:
            length = int.from_bytes(await self._answers.readexactly(LENGTH_BYTES), "big")
            if length > MAX_HEAD_BYTES:
                raise Unreadable("its head is too long")
            head = await self._answers.readexactly(length)
            if length > LARGE_HEAD_BYTES:
                value, sizes = await asyncio.to_thread(read_head, head)
            else:
                value, sizes = read_head(head)
            if sum(sizes) > delivery.largest:
                raise Unreadable("it has more bytes than it may")
            blobs = await self._take(sizes, delivery)
            return await asyncio.to_thread(fill, value, blobs) if length > LARGE_HEAD_BYTES else fill(value, blobs)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise WorkerLost("A worker process ended in the middle of its job.") from None

    async def _take(self, sizes: list[int], delivery: Delivery) -> list[Any]:
        """Return the blobs of a message, each without a copy of it, or where they went."""
        failed: OSError | None = None
        blobs: list[Any] = []
        start = 0
        for size in sizes:
            held = io.BytesIO()  # what it holds at the end becomes the bytes that it gives
            left = size
            while left:
                piece = await self._answers.read(min(left, PIECE_BYTES))
                if not piece:
                    raise asyncio.IncompleteReadError(b"", left)
                before, left = left, left - len(piece)
                if failed is not None or delivery.abandoned():
                    continue  # it must be read, or the next answer would begin in the middle of this one
                if delivery.sink is None:
                    held.write(piece)
                    continue
                try:
                    await asyncio.to_thread(delivery.sink, start + size - before, piece)
                except OSError as error:
                    failed = error
            blobs.append(held.getvalue() if delivery.sink is None else Stretch(start, size))
            start += size
        if failed is not None:
            raise failed
        return blobs

    def kill(self) -> None:
        """End the process now, whatever it does, and what it has forked."""
        if not self._killed:
            self._killed = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """End the process and wait until it is gone.

        An idle one ends by itself when its pipe ends; one that does not within a second is killed.
        """
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        self.kill()
        await self._process.wait()
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(END_SECONDS):
                while await self._answers.read(PIECE_BYTES):  # its transport is closed at the end of the pipe
                    pass
        self._files.close()

    async def last_words(self) -> str:
        """Return the beginning of what the interpreter said when it crashed."""
        assert self._process.stderr is not None  # noqa: S101 - it was asked for
        said = bytearray()
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(END_SECONDS):
                while piece := await self._process.stderr.read(PIECE_BYTES):
                    said += piece[: COMPLAINT_BYTES - len(said)]
        return said.decode("utf-8", "replace")

    def _hand_over(self, paths: list[Path]) -> None:
        """Hand files over as descriptors that can only be read: a worker opens no files of the service."""
        with contextlib.ExitStack() as opened:
            # All are opened before the first goes: one that stayed behind would be taken for the next job's.
            files = [opened.enter_context(path.open("rb", buffering=0)) for path in paths]
            try:
                for file in files:
                    socket.send_fds(self._files, [b"f"], [file.fileno()])
            except OSError:
                self.kill()
                raise WorkerLost("A worker process takes no files.") from None


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
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        try:
            process = await start_child(
                sys.executable,
                "-P",  # the directory that the service was started in is no place to import from
                "-m",
                "service.workers.child",
                json.dumps({**options, "files": theirs.fileno()}),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=PIECE_BYTES,
                pass_fds=(theirs.fileno(),),
                env=environment,
                start_new_session=True,  # what a worker forks is ended with it, by its group
                pipesize=PIPE_BYTES if sys.platform == "linux" else -1,
            )
        except BaseException:
            ours.close()
            raise
    return WorkerProcess(process, ours)
