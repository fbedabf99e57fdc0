"""The local database: a child process on loopback, so that one command runs everything.

It is the real ``mongod`` where that is on PATH, else SecantusDB's ``secantusd-py``. The data directory gets::

    database/                    for its owner alone
        lock, wanted             who keeps the database, and which service waits for that
        running.json             where the database answers, for scripts beside the service
        log.txt, log.1.txt       what the database prints
        mongod/ or secantusdb/   its files

The child has a session of its own, so that Ctrl-C in a terminal ends the service first; on Linux the kernel ends it
when the service is killed; and what is left of it all the same is stopped at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from service.launch.children import BackOff, end_child, start_child
from service.storage.local.lock import SERVICE, DirectoryLock, LocalDatabaseError
from service.storage.local.running import Running, is_alive, read_running, start_time, stop, write_running

START_SECONDS = 60.0
GRACE_SECONDS = 20.0
LEFTOVER_GRACE_SECONDS = 5.0
NUDGE_SECONDS = 0.1
MAX_LOG_BYTES = 1024 * 1024
SETTLED_SECONDS = 60.0
CHECK_SECONDS = 2.0
"""Between two looks at whether the database can still read its files."""

FAILED_CHECKS = 2
"""After so many in a row it is ended and started again."""

PORT_ATTEMPTS = 3

# What a program may need to run; the service's own settings and secrets stay out of the child.
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

logger = logging.getLogger(__name__)


def find_running(data_dir: Path) -> str | None:
    """Find the database that a service keeps for a data directory.

    Returns
    -------
    str or None
        Its URI; None when none runs, or it does not answer yet.
    """
    process = read_running(data_dir / "database" / "running.json")
    return process.uri if process is not None and process.ready and is_alive(process) else None


class LocalDatabase:
    """The database of one data directory, from :meth:`start` to :meth:`stop`; also an asynchronous context manager.

    While it is kept, it is watched: when the child ends by itself it is started again, on the same port. One
    that answers and cannot read its files any more, as after its disk was full, is ended first.
    Keep it in a thread that lives as long as it does: on Linux the child is tied to the thread that started it.

    Parameters
    ----------
    data_dir : Path
        Made, with its parents, when it is not there.
    keeper : str, optional
        Who keeps it, for the sentence that others are refused with.
    yields : bool, optional
        Whether it is stopped, and the directory given up, when a service wants it.
    """

    def __init__(self, data_dir: Path, keeper: str = SERVICE, *, yields: bool = False) -> None:
        self._home = data_dir.absolute() / "database"
        self._lock = DirectoryLock(self._home, keeper, yields=yields)
        self._yields = yields
        self._child: Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._port = 0
        self._log_begins = 0
        self._program = ""
        self._path = ""

    @property
    def uri(self) -> str:
        """Where it answers. The port stays the same while it is kept."""
        # SecantusDB claims to be a replica set, and has no retryable writes.
        return f"mongodb://127.0.0.1:{self._port}/?directConnection=true&retryWrites=false"

    @property
    def is_made(self) -> bool:
        """Whether the directory has a database already."""
        return self._home.is_dir()

    @property
    def program(self) -> str:
        """``mongod`` or ``secantusd-py``."""
        return self._program

    @property
    def pid(self) -> int | None:
        """The child's process id; None when there is none."""
        return None if self._child is None else self._child.pid

    async def start(self) -> str:
        """Start it, and wait until it answers.

        Returns
        -------
        str
            Its URI.

        Raises
        ------
        LocalDatabaseError
            If another service uses the directory, if there is no program, or if it does not come up.
        """
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._home.chmod(0o700)
        await self._lock.take()
        try:
            self._program, self._path = choose_program(self._home)
            left = read_running(self._running_file)
            if left is not None and is_alive(left):
                logger.warning("Stopping the database that an earlier service left behind (pid %d)", left.pid)
                await asyncio.to_thread(stop, left, LEFTOVER_GRACE_SECONDS)
            await self._start_on_free_port()
        except BaseException:
            await self._end_child(0)
            self._lock.release()
            raise
        self._watch = asyncio.create_task(self._keep_running(), name="local database")
        return self.uri

    async def stop(self) -> None:
        """Stop it and let go of the directory. It is asked to end, and after a grace period it is ended."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        await self._let_go()

    async def _let_go(self) -> None:
        if self._lock.held:
            await self._end_child(GRACE_SECONDS)
            self._running_file.unlink(missing_ok=True)
            self._lock.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def _running_file(self) -> Path:
        return self._home / "running.json"

    @property
    def _log_file(self) -> Path:
        return self._home / "log.txt"

    async def _start_on_free_port(self) -> None:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._port = find_free_port()
            try:
                await self._bring_up()
            except LocalDatabaseError:
                # Somebody may have taken the port between our look and the child's.
                if attempt == PORT_ATTEMPTS or not _is_taken(self._port):
                    raise
            else:
                return

    async def _bring_up(self) -> None:
        """Start the child and wait until it answers."""
        began = time.monotonic()
        child = await self._spawn()
        while not await asyncio.to_thread(_answers, self.uri):
            if child.returncode is not None:
                raise LocalDatabaseError(
                    f"The local database ({self._program}) ended with status {child.returncode} while it started. "
                    f"Its log ends with:\n{self._log_tail()}"
                )
            if time.monotonic() - began > START_SECONDS:
                await self._end_child(0)
                raise LocalDatabaseError(
                    f"The local database ({self._program}) did not answer within {START_SECONDS:.0f} s. "
                    f"Its log ends with:\n{self._log_tail()}"
                )
            await asyncio.sleep(0.05)
        if child.returncode is not None:  # then it was somebody else who answered on this port
            raise LocalDatabaseError(
                f"The local database ({self._program}) ended. Its log ends with:\n{self._log_tail()}"
            )
        self._tell(child.pid, ready=True)
        logger.info("The local database (%s, pid %d) answers on port %d", self._program, child.pid, self._port)

    async def _spawn(self) -> Process:
        command = database_command(self._program, self._path, self._home, self._port)
        # A service that is killed takes its threads with it one by one, and each may send the signal anew. SecantusDB's
        # handler does not survive a second SIGTERM within the first: it hangs for ever. It loses nothing by SIGKILL.
        ending = signal.SIGTERM if self._program == "mongod" else signal.SIGKILL
        self._rotate_log()
        with self._log_file.open("ab") as log:
            self._log_begins = log.seek(0, os.SEEK_END)
            self._child = await start_child(
                *command,
                ending=ending,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                cwd=self._home,
                env=child_environment(),
                start_new_session=True,
            )
        self._tell(self._child.pid, ready=False)
        return self._child

    def _tell(self, pid: int, *, ready: bool) -> None:
        started = start_time(pid)
        if started is not None:
            write_running(self._running_file, Running(self.uri, pid, started, self._program, ready))

    async def _keep_running(self) -> None:
        """Start the child again whenever it ends by itself; stop it for good where a service wants the directory."""
        back_off = BackOff(SETTLED_SECONDS)
        up_since = checked = time.monotonic()
        failed = 0
        while True:
            await asyncio.sleep(0.1)
            if self._yields and self._lock.is_wanted():
                logger.warning("A service takes the data directory over; its database is stopped and started anew")
                await self._let_go()
                return
            if self._child is not None and self._child.returncode is None:
                if time.monotonic() - checked < CHECK_SECONDS:
                    continue
                failed = failed + 1 if await asyncio.to_thread(_is_broken, self.uri) else 0
                checked = time.monotonic()
                if failed < FAILED_CHECKS:
                    continue
                logger.error("The local database cannot read its files; it is ended. Is its disk full?")
                await self._end_child(0)
            failed = 0
            status = None if self._child is None else self._child.returncode
            logger.error("The local database ended with status %s; it is started again", status)
            await asyncio.sleep(back_off.after(time.monotonic() - up_since))
            try:
                await self._bring_up()
            except (LocalDatabaseError, OSError):
                logger.error("The local database could not be started again; its log is beside its files")  # noqa: TRY400
            up_since = checked = time.monotonic()

    async def _end_child(self, grace: float) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        ending = asyncio.create_task(end_child(child, grace))
        await asyncio.wait({ending}, timeout=NUDGE_SECONDS)
        if not ending.done():
            # SecantusDB waits for its next connection before it sees that it shall end, or for 2 s.
            await asyncio.to_thread(_is_taken, self._port)
        await ending

    def _rotate_log(self) -> None:
        with suppress(FileNotFoundError):
            if self._log_file.stat().st_size > MAX_LOG_BYTES:
                self._log_file.replace(self._home / "log.1.txt")
        self._log_file.touch(mode=0o600)

    def _log_tail(self, lines: int = 15) -> str:
        """Return the end of what the child has printed. Not of an earlier one: that may have spoken of documents."""
        with suppress(OSError), self._log_file.open("rb") as log:
            log.seek(max(self._log_begins, self._log_file.stat().st_size - 8192))
            return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-lines:])
        return "(nothing)"


def choose_program(home: Path) -> tuple[str, str]:
    """Choose the database program: the one that made the files in `home`, else the best there is.

    Returns
    -------
    tuple of str
        Its name and its path.

    Raises
    ------
    LocalDatabaseError
        If there is none, or not the one that made the files.
    """
    beside = Path(sys.executable).with_name("secantusd-py")
    secantus = str(beside) if beside.exists() else shutil.which("secantusd-py")
    programs = {"mongod": shutil.which("mongod"), "secantusd-py": secantus}
    for name, folder in (("mongod", "mongod"), ("secantusd-py", "secantusdb")):
        path = programs[name]
        if (home / folder).is_dir():
            if path is None:
                raise LocalDatabaseError(f"The files in {home} were made by {name}, which is not installed here.")
            return name, path
    for name, path in programs.items():
        if path is not None:
            return name, path
    raise LocalDatabaseError(
        "There is no database: neither mongod nor secantusd-py was found. "
        "Install requirements-local.txt, or set MONGODB_URI."
    )


def database_command(program: str, path: str, home: Path, port: int) -> list[str]:
    """Return the command line of the database, and make the folder of its files."""
    if program == "mongod":
        files = home / "mongod"
        flags = ["--bind_ip", "127.0.0.1", "--dbpath", str(files), "--quiet", "--nounixsocket"]
        flags += ["--wiredTigerCacheSizeGB", "0.25"]
    else:
        files = home / "secantusdb"
        config = home / "secantusd.toml"
        config.touch(mode=0o600)  # empty: else it would look for one in the user's home
        flags = ["--host", "127.0.0.1", "--storage-path", str(files), "--config", str(config)]
        # No `--sync-on-commit`: what must last is written with `j: true`, which flushes what came before it too.
        flags += ["--oplog-max-entries", "1000", "--cache-size", "256M", "--log-level", "WARNING"]
    files.mkdir(exist_ok=True, mode=0o700)
    return [path, *flags, "--port", str(port)]


def child_environment() -> dict[str, str]:
    """Return what a child sees of the environment, and what Python reads where the child is a Python program."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed_on, "PYTHONPATH": str(Path(__file__).with_name("child_python"))}


def find_free_port() -> int:
    """Find a TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(uri: str) -> bool:
    with closing(_connect(uri)) as client:
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
        return True


def _is_broken(uri: str) -> bool:
    """Return whether the database answers that it cannot read; one that is slow or paused says nothing."""
    with closing(_connect(uri)) as client:
        try:
            client.list_database_names()
        except OperationFailure as error:
            return not error.timeout
        except PyMongoError:
            return False
        return False


def _connect(uri: str) -> MongoClient[dict[str, object]]:
    return MongoClient(uri, serverSelectionTimeoutMS=300, connectTimeoutMS=1000, socketTimeoutMS=1000)
