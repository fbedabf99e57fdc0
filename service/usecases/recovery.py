"""The use case: what was begun is finished, whoever began it.

An instance waits as ``pending`` where its upload asked for an early answer, or where the worker that extracted it was
lost; a delete that met a crash leaves one as ``deleting``. Every service process looks for such at its start, every
minute, and as soon as it stores a pending one itself. Several processes share the work by leases that run out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from typing import Any, Literal, cast

from schemas.database import ExtractionStatus, Instance
from service.errors import Invalid, NotFound, NoWorker, Unavailable, WorkerLost
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.ingest import extract_in_worker
from service.usecases.instances import extracted
from service.usecases.originals import local_original

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""How often a file that costs its worker is tried."""

BACK_OFF = timedelta(seconds=20)
"""How long a file rests after it has cost a worker; twice as long after each further time."""


SWEEP_EVERY_SECONDS = 3600.0
"""How often leftovers are swept by one of the service processes; the first time a minute after a start."""

LEFTOVER_AGE = timedelta(hours=1)
"""How old leftovers are at least: no upload takes so long from its last byte to its answer."""


async def keep_sweeping(context: Context) -> None:
    """Remove what crashes left without an instance, for as long as the service runs."""
    await asyncio.sleep(context.settings.recovery_interval)
    while True:
        try:
            now = context.clock()
            if await context.store.leases.take_sweep(now, now + timedelta(seconds=SWEEP_EVERY_SECONDS)):
                swept = await context.store.leftovers.sweep(LEFTOVER_AGE)
                if swept.total:
                    logger.info("Leftovers of crashes were removed: %s", swept)
        except Unavailable:
            logger.info("The database is away; the sweep waits for its next time")
        except Exception as error:  # noqa: BLE001 - the next sweep tries again
            logger.error("The sweep met a fault: %s", type(error).__name__)  # noqa: TRY400
        await asyncio.sleep(SWEEP_EVERY_SECONDS)


NEAR_BATCH = 500
"""Near files that are compared with the database by one query."""


async def keep_near_true(context: Context) -> None:
    """Remove near files of originals that were deleted by way of another machine, for as long as the service runs."""
    while True:
        try:
            ids = context.near.ids
            for start in range(0, len(ids), NEAR_BATCH):
                batch = ids[start : start + NEAR_BATCH]
                there = await context.store.originals.find_present(batch)
                context.near.forget_all(each for each in batch if each not in there)
        except Unavailable:
            logger.info("The database is away; near files are compared with it another time")
        except Exception as error:  # noqa: BLE001 - the next round tries again
            logger.error("Comparing near files with the database met a fault: %s", type(error).__name__)  # noqa: TRY400
        await asyncio.sleep(SWEEP_EVERY_SECONDS)


async def keep_recovering(context: Context) -> None:
    """Finish what is unfinished, for as long as the service runs; first what a crash has left."""
    with contextlib.suppress(Unavailable):
        await context.store.leases.release_lost(context.clock())
    while True:
        context.unfinished.clear()
        try:
            await recover(context)
        except (NoWorker, Unavailable):
            logger.info("The database or the workers are away; recovery waits for them")
        except Exception as error:  # noqa: BLE001 - one fault must not end recovery; the next round tries again
            # Not with its message or values, which may quote a file.
            logger.error("Recovery met a fault: %s", type(error).__name__)  # noqa: TRY400
        try:
            async with asyncio.timeout(context.settings.recovery_interval):
                await context.unfinished.wait()
        except TimeoutError:
            continue


async def recover(context: Context) -> int:
    """Finish the deletes and extractions that are due.

    Returns
    -------
    int
        How many instances were taken up.

    Raises
    ------
    DatabaseUnavailable
        Where the database does not answer.
    """
    taken = 0
    while instance := await _take(context, "deleting"):
        taken += 1
        try:
            await context.store.deletion.finish(instance)
            context.near.forget(instance["original_id"], instance["sha256"])
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - it stands in nobody's way: its lease keeps it aside for a while
            logger.error("A delete met a fault: %s", type(error).__name__)  # noqa: TRY400
    # One after the other: uploads that wait for a worker go first.
    while instance := await _take(context, "pending"):
        await _finish_extraction(context, instance)
        taken += 1
    return taken


async def _take(context: Context, state: Literal["pending", "deleting"]) -> Instance | None:
    now = context.clock()
    lease = timedelta(seconds=2 * context.settings.extraction_timeout)
    return await context.store.leases.take_unfinished(state, now, now + lease)


async def _finish_extraction(context: Context, instance: Instance) -> None:
    """Extract an instance that was taken on, or note why that cannot be done."""
    attempts = instance["extraction"]["attempts"]
    try:
        async with local_original(context, Visible(instance["patient_id"]), instance) as source:
            extraction = await extract_in_worker(context, source, apart=instance.get("inbox") is not None)
        whole = extracted(instance, extraction, context.clock(), attempts=attempts)
        await context.store.uploads.replace_derived(whole, extraction)
    except (Invalid, NotFound) as error:
        await _set(context, instance, state="failed", error=error.detail)
    except (NoWorker, Unavailable):  # not the file's fault, so not one of its attempts
        await _set(context, instance, retry_at=context.clock() + BACK_OFF, attempts=attempts - 1)
        raise
    except asyncio.CancelledError:  # the service stops: the next one need not wait for the lease to run out
        with contextlib.suppress(Unavailable):
            await _set(context, instance, attempts=attempts - 1)
        raise
    except Exception as error:  # noqa: BLE001 - a lost worker or a fault of ours: of this file, and of no other
        if not isinstance(error, WorkerLost):
            logger.error("An extraction met a fault: %s", type(error).__name__)  # noqa: TRY400
        if attempts >= MAX_ATTEMPTS:
            reason = f"The extraction was given up after {attempts} attempts."
            if isinstance(error, WorkerLost):
                reason = f"The extraction ended its worker process {attempts} times."
            await _set(context, instance, state="failed", error=reason)
        else:
            await _set(context, instance, retry_at=context.clock() + BACK_OFF * 2 ** (attempts - 1))


async def _set(context: Context, instance: Instance, **changes: Any) -> None:
    """Change what is known of an extraction, and let go of the lease unless there is a time for the next try."""
    known = {**instance["extraction"], "at": context.clock(), "retry_at": None, "holder": None, **changes}
    await context.store.instances.set_extraction(instance, cast("ExtractionStatus", known))
