"""What a use case works with, handed in by the application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from service.dicom.limits import Limits
from service.dicom.pixels.limits import PixelLimits
from service.telemetry.metrics import Metrics
from service.usecases.behind import Behind
from service.usecases.near import Near
from service.usecases.outgoing import OutgoingBudget
from service.usecases.turns import Turns

if TYPE_CHECKING:
    from service.settings import Settings
    from service.storage.store import Store
    from service.workers.pool import WorkerPool


WHOLE_TREES = 4


@dataclass(frozen=True, slots=True)
class Context:
    """The resources of one service process.

    Parameters
    ----------
    store : Store
        Everything at rest.
    workers : WorkerPool
        The processes in which long work is done.
    settings : Settings
        Bounds and times.
    clock : callable
        Gives the current time, aware and in UTC.
    unfinished : asyncio.Event
        Set where something is left to recovery, so that it does not wait for its next round.
    renderings : dict
        The pictures that are being made for the cache, so that nobody makes one of them a second time.
    payloads : dict
        Where the videos and documents stand that were asked for lately, by the ids of their instances.
    metrics : Metrics
        Where it is counted and measured what happens.
    outgoing : OutgoingBudget
        What frames that wait to be sent may take of the memory.
    near : Near
        Originals that need not be fetched from the database.
    behind : Behind
        Work that goes on behind answers.
    whole_trees : asyncio.Semaphore
        Held while a whole tree is in memory: one may take a hundred times the bytes that it has in the database.
    passcode_turns, link_turns, session_turns : Turns
        In which passcodes of shares are hashed, and secrets and tokens of shares are looked up: anybody may send such.
        A hash takes 32 MiB and some 0.1 s.
    """

    store: Store
    workers: WorkerPool
    settings: Settings
    clock: Callable[[], datetime]
    unfinished: asyncio.Event = field(default_factory=asyncio.Event)
    renderings: dict[Any, asyncio.Task[Any]] = field(default_factory=dict)
    payloads: dict[str, Any] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    outgoing: OutgoingBudget = field(default_factory=OutgoingBudget)
    near: Near = field(default_factory=Near)
    behind: Behind = field(default_factory=Behind)
    whole_trees: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WHOLE_TREES))

    passcode_turns: Turns = field(default_factory=lambda: Turns(2, 16))
    link_turns: Turns = field(default_factory=lambda: Turns(4, 1000))
    session_turns: Turns = field(default_factory=lambda: Turns(16, 1000))

    @property
    def limits(self) -> Limits:
        """What reading one file may cost."""
        return Limits(max_inflated_bytes=self.settings.max_inflated_bytes)

    @property
    def pixel_limits(self) -> PixelLimits:
        """What one frame may cost."""
        return PixelLimits(max_frame_pixels=self.settings.max_frame_pixels)
