"""Two services that share nothing but their MongoDB, as on two machines: what one does, the other knows."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pymongo import MongoClient

from tests.running_service import RunningService, wait_for

SECRET = "a secret of two services, with more than 32 bytes"
CT, MR, RGB = (
    Path(str(get_testdata_file(name, download=False))).read_bytes()
    for name in ("CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm")
)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """The first may keep the database; the second is told where it is."""
    folder = tmp_path_factory.mktemp("two")
    flags = ("--recovery-interval", "1")
    with RunningService(folder / "first", *flags, JWT_SECRET=SECRET) as first:
        shared = {"MONGODB_URI": first.database_uri(), "MONGODB_DATABASE": first.database_name}
        with RunningService(folder / "second", *flags, JWT_SECRET=SECRET, **shared) as second:
            yield first, second
            assert second.stop() == 0
        assert first.stop() == 0


def get(service, path, patient, **headers):
    return service.request("GET", f"/patient/{patient}{path}", patient=patient, **headers)


def test_the_second_keeps_no_database_of_its_own(services):
    _, second = services
    assert not [each for each in second.family() if "secantusd" in " ".join(each.cmdline())]
    assert not (second.data_dir / "database" / "running.json").exists()


def test_what_one_stores_the_other_shows_in_every_form(services):
    first, second = services
    dicom_id = first.upload(CT, "p-shown")
    assert get(second, f"/dicom/{dicom_id}", "p-shown", accept="application/dicom")[2] == CT
    assert json.loads(get(second, f"/dicom/{dicom_id}/tag/Modality", "p-shown")[2])["value"] == "CT"
    for page in ("/dicom", "/dicom?Modality=CT"):
        assert [each["dicom_id"] for each in json.loads(get(second, page, "p-shown")[2])["instances"]] == [dicom_id]
    pictures = [get(each, f"/dicom/{dicom_id}", "p-shown", accept="image/png") for each in (second, first)]
    assert pictures[0][0] == 200
    assert pictures[0][2] == pictures[1][2]


def test_the_same_bytes_sent_to_both_at_once_are_one_instance(services):
    with ThreadPoolExecutor(8) as pool:
        given = set(pool.map(lambda number: services[number % 2].upload(RGB, "p-same"), range(16)))
    assert len(given) == 1
    for service in services:
        instances = json.loads(get(service, "/dicom", "p-same")[2])["instances"]
        assert [each["dicom_id"] for each in instances] == list(given)


def test_what_one_deletes_is_gone_at_once_in_the_other_that_has_just_shown_it(services):
    first, second = services
    for deletes, shows in ((first, second), (second, first)):
        dicom_id = shows.upload(MR, "p-gone")
        path = f"/dicom/{dicom_id}"
        for accept in ("application/dicom", "image/png"):
            assert get(shows, path, "p-gone", accept=accept)[0] == 200
        assert deletes.request("DELETE", f"/patient/p-gone{path}", patient="p-gone")[0] == 204
        for accept in ("application/dicom", "image/png"):
            assert get(shows, path, "p-gone", accept=accept)[0] == 404
        assert get(shows, f"{path}/tag/Modality", "p-gone")[0] == 404
        assert json.loads(get(shows, "/dicom", "p-gone")[2])["instances"] == []


def test_the_audit_has_what_was_asked_of_either(services):
    first, second = services
    dicom_id = first.upload(CT, "p-audited")
    assert get(second, f"/dicom/{dicom_id}/tag/Modality", "p-audited")[0] == 200
    with MongoClient(first.database_uri()) as client:
        audit = client[first.database_name]["audit"]
        wait_for(lambda: audit.count_documents({"patient_id": "p-audited"}) == 2)
        assert {each["action"] for each in audit.find({"patient_id": "p-audited"})} == {"upload", "read_tag"}


def test_what_nobody_extracted_one_of_them_finishes_and_both_show(services):
    first, second = services
    dicom_id = first.upload(CT, "p-left")
    with MongoClient(first.database_uri()) as client:
        database = client[first.database_name]
        # As a service leaves it that is killed between its 202 and its extraction.
        database["tag_index"].delete_one({"_id": dicom_id})
        pending = {"state": "pending", "version": None, "at": None, "attempts": 0, "error": None}
        database["instances"].update_one({"_id": dicom_id}, {"$set": {"extraction": pending}, "$unset": {"dataset": 1}})
    for service in (second, first):
        wait_for(lambda: get(service, f"/dicom/{dicom_id}/tag/Modality", "p-left")[0] == 200, seconds=60)  # noqa: B023
        found = json.loads(get(service, "/dicom?Modality=CT", "p-left")[2])["instances"]
        assert [each["dicom_id"] for each in found] == [dicom_id]
