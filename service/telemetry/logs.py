"""What a process writes to its standard error: one place that decides what a line looks like, and what it may hold.

A line never holds patient data. The service's own messages are written so. What others log (the driver, pydicom,
asyncio, Python's warnings) may quote a file, a document or a request, so of it only the place is told; and of an
exception, wherever it comes from, only its types and the lines that it went through.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
import warnings
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

OWN = ("service", "schemas")
"""The packages whose messages are shown as they are."""

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered; lines that are logged meanwhile have it."""

MOST_LINKS = 20
"""Exceptions of one chain that are told."""

log = logging.getLogger(__name__)

_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, default=str).encode


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Decide what is logged in this process, and how.

    Parameters
    ----------
    level : str
        ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``: from where on the service's own messages are written. Those of
        others are written from WARNING on, whatever the level: at DEBUG the driver formats every document.
    form : str
        ``json``: one object a line; ``text``: lines for people.
    stream : text stream, optional
        Standard error unless given.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, JsonFormatter | TextFormatter):  # of an earlier call; any other is somebody else's
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, logging.getLevelName(level)))
    for name in OWN:
        logging.getLogger(name).setLevel(level)
    # A logger of somebody else that has set a level of its own would pass the root's by.
    for name in ("pymongo", "asyncio", "aiohttp", "PIL", "pydicom"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a line that cannot be written would be shown with its arguments
    warnings.showwarning = _log_warning
    # Each shows an exception with its message; one that is not Python's own is somebody's who has reasons.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_uncaught
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _log_unraisable
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _log_of_thread


def is_own(name: str) -> bool:
    """Return whether a logger's messages were written for this log."""
    return any(name == package or name.startswith(f"{package}.") for package in OWN)


def message_of(record: logging.LogRecord) -> str:
    """Return what may be shown of a record: the message of the service's own, and the place of anybody else's."""
    if is_own(record.name):
        return record.getMessage()
    return f"(message withheld) {record.pathname}:{record.lineno} in {record.funcName}"


def error_of(record: logging.LogRecord) -> str | None:
    """Return what may be shown of a record's exception; None where it has none."""
    error = record.exc_info[1] if record.exc_info else None
    return None if error is None else trace_without_values(error)


def trace_without_values(error: BaseException) -> str:
    """Return the traceback of an error and of those behind it, with their types and without their messages."""
    lines: list[str] = []
    link: BaseException | None = error
    for _ in range(MOST_LINKS):
        if link is None:
            break
        lines.append(f"{type(link).__module__}.{type(link).__qualname__}")
        lines.extend(
            f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(link.__traceback__)
        )
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what the record has beside them under ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message_of(record),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        line |= getattr(record, "fields", {})
        if (error := error_of(record)) is not None:
            line["error"] = error
        return _encode(line)


class TextFormatter(logging.Formatter):
    """Lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        error = error_of(record)
        text = f"{self.formatTime(record)} {record.levelname} {record.name}: {message_of(record)}"
        return text if error is None else f"{text}\n{error}"


def _log_warning(
    message: Warning | str,  # noqa: ARG001 - it may quote what was read
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - the signature of `warnings`
    line: str | None = None,  # noqa: ARG001
) -> None:
    log.warning("a %s (message withheld) %s:%d", category.__name__, filename, lineno)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:  # noqa: ARG001
    if isinstance(error, KeyboardInterrupt):
        return
    log.critical("the process ends by an error that nobody foresaw\n%s", trace_without_values(error))


def _log_unraisable(found: sys.UnraisableHookArgs) -> None:
    if found.exc_value is not None:
        log.error("an error where none can be raised\n%s", trace_without_values(found.exc_value))


def _log_of_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None:
        log.error("a thread ended by an error\n%s", trace_without_values(found.exc_value))
