"""python -m service: flags and environment to settings, and the service runs until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import fields, replace
from typing import Any

from aiohttp import web

from service import logs
from service.app import create_app
from service.auth.tokens import keep_dev_secret
from service.errors import DatabaseUnavailable, ServiceError
from service.settings import Settings, SettingsError, default_text, dev_mode_refusal, is_loopback, variable
from service.supervisor import GaveUp, supervise
from service.web.server import DiscreetRunner, address_of, listen

log = logging.getLogger("service")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line from the table of settings."""
    secret = [f"{variable(each)} ({each.metadata['help']})" for each in fields(Settings) if not each.metadata["flag"]]
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="A DICOM store: upload files, ask for any tag, see the pictures.",
        epilog=f"Each setting can also be given as an environment variable, named in brackets; a flag wins. "
        f"What may hold a secret has a variable only: {', '.join(secret)}. "
        "To try it on this machine: python -m service --dev",
        # An abbreviated flag would mean another one day, when a flag is added that begins alike.
        allow_abbrev=False,
    )
    for setting in fields(Settings):
        if not setting.metadata["flag"]:
            continue
        text = f"{setting.metadata['help']} [{variable(setting)}; {default_text(setting)}]".replace("%", "%%")
        if setting.name == "dev_mode":
            parser.add_argument("--dev", dest="dev_mode", action="store_const", const=True, help=text)
        else:
            flag = "--" + setting.name.replace("_", "-")
            parser.add_argument(flag, dest=setting.name, metavar=setting.name.upper(), help=text)
    return parser


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
            await web.SockSite(runner, listener, backlog=1024).start()
            ready()
        await stop.wait()
        log.info("stopping")
    finally:
        stopping.cancel()
        await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service; what keeps it from starting is told in a sentence.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name.

    Returns
    -------
    int
        The exit status: 0, 1 where something it needs is not there, 2 where it is not set up rightly.
    """
    given = make_parser().parse_args(arguments)
    try:
        settings = Settings.from_environment(os.environ, vars(given))
        if settings.dev_mode and settings.jwt_secret is None:
            settings = replace(settings, jwt_secret=keep_dev_secret(settings.data_dir))
    except SettingsError as error:
        return _refuse(str(error), 2)
    except OSError as error:
        return _refuse(f"The data directory cannot be used: {error.strerror} ({error.filename}).", 1)
    set_up_logging(settings)
    if settings.jwt_jwks is not None and (settings.jwt_issuer is None or settings.jwt_audience is None):
        log.warning(
            "JWT_ISSUER or JWT_AUDIENCE is unset: tokens that these keys signed for other services open this one"
        )
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        return _refuse(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
            "Is another service running there? --port takes another port, 0 a free one.",
            1,
        )

    address = address_of(listener)

    def ready() -> None:
        log.info("listening on %s%s", address, " (dev mode)" if settings.dev_mode else "")

    with listener:
        if settings.dev_mode and not is_loopback(listener.getsockname()[0]):
            return _refuse(dev_mode_refusal(settings.host), 2)
        if settings.workers > 1:
            return until_it_ends(settings, lambda: supervise(settings, listener, ready))
        return serve(settings, listener, ready)


def set_up_logging(settings: Settings) -> None:
    """Have the log of this process written."""
    logs.configure(settings.log_level, settings.log_format or ("text" if settings.dev_mode else "json"))


def serve(settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> int:
    """Be a service process, from `run` to its exit status."""
    # A thousand documents decoded at once are made of some hundred thousand lists, which hold no cycles. With Python's
    # own threshold its collector looks at them again and again while they are made.
    gc.set_threshold(20_000, 50, 100)
    return until_it_ends(settings, lambda: run(settings, listener, ready))


def until_it_ends(settings: Settings, work: Callable[[], Coroutine[Any, Any, int | None]]) -> int:
    """Run what this process is for, and give its exit status; what keeps it from starting is told in a sentence."""
    try:
        return asyncio.run(work()) or 0
    except DatabaseUnavailable as error:
        hint = " Is it running, and is MONGODB_URI right?" if settings.mongodb_uri else ""
        return _refuse(f"{error}{hint}", 1)
    except SettingsError as error:
        return _refuse(str(error), 2)
    except GaveUp as error:
        return _refuse(str(error), max(error.status, 1))
    except ServiceError as error:
        return _refuse(str(error), 1)
    except OSError as error:
        return _refuse(f"The service cannot start: {error.strerror or error} {error.filename or ''}".strip(), 1)


def _refuse(sentence: str, status: int) -> int:
    sys.stderr.write(f"{sentence}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
