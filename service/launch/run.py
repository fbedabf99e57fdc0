"""One service process, from its settings to its exit status."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from service.app import create_app
from service.errors import DatabaseUnavailable, ServiceError
from service.launch.supervisor import GaveUp
from service.settings import Settings, SettingsError
from service.storage.local.database import find_running
from service.telemetry import logs
from service.web.connections import FullHouse
from service.web.server import DiscreetRunner

log = logging.getLogger("service")


async def run(settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests until the process is told to stop.

    Parameters
    ----------
    settings : Settings
        What the operator has set.
    listener : socket
        Where requests come in, bound and not listening yet.
    ready : callable
        Called when requests are answered.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(FullHouse())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = DiscreetRunner(create_app(settings), shutdown_timeout=settings.shutdown_grace)
    starting = asyncio.create_task(runner.setup())
    stopping = asyncio.create_task(stop.wait())
    try:
        # A database that does not come up must not keep anybody from stopping the service.
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        if not stop.is_set():
            gc.freeze()  # what is there by now stays: the collector need not look at it again
            await web.SockSite(runner, listener, backlog=1024).start()
            ready()
        await stop.wait()
        log.info("stopping")
    finally:
        stopping.cancel()
        await runner.cleanup()


def set_up_logging(settings: Settings) -> None:
    """Set up the log of this process."""
    logs.configure(settings.log_level, settings.log_format or ("text" if settings.dev_mode else "json"))


def announce(settings: Settings, address: str) -> None:
    """Log where requests are answered, and the command that opens a shell on the local database, where there is one."""
    log.info("listening on %s%s", address, " (dev mode)" if settings.dev_mode else "")
    uri = find_running(settings.data_dir) if settings.mongodb_uri is None else None
    if uri is not None:
        log.info('questions of your own: mongosh "%s/%s"', uri.partition("/?")[0], settings.mongodb_database)


def serve(settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> int:
    """Run this service process to its end and return its exit status."""
    # A thousand documents decoded at once are made of some hundred thousand lists, which hold no cycles. With Python's
    # own threshold its collector looks at them again and again while they are made.
    gc.set_threshold(20_000, 50, 100)
    return until_it_ends(settings, lambda: run(settings, listener, ready))


def until_it_ends(settings: Settings, work: Callable[[], Coroutine[Any, Any, int | None]]) -> int:
    """Run what this process is for, and return its exit status; what keeps it from starting is told in a sentence."""
    try:
        return asyncio.run(work()) or 0
    except DatabaseUnavailable as error:
        hint = " Is it running, and is MONGODB_URI right?" if settings.mongodb_uri else ""
        return refuse(f"{error}{hint}", 1)
    except SettingsError as error:
        return refuse(str(error), 2)
    except GaveUp as error:
        return refuse(str(error), max(error.status, 1))
    except ServiceError as error:
        return refuse(str(error), 1)
    except OSError as error:
        return refuse(f"The service cannot start: {error.strerror or error} {error.filename or ''}".strip(), 1)


def refuse(sentence: str, status: int) -> int:
    """Return the exit status, having written to the console why the service does not run."""
    sys.stderr.write(f"{sentence}\n")
    return status
