"""The lock of a data directory: one process at a time keeps its database, and a service comes before a command.

Whoever keeps the database holds a lock on ``database/lock``, and the file says who that is. A command may hold it where
no service does; one that can go on with another's database releases it when a service wants the directory, which leaves
``database/wanted`` until it holds the lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from pathlib import Path
from typing import IO

from service.errors import ServiceError
from service.storage.local.running import start_time

SERVICE = "Another service"
"""What a service is called in the sentence that refuses a second one."""

HAND_OVER_SECONDS = 40.0
"""How long a service waits for a command to give the directory up: that includes the end of the command's database."""


class LocalDatabaseError(ServiceError):
    """The local database cannot be used; the message says why, for a person at the console."""


class DirectoryLock:
    """The lock on the database of one data directory: whoever holds it keeps that database.

    Parameters
    ----------
    home : Path
        The directory of the database.
    keeper : str
        Who wants it, as the beginning of a sentence.
    yields : bool
        Whether it is released when a service wants it.
    """

    def __init__(self, home: Path, keeper: str, *, yields: bool) -> None:
        self._home = home
        self._keeper = keeper
        self._yields = yields
        self._lock: IO[str] | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self._lock is not None

    def is_wanted(self) -> bool:
        """Return whether a service that lives waits for it."""
        try:
            wanted = json.loads((self._home / "wanted").read_text(encoding="utf-8"))
            return start_time(int(wanted["pid"])) == str(wanted["started"])
        except (OSError, ValueError, TypeError, KeyError):
            return False

    async def take(self) -> None:
        """Take it; a service asks a command that holds it to release it.

        Raises
        ------
        LocalDatabaseError
            Where another process holds it and does not release it.
        """
        if self._yields and self.is_wanted():
            raise self._refusal("A service that is starting")
        if self._try():
            return
        keeper, yields = self._read()
        if self._yields or not yields:
            raise self._refusal(keeper)
        deadline = time.monotonic() + HAND_OVER_SECONDS
        wanted = self._home / "wanted"
        wanted.write_text(json.dumps({"pid": os.getpid(), "started": start_time(os.getpid())}), encoding="utf-8")
        try:
            while not self._try():
                if time.monotonic() > deadline:
                    raise self._refusal(keeper)
                await asyncio.sleep(0.1)
        finally:
            wanted.unlink(missing_ok=True)

    def release(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _try(self) -> bool:
        lock = (self._home / "lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        lock.truncate(0)
        json.dump({"keeper": self._keeper, "yields": self._yields}, lock)
        lock.flush()
        self._lock = lock
        return True

    def _read(self) -> tuple[str, bool]:
        try:
            written = json.loads((self._home / "lock").read_text(encoding="utf-8"))
            return str(written["keeper"]), written["yields"] is True
        except (OSError, ValueError, TypeError, KeyError):  # it is being written just now, or by an older version
            return SERVICE, False

    def _refusal(self, keeper: str) -> LocalDatabaseError:
        return LocalDatabaseError(
            f"{keeper} is using the data directory {self._home.parent}. "
            "Stop it, or give this one a directory of its own with --data-dir."
        )
