"""Whoever has a share cannot tell by the time of an answer whether what lies outside of it is there.

The local database decodes whole documents, so this is where it would be seen: what lies outside has large trees.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from io import BytesIO
from statistics import median
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest

from service.settings import Settings
from service.web.routes import all_routes
from tests.running_service import RunningService

PATIENT = "p-1"
REQUESTS = 200
ROUNDS = 3
"""A round may meet another program's work; a difference that is there is there in all of them."""

ROOT = "1.2.826.0.1.3680043.9.7.5"
SEEN, OTHER, NOWHERE = f"{ROOT}.1", f"{ROOT}.2", f"{ROOT}.3"
FILLED = 40
"""Files of the study that nobody may see."""

NOBODYS = "5b1f0000-0000-5000-8000-000000000001"
ACCEPTED: dict[str, tuple[str, ...]] = {
    "/patient/{patient_id}/dicom/{dicom_id}": ("application/json", "image/png", "application/dicom"),
    "/patient/{patient_id}/dicom/{dicom_id}/tags": ("application/json", "application/dicom+json"),
    "/patient/{patient_id}/dicomweb/studies/{study}": ("*/*", "application/zip", "application/zip; media=dicomdir"),
}
TAGS = ("Modality", "00091001", "ReferencedImageSequence[0].ReferencedSOPInstanceUID", "IconImageSequence")
SEARCHES = (
    "dicom?StudyInstanceUID={study}&count=true",
    "dicom?SOPInstanceUID={instance}",
    "dicomweb/studies?StudyInstanceUID={study}",
    "dicomweb/series?SeriesInstanceUID={series}",
    "dicomweb/instances?SOPInstanceUID={instance}",
)


def file_of(study: str, series: str, number: int, *, large: bool = False) -> bytes:
    """A CT, which may have a tree of a megabyte."""
    dataset = pydicom.dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{study}.9.{number}"
    if large:
        block = dataset.private_block(0x0009, "LARGE", create=True)
        for element in range(1, 0x100):
            block.add_new(element, "LT", f"{element} " * 1000)
    written = BytesIO()
    dataset.save_as(written)
    return written.getvalue()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A service with files that are seen and others that are not, and the ids of some."""
    with RunningService(tmp_path_factory.mktemp("timing") / "data") as service:
        ids = {
            "seen": service.upload(file_of(SEEN, f"{SEEN}.1", 1)),
            "instance": service.upload(file_of(SEEN, f"{SEEN}.1", 2, large=True)),
            "series": service.upload(file_of(SEEN, f"{SEEN}.2", 3, large=True)),
            "study": service.upload(file_of(OTHER, f"{OTHER}.1", 4, large=True)),
        }
        for number in range(5, FILLED):
            service.upload(file_of(OTHER, f"{OTHER}.1", number))
        yield SimpleNamespace(service=service, ids=ids)
        service.stop()


PARTS = {
    # what is shared; what lies outside of it: study, series, instance
    "study": ({"studies": [SEEN]}, (OTHER, f"{OTHER}.1", f"{OTHER}.9.4")),
    "series": ({"series": [f"{SEEN}.1"]}, (SEEN, f"{SEEN}.2", f"{SEEN}.9.3")),
    "instance": ({"instances": ["seen"]}, (SEEN, f"{SEEN}.1", f"{SEEN}.9.2")),
}


def questions(part: str, ids: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """What is asked of something outside and of something that is nowhere: each with its media type."""
    study, series, instance = PARTS[part][1]
    outside = {"dicom_id": ids[part], "study": study, "series": series, "instance": instance}
    # What is above it is there too, where it is to be seen: only what is asked for is not.
    nowhere = {"dicom_id": NOBODYS, "study": NOWHERE, "series": f"{NOWHERE}.1", "instance": f"{NOWHERE}.9.4"}
    if part != "study":
        nowhere["study"], nowhere["series"] = study, f"{study}.7"
    if part == "instance":
        nowhere["series"] = series
    nowhere["instance"] = f"{nowhere['study']}.9.8"
    templates = [
        (route.path, accept)
        for route in all_routes(Settings.from_environment({}, {"dev_mode": True}))
        if route.method == "GET" and ("{dicom_id}" in route.path or "{study}" in route.path)
        for accept in ACCEPTED.get(route.path, ("*/*",))
    ]
    templates += [(f"/patient/{{patient_id}}/{path}", "*/*") for path in SEARCHES]
    for template, accept in templates:
        deepest = next(name for name in ("dicom_id", "instance", "series", "study") if f"{{{name}}}" in template)
        if (part, deepest) in {("series", "study"), ("instance", "study"), ("instance", "series")}:
            continue  # that is not outside
        for tag in TAGS if "{tag}" in template else ("",):
            more = {"patient_id": PATIENT, "tag": tag, "path": "PixelData", "frames": "1"}
            paths = [
                template.replace("{", "{0[").replace("}", "]}").format({**uids, **more}) for uids in (outside, nowhere)
            ]
            yield accept, *(path.replace("[0]", "%5B0%5D") for path in paths)


def ask(connection: http.client.HTTPConnection, path: str, accept: str, session: str) -> tuple[float, int, bytes]:
    """Ask, and give how long it took, the status and the body."""
    begun = time.perf_counter()
    connection.request("GET", path, headers={"access-token": session, "Accept": accept, "X-Request-ID": "same"})
    response = connection.getresponse()
    body = response.read()
    return time.perf_counter() - begun, response.status, body


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_outside_and_nowhere_take_the_same_time(filled: Any, part: str) -> None:
    service, ids = filled.service, filled.ids
    what = {name: [ids.get(each, each) for each in some] for name, some in PARTS[part][0].items()}
    wanted = json.dumps({**what, "expires_in": 3600, "download": True})
    status, _, body = service.request("POST", f"/patient/{PATIENT}/shares", wanted, content_type="application/json")
    assert status == 201, body
    secret = json.dumps({"secret": json.loads(body)["link"].rpartition("#")[2]})
    status, _, body = service.request("POST", "/shares/session", secret, content_type="application/json")
    session = json.loads(body)["access_token"]
    connection = service.connect()
    told = []
    for accept, outside, nowhere in questions(part, ids):
        ratios = []
        for _ in range(ROUNDS):
            spent: tuple[list[float], list[float]] = ([], [])
            for _ in range(REQUESTS):
                answers = [ask(connection, path, accept, session) for path in (outside, nowhere)]
                assert answers[0][1:] == answers[1][1:], outside
                for times, answer in zip(spent, answers, strict=True):
                    times.append(answer[0])
            ratios.append(median(spent[0]) / median(spent[1]))
            if abs(ratios[-1] - 1) <= 0.2:
                break
        best = min(ratios, key=lambda ratio: abs(ratio - 1))
        told.append((best, accept, outside))
        print(f"{best:.3f} {1000 * median(spent[1]):.2f} ms {answers[0][1]} {accept} {outside}")
    connection.close()
    assert len(told) >= 20
    assert [each for each in told if abs(each[0] - 1) > 0.2] == []
