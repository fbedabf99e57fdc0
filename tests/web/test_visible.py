"""Through a part of a patient's data every route answers as if there were nothing else.

A world of one patient is asked through each part. Another patient has just what lies in that part, and each answer must
be the answer that their own token gets: the same bytes but for ids, times and the like, which stand for each other.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pydicom
import pytest
import pytest_asyncio

from service.storage.tables import Row, Tables
from service.storage.visible import Visible
from tests.web.dicomweb.patient import video
from tests.web.service import Answer, Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORLD = "all-of-it"
MARK = "OUTSIDE"
"""Stands in every text of what lies outside of a part, and in none of what lies inside."""

S1, S2, S3 = "1.2.826.0.1.3680043.9.7.1", "1.2.826.0.1.3680043.9.7.2", "1.2.826.0.1.3680043.9.7.3"
WHAT = {
    # name: study, series, instance, modality, description
    "first": (S1, f"{S1}.1", 1, "CT", "alpha"),
    "second": (S1, f"{S1}.1", 2, "CT", "beta"),
    "second again": (S1, f"{S1}.1", 2, "CT", "gamma"),
    "beside": (S1, f"{S1}.2", 3, "MR", "delta"),
    "other": (S2, f"{S2}.1", 4, "PT", "epsilon"),
    "third": (S1, f"{S1}.1", 5, "CT", "zeta"),
}
"""What both patients may have, in the order in which it comes. `S3` is nowhere."""

PARTS: dict[str, tuple[str, ...]] = {
    "study": ("first", "second", "second again", "beside", "third"),
    "series": ("first", "second", "second again", "third"),
    "instance": ("first",),
    "versions": ("first", "second", "beside"),
    "nothing": (),
}


def make(name: str, *, inside: bool) -> bytes:
    """A CT of three rows; what lies outside says so in every text and number that lists and searches show."""
    study, series, number, modality, text = WHAT[name]
    dataset = pydicom.dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{study}.9.{number}"
    dataset.Modality = modality
    dataset.InstanceNumber = dataset.SeriesNumber = number
    dataset.SliceThickness = number if inside else 600 + number
    mark = "" if inside else f" {MARK}"
    dataset.SeriesDescription = text + mark
    dataset.StudyDescription = f"{text} study{mark}"
    dataset.ReferringPhysicianName = f"Doctor^{text}{mark}"
    block = dataset.private_block(0x0071, f"MINE {MARK}" if not inside else "MINE", create=True)
    block.add_new(0x01, "LO", text + mark)
    dataset.ImageComments = (text + mark + " ") * 200  # longer than what the index takes
    written = BytesIO()
    dataset.save_as(written)
    return written.getvalue()


@dataclass
class Twins:
    """The world, seen through a part, and the patient who has nothing but that part."""

    service: Service
    part: Visible
    alone: str
    ids: dict[str, Mapping[str, str]] = field(default_factory=dict)

    async def ask_both(self, path: str, **options: Any) -> tuple[Answer, Answer]:
        """Ask for a path below the patient, in which ``{name}`` is the id of an instance by its name."""
        with seen_as(self.part):
            one = await self._ask(WORLD, path, **options)
        return one, await self._ask(self.alone, path, **options)

    async def _ask(self, patient: str, path: str, method: str = "GET", **options: Any) -> Answer:
        options["headers"] = {"Accept-Encoding": "identity", **options.get("headers", {})}
        written = re.sub(r"\{([\w ]+)\}", lambda found: self.ids[patient][found[1]], path)
        return await self.service.ask(method, f"/patient/{patient}/{written}", patient=patient, **options)


@contextmanager
def seen_as(part: Visible) -> Iterator[None]:
    """Have whoever asks for the world see a part of it, as with the token of a share."""

    def visible_of(patient_id: str) -> Visible:
        return part if patient_id == part.patient_id else Visible(patient_id)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("service.web.middleware.Visible", visible_of)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(start: Any) -> Service:
    """A service of its own, whose pictures nobody else makes."""
    running: Service = await start()
    return running


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=PARTS)
async def twins(request: pytest.FixtureRequest, service: Service) -> AsyncIterator[Twins]:
    """Both patients, filled in the same order."""
    part, inside = request.param, PARTS[request.param]
    world, alone = WORLD, part.ljust(len(WORLD), "-")  # links to them are equally long
    ids: dict[str, dict[str, str]] = {world: {}, alone: {}}
    for name in WHAT:
        content = make(name, inside=name in inside)
        ids[world][name] = (await service.upload(world, content, f"{name}.dcm")).json()
        if name in inside:
            ids[alone][name] = (await service.upload(alone, content, f"{name}.dcm")).json()
    waiting = pydicom.dcmread(BytesIO(make("first", inside=False)))
    waiting.InstanceNumber = 9
    waiting.SOPInstanceUID = waiting.file_meta.MediaStorageSOPInstanceUID = f"{S1}.9.9"
    written = BytesIO()
    waiting.save_as(written)
    ids[world]["waits"] = (await service.upload(world, written.getvalue(), f"{MARK}.dcm")).json()
    await put_into_inbox(service, ids[world]["waits"])
    for name in [*WHAT, "waits"]:
        ids[alone].setdefault(name, "5b1f0000-0000-5000-8000-000000000000")
    yield Twins(service, visible_of(part, ids[world]), alone, ids)
    for dicom_id in ids[world].values():
        await service.ask("DELETE", f"/patient/{world}/dicom/{dicom_id}", patient=world)


def visible_of(part: str, ids: Mapping[str, str]) -> Visible:
    if part == "study":
        return Visible(WORLD, studies=frozenset([S1]))
    if part == "series":
        return Visible(WORLD, series=frozenset([f"{S1}.1"]))
    return Visible(WORLD, dicom_ids=frozenset(ids[name] for name in PARTS[part]))


async def put_into_inbox(service: Service, dicom_id: str) -> None:
    """Have an instance wait in an inbox, as what came by one does."""
    database, inbox = service.store._database, "4a2ea9a6-9f7e-4c2e-8a0e-6a3fd4a4a3a1"
    await database["instances"].update_one({"_id": dicom_id}, {"$set": {"inbox": inbox}})
    await database["tag_index"].update_one({"_id": dicom_id}, {"$set": {"inbox": inbox}})
    beside = {"metadata.dicom_id": dicom_id}
    await database["originals.files"].update_one(beside, {"$set": {"metadata.inbox": inbox}})


# --- what is asked ---------------------------------------------------------------------------------------------------

NATIVE = (
    "dicom",
    "dicom?limit=1",
    "dicom?limit=2&offset=1",
    "dicom?offset=50",
    "dicom?count=true",
    "dicom?count=true&limit=1",
    "dicom?Modality=CT&count=true&limit=2",
    "dicom?Modality=PT&count=true",
    "dicom?Modality=!",
    "dicom?SeriesDescription=*outside*&count=true",
    "dicom?SeriesDescription=alpha",
    f"dicom?SeriesDescription=alpha%20{MARK}",
    "dicom?SliceThickness=500..",
    "dicom?SliceThickness=..500&count=true",
    "dicom?ImageComments=*outside*&count=true",
    "dicom?ImageComments=*alpha*&count=true",
    "dicom?00710010=MINE",
    "dicom?00711001=alpha&count=true",
    "dicom?00711001=*outside*&count=true",
    "dicom?MINE:0071xx01=alpha",
    f"dicom?MINE%20{MARK}:0071xx01=!!",
    f"dicom?StudyInstanceUID={S1}&count=true",
    f"dicom?StudyInstanceUID={S2}&count=true",
    "dicom?Modality=!!&orderby=SliceThickness",
    "dicom?Modality=!!&orderby=-SeriesDescription&limit=1",
    "dicom?fields=SeriesDescription,SliceThickness,00711001,ImageComments",
    "dicom?fields=SeriesDescription&format=csv",
    "dicom?fields=SeriesDescription,00711001,ImageComments&format=ndjson&orderby=SliceThickness",
    "dicom?fields=Modality&format=csv&SeriesDescription=*outside*",
    "dicom?fields=SeriesDescription&format=csv&ImageComments=*a*",
    "tags",
    "tags?limit=3",
    "tags?path=SliceThickness",
    "tags?path=SeriesDescription",
    "tags?path=MINE",
    "tags?format=csv",
    "tags?format=ndjson&path=S",
)

OF_INSTANCE = ("dicom/{%s}/tags", "dicom/{%s}/tag/SeriesDescription", "dicom/{%s}/tag/00711001", "dicom/{%s}")

QIDO = (
    "studies",
    "studies?includefield=all",
    "studies?limit=1",
    "studies?offset=1",
    "studies?ModalitiesInStudy=MR",
    "studies?ModalitiesInStudy=PT",
    "studies?ModalitiesInStudy=CT",
    "studies?NumberOfStudyRelatedInstances=4",
    "studies?NumberOfStudyRelatedInstances=3",
    "studies?NumberOfStudyRelatedSeries=2",
    "studies?StudyDescription=*outside*",
    "studies?StudyDescription=zeta*",
    "studies?SliceThickness=3",
    "studies?ImageComments=*outside*",
    f"studies?StudyInstanceUID={S2}",
    f"studies?SOPInstanceUID={S1}.9.3",
    f"studies?SOPInstanceUID={S1}.9.9",
    "series",
    "series?includefield=all&limit=1",
    "series?Modality=MR",
    "series?NumberOfSeriesRelatedInstances=3",
    "series?SeriesDescription=zeta*",
    "series?includefield=00711001",
    f"series?SeriesInstanceUID={S1}.2",
    "instances",
    "instances?includefield=all&limit=2",
    "instances?includefield=SeriesDescription,NumberOfStudyRelatedInstances&offset=1",
    f"instances?SOPInstanceUID={S1}.9.2",
    f"instances?SOPInstanceUID={S2}.9.4",
    "instances?InstanceNumber=9",
    *(f"studies/{study}/series" for study in (S1, S2, S3)),
    *(f"studies/{study}/instances" for study in (S1, S2, S3)),
    *(f"studies/{S1}/series/{S1}.{number}/instances" for number in (1, 2, 7)),
)

RESOURCES = (
    *(f"studies/{study}" for study in (S1, S2, S3)),
    *(f"studies/{S1}/series/{S1}.{number}" for number in (1, 2, 7)),
    f"studies/{S2}/series/{S1}.1",
    *(f"studies/{S1}/series/{S1}.1/instances/{S1}.9.{number}" for number in (1, 2, 3, 5, 7, 9)),
    f"studies/{S1}/series/{S1}.2/instances/{S1}.9.3",
    f"studies/{S2}/series/{S2}.1/instances/{S2}.9.4",
)
BELOW = {
    "": "*/*",
    "/metadata": "application/dicom+json",
    "/rendered": "image/png",
    "/thumbnail": "image/png",
}
BELOW_INSTANCES = {
    "/frames/1": "*/*",
    "/frames/1/rendered": "image/png",
    "/bulkdata/PixelData": "*/*",
    "/bulkdata/DataSetTrailingPadding": "*/*",
}

# --- how answers are compared ----------------------------------------------------------------------------------------

SHARED = '299 dicomweb "This is what is shared of it; there may be more."'
UNTOLD = re.compile(
    rb'"received_at":\s*"[^"]*"|"request_id":\s*"[^"]*"|"storage":\s*(?:null|\{[^}]*\})|"url":"[^"]*"|"at":"[^"]*"'
)
SAME_HEADERS = ("Content-Type", "Content-Length", "Link", "ETag", "Dicom-Frames", "Dicom-Window", "Content-Disposition")


def told(twins: Twins, answer: Answer, patient: str) -> tuple[int, dict[str, str], bytes]:
    """What an answer tells, with names for what differs between two patients who have the same files."""
    kind = answer.headers.get("Content-Type", "")
    boundary = kind.partition("boundary=")[2]
    names = {dicom_id: name for name, dicom_id in twins.ids[patient].items() if not dicom_id.startswith("5b1f0000")}

    def plain(text: bytes) -> bytes:
        for dicom_id, name in names.items():
            text = text.replace(dicom_id.encode(), name.encode())
        text = text.replace(f"/patient/{patient}/".encode(), b"/patient/-/")
        if boundary:
            text = text.replace(boundary.encode(), b"boundary")
        return UNTOLD.sub(b"", text)

    status = 200 if answer.status == 206 else answer.status
    headers = {name: plain(answer.headers.get(name, "").encode()).decode() for name in SAME_HEADERS}
    headers["Warning"] = ", ".join(text for text in answer.headers.getall("Warning", ()) if text != SHARED)
    if answer.status >= 400 or b"storage" in answer.body or b"received_at" in answer.body:
        del headers["Content-Length"]
    if "ETag" in headers and "instances" not in kind:
        headers["ETag"] = "" if not headers["ETag"] else "there"
    return status, headers, plain(answer.body)


async def compare(twins: Twins, path: str, **options: Any) -> Answer:
    seen, alone = await twins.ask_both(path, **options)
    one, other = told(twins, seen, WORLD), told(twins, alone, twins.alone)
    assert one[:2] == other[:2], path
    assert one[2] == other[2], path
    assert MARK.encode() not in seen.body, path
    return seen


@pytest.mark.parametrize("path", NATIVE)
async def test_lists_searches_and_the_catalogue_are_those_of_the_part(twins: Twins, path: str) -> None:
    answer = await compare(twins, path)
    assert answer.status == 200
    if answer.headers["Content-Type"].startswith("application/json") and path.startswith("dicom"):
        assert answer.json()["storage"] is None


TABLES = (
    "dicom?fields=SeriesDescription,InstanceNumber,MINE:0071xx01",
    "dicom?fields=SeriesDescription,InstanceNumber&orderby=-InstanceNumber",
    "dicom?fields=SeriesDescription&SliceThickness=..5",
)


@pytest.mark.parametrize("path", TABLES)
async def test_tables_that_are_read_from_rows_have_those_of_the_part(twins: Twins, path: str) -> None:
    rows: set[str] = set()
    trees: list[str] = []
    read_rows, read_trees = Tables.read_rows, Tables.read

    async def seen(self: Tables, *arguments: Any) -> dict[str, Row]:
        found = await read_rows(self, *arguments)
        rows.update(found)
        return found

    async def by_trees(self: Tables, visible: Visible | None, ids: Sequence[str], *others: Any, **options: Any) -> Any:
        trees.extend(ids)
        return await read_trees(self, visible, ids, *others, **options)

    meta = twins.service.store.instances.collections.meta
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Tables, "read_rows", seen)
        patched.setattr(Tables, "read", by_trees)
        meta.update_one({"_id": "store"}, {"$set": {"swept_until": datetime.now(UTC) + timedelta(hours=1)}})
        try:
            answer = await compare(twins, f"{path}&format=ndjson")
        finally:
            meta.update_one({"_id": "store"}, {"$unset": {"swept_until": ""}})
    inside = {twins.ids[WORLD][name] for name in PARTS[twins.alone.rstrip("-")]}
    assert answer.status == 200
    assert len(answer.body.splitlines()) == len(inside)
    assert rows & set(twins.ids[WORLD].values()) == inside
    assert trees == []


@pytest.mark.parametrize("name", [*WHAT, "waits"])
async def test_an_instance_is_there_if_it_lies_in_the_part(twins: Twins, name: str) -> None:
    inside = name in PARTS[twins.alone.rstrip("-")]
    for path in OF_INSTANCE:
        answer = await compare(twins, path % f"{name}")
        assert answer.status == (200 if inside else 404), path
    for accept in ("application/json", "image/png", "application/dicom+json"):
        await compare(twins, f"dicom/{{{name}}}", headers={"Accept": accept})
        await compare(twins, f"dicom/{{{name}}}/tags", headers={"Accept": accept})
    await compare(twins, f"dicom/{{{name}}}?window=40,400", headers={"Accept": "image/png"})
    await compare(twins, f"dicom/{{{name}}}/bulkdata/PixelData")
    await compare(twins, f"dicom/{{{name}}}", headers={"Range": "bytes=0-99"})
    await compare(twins, f"dicom/{{{name}}}", method="HEAD")


@pytest.mark.parametrize("path", QIDO)
async def test_qido_finds_shows_and_counts_what_lies_in_the_part(twins: Twins, path: str) -> None:
    await compare(twins, f"dicomweb/{path}")


@pytest.mark.parametrize("path", RESOURCES)
async def test_wado_gives_what_lies_in_the_part(twins: Twins, path: str) -> None:
    for below, accept in (BELOW | (BELOW_INSTANCES if "/instances/" in path else {})).items():
        await compare(twins, f"dicomweb/{path}{below}", headers={"Accept": accept})
    if "/instances/" not in path:
        for below, accept in (
            ("", "multipart/related; type=application/dicom; transfer-syntax=*"),
            ("/rendered", "multipart/related; type=image/png"),
        ):
            await compare(twins, f"dicomweb/{path}{below}", headers={"Accept": accept})


@pytest.mark.parametrize("path", ["dicom", "dicom?Modality=CT", f"dicomweb/studies/{S1}", f"dicomweb/studies/{S2}"])
async def test_a_medium_and_a_zip_have_what_lies_in_the_part(twins: Twins, path: str) -> None:
    kinds = ["application/zip; media=dicomdir"] + (["application/zip"] if "dicomweb" in path else [])
    for accept in kinds:
        seen, alone = await twins.ask_both(path, headers={"Accept": accept})
        if alone.status >= 400:
            assert told(twins, seen, WORLD) == told(twins, alone, twins.alone)
            continue
        files = [entries(seen.body), entries(alone.body)]
        assert files[0] == files[1]
        assert files[0]
        assert all(MARK.encode() not in content for content in files[0].values())


def entries(body: bytes) -> dict[str, bytes]:
    """The files of a ZIP; in the DICOMDIR the UID of the medium itself is new each time."""
    with zipfile.ZipFile(BytesIO(body)) as archive:
        return {name: b"" if name == "DICOMDIR" else archive.read(name) for name in archive.namelist()}


async def test_outside_and_nowhere_are_told_in_the_same_words(twins: Twins) -> None:
    inside = PARTS[twins.alone.rstrip("-")]
    outside = next(name for name in reversed(WHAT) if name not in inside)
    study, series, number, *_ = WHAT[outside]
    pairs = [
        *(
            (f"dicom/{{{outside}}}{below}", f"dicom/5b1f0000-0000-5000-8000-000000000001{below}")
            for below in ("", "/tags", "/tag/Modality", "/bulkdata/PixelData")
        ),
        *(
            (
                f"dicomweb/studies/{study}/series/{series}/instances/{study}.9.{number}{below}",
                f"dicomweb/studies/{study}/series/{series}/instances/{study}.9.77{below}",
            )
            for below in (*BELOW, *BELOW_INSTANCES)
        ),
    ]
    if outside == "other":
        pairs += [
            (f"dicomweb/studies/{S2}{below}", f"dicomweb/studies/{S3}{below}")
            for below in ("", "/metadata", "/series", "/instances", "/rendered", "/thumbnail")
        ]
    with seen_as(twins.part):
        for path, nowhere in pairs:
            one, other = [await twins._ask(WORLD, each) for each in (path, nowhere)]
            assert told(twins, one, WORLD) == told(twins, other, WORLD), path
            assert one.status == 404 or "studies" in path


WHOLE = {"study": (True, True), "series": (False, True), "instance": (False, False), "versions": (False, False)}
"""Whether a part has all of the first study by what it is, and all of that study's first series."""


async def test_a_study_or_series_of_which_there_may_be_more_is_206_and_says_so(twins: Twins) -> None:
    if (part := twins.alone.rstrip("-")) == "nothing":
        return
    for path, whole in zip((f"studies/{S1}", f"studies/{S1}/series/{S1}.1"), WHOLE[part], strict=True):
        for below, accept, status in (
            ("", "*/*", 206),
            ("", "application/zip", 206),
            ("", "application/zip; media=dicomdir", 206),
            ("/rendered", "multipart/related; type=image/png", 206),
            ("/metadata", "application/dicom+json", 200),
        ):
            seen, alone = await twins.ask_both(f"dicomweb/{path}{below}", headers={"Accept": accept})
            assert (seen.status, alone.status) == (200 if whole else status, 200), (path, below, accept)
            assert (SHARED in seen.headers.getall("Warning", ())) is not whole
            assert SHARED not in alone.headers.getall("Warning", ())
    instance = f"dicomweb/studies/{S1}/series/{S1}.1/instances/{S1}.9.1"
    for below in ("", "/metadata", "/rendered", "/frames/1"):
        seen, _ = await twins.ask_both(f"{instance}{below}")
        assert (seen.status, SHARED in seen.headers.getall("Warning", ())) == (200, False)


# --- who may see and not have ----------------------------------------------------------------------------------------

FILE = {"Accept": "application/dicom"}
KEPT = {
    "the file": ("dicom/{first}", FILE),
    "a range of it": ("dicom/{first}", {**FILE, "Range": "bytes=0-9"}),
    "the file that a caller has": ("dicom/{first}", {**FILE, "If-None-Match": "*"}),
    "a file that is nowhere": ("dicom/5b1f0000-0000-5000-8000-000000000001", FILE),
    "its pixel data": ("dicom/{first}/bulkdata/PixelData", {}),
    "its pixel data by its tag": ("dicom/{first}/bulkdata/7FE00010", {}),
    "an icon": ("dicom/{first}/bulkdata/IconImageSequence[0].PixelData", {}),
    "a document": ("dicom/{first}/bulkdata/EncapsulatedDocument", {}),
    "a medium": ("dicom", {"Accept": "application/zip; media=dicomdir"}),
    "a medium of a search": ("dicom?Modality=CT", {"Accept": "application/zip; media=dicomdir"}),
    "a study": (f"dicomweb/studies/{S1}", {}),
    "a study as a ZIP": (f"dicomweb/studies/{S1}", {"Accept": "application/zip"}),
    "a study as a medium": (f"dicomweb/studies/{S1}", {"Accept": "application/zip; media=dicomdir"}),
    "a study that is nowhere": (f"dicomweb/studies/{S3}", {}),
    "a series": (f"dicomweb/studies/{S1}/series/{S1}.1", {}),
    "an instance": (f"dicomweb/studies/{S1}/series/{S1}.1/instances/{S1}.9.1", FILE),
    "pixel data by DICOMweb": (f"dicomweb/studies/{S1}/series/{S1}.1/instances/{S1}.9.1/bulkdata/PixelData", {}),
    "a document by DICOMweb": (
        f"dicomweb/studies/{S1}/series/{S1}.1/instances/{S1}.9.1/bulkdata/EncapsulatedDocument",
        {},
    ),
}
GIVEN = {
    "a list": ("dicom", {}),
    "a description": ("dicom/{first}", {"Accept": "application/json"}),
    "a picture": ("dicom/{first}", {"Accept": "image/png"}),
    "a tag": ("dicom/{first}/tag/Modality", {}),
    "all tags": ("dicom/{first}/tags", {}),
    "other bytes": ("dicom/{first}/bulkdata/DataSetTrailingPadding", {}),
    "a table": ("dicom?fields=Modality&format=csv", {}),
    "a search by DICOMweb": ("dicomweb/studies", {}),
    "metadata": (f"dicomweb/studies/{S1}/metadata", {}),
    "a thumbnail": (f"dicomweb/studies/{S1}/thumbnail", {}),
    "rendered pictures": (f"dicomweb/studies/{S1}/rendered", {"Accept": "multipart/related; type=image/png"}),
    "frames": (f"dicomweb/studies/{S1}/series/{S1}.1/instances/{S1}.9.1/frames/1", {}),
    "other bytes by DICOMweb": (
        f"dicomweb/studies/{S1}/series/{S1}.1/instances/{S1}.9.1/bulkdata/DataSetTrailingPadding",
        {},
    ),
}


@pytest.mark.parametrize("what", KEPT)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("twins", ["study"], indirect=True)
async def test_who_may_only_look_gets_no_original(twins: Twins, what: str, method: str) -> None:
    path, headers = KEPT[what]
    with seen_as(replace(twins.part, originals=False)):
        answer = await twins._ask(WORLD, path, method, headers=headers)
    assert answer.status == 403
    if method == "GET":
        assert answer.json()["code"] == "not-for-download"
        assert answer.detail == "This share lets you look at pictures and tags, and not download files."


@pytest.mark.parametrize("what", GIVEN)
@pytest.mark.parametrize("twins", ["study"], indirect=True)
async def test_who_may_only_look_sees_pictures_frames_and_tags(twins: Twins, what: str) -> None:
    path, headers = GIVEN[what]
    with seen_as(replace(twins.part, originals=False)):
        answer = await twins._ask(WORLD, path, headers=headers)
    assert answer.status in {200, 206}
    assert answer.body


@pytest.mark.parametrize("twins", ["nothing"], indirect=True)
async def test_who_may_only_look_gets_no_video_as_frames_either(twins: Twins) -> None:
    dicom_id = (await twins.service.upload(WORLD, video(), "clip.dcm")).json()
    of_clip = pydicom.dcmread(BytesIO(video()))
    place = f"studies/{of_clip.StudyInstanceUID}/series/{of_clip.SeriesInstanceUID}/instances/{of_clip.SOPInstanceUID}"
    part = Visible(WORLD, dicom_ids=frozenset([dicom_id]))
    for below in ("/frames/1", "/bulkdata/PixelData"):
        with seen_as(replace(part, originals=False)):
            answer = await twins._ask(WORLD, f"dicomweb/{place}{below}")
        assert (answer.status, answer.json()["code"]) == (403, "not-for-download")
    with seen_as(part):
        assert (await twins._ask(WORLD, f"dicomweb/{place}/bulkdata/PixelData")).status == 200
    await twins.service.ask("DELETE", f"/patient/{WORLD}/dicom/{dicom_id}", patient=WORLD)
