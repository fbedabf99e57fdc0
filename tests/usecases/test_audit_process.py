"""The audit of a real service: it is whole after a stop, and after the database was away."""

import asyncio
import re
import time

import pytest
from pymongo import MongoClient

from service.storage.local.database import LocalDatabase, find_running
from tests.running_service import RunningService
from tests.usecases.uploads import CT


def actions_of(uri):
    with MongoClient(uri) as client:
        return [(each["action"], each["status"]) for each in client["dicom"]["audit"].find().sort("_id", 1)]


def test_what_waits_is_written_when_the_service_stops(tmp_path):
    with RunningService(tmp_path / "data") as service:
        path = f"/patient/p-1/dicom/{service.upload(CT)}"
        behind = 0
        with MongoClient(find_running(service.data_dir)) as client:
            for answered in range(2, 22):
                assert service.request("GET", f"{path}/tag/Modality")[0] == 200
                behind += client["dicom"]["audit"].count_documents({}) < answered
        assert behind  # no answer waits for its entry, which is written twice a second
        assert service.stop() == 0
    database = LocalDatabase(tmp_path / "data")
    with asyncio.Runner() as runner:
        uri = runner.run(database.start())
        try:
            assert actions_of(uri) == [("upload", 200)] + [("read_tag", 200)] * 20
        finally:
            runner.run(database.stop())


@pytest.mark.long
def test_what_happens_while_the_database_is_away_is_written_when_it_is_back(tmp_path):
    with RunningService(tmp_path / "data") as service:
        path = f"/patient/p-1/dicom/{service.upload(CT)}"
        time.sleep(1)
        database = service.database()
        database.suspend()
        try:
            assert service.request("GET", f"{path}/tags")[0] == 503
            up = "1.0"
            until = time.monotonic() + 15
            while up != "0.0":
                began = time.monotonic()
                status, _, body = service.request("GET", "/metrics")
                assert (status, time.monotonic() - began < 1) == (200, True)
                up = re.search(r"^dicom_store_database_up (\S+)", body.decode(), re.MULTILINE)[1]
                assert time.monotonic() < until
            began = time.monotonic()
            assert service.request("GET", "/readyz")[0] == 503
            assert time.monotonic() - began < 5
            assert service.request("GET", "/healthz")[0] == 200
        finally:
            database.resume()
        time.sleep(6)
        assert actions_of(find_running(service.data_dir)) == [("upload", 200), ("read_tags", 503)]
        assert "The audit cannot be written now" in service.log.read_text()
        assert service.stop() == 0
