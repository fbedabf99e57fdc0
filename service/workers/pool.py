"""A pool of worker processes for what costs CPU, or what a hostile file may crash, hang or bloat.

A job is a module-level function of the service and its arguments. Each process does one job at a time::

    pool = WorkerPool(size=2, modules=("service.dicom.extract",))
    await pool.start()
    packed = await pool.run(extract_packed, path, limits, timeout=60)
    await pool.close()

A process that crashes or runs out of time is killed and replaced, and nobody but its own caller notices. A caller that
stops waiting takes its job out of the queue; a job that runs already runs to its end, and its answer is dropped, so a
pipe never holds the answer of another job.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from service.errors import LimitExceeded, NoWorker, Overloaded, Unavailable, WorkerLost
from service.workers.handle import WorkerProcess, pack_job, start_worker, unpack_answer

log = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

START_SECONDS = 60.0  # importing the codecs from a cold disk
LONGEST_RETRY_SECONDS = 30


class OutOfTime(WorkerLost):
    """The job took longer than its limit, and its process was killed."""


class JobError(RuntimeError):
    """The job raised an exception that is no error of the service's own: a fault in the program.

    Its text names the exception's type and the lines it went through, and never the exception's message, which may
    quote the file.
    """


class WorkerPool:
    """Worker processes, started as they are needed.

    The event loop that the pool is started on must run in the main thread: on Linux the kernel kills a worker when the
    *thread* that started it ends.

    Parameters
    ----------
    size : int, optional
        How many processes there are at most; as many as there are cores unless given.
    modules : tuple of str, optional
        Modules that a worker imports before its first job.
    memory_bytes : int, optional
        What one worker may allocate. A job that needs more raises `LimitExceeded`.
    queue_limit : int, optional
        How many jobs may wait. One more raises `Overloaded`.
    jobs_per_worker : int, optional
        After how many jobs a process is replaced by a fresh one.
    warm : int, optional
        How many processes `start` starts without a job.
    packages : tuple of str, optional
        The packages that jobs, and the classes in their answers, may come from.

    Attributes
    ----------
    busy, queued, restarts, finished : int
        Jobs that run, jobs that wait, processes that were lost and replaced, jobs that were answered.
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        modules: tuple[str, ...] = (),
        memory_bytes: int = 2 << 30,
        queue_limit: int = 64,
        jobs_per_worker: int = 1000,
        warm: int = 1,
        packages: tuple[str, ...] = ("service",),
    ) -> None:
        self.size = size or os.cpu_count() or 1
        self.queue_limit = queue_limit
        self.busy = 0
        self.queued = 0
        self.restarts = 0
        self.finished = 0
        self._warm = min(warm, self.size)
        self._packages = packages
        self._jobs_per_worker = jobs_per_worker
        self._options = {
            "parent": 0,
            "modules": modules,
            "memory_bytes": memory_bytes,
            "packages": packages,
        }
        self._queue: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._idle = 0
        self._lanes: set[asyncio.Task[None]] = set()
        self._workers: set[WorkerProcess] = set()
        self._mean_seconds = 1.0
        self._open = False

    @property
    def process_ids(self) -> list[int]:
        """The process ids of the workers that run."""
        return [worker.pid for worker in self._workers]

    async def start(self) -> None:
        """Take jobs from now on, and start the first processes without waiting for them."""
        self._options["parent"] = os.getpid()
        self._open = True
        for _ in range(self._warm):
            self._add_lane(eager=True)

    async def run(
        self,
        function: Callable[Parameters, Result],
        /,
        *args: Any,
        timeout: float,  # noqa: ASYNC109 - not the caller's
    ) -> Result:
        """Run a function in a worker process.

        Parameters
        ----------
        function : callable
            A module-level function of one of the pool's packages. Its arguments and its result are pickled.
        *args
            Its arguments.
        timeout : float
            Seconds that it may run, waiting and starting a process not included.

        Returns
        -------
        object
            What the function returned.

        Raises
        ------
        ServiceError
            What the function raised.
        LimitExceeded
            It needed more memory than a worker may take.
        OutOfTime
            It ran longer than `timeout`.
        WorkerLost
            Its process ended in the middle.
        Overloaded
            Too many jobs wait already.
        Unavailable
            The pool is closed.
        JobError
            It raised something else.
        """
        job = _Job(pack_job(function, args, timeout, self._packages), timeout)
        if not self._open:
            raise Unavailable("The service is stopping.", retry_after=5)
        if self.queued - self._idle >= self.queue_limit:
            raise Overloaded("Too many files wait to be worked on.", retry_after=self._retry_after())
        self.queued += 1
        self._queue.put_nowait(job)
        if self._idle < self.queued and len(self._lanes) < self.size:
            self._add_lane()
        try:
            return await job.answer  # type: ignore[no-any-return]
        finally:
            if not job.taken:  # the caller stopped waiting; its lane will pass over it
                job.taken = True
                self.queued -= 1

    async def close(self, grace: float = 5.0) -> None:
        """Refuse what waits, let what runs finish, and end every process.

        Parameters
        ----------
        grace : float, optional
            Seconds for running jobs to finish. Then they are killed, and raise `WorkerLost`.
        """
        self._open = False
        while not self._queue.empty():
            job = self._queue.get_nowait()
            if job is not None and not job.taken:
                job.taken = True
                self.queued -= 1
                job.fail(Unavailable("The service is stopping.", retry_after=5))
        lanes = list(self._lanes)
        for _ in lanes:
            self._queue.put_nowait(None)
        if lanes:
            await asyncio.wait(lanes, timeout=grace)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in list(self._workers)))
        self._workers.clear()

    def _retry_after(self) -> int:
        """Guess, from the jobs so far, when the queue is short again."""
        return max(1, min(LONGEST_RETRY_SECONDS, round(self._mean_seconds * self.queued / self.size)))

    def _add_lane(self, *, eager: bool = False) -> None:
        lane = asyncio.create_task(self._serve(eager=eager))
        self._lanes.add(lane)
        lane.add_done_callback(self._lanes.discard)

    async def _serve(self, *, eager: bool) -> None:
        """Hand jobs to one process after another; a lane is the life of one process and its successors."""
        worker = await self._replace(None) if eager else None
        while True:
            self._idle += 1
            try:
                job = await self._queue.get()
            finally:
                self._idle -= 1
            if job is None:
                return
            if job.taken:
                continue
            job.taken = True
            self.queued -= 1
            self.busy += 1
            began = time.monotonic()
            try:
                worker = await self._perform(worker, job)
            except asyncio.CancelledError:
                job.fail(NoWorker("The service is stopping."))
                raise
            finally:
                self.busy -= 1
                self.finished += 1
                self._mean_seconds += 0.1 * (time.monotonic() - began - self._mean_seconds)
            if worker is None or worker.lost or worker.jobs >= self._jobs_per_worker:
                worker = await self._replace(worker)

    async def _perform(self, worker: WorkerProcess | None, job: _Job) -> WorkerProcess | None:
        """Do one job, and return the process that did it, or None where that one is of no more use."""
        if worker is None or worker.lost:
            worker = await self._replace(worker)
        if worker is None:
            job.fail(NoWorker("A worker process could not be started."))
            return None
        try:
            async with asyncio.timeout(job.timeout):
                body = await worker.ask(job.request)
        except TimeoutError:
            self.restarts += 1
            log.warning("worker %d killed: a job took longer than %g s", worker.pid, job.timeout)
            worker.kill()
            job.fail(OutOfTime(f"It took longer than the {job.timeout:g} seconds that it may take."))
            return worker
        except WorkerLost as lost:
            self.restarts += 1
            await worker.stop()
            log.warning("worker %d lost, exit status %s\n%s", worker.pid, worker.exit_status, worker.complaints)
            job.fail(lost)
            return worker
        try:
            kind, value = unpack_answer(body, self._packages)
        except Exception as error:  # noqa: BLE001 - an answer that cannot be read is a lost worker
            self.restarts += 1
            log.warning("worker %d killed: an answer that cannot be read (%s)", worker.pid, type(error).__name__)
            worker.kill()
            job.fail(WorkerLost("A worker process gave an answer that cannot be read."))
            return worker
        job.settle(kind, value)
        return None if kind == "memory" else worker

    async def _replace(self, worker: WorkerProcess | None) -> WorkerProcess | None:
        """End a process, and start its successor. Failing to start one is logged, and tried again at the next job."""
        if worker is not None:
            await worker.stop()
            self._workers.discard(worker)
        if not self._open:
            return None
        fresh = None
        try:
            fresh = await start_worker(self._options)
            self._workers.add(fresh)
            async with asyncio.timeout(START_SECONDS):
                problem = pickle.loads(await fresh.message())  # noqa: S301 - no file was opened there yet
        except (OSError, TimeoutError, WorkerLost) as error:
            problem = f"{type(error).__name__}: {error}\n{fresh.complaints if fresh else ''}"
        if problem is None:
            return fresh
        log.error("a worker process could not be started: %s", problem)
        if fresh is not None:
            await fresh.stop()
            self._workers.discard(fresh)
        return None


@dataclass
class _Job:
    """What waits for a worker, and who waits for its answer."""

    request: bytes
    timeout: float
    answer: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    taken: bool = False

    def settle(self, kind: str, value: Any) -> None:
        """Answer the caller, if it still waits."""
        if kind == "result":
            if not self.answer.done():
                self.answer.set_result(value)
        elif kind == "raised":
            self.fail(value)
        elif kind == "memory":
            self.fail(LimitExceeded("It needs more memory than the service gives to one file."))
        else:
            self.fail(JobError(str(value)))

    def fail(self, error: Exception) -> None:
        """Raise an error at the caller, if it still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)
