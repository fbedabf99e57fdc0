"""A pool of worker processes for what costs CPU, or what a hostile file may crash, hang or bloat.

A job is a module-level function of the service and its arguments. Each process does one job at a time::

    pool = WorkerPool(size=2, modules=("service.dicom.extract",))
    await pool.start()
    packed = await pool.run(extract_packed, path, limits, timeout=60, caller=patient_id)
    await pool.close()

A process that crashes or runs out of time is killed and replaced, and nobody but its own caller notices. A caller that
stops waiting takes its job out of the queue; a job that runs already runs to its end, and its answer is dropped, so a
pipe never holds the answer of another job.

Callers take turns. One caller may have every process as long as nobody else wants one; for others there is one process
more, which takes no second job of anybody.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import typing
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from service import errors
from service.errors import LimitExceeded, NoWorker, Overloaded, ServiceError, Unavailable, WorkerLost
from service.workers.child import is_allowed
from service.workers.handle import Delivery, Sink, WorkerProcess, start_worker
from service.workers.messages import Packed, Unreadable, convert, pack
from service.workers.turns import Turns

log = logging.getLogger(__name__)

_PLACE = re.compile(r"[\w.<>]{1,200}(\n  [^\n]{1,500}:\d{1,9} in [\w<>]{1,200}){0,20}")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

START_SECONDS = 60.0  # importing the codecs from a cold disk
LONGEST_RETRY_SECONDS = 30
LARGEST_ANSWER = 1 << 30
LARGEST_START = Delivery(0)

FROM_WORKERS: dict[str, type[ServiceError]] = {
    each.__name__: each
    for each in (
        ServiceError,
        errors.NotFound,
        errors.BadParameter,
        errors.Invalid,
        errors.NotDicom,
        errors.LimitExceeded,
        errors.NotRenderable,
        errors.ExtractionFailed,
        errors.TooLarge,
        errors.UnsupportedMediaType,
        errors.NotAcceptable,
        errors.Unavailable,
        errors.ExtractionPending,
    )
}
"""The errors that a job may raise at its caller."""


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
        How many jobs run at once at most, beside one of a caller for whom none runs; as many as there are cores unless
        given.
    modules : tuple of str, optional
        Modules that a worker imports before its first job.
    memory_bytes : int, optional
        What one worker may allocate. A job that needs more raises `LimitExceeded`.
    queue_limit : int, optional
        How many jobs may wait. For one more, the newest of the caller with the most raises `Overloaded`.
    jobs_per_worker : int, optional
        After how many jobs a process is replaced by a fresh one.
    warm : int, optional
        How many processes `start` starts without a job.
    packages : tuple of str, optional
        The packages that jobs may come from.

    Attributes
    ----------
    busy, restarts, finished : int
        Jobs that run, processes that were lost and replaced, jobs that were answered.
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
        packages: tuple[str, ...] = ("service", "schemas"),
    ) -> None:
        self.size = size or os.cpu_count() or 1
        self.queue_limit = queue_limit
        self.busy = 0
        self.restarts = 0
        self.finished = 0
        self._warm = min(warm, self.size)
        self._packages = packages
        self._jobs_per_worker = jobs_per_worker
        self._options = {"modules": modules, "memory_bytes": memory_bytes, "packages": packages}
        self._turns: Turns[_Job] = Turns()
        self._running: Counter[str] = Counter()
        self._idle: list[WorkerProcess] = []
        self._workers: set[WorkerProcess] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._spare: set[asyncio.Task[None]] = set()  # of these the one, at most, that starts the process beyond `size`
        self._numbers = 0
        self._mean_seconds = 1.0
        self._open = False
        self._told = False

    @property
    def queued(self) -> int:
        """How many jobs wait."""
        return len(self._turns)

    @property
    def process_ids(self) -> list[int]:
        """The process ids of the workers that run."""
        return [worker.pid for worker in self._workers]

    async def start(self) -> None:
        """Take jobs from now on, and start the first processes without waiting for them."""
        self._open = True
        for _ in range(self._warm):
            self._begin(None, None)

    async def run(
        self,
        function: Callable[Parameters, Result],
        /,
        *args: Any,
        timeout: float,  # noqa: ASYNC109 - not the caller's
        caller: str = "",
        sink: Sink | None = None,
        returns: Any = None,
    ) -> Result:
        """Run a function in a worker process.

        Parameters
        ----------
        function : callable
            A module-level function of one of the pool's packages. Its annotations name the types that plain data is
            made into again: of its arguments there, of its result here.
        *args
            Its arguments: plain data, dataclasses of it, and functions. A path is opened here, and is the bytes of the
            mapped file there.
        timeout : float
            Seconds that it may run, waiting and starting a process not included.
        caller : str, optional
            Who asks: callers take turns.
        sink : callable, optional
            Takes the bytes of the result piece by piece, in a thread; in the result a `Stretch` stands for them.
        returns : type, optional
            What the result is made into, where that is not what the function returns.

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
            Its process ended in the middle, or answered what it may not.
        Overloaded
            Too many jobs wait already.
        Unavailable
            The pool is closed.
        JobError
            It raised something else.
        OSError
            A file cannot be opened, or the sink takes nothing more.
        """
        module, name = function.__module__, function.__qualname__
        if not is_allowed(module, self._packages) or not name.isidentifier():
            raise ValueError(f"{module}.{name} cannot run in a worker process")
        if not self._open:
            raise Unavailable("The service is stopping.", retry_after=5)
        self._numbers += 1
        request = pack([self._numbers, function, args, timeout], to_worker=True)
        wanted = returns or typing.get_type_hints(function).get("return", Any)
        job = _Job(caller, self._numbers, request, wanted, timeout, sink)
        self._turns.add(caller, job)
        self._dispatch()
        if self.queued > self.queue_limit:
            refusal = Overloaded("Too many files wait to be worked on.", retry_after=self._retry_after())
            self._turns.drop(caller).fail(refusal)
        try:
            return await job.answer  # type: ignore[no-any-return]
        finally:
            self._turns.remove(caller, job)  # where the caller stopped waiting
            del job, request  # an error's traceback leads here, and from the job to the error: a circle, with its bytes

    async def close(self, grace: float = 5.0) -> None:
        """Refuse what waits, let what runs finish, and end every process.

        Parameters
        ----------
        grace : float, optional
            Seconds for running jobs to finish. Then they are killed, and raise `WorkerLost`.
        """
        self._open = False
        while (job := self._turns.take({})) is not None:
            job.fail(Unavailable("The service is stopping.", retry_after=5))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        self._workers.clear()
        self._idle.clear()

    def _retry_after(self) -> int:
        """Guess, from the jobs so far, when the queue is short again."""
        return max(1, min(LONGEST_RETRY_SECONDS, round(self._mean_seconds * self.queued / self.size)))

    def _dispatch(self) -> None:
        """Begin jobs that wait, as far as there are processes for them."""
        while self._open and self._turns:
            slots = len(self._tasks) - len(self._spare)
            if slots < self.size:
                job = self._turns.take(self._running)
            elif self._running.total() != self.size:
                return
            elif self._idle:
                job = self._turns.take(self._running, idle_only=True)
            else:
                # One caller has every process, and wants more: whoever comes next shall not wait for another to start.
                # Nobody's job is tied to it meanwhile, for a process may be free before.
                if not self._spare and (len(self._running) == 1 or self._turns.has_idle(self._running)):
                    self._spare.add(self._begin(None, None))
                return
            if job is None:
                return
            self._begin(self._idle.pop() if self._idle else None, job)

    def _begin(self, worker: WorkerProcess | None, job: _Job | None) -> asyncio.Task[None]:
        """Have a process do a job, or start one that does none yet."""
        if job is not None:
            self._running[job.caller] += 1
        task = asyncio.create_task(self._work(worker, job))
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._spare.discard(task)
        self._dispatch()

    async def _work(self, worker: WorkerProcess | None, job: _Job | None) -> None:
        """Do one job, and leave a process that can do the next."""
        if job is not None:
            began = time.monotonic()
            self.busy += 1
            try:
                worker = await self._perform(worker, job)
            except asyncio.CancelledError:
                job.fail(NoWorker("The service is stopping."))
                raise
            finally:
                self.busy -= 1
                self.finished += 1
                self._running -= Counter((job.caller,))  # in place, and without those for whom none runs
                self._mean_seconds += 0.1 * (time.monotonic() - began - self._mean_seconds)
        if worker is None or worker.lost or worker.jobs >= self._jobs_per_worker:
            worker = await self._replace(worker)
        if worker is not None:
            self._idle.append(worker)

    async def _perform(self, worker: WorkerProcess | None, job: _Job) -> WorkerProcess | None:
        """Do one job, and return the process that did it, or None where that one is of no more use."""
        if worker is None or worker.lost:
            worker = await self._replace(worker)
        if worker is None:
            job.fail(NoWorker("A worker process could not be started."))
            return None
        try:
            async with asyncio.timeout(job.timeout):
                answer = await worker.ask(job.request, Delivery(LARGEST_ANSWER, job.sink, job.answer.done))
            kind = job.settle(answer)
        except TimeoutError:
            self.restarts += 1
            log.warning("worker %d killed: a job took longer than %g s", worker.pid, job.timeout)
            worker.kill()
            job.fail(OutOfTime(f"It took longer than the {job.timeout:g} seconds that it may take."))
        except WorkerLost as lost:
            self.restarts += 1
            await worker.stop()
            words = await worker.last_words()
            log.warning("worker %d lost, exit status %s\n%s", worker.pid, worker.exit_status, words)
            job.fail(lost.with_traceback(None))
        except Unreadable as error:
            self.restarts += 1
            log.warning("worker %d killed: an answer that cannot be read: %s", worker.pid, error)
            worker.kill()
            job.fail(WorkerLost("A worker process gave an answer that cannot be read."))
        except OSError as error:
            job.fail(error.with_traceback(None))
        else:
            return None if kind == "memory" else worker
        return worker

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
                problem, confined = convert(await fresh.message(LARGEST_START), tuple[str | None, list[str]])
        except (OSError, TimeoutError, WorkerLost, Unreadable) as error:
            problem = f"{type(error).__name__}: {error}"
            if fresh is not None:
                await fresh.stop()
                problem += f"\n{await fresh.last_words()}"
        if problem is None and fresh is not None:
            self._tell(confined)
            return fresh
        log.error("a worker process could not be started: %s", problem)
        if fresh is not None:
            await fresh.stop()
            self._workers.discard(fresh)
        return None

    def _tell(self, confined: list[str]) -> None:
        """Log, once, what keeps workers from doing anything but their work."""
        if not self._told:
            self._told = True
            if len(confined) == 2:
                log.info("workers are confined by %s", " and ".join(confined))
            else:
                log.warning("workers are not confined as they should be: %s", " ".join(confined) or "by nothing")


@dataclass(eq=False, repr=False)
class _Job:
    """What waits for a worker, and who waits for its answer."""

    caller: str
    number: int
    request: Packed
    wanted: Any
    timeout: float
    sink: Sink | None
    answer: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def settle(self, answer: Any) -> str:
        """Answer the caller, if it still waits, and return the kind of the answer.

        Raises
        ------
        Unreadable
            It is none to this job.
        """
        number: int
        kind: str
        number, kind, value = convert(answer, tuple[int, str, Any])
        if number != self.number:
            raise Unreadable("it is of another job")
        if kind == "result":
            if not self.answer.done():
                self.answer.set_result(convert(value, self.wanted))
        elif kind == "raised":
            self.fail(_raised(value))
        elif kind == "memory":
            self.fail(LimitExceeded("It needs more memory than the service gives to one file."))
        elif kind == "failed":
            where: str = convert(value, str)
            if not _PLACE.fullmatch(where):
                raise Unreadable("it names no place")
            log.error("a job failed in its worker: %s", where)
            self.fail(JobError(where))
        else:
            raise Unreadable("it is of no kind")
        return kind

    def fail(self, error: Exception) -> None:
        """Raise an error at the caller, if it still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


def _raised(value: Any) -> ServiceError:
    """Return the error that a job has raised.

    Raises
    ------
    Unreadable
        It is none that a job may raise.
    """
    name, detail, seconds = convert(value, tuple[str, str, int | None])
    kind = FROM_WORKERS.get(name)
    if kind is None:
        raise Unreadable("it raises what no job may")
    return kind(detail) if seconds is None or not issubclass(kind, Unavailable) else kind(detail, seconds)
