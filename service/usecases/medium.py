"""The use case: instances as a DICOM medium (PS3.10), entry after entry, nothing of it whole anywhere.

The directory is written last, of what lies before it. What PS3.10 does not allow in a file-set lies in ``OTHER``, byte
for byte and without a record.
"""

from __future__ import annotations

import html
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from schemas.database import Instance
from service.dicom.dicomdir import RECORD_KEYS, SR_KEYS, Directory, record_type, text_of
from service.dicom.pixels.render import RenderRequest
from service.errors import NoSuchInstance, ServiceError, TooLarge
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.instances import Original, open_original
from service.usecases.rendered import rendition

MAX_FILES = 20_000
"""Files of one medium."""

MAX_PREVIEWS = 200
"""Series of one medium that have a picture."""

PREVIEW_PIXELS = 160
BATCH = 8
"""Instances whose records are read at once; structured reports are read with their content."""

PREAMBLE = 132
SHOWN_KEYS = ("StudyDescription", "SeriesDescription", "StudyDate", "Modality")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An instance that is to be on a medium.

    Parameters
    ----------
    dicom_id : str
        Its id.
    original_id : Any
        Its original, by which it is known that it is still the same.
    waits : bool
        Whether it came by an inbox and is not accepted.
    """

    dicom_id: str
    original_id: Any
    waits: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a medium.

    Parameters
    ----------
    name : str
        Its path, with slashes.
    length : int
        Bytes.
    pieces : async iterator of bytes
        Its content.
    """

    name: str
    length: int
    pieces: AsyncIterator[bytes]


@dataclass(slots=True)
class _Series:
    """What the page shows of a series."""

    folder: str
    first: str
    dicom_id: str
    texts: Mapping[str, str]
    preview: str | None = None
    files: int = 1


@dataclass(slots=True)
class _Contents:
    """What lies on a medium so far."""

    directory: Directory = field(default_factory=Directory)
    series: dict[str, _Series] = field(default_factory=dict)
    others: list[tuple[str, str]] = field(default_factory=list)


def check_size(files: int) -> None:
    """Refuse a medium of too many files.

    Raises
    ------
    TooLarge
    """
    if files > MAX_FILES:
        raise TooLarge(f"A medium has at most {MAX_FILES} files. Ask for less at once.")


async def iter_entries(context: Context, visible: Visible, wanted: Sequence[Wanted]) -> AsyncIterator[Entry]:
    """Return the files of a medium: the instances that are still there, previews, a page, a text, and the DICOMDIR.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    wanted : sequence of Wanted
        At most `MAX_FILES`. What waits in an inbox comes last: the records of patients, studies and series say what the
        first file says, and of two files with one UID the first has the record.
    """
    contents = _Contents()
    wanted = sorted(wanted, key=lambda each: each.waits)
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        found = await context.store.instances.find_many(
            visible,
            [each.dicom_id for each in batch],
            sorted({*RECORD_KEYS, *SHOWN_KEYS}),
            lambda tree, _: set(SR_KEYS) if record_type(tree) in {"SR DOCUMENT", "KEY OBJECT DOC"} else set(),
        )
        for each in batch:
            instance = found.get(each.dicom_id)
            if instance is None or instance["original_id"] != each.original_id:
                continue
            try:
                original = await open_original(context, visible, instance)
                await original.look()  # others were sent since it was found
                entry = await _entry(contents, instance, original)
            except NoSuchInstance:
                continue
            yield entry
    for number, series in enumerate(contents.series.values()):
        if number < MAX_PREVIEWS:
            picture = await _preview(context, visible, series.dicom_id)
            if picture is not None:
                series.preview = f"PREVIEW/P{number + 1:07}.PNG"
                yield _whole(series.preview, picture)
    yield _whole("INDEX.HTM", _page(contents))
    yield _whole("README.TXT", _read_me(contents))
    yield _whole("DICOMDIR", contents.directory.encode(f"2.25.{uuid.uuid4().int}"))


async def _entry(contents: _Contents, instance: Instance, original: Original) -> Entry:
    pieces = original.read(0, original.length)
    first = await anext(pieces, b"")
    tree: Mapping[str, Any] = instance.get("dataset") or {}
    placed = contents.directory.add(tree) if first[128:PREAMBLE] == b"DICM" else None
    if placed is None:
        name = f"OTHER/F{len(contents.others) + 1:07}"
        contents.others.append((name, instance.get("file_name") or ""))
    else:
        name = "/".join(placed.file_id)
        folder = "/".join(placed.series)
        series = contents.series.get(folder)
        if series is None:
            keys = ("PatientID", "PatientName", *SHOWN_KEYS, "SeriesNumber")
            texts = {key: text_of(tree, key) for key in keys}
            contents.series[folder] = _Series(folder, name, instance["_id"], texts)
        else:
            series.files += 1
    return Entry(name, original.length, _rejoined(first, pieces))


async def _rejoined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _whole(name: str, content: bytes) -> Entry:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    return Entry(name, len(content), pieces())


async def _preview(context: Context, visible: Visible, dicom_id: str) -> bytes | None:
    """Return a small picture of an instance; None where there is none, or nobody has time to make it."""
    try:
        made = await rendition(context, visible, dicom_id, RenderRequest(size=PREVIEW_PIXELS))
    except ServiceError:
        return None
    return made.data


_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Medical images</title>
<style>body{font-family:sans-serif;margin:2em}td,th{padding:.4em 1em .4em 0;text-align:left;vertical-align:top}
img{max-width:160px;background:#000}</style></head><body>
<h1>Medical images</h1>
<p>The pictures here are only an overview and are not for diagnosis. A DICOM viewer opens the file DICOMDIR.</p>
<table><tr><th></th><th>Patient</th><th>Study</th><th>Series</th><th>Files</th></tr>
"""


def _page(contents: _Contents) -> bytes:
    rows = [_HEAD]
    for series in contents.series.values():
        text = {key: html.escape(value[:200]) for key, value in series.texts.items()}
        picture = f'<img src="{series.preview}" alt="">' if series.preview else ""
        kind = " ".join(part for part in (text["Modality"], text["SeriesNumber"], text["SeriesDescription"]) if part)
        family, _, rest = text["PatientName"].partition("^")
        name = ", ".join(part for part in (family, " ".join(rest.replace("^", " ").split())) if part)
        study = " ".join(part for part in (_day(text["StudyDate"]), text["StudyDescription"]) if part)
        rows.append(
            f"<tr><td>{picture}</td><td>{name}<br>{text['PatientID']}</td>"
            f"<td>{study}</td>"
            f'<td><a href="{series.first}">{kind or series.folder}</a></td><td>{series.files}</td></tr>\n'
        )
    rows.append("</table>\n")
    if contents.others:
        count = len(contents.others)
        more = (
            f"{count} more files, which a DICOMDIR may not list, are"
            if count > 1
            else "One more file, which a DICOMDIR may not list, is"
        )
        rows.append(
            f"<p>{more} in the folder OTHER. README.TXT has {'their names' if count > 1 else 'its name'}.</p>\n"
        )
    rows.append("</body></html>\n")
    return "".join(rows).encode("utf-8", "replace")


def _day(date: str) -> str:
    """Return a DA as people read it; what is none as it is."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date


def _read_me(contents: _Contents) -> bytes:
    files = sum(series.files for series in contents.series.values())
    lines = [
        "This is a DICOM medium (DICOM PS3.10).",
        "",
        f"DICOMDIR   the directory of {files} file{'' if files == 1 else 's'} below DICOM; a DICOM viewer opens it",
        "INDEX.HTM  an overview for a web browser, not for diagnosis",
        "",
        "Every file is byte for byte as it was uploaded.",
    ]
    if contents.others:
        lines += [
            "",
            "OTHER has the files that a DICOMDIR may not list, such as those without a study. Their former names:",
            "",
        ]
    rows = (f"{name}  {''.join(each for each in former if each.isprintable())}" for name, former in contents.others)
    return ("\r\n".join(chain(lines, rows)) + "\r\n").encode("utf-8", "replace")
