"""The keys of an issuer as a running service has them: kept, renewed in the background, and given up when too old."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from service.auth.jwks import Load, SetUnavailable, is_address, loader, read_file
from service.auth.keys import KeySet, UnusableKeys, read_key_set
from service.errors import KeysUnavailable

log = logging.getLogger(__name__)

FILE_SECONDS = 5.0
"""How often a file is looked at."""

RETRY_SECONDS = 10.0
"""How long after a failed fetch the next one begins."""

PACE_SECONDS = 3.0
"""How long after one fetch another may begin, however many tokens name keys that are not known."""

MAX_WAITING = 100
"""Requests that wait for a fetch at once; more of them are sent away, to come again."""


@dataclass(frozen=True, slots=True)
class Times:
    """When keys are fetched, and how long they are good, in seconds.

    Parameters
    ----------
    refresh : float
        The age at which a set is fetched again; a removed key stops working within it.
    keep : float
        The age up to which the last good set is used where it cannot be fetched.
    pace, retry : float
        The least time between two fetches, and the time from a failed one to the next.
    """

    refresh: float
    keep: float
    pace: float
    retry: float


class KeySource:
    """The current key set, and a task that renews it; requests with known keys never wait for it.

    Parameters
    ----------
    load : callable
        Gives the JWK Set as it is now.
    times : Times
        When it is asked.
    clock : callable
        Gives a time that never goes back, in seconds.

    Attributes
    ----------
    fetches, failures : int
        How often the set was asked for, and how often it could not be had or used.
    """

    def __init__(self, load: Load, times: Times, clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._times = times
        self._clock = clock
        self._text: bytes | None = None
        self._keys: KeySet | None = None
        self._asked_at = self._good_at = 0.0
        self._failing = self._given_up = False
        self._wanted = asyncio.Event()
        self._next: asyncio.Future[bool] | None = None
        self._waiting = 0
        self.fetches = 0
        self.failures = 0

    def current(self) -> KeySet:
        """Return the keys that tokens are verified with.

        Raises
        ------
        KeysUnavailable
            Where none were fetched yet, or the last ones are too old.
        """
        if self._keys is None or self.age() > self._times.keep:
            raise KeysUnavailable("The keys that tokens are verified with cannot be had.", self._retry_after())
        return self._keys

    def age(self) -> float:
        """Return the seconds since the keys were last had from where they come; infinity where they never were."""
        return self._clock() - self._good_at if self._keys is not None else float("inf")

    async def renew(self) -> None:
        """Wait until the set was asked for once more; all who wait share one fetch, and fetches keep their pace.

        Raises
        ------
        KeysUnavailable
            Where it could not be had, or too many wait already.
        """
        if self._next is None or self._waiting >= MAX_WAITING:
            raise KeysUnavailable(
                "The keys that tokens are verified with are asked for; try again.", self._retry_after()
            )
        self._waiting += 1
        self._wanted.set()
        try:
            renewed = await asyncio.shield(self._next)
        finally:
            self._waiting -= 1
        if not renewed:
            raise KeysUnavailable(
                "The key of the token is not known here, and no newer keys can be had.", self._retry_after()
            )

    async def kept(self, *_: object) -> AsyncIterator[None]:
        """Keep the keys new while the application runs (a `cleanup_ctx`); they are asked for once before it answers."""
        self._next = asyncio.get_running_loop().create_future()
        await self._fetch()
        task = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            self._next.cancel()
            self._next = None

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wanted.wait()
                    await asyncio.sleep(max(0.0, self._asked_at + self._times.pace - self._clock()))
            await self._fetch()

    def _pause(self) -> float:
        return self._times.retry if self._failing else self._times.refresh

    async def _fetch(self) -> None:
        """Ask for the set, once. What fails leaves the last good one in its place."""
        # Who comes from here on may know of a newer key than this fetch finds, and waits for the one after it.
        told, self._next = self._next, asyncio.get_running_loop().create_future()
        self._wanted.clear()
        self._asked_at = self._clock()
        self.fetches += 1
        renewed = False
        try:
            text = await self._load()
            if text != self._text:
                self._take(await asyncio.to_thread(read_key_set, text))
                self._text = text
            renewed = True
        except (SetUnavailable, UnusableKeys) as error:
            self._miss(str(error))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the keys must go on being renewed
            self._miss(type(error).__name__)
        finally:
            if told is not None and not told.done():
                told.set_result(renewed)
        if renewed:
            self._good_at = self._asked_at
            if self._failing:
                log.warning("the keys of tokens can be had again")
            self._failing = self._given_up = False

    def _take(self, keys: KeySet) -> None:
        if self._keys is None or keys.version != self._keys.version:
            log.info("tokens are verified with %d keys, version %.12s", len(keys.keys), keys.version)
            for reason in keys.ignored:
                log.warning("a key is not used: %s", reason)
        self._keys = keys

    def _miss(self, reason: str) -> None:
        self.failures += 1
        if not self._failing:
            held = "there are none" if self._keys is None else f"the last ones are used up to {self._times.keep:.0f} s"
            log.warning("the keys of tokens cannot be had: %s; %s", reason, held)
        self._failing = True
        if self._keys is not None and not self._given_up and self.age() > self._times.keep:
            log.error("the keys of tokens are %.0f s old, and no longer used", self.age())
            self._given_up = True

    def _retry_after(self) -> int:
        return max(1, round(self._times.pace))


def published_keys(source: str, refresh: float, keep: float) -> KeySource:
    """Make the source of the keys in a file or at an address.

    Parameters
    ----------
    source : str
        A path, or an address.
    refresh, keep : float
        As in `Times`. A file costs nothing to read, and is looked at more often.

    Raises
    ------
    SetUnavailable, UnusableKeys
        Where a file cannot be read or used. An issuer may be away for a while, a file will not mend itself.
    """
    if not is_address(source):
        read_key_set(read_file(Path(source)))
        refresh = min(refresh, FILE_SECONDS)
    return KeySource(loader(source), Times(refresh, keep, min(PACE_SECONDS, refresh), min(RETRY_SECONDS, refresh)))
