"""What the commands share: their settings from the service's environment, and how they show their progress."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from service.errors import ServiceError
from service.launch.kernel import hide_memory
from service.settings import Settings, SettingsError
from service.telemetry import logs

INTERRUPTED = 130
LINE_SECONDS = 5.0
BAR_SECONDS = 0.2
BAR_WIDTH = 24

# What only a process that answers requests needs; a command must not ask for a key that it does not use.
_SERVING = frozenset(
    {
        "HOST",
        "PORT",
        "DEV_MODE",
        "JWT_SECRET",
        "JWT_SECRET_FILE",
        "JWT_JWKS",
        "JWT_JWKS_KEEP",
        "JWT_ISSUER",
        "JWT_AUDIENCE",
    }
)

SETTINGS_HELP = (
    "The database is the service's own: MONGODB_URI and MONGODB_DATABASE where they are set, else the local database "
    "under DATA_DIR (./data), which is found when a service runs it, and started for as long as this command needs it "
    "when none does. MAX_INFLATED_BYTES, EXTRACTION_TIMEOUT and POOL_MEMORY_BYTES hold as in the service."
)


@dataclass
class Progress:
    """How far a command is: a bar on a terminal, plain lines elsewhere.

    Parameters
    ----------
    verb : str
        What is done to the files.
    stream : text stream
        Where it is shown; standard error, so that standard output stays for results.
    quiet : bool
        Show nothing.
    """

    verb: str
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    quiet: bool = False
    done: int = 0
    _began: float = field(default_factory=time.monotonic)
    _shown: float = field(default_factory=time.monotonic)

    def show(self, done: int, passed: int, total: int | None) -> None:
        """Show how many files were worked on, and how many of all are behind."""
        self.done = done
        terminal = self.stream.isatty()
        now = time.monotonic()
        if self.quiet or now - self._shown < (BAR_SECONDS if terminal else LINE_SECONDS):
            return
        self._shown = now
        self.stream.write(("\r" if terminal else "") + self._line(passed, total) + ("\x1b[K" if terminal else "\n"))
        self.stream.flush()

    def end(self) -> None:
        """Leave the line of the bar."""
        if not self.quiet and self.stream.isatty():
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def seconds(self) -> float:
        """Return the time since the beginning."""
        return time.monotonic() - self._began

    def _line(self, passed: int, total: int | None) -> str:
        seconds = max(self.seconds(), 0.001)
        text = f"{self.verb} {self.done} files, {self.done / seconds:.1f} a second"
        if not total:
            return text
        part = min(passed / total, 1.0)
        left = f", {_span(seconds / part - seconds)} left" if part > 0 else ""
        full = round(part * BAR_WIDTH)
        bar = f"[{'#' * full}{'.' * (BAR_WIDTH - full)}] " if self.stream.isatty() else ""
        return f"{bar}{part:4.0%}  {text}{left}"


def _span(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def make_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Make the parser of a command, with the flags that all of them have."""
    parser = argparse.ArgumentParser(
        prog=f"python scripts/{name}.py",
        description=description,
        epilog=SETTINGS_HELP
        + " Exit status: 0 all is well, 1 something failed or is not as it should be, 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("--data-dir", metavar="DIR", help="the service's data directory [DATA_DIR; data]")
    parser.add_argument("--mongodb-database", metavar="NAME", help="the database [MONGODB_DATABASE; dicom]")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object on standard output")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def positive(text: str) -> int:
    """Read a positive whole number of the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def read_settings(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """Return the settings of the service for a command that answers no requests.

    Raises
    ------
    SettingsError
        Where a value cannot be read.
    """
    used = {name: value for name, value in environ.items() if name not in _SERVING}
    overrides: dict[str, Any] = {"dev_mode": True}  # nothing listens, and no key is asked for
    if arguments.data_dir:
        overrides["data_dir"] = Path(arguments.data_dir)
    if arguments.mongodb_database:
        overrides["mongodb_database"] = arguments.mongodb_database
    overrides["pool_processes"] = getattr(arguments, "workers", None)
    return Settings.from_environment(used, overrides)


def run_command(
    arguments: argparse.Namespace,
    environ: Mapping[str, str],
    work: Callable[[Settings], Awaitable[int]],
    *,
    hint: str = "Run it again to go on.",
) -> int:
    """Run a command to its exit status; what keeps it from working is told in a sentence.

    Parameters
    ----------
    arguments : argparse.Namespace
        From a parser of :func:`make_parser`.
    environ : mapping of str to str
        The environment.
    work : callable
        Takes the settings and gives the exit status.
    hint : str, optional
        What to do when it was interrupted.
    """
    hide_memory()
    logs.configure("WARNING", "text")
    try:
        settings = read_settings(arguments, environ)
        return asyncio.run(_until_told(work(settings)))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write(f"\nInterrupted. {hint}\n")
        return INTERRUPTED
    except (ServiceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


async def _until_told(work: Awaitable[int]) -> int:
    """Cancel the work, so that it cleans up, when the process is told to stop."""
    task = asyncio.ensure_future(work)
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _written(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_summary(arguments: argparse.Namespace, summary: Mapping[str, Any], lines: list[str]) -> None:
    """Print what came of it: one JSON object, or lines for people."""
    if arguments.json:
        sys.stdout.write(json.dumps(summary, default=_written, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join(lines) + "\n")
