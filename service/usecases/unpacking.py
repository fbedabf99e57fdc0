"""The use case: a ZIP in, each of its members stored, refused or passed over for itself.

A ZIP that broke off is sent again as a whole: the same bytes give the same id, so what was stored is found and named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from service.dicom.extract import Extraction
from service.errors import ServiceError, Unauthorized, Unavailable
from service.storage.visible import Visible
from service.usecases import ingest
from service.usecases.context import Context
from service.usecases.inboxes import InboxUpload
from service.usecases.zip_reading import LOCAL_HEADER, BadMember, BadZip, Member, ZipBounds, ZipReader

HEAD_BYTES = 4096
"""How much of a member is looked at before it is known what it is."""

MAX_PEOPLE = 100
"""How many different people a summary lists."""

MAX_TEXT = 128
"""Characters of a PatientID or PatientName that a summary shows."""

MAX_UNAVAILABLE = 3
"""Members in a row that could not be stored now, after which the rest is not tried."""

PERSON_KEYS = ("PatientID", "PatientName")
DIRECTORY_CLASS = b"1.2.840.10008.1.3.10"
"""Media Storage Directory Storage: the class of a DICOMDIR (PS3.10 8.6)."""

BESIDE = re.compile(
    r"bat|bmp|cab|cfg|chm|class|cmd|com|css|csv|dat|dll|dmg|docx?|exe|gif|html?|ico|icns|inf|ini|iso|jar|jpe?g|js|json"
    r"|lnk|log|lst|manifest|md|mp4|msi|nfo|ocx|otf|pdf|plist|png|properties|rtf|sh|so|svg|swf|sys|tiff?|ttf|txt|url|wmv"
    r"|woff|xlsx?|xml|xsl"
)
"""Endings of what lies beside the images on a disc. A file that is DICOM is stored whatever its ending."""
BESIDE_NAMES = frozenset(
    {".ds_store", "thumbs.db", "desktop.ini", "autorun", "autorun.inf", "readme", "lockfile", "version"}
)


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one member.

    Parameters
    ----------
    name : str
        As the ZIP has it.
    stored : ingest.Stored or None
        Where it was stored, or was there already.
    skipped : str or None
        Why it was passed over, as a word.
    refused : ServiceError or None
        Why it was refused.
    """

    name: str
    stored: ingest.Stored | None = None
    skipped: str | None = None
    refused: ServiceError | None = None


@dataclass(slots=True)
class Unpacked:
    """What became of a ZIP, while it comes.

    Parameters
    ----------
    counts : Counter
        Members by what became of them: ``stored``, ``present``, ``refused``, ``skipped``.
    people : Counter
        Files by PatientID and PatientName.
    unpacked : int
        Bytes of the members that were read.
    ended : ServiceError or None
        Why the ZIP was not read to its end.
    """

    counts: Counter[str] = field(default_factory=Counter)
    people: Counter[tuple[str, str]] = field(default_factory=Counter)
    unpacked: int = 0
    ended: ServiceError | None = None

    @property
    def warnings(self) -> list[str]:
        """What the caller should look at: files of more than one person."""
        found = []
        for place, key in enumerate(PERSON_KEYS):
            different = len({person[place] for person in self.people})
            if different > 1:
                found.append(f"The files name {different} different values of {key}: they may be of different people.")
        return found

    def summary(self) -> dict[str, Any]:
        """Return the last line: the counts, the people by count, and whether the ZIP was read to its end."""
        people = [
            {"PatientID": person[0], "PatientName": person[1], "files": files}
            for person, files in self.people.most_common(MAX_PEOPLE)
        ]
        return {
            "members": self.counts.total(),
            **{name: self.counts[name] for name in ("stored", "present", "refused", "skipped")},
            "bytes": self.unpacked,
            "complete": self.ended is None,
            "patients": people,
            "more_patients": max(len(self.people) - MAX_PEOPLE, 0),
            "warnings": self.warnings,
        }


def read_zip(context: Context, body: AsyncIterator[bytes]) -> ZipReader:
    """Return a reader with the bounds of the settings.

    Parameters
    ----------
    body : async iterator of bytes
        The ZIP as it arrives.
    """
    settings = context.settings
    return ZipReader(body, ZipBounds(settings.max_zip_members, settings.max_store_bytes, settings.max_zip_seconds))


async def unpack(
    context: Context,
    patient_id: str,
    body: AsyncIterator[bytes],
    outcome: Unpacked,
    *,
    keep_name: Callable[[str], str],
    expected: str | None = None,
    inbox: InboxUpload | None = None,
) -> AsyncIterator[Line]:
    """Store the members of a ZIP one after another, and return a line for each as it is done.

    Parameters
    ----------
    patient_id : str
        Whose files they are.
    body : async iterator of bytes
        The ZIP as it arrives.
    outcome : Unpacked
        Where it is counted.
    keep_name : callable
        Makes the file name that is kept of a member's name.
    expected : str, optional
        The PatientID that the files must have; others are refused.
    inbox : InboxUpload, optional
        The inbox by which they come.

    Raises
    ------
    BadZip
        The body is not a ZIP. One that ends early, or that passes a bound later, is told in `outcome.ended`.
    Unavailable
        Nothing can be stored now, and nothing was.
    """
    reader = read_zip(context, body)
    unavailable = 0
    while True:
        try:
            member = await reader.next_member()
        except BadZip as error:
            if not outcome.counts:
                raise
            outcome.ended = error
            return
        if member is None:
            return
        if member.is_folder:
            continue
        line = await _store_member(context, patient_id, member, outcome, keep_name, expected, inbox)
        outcome.unpacked = reader.unpacked
        if isinstance(line.refused, Unavailable):
            unavailable += 1
            if not outcome.counts:
                raise line.refused
        elif line.refused is None:
            unavailable = 0
        outcome.counts[_kind(line)] += 1
        yield line
        if unavailable == MAX_UNAVAILABLE or isinstance(line.refused, BadZip | Unauthorized):
            outcome.ended = line.refused
            return


def _kind(line: Line) -> str:
    if line.stored is not None:
        return "stored" if line.stored.created else "present"
    return "skipped" if line.skipped else "refused"


async def _store_member(
    context: Context,
    patient_id: str,
    member: Member,
    outcome: Unpacked,
    keep_name: Callable[[str], str],
    expected: str | None,
    inbox: InboxUpload | None,
) -> Line:
    check = PersonCheck(expected)
    try:
        content, reason = await sort_out(member)
        if content is None:
            return Line(member.name, skipped=reason)
        stored = await ingest.store_upload(
            context, patient_id, keep_name(member.name), content, inspect=check.inspect, inbox=inbox
        )
        if check.person is None and stored.state == "done":  # it was there, and was not looked at
            check.take(await read_person(context, patient_id, stored.dicom_id))
        elif check.person is None:
            check.inspect(None)
    except ServiceError as error:
        return Line(member.name, refused=error)
    if check.person is not None:
        outcome.people[check.person] += 1
    return Line(member.name, stored=stored)


class PersonCheck:
    """Sees whom a file names before it is stored, and refuses it where that is somebody else.

    Parameters
    ----------
    expected : str or None
        The PatientID that it must have; None where any will do.
    """

    def __init__(self, expected: str | None) -> None:
        self._expected = expected
        self.person: tuple[str, str] | None = None

    def inspect(self, extraction: Extraction | None) -> None:
        """Take what was extracted of a file.

        Raises
        ------
        BadMember
            It names somebody else, or nobody knows whom.
        """
        if extraction is not None:
            self.take(_person_of(extraction.dataset))
        elif self._expected is not None:
            raise BadMember("other-patient", "Whom the file names cannot be read now.")

    def take(self, person: tuple[str, str]) -> None:
        """Take the PatientID and PatientName of a file.

        Raises
        ------
        BadMember
            It names somebody else.
        """
        if self._expected is not None and person[0] != self._expected:
            raise BadMember("other-patient", "The file has another PatientID than the one that is expected.")
        self.person = person[0][:MAX_TEXT], person[1][:MAX_TEXT]


async def read_person(context: Context, patient_id: str, dicom_id: str) -> tuple[str, str]:
    """Return the PatientID and PatientName of an instance; empty where it has none."""
    found = await context.store.instances.find_many(Visible(patient_id), [dicom_id], PERSON_KEYS)
    instance: Mapping[str, Any] = found.get(dicom_id) or {}
    return _person_of(instance.get("dataset") or {})


def _person_of(dataset: Mapping[str, Any]) -> tuple[str, str]:
    patient_id, name = (_first(dataset.get(key)) for key in PERSON_KEYS)
    if isinstance(name, Mapping):
        name = next((name[group] for group in ("Alphabetic", "Ideographic", "Phonetic") if name.get(group)), "")
    return _text(patient_id), _text(name)


def _first(element: Mapping[str, Any] | None) -> Any:
    values = (element or {}).get("Value") or [None]
    return values[0]


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else "" if value is None else str(value)


async def sort_out(member: Member) -> tuple[AsyncIterator[bytes] | None, str]:
    """Return a member's content where it is to be stored, else None and why it is passed over, as a word.

    Raises
    ------
    BadMember
        The member cannot be read, or is a ZIP itself.
    BadZip
        The ZIP ends within its first bytes.
    """
    head = b""
    async for piece in member.content:
        head += piece
        if len(head) >= HEAD_BYTES:
            break
    reason = beside_images(member.name, head)
    if reason is not None:
        return None, reason
    if head.startswith(LOCAL_HEADER):
        raise BadMember("nested-zip", "The member is a ZIP itself. Send it alone.")
    if not head:
        raise BadMember("empty", "The member is empty.")
    return _rejoin(head, member.content), ""


def beside_images(name: str, head: bytes) -> str | None:
    """Return why a file is passed over that lies beside the images on a disc, as a word; None where it is not.

    Parameters
    ----------
    name : str
        Its path, with slashes.
    head : bytes
        Its first bytes; `HEAD_BYTES` are enough.
    """
    path = PurePosixPath(name.lower())
    if path.name == "dicomdir" or (head[128:132] == b"DICM" and DIRECTORY_CLASS in head[132:512]):
        return "dicomdir"
    if "__macosx" in path.parts or path.name.startswith("._"):
        return "not-dicom"
    if head[128:132] == b"DICM":
        return None
    known = BESIDE.fullmatch(path.suffix[1:]) or path.name in BESIDE_NAMES or "autorun" in path.name
    return "not-dicom" if known else None


async def _rejoin(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for piece in rest:
        yield piece


def refusal_word(error: ServiceError) -> str | None:
    """Return the word of a refusal that only ZIPs have, or None."""
    if isinstance(error, BadMember):
        return error.reason
    if isinstance(error, BadZip):
        return "broken-off"
    return None
