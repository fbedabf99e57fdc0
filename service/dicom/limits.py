"""The bounds that reading a file keeps to, whatever the file says of itself."""

from __future__ import annotations

import mmap
from dataclasses import dataclass

MIB = 1024 * 1024

Buffer = bytes | bytearray | memoryview | mmap.mmap
"""What callers may hand over."""

Readable = bytes | mmap.mmap
"""What the reader reads: its slices are bytes."""


class OverBudget(Exception):
    """The file holds more elements or values than the caller wants to read in its own process."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost.

    Parameters
    ----------
    max_inflated_bytes : int
        Bytes that a deflated data set may become.
    max_depth : int
        Sequences within each other; one more is `LimitExceeded`.
    kept_depth : int
        Sequences within each other that a document keeps; deeper ones are spilled.
    max_document_bytes : int
        BSON bytes of the tree of one document, below MongoDB's 16 MB with room for the other fields.
    max_inline_bytes : int
        Bytes of a binary value that stand in the document; of a longer one only its length does.
    max_value_bytes : int
        Bytes in the file of a text or numeric value that stands in the document; a longer one is spilled.
    max_values : int
        Numbers and texts in lists that a document may hold; lists past it are spilled.
    max_tree_values : int
        The same of a tree that is read whole; past it: `LimitExceeded`.
    max_tree_elements : int
        Elements and items of one file, in any process; one more is `LimitExceeded`.
    max_elements : int or None
        Elements and values that a caller wants to spend time on in its own process; one more is `OverBudget`.
    """

    max_inflated_bytes: int = 256 * MIB
    max_depth: int = 64
    kept_depth: int = 30
    max_document_bytes: int = 15 * MIB
    max_inline_bytes: int = 1024
    max_value_bytes: int = MIB
    max_values: int = 1_000_000
    max_tree_values: int = 16_000_000
    max_tree_elements: int = 1_500_000
    max_elements: int | None = None
