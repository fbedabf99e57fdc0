"""Every operation of the OpenAPI document, asked through shares, with a patient's files inside and outside of each.

What lies outside says so wherever a value can stand: each answer is searched for that, as it came and decoded. Then all
of it is taken away, and everything is asked again: what lies outside may change no answer at all, so no count, order,
link or length tells of it, and it is answered as what is nowhere.
"""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pydicom
from arro3.io import read_parquet
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from service.auth.tokens import DELETE, READ, SHARE, WRITE
from tests.web.service import Answer, Service
from tests.web.sharing import Sharing, secret_of

ROOT = "1.2.826.0.1.3680043.9.7483"
FILES = {
    # name: study, series, instance; the later ones come later
    "first": (1, 1, 1),
    "second": (1, 1, 2),
    "beside": (1, 2, 3),
    "again": (1, 1, 1),
    "elsewhere": (2, 3, 4),
}
"""What a patient has. `again` is another version of `first`, and the newest."""

WAITING, SAME, THEIRS = "waiting", "same", "theirs"
OTHERS = {WAITING: (1, 1, 7), SAME: (1, 1, 1), THEIRS: (3, 5, 6)}
"""What waits in an inbox of the patient's, and what another patient has: under the same UIDs, and under their own."""

INSIDE: dict[str, tuple[str, ...]] = {
    "study": ("first", "second", "beside", "again"),
    "series": ("first", "second", "again"),
    "instance": ("first",),
    "frozen": ("first", "beside"),
    "inbox": (),
    "expired": (),
    "revoked": (),
    "another patient's": (),
}
"""What lies inside of a share of each kind."""

VIEWS = tuple(kind for kind, names in INSIDE.items() if names)
OPENING = "openSession"

Document = Mapping[str, Any]


def uid(number: int, level: int) -> str:
    """A UID that is no beginning of another one here."""
    return f"{ROOT}.{level}000{number}"


def uids_of(name: str) -> dict[str, str]:
    study, series, instance = (FILES | OTHERS)[name]
    return {"study": uid(study, 1), "series": uid(series, 2), "instance": uid(instance, 3)}


def mark_of(name: str) -> str:
    return f"QZ{name.upper()}ZQ"


def number_of(name: str) -> int:
    """A number that is rare enough to be looked for."""
    return 1_748_301_011 + 1000 * list(FILES | OTHERS).index(name)


def make(name: str, *, inside: bool) -> bytes:
    """A small CT; what lies outside has a mark in its texts, numbers, private elements and pixels."""
    mark, number = ("INNER", list(FILES | OTHERS).index(name)) if inside else (mark_of(name), number_of(name))
    uids = uids_of(name)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uids["instance"]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uids["study"], uids["series"]
    dataset.PatientName, dataset.PatientID, dataset.PatientComments = f"{mark}^Name", f"{mark} id", mark
    dataset.StudyDescription, dataset.SeriesDescription = f"{mark} study", f"{mark} series"
    dataset.ReferringPhysicianName, dataset.AccessionNumber = f"Doctor^{mark}", mark[:16]
    dataset.StudyDate, dataset.Modality = "20200102", "CT"
    dataset.InstanceNumber = dataset.SeriesNumber = number
    dataset.SliceThickness = number
    dataset.ImageComments = f"{mark} " * 300  # longer than what the index takes
    item = Dataset()
    item.PatientComments = mark
    dataset.ReferencedImageSequence = [item]
    block = dataset.private_block(0x0071, mark, create=True)
    block.add_new(0x01, "LO", mark)
    block.add_new(0x02, "UN", mark.encode())
    dataset.Rows = dataset.Columns = 8
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelData = (mark * 128)[:128].encode()
    # Each has a length of its own.
    dataset.DataSetTrailingPadding = bytes(2 * list(FILES | OTHERS).index(name) + 2 * (not inside))
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


# --- the requests --------------------------------------------------------------------------------------------------

MARKED = mark_of("elsewhere")
CONDITIONS = (
    "SeriesDescription=QZ*",
    f"PatientName={mark_of('second')}*",
    "PatientName=!!",
    "SliceThickness=1000000..",
    "SliceThickness=..1000000",
    "ImageComments=*qz*",
    f"StudyInstanceUID={uid(2, 1)}",
    f"SOPInstanceUID={uid(2, 3)}",
    f"SOPInstanceUID={uid(1, 3)}",
)
QUERY: dict[str, Sequence[str]] = {
    "fields": ("fields=PatientName,SeriesDescription,00711001,ImageComments,InstanceNumber",),
    "conditions": CONDITIONS,
    "limit": ("limit=1", "limit=1&count=true"),
    "offset": ("offset=1", "offset=3"),
    "orderby": ("orderby=-InstanceNumber&Modality=CT", "orderby=PatientName&limit=1&Modality=CT"),
    "fuzzymatching": ("fuzzymatching=true&PatientName=qz",),
    "emptyvaluematching": ('emptyvaluematching=true&AccessionNumber=""',),
    "multiplevaluematching": (f"multiplevaluematching=true&Modality=MR%5CCT&SOPInstanceUID={uid(2, 3)},{uid(3, 3)}",),
    "count": ("count=true", "count=true&SeriesDescription=*zq*"),
    "format": tuple(
        f"format={form}&fields=PatientName,00711001,InstanceNumber" for form in ("csv", "ndjson", "parquet")
    ),
    "path": ("path=PatientName", "path=InstanceNumber", "path=QZ", "path=0071"),
    "includefield": (
        "includefield=all",
        "includefield=PatientComments,NumberOfStudyRelatedInstances,NumberOfSeriesRelatedInstances",
    ),
    "frame": ("frame=1",),
    "window": ("window=100,200,LINEAR",),
    "voi": ("voi=1",),
    "size": ("size=4",),
    "viewport": ("viewport=4,4",),
    "quality": ("quality=50",),
    "expect_patient_id": (f"expect_patient_id={MARKED}",),
}
"""What is asked with a parameter of a query, by its name in the document."""

NATIVE_WINDOW = ("window=100,200",)

HEADERS: dict[str, Sequence[str]] = {
    "Accept": (
        "application/zip; media=dicomdir",
        "application/zip; transfer-syntax=*",
        'multipart/related; type="application/dicom"; transfer-syntax=*',
        "text/html",
    ),
    "Accept-Encoding": ("gzip",),
    "Content-Type": ("application/dicom", "image/png"),
    "If-Match": ("*",),
    "If-Modified-Since": ("Wed, 01 Jan 2020 00:00:00 GMT",),
    "If-None-Match": ("*",),
    "If-Unmodified-Since": ("Wed, 01 Jan 2020 00:00:00 GMT",),
    "If-Range": ('"another"',),
    "Prefer": ("respond-async",),
    "Range": ("bytes=0-999",),
}
"""The same for headers. What an operation answers in is asked for besides."""

PATH: dict[str, Sequence[str]] = {
    "tag": ("PatientName", "00711001", "ReferencedImageSequence[0].PatientComments", "PixelData"),
    "path": ("PixelData", "DataSetTrailingPadding", "00711002"),
    "frames": ("1",),
}
"""What stands in a path beside the ids."""

IDS = ("dicom_id", "study", "series", "instance")


@dataclass(frozen=True)
class Request:
    """One request: to an operation, about a file of `FILES` or `OTHERS`, or none."""

    operation: str
    about: str | None
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    def __str__(self) -> str:
        return f"{self.operation} about {self.about}: {self.method} {self.path} {dict(self.headers)}"


@dataclass
class World:
    """A patient, a share of theirs, and whoever asks by it."""

    service: Service
    kind: str
    sharing: Sharing
    other: Sharing
    session: Mapping[str, str]
    share: Document
    ids: Mapping[str, str]
    contents: Mapping[str, bytes]
    forbidden: Mapping[str, str] = field(default_factory=dict)
    """What must not be told, and what it is."""

    def requests(self, document: Document, *, whole: bool) -> Iterator[Request]:
        """All that is asked.

        Parameters
        ----------
        document : dict
            The OpenAPI document.
        whole : bool
            Whether everything is asked about every file. Else half of everything is asked about one file through a
            view, the other half through the next, and about the others no more than each operation answers by itself;
            where a share opens nothing, about one of the patient's files and one of another patient's.
        """
        turn = VIEWS.index(self.kind) if self.kind in VIEWS else None
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                given = [_resolved(document, each) for each in operation.get("parameters", ())]
                about_files = any(each["in"] == "path" and each["name"] in IDS for each in given)
                names = self.ids if whole or turn is not None else ("first", THEIRS)
                for name in names if about_files else (None,):
                    for number, (query, headers) in enumerate(
                        _variants(operation, given, native="dicomweb" not in path)
                    ):
                        if (
                            whole
                            or number == 0
                            or (name in (None, "first") and turn is not None and (number + turn) % 2)
                        ):
                            yield from self._filled(method.upper(), path, operation, name, query, headers)

    def _filled(
        self, method: str, template: str, operation: Document, about: str | None, query: str, headers: Mapping[str, str]
    ) -> Iterator[Request]:
        names = {"patient_id": (self.sharing.patient,), "share_id": (self.share["share_id"],), **PATH}
        if about is not None:
            names |= {"dicom_id": (self.ids[about],)} | {level: (it,) for level, it in uids_of(about).items()}
        wanted = re.findall(r"\{(\w+)\}", template)
        own_value = query == "" and not headers and about in (None, "first", "second")
        values = itertools.product(*(names[name] if own_value else names[name][:1] for name in wanted))
        for filled in values:
            path = template
            for name, value in zip(wanted, filled, strict=True):
                path = path.replace(f"{{{name}}}", value)
            for kind, body in self._bodies(operation, about):
                sent = {**headers, **({} if kind is None else {"Content-Type": kind})}
                yield Request(operation["operationId"], about, method, path + query, tuple(sent.items()), body)

    def _bodies(self, operation: Document, about: str | None) -> Iterator[tuple[str | None, bytes | None]]:
        """The bodies of an operation in each of its media types: what they hold lies outside."""
        kinds = operation.get("requestBody", {}).get("content", {})
        if not kinds:
            yield None, None
        content = self.contents[about or "elsewhere"]
        for kind in kinds:
            if kind == "application/json":
                for body in self._json_bodies(operation["operationId"]):
                    yield kind, json.dumps(body).encode()
            elif kind == "application/dicom":
                yield kind, content
            elif kind == "application/zip":
                written = io.BytesIO()
                with zipfile.ZipFile(written, "w") as archive:
                    archive.writestr("one.dcm", content)
                    archive.writestr("two.dcm", self.contents[THEIRS])
                yield kind, written.getvalue()
            else:
                name = 'Content-Disposition: form-data; name="body"; filename="one.dcm"\r\n' if "form" in kind else ""
                head = f"--b\r\n{name}Content-Type: application/dicom\r\n\r\n"
                yield f"{kind}; boundary=b", head.encode() + content + b"\r\n--b--\r\n"

    def _json_bodies(self, operation: str) -> Iterator[Document]:
        if operation == OPENING:
            yield {"secret": secret_of(self.share)}
            yield {"secret": secret_of(self.share), "passcode": "123456"}
            yield {"secret": "A" * len(secret_of(self.share))}
        elif operation == "makeShare":
            yield {"studies": [uid(1, 1), uid(2, 1)], "expires_in": 60}
            yield {"instances": [*self.ids.values()], "expires_in": 60}
            yield {"upload": True, "max_files": 1, "max_bytes": 100, "expires_in": 60}
        elif operation == "acceptFiles":
            yield {"files": "all"}
            yield {"files": [self.ids[WAITING]], "decline": True}
        else:
            raise AssertionError(f"{operation}: say here which JSON the matrix sends")

    async def ask(self, request: Request, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request with the session of the share, or with another token."""
        token = self.session if headers is None else headers
        sent = {"Accept-Encoding": "identity", **token, **dict(request.headers)}
        return await self.service.ask(request.method, request.path, headers=sent, data=request.body)

    def owner(self) -> dict[str, str]:
        return self.sharing.owner(f"{READ} {WRITE} {DELETE} {SHARE}")

    async def take_away_what_lies_outside(self) -> None:
        """Delete it, and all that another patient has."""
        for name, dicom_id in self.ids.items():
            if name in INSIDE[self.kind]:
                continue
            whose = self.other if name in (SAME, THEIRS) else self.sharing
            answer = await whose.ask("DELETE", f"/dicom/{dicom_id}", headers=whose.owner(DELETE))
            assert answer.status == 204, answer.body


def _resolved(document: Document, parameter: Document) -> Document:
    if "$ref" not in parameter:
        return parameter
    found: Document = document["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
    return found


def _variants(
    operation: Document, given: Sequence[Document], *, native: bool
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Queries and headers with which an operation is asked: none, and each value of each parameter by itself."""
    yield "", {}
    for parameter in given:
        name, place = parameter["name"], parameter["in"]
        if place == "query":
            for query in NATIVE_WINDOW if native and name == "window" else QUERY[name]:
                yield f"?{query}", ({"Accept": "image/png"} if name in PICTURE else {})
        elif place == "header":
            for value in HEADERS[name]:
                yield "", {name: value}
        else:
            assert name in {*IDS, *PATH, "patient_id", "share_id"}, f"say what the matrix writes for {name}"
    answered = {kind for status in ("200", "206") for kind in operation["responses"].get(status, {}).get("content", ())}
    for kind in sorted(answered):
        yield "", {"Accept": kind}


PICTURE = ("frame", "window", "voi", "size")

# --- the worlds ----------------------------------------------------------------------------------------------------


async def build(service: Service, kind: str, name: str) -> World:
    """Make a patient with a share of a kind, and put files inside and outside of it.

    Parameters
    ----------
    kind : str
        One of `INSIDE`.
    name : str
        Of the patient.
    """
    sharing, other = Sharing(service, name), Sharing(service, f"{name}-other")
    shown = INSIDE[kind]
    contents = {each: make(each, inside=each in shown) for each in FILES | OTHERS}
    ids: dict[str, str] = {}

    async def put(whose: Sharing, each: str) -> None:
        answer = await service.upload(whose.patient, contents[each], f"{'in' if each in shown else mark_of(each)}.dcm")
        assert answer.status == 200, answer.body
        ids[each] = answer.json()

    for each in FILES if kind in ("expired", "revoked") else shown:
        await put(sharing, each)
    for each in (SAME, THEIRS):
        await put(other, each)
    inbox = {"upload": True, "max_files": 1000, "max_bytes": 100 << 20}
    wanted: dict[str, Any] = {
        "series": {"series": [uid(1, 2)]},
        "instance": {"instances": [ids.get("first")]},
        "frozen": {"studies": [uid(1, 1)], "frozen": True},
        "inbox": inbox,
    }.get(kind, {"studies": [uid(1, 1)]})
    maker = other if kind == "another patient's" else sharing
    share = await maker.make(**({"download": True} if kind != "inbox" else {}), **wanted)
    session = await maker.session(share)
    for each in FILES:
        if each not in ids:
            await put(sharing, each)
    sender = await sharing.session(await sharing.make(**inbox))
    path = f"/patient/{name}/dicom"
    named = {"Content-Type": "application/dicom", "Content-Disposition": f'x; filename="{mark_of(WAITING)}.dcm"'}
    ids[WAITING] = (await service.ask("POST", path, headers={**sender, **named}, data=contents[WAITING])).json()
    if kind == "expired":
        past = {"$set": {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}}
        await service.store._database["shares"].update_one({"_id": share["share_id"]}, past)
    if kind == "revoked":
        assert (await sharing.ask("DELETE", f"/shares/{share['share_id']}")).status == 204
    world = World(service, kind, sharing, other, session, share, ids, contents)
    shared = {value for each in shown for value in uids_of(each).values()}
    if kind == "another patient's":  # whoever has the link is told what it opens
        shared.add(uid(1, 1))
    world.forbidden = {
        value: each
        for each in FILES | OTHERS
        if each not in shown
        for value in (mark_of(each), str(number_of(each)), ids[each], *(set(uids_of(each).values()) - shared))
    }
    return world


# --- the answers ---------------------------------------------------------------------------------------------------


def opened(content: bytes, kind: str) -> Iterator[bytes]:
    """Everything that bytes hold, as they are and decoded."""
    yield content
    if content[:2] == b"\x1f\x8b":
        yield from opened(gzip.decompress(content), kind)
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield archive.comment
            for each in archive.infolist():
                yield f"{each.filename} {each.comment!r} {each.extra!r}".encode()
                yield from opened(archive.read(each), "")
    elif content[:4] == b"PAR1":
        table = read_parquet(io.BytesIO(content)).read_all()
        yield repr([(name, table[name].to_pylist()) for name in table.column_names]).encode()
    elif "json" in kind and content:
        for line in content.splitlines() if "ndjson" in kind else (content,):
            value = json.loads(line)
            yield json.dumps(value, ensure_ascii=False).encode()
            yield from (base64.b64decode(each) for each in _inline(value))


def _inline(value: Any) -> Iterator[str]:
    """Every value that DICOM JSON has in base 64 (PS3.18 F.2.7)."""
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _inline(each)
    if isinstance(value, dict) and isinstance(value.get("InlineBinary"), str):
        yield value["InlineBinary"]


def search(request: Request, answer: Answer, forbidden: Mapping[str, str]) -> set[str]:
    """What an answer tells of what must not be told. What was asked is known to who has asked it."""
    said = b"\n".join([request.path.encode(), *opened(request.body or b"", "")]).lower()
    head = b"\n".join(f"{name}: {value}".encode() for name, value in answer.headers.items())
    everything = b"\n".join([head, *opened(answer.body, answer.headers.get("Content-Type", ""))]).lower()
    return {value for value in forbidden if value.lower().encode() in everything and value.lower().encode() not in said}


Told = tuple[int, list[tuple[str, str]], Any]
"""Status, headers and body of an answer, without what is new each time."""

UNTOLD = {"Date", "X-Request-ID"}
NEW_EACH_TIME = re.compile(
    rb'"request_id": ?"[^"]*"|"access_token": ?"[^"]*"|"expires_in": ?\d+|"(?:received_at|duration_ms)": ?[^,}]*'
)


def told(answer: Answer) -> Told:
    """An answer without what is new each time."""
    kind = answer.headers.get("Content-Type", "")
    boundary = kind.partition("boundary=")[2].strip('"')
    headers = sorted((name, value) for name, value in answer.headers.items() if name not in UNTOLD)
    body: Any = answer.body
    if body[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            body = [(each.filename, _entry(archive, each)) for each in archive.infolist()]
        headers = [(name, value) for name, value in headers if name != "Content-Length"]
    elif body[:2] == b"\x1f\x8b":
        body = NEW_EACH_TIME.sub(b"", gzip.decompress(body))
        headers = [(name, value) for name, value in headers if name != "Content-Length"]
    else:
        body = NEW_EACH_TIME.sub(b"", body)
    if boundary:
        headers = [(name, value.replace(boundary, "boundary")) for name, value in headers]
        body = body.replace(boundary.encode(), b"boundary")
    return answer.status, headers, body


OFFSETS = (
    "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity",
    "OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity",
    "OffsetOfTheNextDirectoryRecord",
    "OffsetOfReferencedLowerLevelDirectoryEntity",
)


def _entry(archive: zipfile.ZipFile, each: zipfile.ZipInfo) -> str | bytes:
    """A file of a ZIP; a directory of a medium (PS3.10) without its UID, which is new each time and of any length."""
    if each.filename != "DICOMDIR":
        return archive.read(each)
    directory = pydicom.dcmread(io.BytesIO(archive.read(each)))
    for keyword in OFFSETS[:2]:
        del directory[keyword]
    for record in directory.DirectoryRecordSequence:
        for keyword in OFFSETS[2:]:
            del record[keyword]
    return Dataset(directory).to_json()


@dataclass
class Walk:
    """What was answered to requests, in their order."""

    answers: list[Told] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)


async def walk(world: World, requests: Sequence[Request]) -> Walk:
    """Ask everything, and search each answer."""
    done = Walk()
    for request in requests:
        answer = await world.ask(request)
        if leaked := search(request, answer, world.forbidden):
            done.leaks.append(f"{request} tells {sorted(leaked)}")
        # The figures of the service count every request.
        done.answers.append((answer.status, [], None) if request.operation == "getMetrics" else told(answer))
    return done
