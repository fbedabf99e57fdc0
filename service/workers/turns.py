"""Whose job is next: callers take turns, however many jobs each of them has."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Turns(Generic[Job]):
    """Jobs that wait, a queue for each caller."""

    def __init__(self) -> None:
        # The callers in the order of their turns: whoever has had one stands at the end.
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, caller: str, job: Job) -> None:
        """Add a job behind the others of its caller."""
        self._waiting.setdefault(caller, deque()).append(job)
        self._number += 1

    def take(self, running: Mapping[str, int], *, idle_only: bool = False) -> Job | None:
        """Take the next job: of those callers for whom the fewest run, that one whose turn is longest ago.

        Parameters
        ----------
        running : mapping of str to int
            How many jobs run for each caller.
        idle_only : bool, optional
            Take none of a caller for whom one runs.

        Returns
        -------
        job or None
            None where there is none to take.
        """
        caller = min(self._waiting, key=lambda each: running.get(each, 0), default=None)
        if caller is None or (idle_only and running.get(caller, 0)):
            return None
        self._waiting.move_to_end(caller)
        job = self._waiting[caller].popleft()
        self._forget(caller)
        return job

    def has_idle(self, running: Mapping[str, int]) -> bool:
        """Return whether somebody waits for whom no job runs."""
        return any(not running.get(caller, 0) for caller in self._waiting)

    def remove(self, caller: str, job: Job) -> bool:
        """Take a job out; return whether it was there."""
        queue = self._waiting.get(caller, ())
        if not queue or job not in queue:  # `deque.remove` of what is not there would write it out for its error
            return False
        self._waiting[caller].remove(job)
        self._forget(caller)
        return True

    def drop(self, caller: str) -> Job:
        """Take out the newest job of the caller with the most; among several with as many, of this caller."""
        most = max(self._waiting, key=lambda each: (len(self._waiting[each]), each == caller))
        job = self._waiting[most].pop()
        self._forget(most)
        return job

    def _forget(self, caller: str) -> None:
        self._number -= 1
        if not self._waiting[caller]:
            del self._waiting[caller]
