"""What the service counts and measures, for Prometheus; the only module that knows its library.

Use cases call methods named after what happened. A label is a method, a route's template, a status, or one of a few
words that are written here, so the number of series is bounded by the program and not by what is sent to it.

Several service processes that share a port share their figures too: a scrape reaches any one of them, and must not see
another's counters the next time. The process that starts them puts what :func:`share_metrics` gives into their
environment, which the library reads when it is imported; and whichever is scraped tells the sum of all.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
WORK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

UPLOAD_OUTCOMES = ("stored", "present", "pending", "refused", "unavailable", "broken")
AUDIT_OUTCOMES = ("written", "lost", "skipped")

Work = Literal["extraction", "rendering"]
Where = Literal["service", "worker"]

# A second series beside every counter, with the time at which it began, is nothing that anybody here asks for.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no type there


def share_metrics(data_dir: Path) -> dict[str, str]:
    """Make the place where service processes keep their figures together; the one that starts them calls this first.

    Parameters
    ----------
    data_dir : Path
        The data directory.

    Returns
    -------
    dict
        What the environment of each of them has beside the rest.
    """
    directory = _shared_directory(data_dir)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    return {"PROMETHEUS_MULTIPROC_DIR": str(directory)}


def forget_process(data_dir: Path, pid: int) -> None:
    """Take a service process that has ended out of what is now, such as memory; what it counted stays."""
    mark_process_dead(pid, str(_shared_directory(data_dir)))  # type: ignore[no-untyped-call] # nor here


def _shared_directory(data_dir: Path) -> Path:
    return data_dir.absolute() / "metrics"


class Metrics:
    """The figures of one service process, or its part of those of several."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counted: dict[Counter, float] = {}
        self._make_request_metrics()
        self._make_work_metrics()
        self._make_state_metrics()
        self._process = ProcessCollector(registry=None)
        self._request_series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def _make_request_metrics(self) -> None:
        labels = ("method", "route")
        self._requests = self._counter("requests", "Requests that were answered.", (*labels, "status"))
        self._request_seconds = self._histogram(
            "request_seconds", "Time from a request's head to the end of its answer.", labels, REQUEST_BUCKETS
        )
        self._received = self._counter("received_bytes", "Bytes of request bodies.")
        self._sent = self._counter("sent_bytes", "Bytes of answers, with their headers.")
        self._in_progress = self._gauge("requests_in_progress", "Requests that are being answered.", "livesum")
        self._in_progress.set(0)
        self._uploads = self._counter("uploads", "Files that were sent, by what became of them.", ("outcome",))
        for outcome in UPLOAD_OUTCOMES:
            self._uploads.labels(outcome)
        self._uploaded = self._counter("uploaded_bytes", "Bytes of files that were stored.")

    def _make_work_metrics(self) -> None:
        self._work_seconds = self._histogram(
            "work_seconds",
            "Time that extracting or rendering a file took, in the service's own process or in a worker, "
            "its waiting for one included.",
            ("work", "where"),
            WORK_BUCKETS,
        )
        for work, where in (("extraction", "service"), ("extraction", "worker"), ("rendering", "worker")):
            self._work_seconds.labels(work, where)
        self._rendered_cache = self._counter("rendered_cache", "Pictures asked of the cache.", ("result",))
        for result in ("hit", "miss"):
            self._rendered_cache.labels(result)
        self._workers = self._gauge("workers", "Worker processes that there may be.", "livesum")
        self._workers_busy = self._gauge("workers_busy", "Worker processes that have a job.", "livesum")
        self._worker_queue = self._gauge("worker_queue", "Jobs that wait for a worker process.", "livesum")
        self._worker_jobs = self._counter("worker_jobs", "Jobs that worker processes have ended.")
        self._workers_lost = self._counter("workers_lost", "Worker processes that crashed or ran out of time.")

    def _make_state_metrics(self) -> None:
        self._threads = self._gauge("storage_threads", "Threads for calls of the database.", "livesum")
        self._threads_busy = self._gauge("storage_threads_busy", "Threads that have a call.", "livesum")
        self._calls_waiting = self._gauge("storage_calls_waiting", "Calls that wait for a thread.", "livesum")
        self._database_up = self._gauge(
            "database_up", "Whether the database answered when it was last asked.", "mostrecent"
        )
        self._instances = self._gauge("instances", "Instances in the database.", "mostrecent", ("state",))
        self._lag = self._histogram("event_loop_lag_seconds", "How late the event loop wakes.", (), LAG_BUCKETS)
        self._audit = self._counter("audit_entries", "Entries of the audit, by what became of them.", ("outcome",))
        for outcome in AUDIT_OUTCOMES:
            self._audit.labels(outcome)
        self._audit_waiting = self._gauge("audit_waiting", "Entries that are not written yet.", "livesum")
        self._key_refreshes = self._counter("key_refreshes", "Fetches of the JWKS, by their outcome.", ("outcome",))
        for outcome in ("done", "failed"):
            self._key_refreshes.labels(outcome)
        self._key_age = self._gauge("key_age_seconds", "Time since the JWKS was last had; 0 with a secret.", "max")
        self._build = self._gauge("build_info", "Which program this is; always 1.", "max", ("version", "python"))
        # Under the names that every client library gives them.
        self._cpu = Counter("process_cpu_seconds", "User and system CPU time.", registry=self._registry)
        self._memory = Gauge(
            "process_resident_memory_bytes",
            "Resident memory of the service process.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._descriptors = Gauge(
            "process_open_fds", "Open file descriptors.", registry=self._registry, multiprocess_mode="livesum"
        )
        self._started = Gauge(
            "process_start_time_seconds",
            "When the process started, since 1970.",
            registry=self._registry,
            multiprocess_mode="livemin",
        )

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, text, labels, namespace="dicom_store", registry=self._registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, labels, namespace="dicom_store", registry=self._registry, buckets=buckets)

    def _gauge(
        self,
        name: str,
        text: str,
        several: Literal["livesum", "max", "mostrecent"],
        labels: tuple[str, ...] = (),
    ) -> Gauge:
        """Make a gauge; `several` says what becomes of the values of several processes."""
        return Gauge(name, text, labels, namespace="dicom_store", registry=self._registry, multiprocess_mode=several)

    # -- requests

    def answering(self) -> AbstractContextManager[None]:
        """Count a request as being answered for as long as this is entered."""
        return self._in_progress.track_inprogress()

    def request_ended(self, method: str, route: str, status: int, seconds: float, received: int, sent: int) -> None:
        """Note an answer.

        Parameters
        ----------
        method : str
            One of HTTP's methods.
        route : str
            The template of its route, never the path.
        status : int
            Of the answer.
        seconds : float
            From the head of the request to the end of the answer.
        received, sent : int
            Bytes of the request's body, and of the answer.
        """
        key = (method, route, status)
        series = self._request_series.get(key)
        if series is None:
            series = self._request_series[key] = (
                self._requests.labels(method, route, status),
                self._request_seconds.labels(method, route),
            )
        series[0].inc()
        series[1].observe(seconds)
        self._received.inc(received)
        self._sent.inc(sent)

    # -- use cases

    def upload(self, outcome: str, size: int = 0) -> None:
        """Note what became of a file: one of `UPLOAD_OUTCOMES`, and its bytes where they were stored."""
        self._uploads.labels(outcome).inc()
        self._uploaded.inc(size)

    @contextlib.contextmanager
    def work(self, work: Work, where: Where) -> Iterator[None]:
        """Measure a piece of work, also where it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._work_seconds.labels(work, where).observe(time.perf_counter() - began)

    def rendered_cache(self, *, hit: bool) -> None:
        """Note that the cache was asked for a picture."""
        self._rendered_cache.labels("hit" if hit else "miss").inc()

    def audit(self, outcome: str, entries: int = 1) -> None:
        """Note what became of entries of the audit: one of `AUDIT_OUTCOMES`."""
        self._audit.labels(outcome).inc(entries)

    def audit_waiting(self, entries: int) -> None:
        """Note how many entries are not written yet."""
        self._audit_waiting.set(entries)

    # -- what is so now

    def build(self, version: str) -> None:
        """Set which version of the program this is."""
        self._build.labels(version, ".".join(map(str, sys.version_info[:3]))).set(1)

    def event_loop_lag(self, seconds: float) -> None:
        """Note how late the event loop woke."""
        self._lag.observe(seconds)

    def workers(self, size: int, busy: int, queued: int, finished: int, lost: int) -> None:
        """Note what the pool of worker processes says of itself."""
        self._workers.set(size)
        self._workers_busy.set(busy)
        self._worker_queue.set(queued)
        self._count_to(self._worker_jobs, finished)
        self._count_to(self._workers_lost, lost)

    def keys(self, fetches: int, failures: int, age: float) -> None:
        """Note how often the JWKS was asked for and could not be had, and the seconds since it was last had."""
        self._count_to(self._key_refreshes.labels("done"), fetches - failures)
        self._count_to(self._key_refreshes.labels("failed"), failures)
        self._key_age.set(age)

    def storage_threads(self, size: int, busy: int, waiting: int) -> None:
        """Note what the threads for calls of the database do."""
        self._threads.set(size)
        self._threads_busy.set(busy)
        self._calls_waiting.set(waiting)

    def database(self, instances: Mapping[str, int] | None) -> None:
        """Note how many instances there are of each state; None: the database does not answer."""
        self._database_up.set(0 if instances is None else 1)
        for state, number in (instances or {}).items():
            self._instances.labels(state).set(number)

    def process(self) -> None:
        """Note what this process takes of the machine."""
        for family in self._process.collect():
            value = family.samples[0].value if family.samples else 0.0
            if family.name == "process_cpu_seconds":
                self._count_to(self._cpu, value)
            elif family.name == "process_resident_memory_bytes":
                self._memory.set(value)
            elif family.name == "process_open_fds":
                self._descriptors.set(value)
            elif family.name == "process_start_time_seconds":
                self._started.set(value)

    def exposition(self) -> bytes:
        """Return all figures as Prometheus reads them: those of every process that shares them."""
        together = CollectorRegistry()
        try:
            MultiProcessCollector(together)  # type: ignore[no-untyped-call] # nor here
        except ValueError:  # the environment names no directory: there are no others
            together = self._registry
        return generate_latest(together)

    def _count_to(self, counter: Counter, total: float) -> None:
        """Bring a counter to what somebody else has counted since this process began."""
        before = self._counted.get(counter, 0.0)
        if total > before:
            counter.inc(total - before)
            self._counted[counter] = total
