"""What is derived can be made again: beside a service and without one, after a kill, and two runs at once."""

import asyncio
import json
import time

import bson
import pymongo
import pytest

from service.commands.reindex import Selection, reindex
from service.commands.verify import rederive
from service.dicom.extract import EXTRACTOR_VERSION, extract
from service.resources import now, open_store
from service.storage.local.database import find_running
from service.storage.originals import IDENTIFIERS
from service.storage.visible import Visible
from service.usecases.context import Context
from tests.commands.running import content, run, settings_of, start, summary
from tests.running_service import RunningService

NAMES = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "JPEG2000.dcm", "liver_1frame.dcm", "reportsi.dcm")


class Inline:
    """Workers that are this very process."""

    size = 2


async def in_process(source, sha256, limits):
    return await asyncio.to_thread(rederive, source, sha256, limits)


async def everything(store):
    """All that is derived, without the times at which it was."""
    found = {}
    for name in ("instances", "tag_index", "series", "originals.files"):
        for each in await store._database[name].find({}).to_list(None):
            if name == "instances":
                each["extraction"].pop("at")
            elif name == "originals.files":
                listed = bson.decode(each["metadata"]["listed"])
                listed["extraction"].pop("at")
                each["metadata"]["listed"] = listed
            found[name, each["_id"]] = bson.encode(each)
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A data directory with some files, left by a service that has stopped."""
    data_dir = tmp_path_factory.mktemp("reindex") / "data"
    with RunningService(data_dir) as service:
        for name in NAMES:
            service.upload(content(name), f"p-{name[0]}")
        service.stop()
    return data_dir


async def make_worse(store, **fields):
    """Take away what can be made again, and say that an older extractor did it."""
    instances = store._database["instances"]
    fields = {"extraction.version": 0, "problems": 77} | fields
    await instances.update_many({}, {"$set": fields, "$unset": {"dataset.Modality": ""}})
    await store._database["tag_index"].update_many({}, {"$set": {"tags": {}}})
    await store._database["series"].delete_many({})
    # as originals were stored before DICOMweb looked for the identifiers there, and tables for the row
    gone = {f"metadata.{name}": "" for name in (*IDENTIFIERS, "row")}
    await store._database["originals.files"].update_many({}, {"$unset": gone})


async def test_what_an_older_extractor_made_is_made_again_and_the_series_too(filled):
    async with open_store(settings_of(filled)) as store:
        before = await everything(store)
        files = await store._database["originals.files"].find({}).to_list(None)
        assert all(each["metadata"]["row"] for each in files)
        await make_worse(store)
        context = Context(store, Inline(), settings_of(filled), now)
        report = await reindex(context, Selection(), extract=in_process)
        assert (report.done, report.failed) == (len(NAMES), 0)
        assert await everything(store) == before
        assert (await reindex(context, Selection(), extract=in_process)).worked == 0


async def test_a_dry_run_shows_just_what_a_changed_extractor_changes_and_no_patient(filled):
    async def changed(source, _sha256, limits):
        made = extract(source, limits)
        made.dataset["SliceThickness"] = {"vr": "DS", "Value": [99.5]}
        made.index["tags"]["SliceThickness"] = [99.5]
        made.dataset["PatientName"] = {"vr": "PN", "Value": [{"Alphabetic": "Other^Name"}]}
        made.index["tags"]["PatientName"] = ["Other^Name"]
        rest = {
            name: getattr(made, name) for name in ("identifiers", "problems", "warnings", "truncated_at", "spilled")
        }
        series = None if made.series is None else bson.encode(made.series)
        return bson.encode(made.dataset), bson.encode(made.index), made.row, series, rest

    async with open_store(settings_of(filled)) as store:
        before = await everything(store)
        context = Context(store, Inline(), settings_of(filled), now)
        ids = [
            each["_id"] for each in await store._database["instances"].find({"file_name": {"$exists": 1}}).to_list(None)
        ]
        report = await reindex(context, Selection(which="all", dry_run=True), extract=changed)
        assert (report.done, report.failed, report.differences.files) == (len(ids), 0, len(ids))
        assert set(report.differences.paths) == {"SliceThickness", "PatientName"}
        thickness = report.differences.paths["SliceThickness"]
        assert thickness["added"] + thickness["changed"] == len(ids)
        assert thickness["changed"]
        assert len(thickness["examples"]) == 3
        assert all("99.5" in each["new"] for each in thickness["examples"])
        assert "Other" not in json.dumps(report.differences.paths)
        assert await everything(store) == before


async def test_a_damaged_original_a_lost_one_and_a_wrong_tag_are_found_and_leave_what_is_there(filled):
    settings = settings_of(filled)
    async with open_store(settings) as store:
        database = store._database
        damaged, lost, wrong = await database["instances"].find({}, {"dataset": 0}).sort("size", 1).to_list(3)
        chunk = await database["originals.chunks"].find_one({"files_id": damaged["original_id"]})
        file = await database["originals.files"].find_one({"_id": lost["original_id"]})
        whole = await database["instances"].find_one({"_id": wrong["_id"]})
        spoiled = chunk["data"][:-1] + bytes([chunk["data"][-1] ^ 1])
        await database["originals.chunks"].update_one({"_id": chunk["_id"]}, {"$set": {"data": spoiled}})
        await database["originals.files"].delete_one({"_id": lost["original_id"]})
        await database["instances"].update_one({"_id": wrong["_id"]}, {"$set": {"dataset.Modality.Value": ["XX"]}})
        before = await everything(store)
        try:
            context = Context(store, Inline(), settings, now)
            report = await reindex(context, Selection(which="all", verify=True), extract=in_process)
            assert {each["dicom_id"] for each in report.failures} == {each["_id"] for each in (damaged, lost, wrong)}
            assert report.done == len(NAMES) - 3
            assert await everything(store) == before
            again = await reindex(context, Selection(dicom_ids=(damaged["_id"],)), extract=in_process)
            assert (again.done, again.failed) == (0, 1)
            assert await everything(store) == before
        finally:
            await database["originals.chunks"].replace_one({"_id": chunk["_id"]}, chunk)
            await database["originals.files"].insert_one(file)
            await database["instances"].replace_one({"_id": wrong["_id"]}, whole)


async def test_a_row_that_says_something_else_is_found_and_made_again_and_one_that_is_not_there_is_no_fault(filled):
    settings = settings_of(filled)
    async with open_store(settings) as store:
        files = store._database["originals.files"]
        before = await everything(store)
        wrong, other, lacking = await files.find({}).sort("_id", 1).to_list(3)
        row = {"$set": {"metadata.row": other["metadata"]["row"]}}
        await files.update_one({"_id": wrong["_id"]}, row)
        await files.update_one({"_id": lacking["_id"]}, {"$unset": {"metadata.row": ""}})
        context = Context(store, Inline(), settings, now)
        report = await reindex(context, Selection(which="all", verify=True), extract=in_process)
        assert {each["dicom_id"] for each in report.failures} == {wrong["metadata"]["dicom_id"]}
        ids = tuple(each["metadata"]["dicom_id"] for each in (wrong, lacking))
        assert (await reindex(context, Selection(dicom_ids=ids), extract=in_process)).done == 2
        assert await everything(store) == before


async def test_a_run_over_all_that_was_stopped_goes_on_where_it_was(filled):
    count = 0

    class One:
        size = -1  # with what is ahead, one at a time

    async with open_store(settings_of(filled)) as store:
        context = Context(store, One(), settings_of(filled), now)

        async def interrupted(source, sha256, limits):
            nonlocal count
            count += 1
            if count > 3:
                raise asyncio.CancelledError
            return rederive(source, sha256, limits)

        with pytest.raises(asyncio.CancelledError):
            await reindex(context, Selection(which="all"), extract=interrupted)
        report = await reindex(context, Selection(which="all"), extract=in_process)
        assert (report.done, report.failed) == (len(NAMES) - 3, 0)
        report = await reindex(context, Selection(which="all"), extract=in_process)
        assert report.done == len(NAMES)


async def test_what_is_deleted_meanwhile_stays_deleted_and_newer_versions_are_left_alone(filled):
    async with open_store(settings_of(filled)) as store:
        instance = await store._database["instances"].find_one({}, {"dataset": 0})
        await store._database["instances"].update_one({"_id": instance["_id"]}, {"$set": {"extraction.version": 99}})
        context = Context(store, Inline(), settings_of(filled), now)
        report = await reindex(context, Selection(which="all", fresh=True), extract=in_process)
        assert (report.newer, report.done) == (1, len(NAMES) - 1)
        version = {"$set": {"extraction.version": EXTRACTOR_VERSION}}
        await store._database["instances"].update_one({"_id": instance["_id"]}, version)

        original = await store.originals.open(Visible(instance["patient_id"]), instance["original_id"])
        data = await original.read_range()

        async def deleting(source, sha256, limits):
            await store.deletion.delete(instance["patient_id"], instance["_id"])
            return rederive(source, sha256, limits)

        report = await reindex(context, Selection(dicom_ids=(instance["_id"],)), extract=deleting)
        assert (report.gone, report.failed) == (1, 0)
        for name in ("instances", "tag_index"):
            assert await store._database[name].find_one({"_id": instance["_id"]}) is None
        assert await store._database["series"].find_one({"dicom_id": instance["_id"]}) is None
    with RunningService(filled) as service:
        assert service.upload(data, instance["patient_id"]) == instance["_id"]
        service.stop()


def test_the_command_works_without_a_service_and_beside_one_and_twice_at_once(filled):
    status, alone = summary("reindex", filled, "--all", "--workers", "1")
    assert (status, alone["done"], alone["failed"]) == (0, len(NAMES), 0), alone
    with RunningService(filled) as service:
        runs = [start("reindex", filled, "--all", "--workers", "1", "--json") for _ in range(2)]
        asked = 0
        identifier = service.upload(content("CT_small.dcm"), "p-C")
        while any(run.poll() is None for run in runs):
            status, _, body = service.request("GET", f"/patient/p-C/dicom/{identifier}/tag/Modality", patient="p-C")
            assert (status, json.loads(body)["value"]) == (200, "CT")
            asked += 1
            time.sleep(0.02)
        answers = [run.communicate() for run in runs]
        assert all(run.returncode == 0 for run in runs), answers
        done = [json.loads(out)["done"] for out, _ in answers]
        assert len(NAMES) <= sum(done) <= 2 * len(NAMES)
        assert asked
        status, verified = summary("reindex", filled, "--verify", "--workers", "1")
        assert (status, verified["done"], verified["unchanged"]) == (0, len(NAMES), len(NAMES)), verified


@pytest.mark.long
def test_a_service_that_starts_takes_the_database_over_and_the_command_goes_on_with_it(filled):
    command = start("reindex", filled, "--all", "--fresh", "--workers", "1", "--rate", "2", "--json", "--quiet")
    deadline = time.monotonic() + 20
    while find_running(filled) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with RunningService(filled) as service:
        out, err = command.communicate(timeout=60)
        assert command.returncode == 0, err
        assert json.loads(out)["done"] >= len(NAMES)
        assert service.request("GET", "/readyz")[0] == 200
        service.stop()


def test_a_command_that_cannot_give_the_database_up_is_named_to_whoever_wants_it(filled):
    command = start("reindex", filled, "--verify", "--workers", "1", "--rate", "1")
    deadline = time.monotonic() + 20
    while find_running(filled) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(AssertionError, match=r"scripts/reindex.py is using the data directory"):
        RunningService(filled)
    command.terminate()
    command.communicate(timeout=30)


@pytest.mark.long
def test_a_killed_command_goes_on_and_one_whose_service_ends_keeps_the_database_itself(filled):
    with RunningService(filled) as service:
        client = pymongo.MongoClient(find_running(filled), tz_aware=True)
        instances = client["dicom"]["instances"]
        began = now()
        killed = start("reindex", filled, "--all", "--workers", "1", "--rate", "2")
        done = {"extraction.at": {"$gt": began}}
        while len(list(instances.find(done, {"_id": 1}))) < 2:
            assert killed.poll() is None
            time.sleep(0.05)
        killed.kill()
        killed.communicate()
        before = len(list(instances.find(done, {"_id": 1})))
        client.close()
        resumed = start("reindex", filled, "--all", "--workers", "1", "--rate", "1", "--json")
        time.sleep(2.5)
        service.kill()
        out, err = resumed.communicate(timeout=120)
        assert resumed.returncode == 0, err
        assert 0 < before < len(NAMES)
        assert json.loads(out)["done"] + before >= len(NAMES)
    status, verified = summary("reindex", filled, "--verify", "--workers", "1")
    assert (status, verified["unchanged"]) == (0, len(NAMES))


@pytest.mark.parametrize("flags", [("--all", "--failed"), ("--rate", "0")])
def test_wrong_usage_has_exit_status_2(tmp_path, flags):
    status, _, err = run("reindex", tmp_path, *flags)
    assert status == 2
    assert "usage:" in err


@pytest.mark.parametrize("script", ["reindex", "migrate"])
def test_a_directory_without_a_database_is_told_of_and_left_as_it_is(tmp_path, script):
    status, _, err = run(script, tmp_path / "mistyped")
    assert status == 1
    assert "There is no database" in err
    assert not (tmp_path / "mistyped" / "database").exists()


def test_an_unknown_id_is_a_failure(filled):
    status, found = summary("reindex", filled, "--id", "00000000-0000-0000-0000-000000000000", "--workers", "1")
    assert (status, found["failed"]) == (1, 1)
