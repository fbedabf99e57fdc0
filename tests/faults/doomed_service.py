"""The service, ended by SIGKILL right before its n-th write to the database once it is armed.

``EXIT_BEFORE_WRITE`` says which write, and the file ``ARMED`` arms it when it is there. With ``NO_BULK_WRITE`` it
writes as to a server that has no `bulkWrite` over several collections.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

from pymongo import MongoClient
from pymongo.collection import Collection

from service.__main__ import main
from service.storage import group_commit

WRITES = (
    *((Collection, name) for name in ("insert_one", "insert_many", "update_one", "replace_one")),
    *((Collection, name) for name in ("delete_one", "delete_many", "find_one_and_update", "find_one_and_delete")),
    (MongoClient, "bulk_write"),
)


def doom(number, armed):
    """Have every write counted, from the moment that the file `armed` is there."""
    counter = itertools.count(1)

    def count():
        if armed.exists() and next(counter) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    for kind, name in WRITES:
        setattr(kind, name, counted(getattr(kind, name), count))


def counted(write, count):
    """Make a write that is counted first."""

    def counted_write(self, *arguments, **options):
        if getattr(self, "name", None) != "audit":  # its entries come when they come
            count()
        return write(self, *arguments, **options)

    return counted_write


if __name__ == "__main__":
    if os.environ.get("NO_BULK_WRITE"):
        group_commit.takes_bulk_writes = lambda _: False
    doom(int(os.environ["EXIT_BEFORE_WRITE"]), Path(os.environ["ARMED"]))
    sys.exit(main())
