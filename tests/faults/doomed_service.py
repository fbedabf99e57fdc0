"""The service, ended by SIGKILL right before its n-th write to the database once it is armed.

``EXIT_BEFORE_WRITE`` says which write, and the file ``ARMED`` arms it when it is there.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

from pymongo.collection import Collection

from service.__main__ import main

WRITES = (
    "insert_one",
    "update_one",
    "replace_one",
    "delete_one",
    "delete_many",
    "find_one_and_update",
    "find_one_and_delete",
)


def doom(number, armed):
    """Have every write counted, from the moment that the file `armed` is there."""
    counter = itertools.count(1)

    def count():
        if armed.exists() and next(counter) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in WRITES:
        setattr(Collection, name, counted(getattr(Collection, name), count))


def counted(write, count):
    """Make a write that is counted first."""

    def counted_write(self, *arguments, **options):
        count()
        return write(self, *arguments, **options)

    return counted_write


if __name__ == "__main__":
    doom(int(os.environ["EXIT_BEFORE_WRITE"]), Path(os.environ["ARMED"]))
    sys.exit(main())
