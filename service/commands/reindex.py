"""The use case: what is derived, made again from the originals, beside a running service.

What is done is told by the instances themselves: their extraction's version, and for a run over all of them the time
of it. So a run that was killed goes on where it was, and two at once share the work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from schemas.database import ExtractionStatus, Instance
from service.commands.comparison import find_changes
from service.commands.difference import Tally
from service.commands.verify import rederive
from service.dicom.extract import EXTRACTOR_VERSION, Extraction, Packed, unpack
from service.dicom.limits import Limits
from service.errors import DatabaseUnavailable, NoSuchInstance, NotFound, Overloaded, ServiceError
from service.storage.maintenance import Derived
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.instances import extracted
from service.usecases.originals import local_original

MAX_NAMED = 1000
"""How many files that failed are named in a report."""

PATIENCE_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits between the tries of one file while the database does not answer: as long as a replica set takes to elect."""

SHORT_PATIENCE_SECONDS = (0.5, 2.0)
"""The same for a local database, which comes back soon or not at all."""

Extract = Callable[[bytes | Path, str, Limits | None], Awaitable[Packed | None]]
Show = Callable[["ReindexReport"], None]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which instances, and what is done with them.

    Parameters
    ----------
    which : str
        ``outdated``, ``all`` or ``failed``.
    patient_id : str or None
        Only this patient's.
    dicom_ids : tuple of str
        Only these, whatever their version.
    dry_run : bool
        Change nothing, and tell what would change.
    verify : bool
        Change nothing, and hold originals and what is derived from them against each other.
    fresh : bool
        Begin a run over all anew, though one was interrupted.
    rate : float or None
        Files a second, at most.
    version : int
        The extractor's.
    """

    which: str = "outdated"
    patient_id: str | None = None
    dicom_ids: tuple[str, ...] = ()
    dry_run: bool = False
    verify: bool = False
    fresh: bool = False
    rate: float | None = None
    version: int = EXTRACTOR_VERSION

    @property
    def reads_only(self) -> bool:
        """Whether nothing is written."""
        return self.dry_run or self.verify


@dataclass
class ReindexReport:
    """What came of a run, counted in files."""

    done: int = 0
    unchanged: int = 0
    gone: int = 0
    newer: int = 0
    skipped: int = 0
    failed: int = 0
    passed: int = 0
    total: int | None = None
    failures: list[dict[str, str]] = field(default_factory=list)
    differences: Tally = field(default_factory=Tally)

    @property
    def worked(self) -> int:
        """How many files were worked on."""
        return self.done + self.failed + self.gone

    def fail(self, dicom_id: str, error: str) -> None:
        """Count a failure, and name the first ones."""
        self.failed += 1
        if len(self.failures) < MAX_NAMED:
            self.failures.append({"dicom_id": dicom_id, "error": error})


async def reindex(
    context: Context,
    selection: Selection,
    *,
    report: ReindexReport | None = None,
    extract: Extract | None = None,
    show: Show = lambda _: None,
) -> ReindexReport:
    """Make tree, index and series again of the selected instances, or tell what would become of them.

    Parameters
    ----------
    selection : Selection
        Which, and how.
    report : ReindexReport, optional
        One to go on with.
    extract : callable, optional
        Instead of a worker process: takes bytes or a path, the sha256 and the limits.
    show : callable, optional
        Is told of the progress.

    Raises
    ------
    DatabaseUnavailable
        Where the database stays away. What is done stays done.
    """
    report = ReindexReport() if report is None else report
    maintenance = context.store.maintenance
    began = None
    scope = f"all/{selection.patient_id or ''}"
    marked = selection.which == "all" and not selection.dicom_ids and not selection.reads_only
    if marked:
        began = await maintenance.join_run(scope, selection.version, context.clock(), fresh=selection.fresh)
    task = _Task(context, selection, report, extract or _in_worker(context), began)
    running: set[asyncio.Task[None]] = set()
    pace = _Pace(selection.rate)
    try:
        async for instance in _candidates(context, selection, report, began):
            await pace.wait()
            while len(running) >= context.workers.size + 2:
                finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for each in finished:
                    each.result()
                show(report)
            running.add(asyncio.create_task(task.handle(instance)))
        while running:
            finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for each in finished:
                each.result()
            show(report)
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if selection.verify and not selection.dicom_ids and selection.patient_id is None:
        for dicom_id in await maintenance.list_without_original():
            report.fail(dicom_id, "The original is not there.")
    if marked and began is not None:
        await maintenance.end_run(scope, began)
    return report


def _in_worker(context: Context) -> Extract:
    async def extract(source: bytes | Path, sha256: str, limits: Limits | None) -> Packed | None:
        return await context.workers.run(rederive, source, sha256, limits, timeout=context.settings.extraction_timeout)

    return extract


async def _candidates(
    context: Context, selection: Selection, report: ReindexReport, began: datetime | None
) -> AsyncIterator[Instance]:
    """Return the selected instances."""
    maintenance = context.store.maintenance
    if selection.dicom_ids:
        report.total = len(selection.dicom_ids)
        for dicom_id in selection.dicom_ids:
            report.passed += 1
            instance = await maintenance.find_by_id(dicom_id)
            if instance is None or selection.patient_id not in (None, instance["patient_id"]):
                report.fail(dicom_id, str(NoSuchInstance()))
            else:
                yield instance
        return
    if selection.which == "failed":
        listed = await maintenance.list_failed(selection.patient_id)
        report.total = len(listed)
        for patient_id, dicom_id in listed:
            report.passed += 1
            instance = await context.store.instances.find(Visible(patient_id), dicom_id)
            if instance is not None:
                yield instance
        return
    wanted = partial(_is_wanted, selection, began)
    report.total = await maintenance.count_originals(selection.patient_id)
    report.passed = 0
    async for page in maintenance.walk(wanted, selection.patient_id):
        before = report.passed
        for number, instance in enumerate(page.instances, 1):
            yield instance
            report.passed = before + page.originals * number // len(page.instances)
        report.passed = before + page.originals


def _is_wanted(selection: Selection, began: datetime | None, instance: Instance) -> bool:
    extraction = instance["extraction"]
    if selection.which == "all" and selection.verify:
        return True
    if extraction["state"] not in ("done", "failed"):  # the service has it in hand
        return False
    if selection.which == "outdated":
        return (extraction["version"] or 0) < selection.version
    return began is None or extraction["at"] is None or extraction["at"] < began


class _Task:
    """What is done with one file after the other."""

    def __init__(
        self, context: Context, selection: Selection, report: ReindexReport, extract: Extract, began: datetime | None
    ) -> None:
        self._context = context
        self._selection = selection
        self._report = report
        self._extract = extract
        self._began = began

    async def handle(self, instance: Instance) -> None:
        """Work on one instance; every failure but the database's staying away is counted and passed."""
        local = self._context.settings.mongodb_uri is None
        for wait in (*(SHORT_PATIENCE_SECONDS if local else PATIENCE_SECONDS), None):
            try:
                await self._handle(instance)
            except (DatabaseUnavailable, Overloaded):
                if wait is None:
                    raise
                await asyncio.sleep(wait)
            except NotFound:
                await self._note_missing(instance)
                return
            except ServiceError as error:
                self._report.fail(instance["_id"], str(error) or type(error).__name__)
                return
            except Exception as error:  # noqa: BLE001 - a fault of the program in one file must not end the run
                self._report.fail(instance["_id"], type(error).__name__)
                return
            else:
                return

    async def _note_missing(self, instance: Instance) -> None:
        there = await self._context.store.instances.find(Visible(instance["patient_id"]), instance["_id"])
        if there is None:
            self._report.gone += 1
        else:
            self._report.fail(instance["_id"], "The original is not there.")

    async def _handle(self, listed: Instance) -> None:
        store = self._context.store
        if self._selection.reads_only:
            await self._compare(listed)
            return
        # The page may be some time old, and another run or the service itself may have been here since.
        instance = await store.instances.find(Visible(listed["patient_id"]), listed["_id"])
        if instance is None:
            self._report.gone += 1
        elif (instance["extraction"]["version"] or 0) > self._selection.version:
            self._report.newer += 1
        elif self._is_done(instance):
            self._report.skipped += 1
        else:
            await self._replace(instance)

    def _is_done(self, instance: Instance) -> bool:
        extraction = instance["extraction"]
        if self._selection.dicom_ids or extraction["state"] != "done":
            return False
        if self._selection.which == "outdated":
            return (extraction["version"] or 0) >= self._selection.version
        if self._selection.which == "failed":
            return True
        at = extraction["at"]
        return self._began is not None and at is not None and at >= self._began

    async def _replace(self, instance: Instance) -> None:
        store = self._context.store
        attempts = instance["extraction"]["attempts"] + 1
        try:
            extraction = await self._again(instance)
        except (DatabaseUnavailable, Overloaded, NotFound):
            raise
        except ServiceError as error:
            if instance["extraction"]["state"] == "failed":
                failed: ExtractionStatus = {**instance["extraction"], "attempts": attempts, "error": str(error)}
                await store.instances.set_extraction(instance, failed)
            raise  # a tree that is there stays, whatever this version makes of the file
        whole = extracted(instance, extraction, self._context.clock(), version=self._selection.version)
        if await store.uploads.replace_derived(whole, extraction):
            await store.maintenance.leave_series(instance, whole)
            self._report.done += 1
        else:
            self._report.gone += 1

    async def _again(self, instance: Instance) -> Extraction:
        async with local_original(self._context, Visible(instance["patient_id"]), instance) as source:
            packed = await self._extract(source, instance["sha256"], self._context.limits)
        if packed is None:  # only where no limits are given
            raise ServiceError("Nothing was extracted.")
        return unpack(packed)

    async def _compare(self, instance: Instance) -> None:
        stored = await self._context.store.maintenance.read_derived(instance["patient_id"], instance["_id"])
        if stored is None:
            self._report.gone += 1
            return
        if stored.dataset is None and self._selection.verify:  # pending, or failed: the original is all there is
            async with local_original(self._context, Visible(instance["patient_id"]), instance) as source:
                await self._extract(source, instance["sha256"], None)
            self._report.done += 1
            return
        extraction = await self._again(instance)
        changes = await asyncio.to_thread(find_changes, stored, extraction)
        if changes and await self._moved(stored):
            self._report.gone += 1
            return
        self._report.differences.add(instance["_id"], changes)
        self._report.done += 1
        self._report.unchanged += not changes
        if changes and self._selection.verify:
            self._report.fail(instance["_id"], f"{len(changes)} tags are not what the original gives.")
            self._report.done -= 1

    async def _moved(self, stored: Derived) -> bool:
        """Return whether an instance was written to, or deleted, while it was being compared."""
        now = await self._context.store.instances.find(Visible(stored.instance["patient_id"]), stored.instance["_id"])
        return now is None or now["extraction"] != stored.instance["extraction"]


class _Pace:
    """Lets so many files a second through."""

    def __init__(self, rate: float | None) -> None:
        self._step = 1 / rate if rate else 0.0
        self._next = time.monotonic()

    async def wait(self) -> None:
        """Come back when the next file may begin."""
        if self._step:
            now = time.monotonic()
            if self._next > now:
                await asyncio.sleep(self._next - now)
            self._next = max(self._next, now - self._step) + self._step
