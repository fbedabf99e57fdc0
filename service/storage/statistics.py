"""What can be measured of a store: how many instances there are of each state, and what its threads do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from service.storage.collections import Collections
from service.storage.threads import Threads

MOST_COUNTED = 100_000
"""Where more instances wait, or have failed, this number is told: counting on would take the database's time."""

UNFINISHED = ("pending", "failed", "deleting")


@dataclass(frozen=True, slots=True)
class ThreadUse:
    """What the threads for calls of the database do.

    Parameters
    ----------
    size : int
        How many there are at most.
    busy : int
        How many have a call.
    waiting : int
        Calls that wait for one.
    """

    size: int
    busy: int
    waiting: int


class Figures:
    """The figures of a store.

    Parameters
    ----------
    collections : Collections
        Of the store.
    threads : Threads
        In which its calls run.
    """

    def __init__(self, collections: Collections, threads: Threads) -> None:
        self._collections = collections
        self._threads = threads

    def thread_use(self) -> ThreadUse:
        """Return what the threads do now."""
        busy = min(self._threads.running, self._threads.size)
        return ThreadUse(self._threads.size, busy, self._threads.running - busy)

    async def count_states(self) -> dict[str, int]:
        """Count the instances by the state of their extraction; of those that are done, about.

        Raises
        ------
        DatabaseUnavailable
            The database is away.
        """
        return await self._threads.run(partial(_count_states, self._collections))


def _count_states(collections: Collections) -> dict[str, int]:
    counts = {
        state: collections.instances.count_documents({"extraction.state": state}, limit=MOST_COUNTED)
        for state in UNFINISHED
    }
    done = collections.instances.estimated_document_count() - sum(counts.values())
    return {**counts, "done": max(done, 0)}
