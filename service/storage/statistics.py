"""What can be measured of a store: how many instances there are of each state, and what its threads do."""

from __future__ import annotations

from dataclasses import dataclass

from service.storage.collections import Collections
from service.storage.threads import Threads, one_hop

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


@dataclass(frozen=True, slots=True)
class Statistics:
    """The statistics of a store."""

    collections: Collections
    threads: Threads

    def thread_use(self) -> ThreadUse:
        """Return what the threads do now."""
        return ThreadUse(self.threads.size, self.threads.busy, self.threads.waiting)

    @one_hop
    def count_states(self) -> dict[str, int]:
        """Count the instances by the state of their extraction; of those that are done, about.

        Raises
        ------
        DatabaseUnavailable
            The database is away.
        """
        instances = self.collections.instances
        counts = {
            state: instances.count_documents({"extraction.state": state}, limit=MOST_COUNTED) for state in UNFINISHED
        }
        done = instances.estimated_document_count() - sum(counts.values())
        return {**counts, "done": max(done, 0)}
