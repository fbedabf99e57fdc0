"""From the bytes of a file to what the store keeps of it: the tree, the flat index, the series' attributes."""

from __future__ import annotations

import gc
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import bson
from bson.raw_bson import RawBSONDocument

from service.dicom.index import index_entries
from service.dicom.limits import Buffer, Limits, Readable
from service.dicom.parsing.framing import RawFile, begins_like_dicom, read_dataset
from service.dicom.remembered import Remembered
from service.dicom.rows import MAX_BYTES, make_row
from service.dicom.series import series_elements
from service.dicom.source import open_source
from service.dicom.spill import spill
from service.dicom.tree import Tree, build_tree
from service.dicom.uids import identifiers_of
from service.errors import LimitExceeded

__all__ = ["EXTRACTOR_VERSION", "Extraction", "begins_like_dicom", "extract", "extract_packed", "read_tree", "unpack"]

EXTRACTOR_VERSION = 3
"""Goes up when the same bytes give another tree or index, so that what is stored can be made again."""

_SMALLEST_ELEMENT = 26  # bytes of BSON: a key of eight digits, a VR


@dataclass(frozen=True, slots=True)
class Extraction:
    """What one file gives.

    Parameters
    ----------
    dataset : Mapping
        The tree, with what would pass MongoDB's limits left in the original.
    index : Mapping
        ``tags``, ``names``, ``vrs``, ``truncated``, ``exact``, from the whole tree.
    row : bytes or None
        What `make_row` makes of the index.
    series : Mapping or None
        The study- and series-level elements; None without the three UIDs.
    identifiers : Mapping
        What `identifiers_of` finds.
    problems : int
        How many elements have a problem, and how much about the file as a whole is strange.
    warnings : list of dict
        ``{"path": text or None, "problem": text}``, the first hundred; never a value.
    truncated_at : int or None
        Byte offset at which a cut file stopped.
    spilled : bool
        Whether `dataset` leaves something in the original.
    """

    dataset: Mapping[str, Any]
    index: Mapping[str, Any]
    row: bytes | None
    series: Mapping[str, Any] | None
    identifiers: Mapping[str, str | None]
    problems: int
    warnings: list[dict[str, Any]]
    truncated_at: int | None
    spilled: bool


class Findings(TypedDict):
    """The fields of an `Extraction` beside its documents."""

    identifiers: Mapping[str, str | None]
    problems: int
    warnings: list[dict[str, str | None]]
    truncated_at: int | None
    spilled: bool


Packed = tuple[bytes, bytes, bytes | None, bytes | None, Findings]
"""An extraction on its way to another process."""


def read_tree(buffer: Buffer, limits: Limits) -> Tree:
    """Read a file into its whole typed tree, nothing spilled.

    Raises
    ------
    NotDicom, LimitExceeded, OverBudget
    """
    return build_tree(_read(buffer, limits), limits)


def extract(buffer: Buffer, limits: Limits, apart: bool = False) -> Extraction:
    """Extract a file in this process.

    Parameters
    ----------
    buffer : bytes, bytearray, memoryview or mmap
        The whole file.
    limits : Limits
        What it may cost.
    apart : bool
        Neither use nor keep anything of what files have in common. The result is the same; the time then says nothing
        of the files before it.

    Raises
    ------
    NotDicom
        The bytes are not a DICOM file.
    LimitExceeded
        A bound was passed.
    OverBudget
        There are more elements or values than `Limits.max_elements`.
    """
    collecting = gc.isenabled()
    gc.disable()  # a tree has no cycles, and looking for some in a large one takes a third of the time
    try:
        return _extract(buffer, limits, Remembered() if apart else None)
    finally:
        if collecting:
            gc.enable()


def _extract(buffer: Buffer, limits: Limits, memory: Remembered | None) -> Extraction:
    tree = build_tree(_read(buffer, limits), limits, True, memory)
    dataset = tree.dataset
    if len(dataset) * _SMALLEST_ELEMENT > limits.max_document_bytes:
        raise LimitExceeded("The file has more data elements beside each other than a document can hold.")
    index = index_entries(dataset, memory)
    series = series_elements(dataset)
    identifiers = identifiers_of(dataset)
    spilled = spill(tree, limits, len(buffer))
    about = tree.problems, tree.warnings, tree.truncated_at, spilled
    return Extraction(dataset, index, make_row(index, memory), series, identifiers, *about)


def extract_packed(source: Readable | str | Path, limits: Limits, apart: bool = False) -> Packed:
    """Extract a file in a worker process, into what crosses to another process at little cost.

    Parameters
    ----------
    source : bytes, mmap or path
        The file, or where it is.
    limits : Limits
        What it may cost.
    apart : bool
        As of :func:`extract`.

    Returns
    -------
    bytes, bytes, bytes or None, bytes or None, Findings
        BSON of the tree and of the index, the row, BSON of the series; the other fields of `Extraction`.

    Raises
    ------
    NotDicom, LimitExceeded, OverBudget
    """
    return _packed(extract(open_source(source), limits, apart))


def _packed(extraction: Extraction) -> Packed:
    """Encode an extraction."""
    rest: Findings = {
        "identifiers": extraction.identifiers,
        "problems": extraction.problems,
        "warnings": extraction.warnings,
        "truncated_at": extraction.truncated_at,
        "spilled": extraction.spilled,
    }
    series = None if extraction.series is None else bson.encode(extraction.series)
    return bson.encode(extraction.dataset), bson.encode(extraction.index), extraction.row, series, rest


def unpack(packed: Packed) -> Extraction:
    """Return what `extract_packed` packed; its BSON is decoded only where it is looked into."""
    dataset, index, row, packed_series, rest = packed
    series = None if packed_series is None else RawBSONDocument(packed_series)
    if row is not None and len(row) > MAX_BYTES:  # a file that took the worker over has no say in that
        row = None
    return Extraction(RawBSONDocument(dataset), RawBSONDocument(index), row, series, **rest)


def _read(buffer: Buffer, limits: Limits) -> RawFile:
    """Read a buffer whose slices are bytes."""
    return read_dataset(buffer if isinstance(buffer, bytes | mmap.mmap) else bytes(buffer), limits)
