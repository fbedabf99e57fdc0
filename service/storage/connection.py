"""How the database is reached: the client, its time limits, and what its failures mean to the rest of the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymongo
from bson.codec_options import CodecOptions
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo.collection import Collection
from pymongo.errors import (
    BulkWriteError,
    ClientBulkWriteException,
    ConfigurationError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
    WriteConcernError,
)
from pymongo.write_concern import WriteConcern

from service.errors import DatabaseUnavailable

Client = AsyncIOMotorClient[dict[str, Any]]
Database = AsyncIOMotorDatabase[dict[str, Any]]

ANSWER_SECONDS = 4.0
"""How long one call waits for the database, so that a request is refused within 5 s of it going away."""

DURABLE = WriteConcern(w="majority", j=True)
"""Acknowledged means: journaled, by a majority. A standalone server and the local database take it too."""

CODEC = CodecOptions[dict[str, Any]](tz_aware=True)

# Codes of a server that is there and cannot answer now: host unreachable or not found, time-outs, shutting down,
# stepping down, not primary, too few members for the write concern, no disk left; and an error of its own: so the local
# database says that its files cannot be written or read any more.
_PASSING_CODES = frozenset(
    {1, 6, 7, 24, 50, 64, 89, 91, 100, 189, 202, 262, 9001, 10107, 11600, 11602, 13435, 13436, 14031}
)


def connect(uri: str, *, answer_seconds: float = ANSWER_SECONDS) -> Client:
    """Make a client. Nothing is sent until it is used.

    Parameters
    ----------
    uri : str
        ``mongodb://…`` or ``mongodb+srv://…``; options in it win over the ones set here.
    answer_seconds : float
        Bound for finding a server and for opening a connection; each call has its own bound beside it
        (:func:`answering`).

    Raises
    ------
    DatabaseUnavailable
        If the URI cannot be used, or its SRV record cannot be resolved.
    """
    milliseconds = int(min(answer_seconds, 3.0) * 1000)
    options: dict[str, Any] = {
        "serverSelectionTimeoutMS": milliseconds,
        "connectTimeoutMS": milliseconds,
        "appname": "dicom-document-store",
        "maxPoolSize": 64,
    }
    given = uri.partition("?")[2].lower()
    options = {name: value for name, value in options.items() if f"{name.lower()}=" not in given}
    try:
        return AsyncIOMotorClient(uri, tz_aware=True, **options)
    except PyMongoError as error:
        # The text of the driver's error may hold the URI, and that a password.
        raise DatabaseUnavailable(f"The database's URI cannot be used ({type(error).__name__}).") from None


def open_database(client: Client, name: str) -> Database:
    """Return the database under its name, durable writes and aware datetimes chosen."""
    return client.get_database(name, codec_options=CODEC, write_concern=DURABLE)


@contextmanager
def answering(seconds: float | None = ANSWER_SECONDS) -> Iterator[None]:
    """Hold the database calls in the block to a time limit, and translate their failures.

    The limit starts on entry, so time that a call spends waiting for a free thread counts. It is carried by a
    context variable: it must not be held across a ``yield`` of an asynchronous generator.

    Parameters
    ----------
    seconds : float or None
        The limit; None for work that may rightly take long, such as building an index.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer, or cannot now.
    """
    try:
        if seconds is None:
            yield
        else:
            with pymongo.timeout(max(seconds, 0.001)):
                yield
    except ConfigurationError as error:  # the name in a URI of mongodb+srv is resolved at the first command
        raise DatabaseUnavailable(f"The database's URI cannot be used ({type(error).__name__}).") from None
    except PyMongoError as error:
        if is_passing(error):
            raise DatabaseUnavailable("The database does not answer.", retry_after=2) from error
        raise


def look_first(collection: Collection[dict[str, Any]]) -> None:
    """Find out within seconds whether the database is away, before a call that has long; synchronous.

    A driver looks for a server as long as the call may take, and that would be a minute.
    """
    with pymongo.timeout(ANSWER_SECONDS):
        collection.database.command("ping")


def is_passing(error: PyMongoError) -> bool:
    """Return whether a driver's error means that the database is away, and not that the call was wrong."""
    if isinstance(error, (ConnectionFailure, WriteConcernError, WaitQueueTimeoutError)) or error.timeout:
        return True
    if isinstance(error, BulkWriteError):  # written, and perhaps not durably
        return bool((error.details or {}).get("writeConcernErrors"))
    if isinstance(error, ClientBulkWriteException):
        return bool(error.write_concern_errors)
    return isinstance(error, OperationFailure) and error.code in _PASSING_CODES
