"""A database of an older layout is brought up by steps, and indexes that a start leaves are built."""

import json
from io import BytesIO

import pydicom
import pytest
from pymongo.errors import WriteError

from schemas.database import INSTANCE, TAG_INDEX
from service.commands import migration
from service.commands.migration import STEPS
from service.dicom.series import series_elements
from service.resources import now, open_store
from service.storage import layout
from service.storage.layout import LAYOUT, UnknownLayout
from service.storage.migrations import MigrationStep
from service.storage.renditions import RenditionKey, StoredRendition
from service.usecases.context import Context
from service.usecases.ingest import store_upload
from tests.commands.running import content, run, settings_of, summary
from tests.running_service import RunningService


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("migrate") / "data"


async def once(content):
    yield content


def rename(collections):
    collections.meta.update_one({"_id": "store", "old": {"$exists": True}}, {"$set": {"new": 7}, "$unset": {"old": 1}})


async def test_steps_run_in_order_once_and_go_on_where_one_was_stopped(data_dir):
    ran = []

    def second(_collections):
        ran.append("second")
        if len(ran) == 1:
            raise KeyError

    one, two = LAYOUT + 1, LAYOUT + 2
    steps = (
        MigrationStep(LAYOUT, "renames old to new", rename),
        MigrationStep(one, "does something", second),
    )
    async with open_store(settings_of(data_dir)) as store:
        meta = store._database["meta"]
        await meta.update_one({"_id": "store"}, {"$set": {"old": 7}})
        told = await store.maintenance.migrate(steps, dry_run=True, layout=two)
        assert (told.found, told.layout, len(told.steps)) == (LAYOUT, two, 2)
        assert (await meta.find_one({"_id": "store"}))["layout"] == LAYOUT
        with pytest.raises(KeyError):
            await store.maintenance.migrate(steps, dry_run=False, layout=two)
        assert (await meta.find_one({"_id": "store"}))["layout"] == one
        told = await store.maintenance.migrate(steps, dry_run=False, layout=two)
        assert (told.found, told.layout, told.steps) == (one, two, (f"{one} -> {two}: does something",))
        found = await meta.find_one({"_id": "store"})
        assert (found["new"], found["layout"], "old" in found) == (7, two, False)
        with pytest.raises(UnknownLayout, match="newer"):
            await store.maintenance.migrate(STEPS, dry_run=False)
        await meta.update_one({"_id": "store"}, {"$set": {"layout": 0}})
        with pytest.raises(UnknownLayout, match="no way from layout 0"):
            await store.maintenance.migrate(STEPS, dry_run=False)
        with pytest.raises(UnknownLayout, match=r"scripts/migrate\.py"):
            await store.prepare()
        await meta.update_one({"_id": "store"}, {"$set": {"layout": LAYOUT}})


def test_there_is_a_step_from_every_layout_that_there_was():
    assert [step.layout for step in STEPS] == list(range(1, LAYOUT))


async def shown(store):
    """What the one series of the patient shows, and of which instance."""
    found = await store._database["series"].find_one({"patient_id": "p-1"})
    return found["dicom_id"], found["attributes"]["SeriesDescription"]["Value"][0]


def make_slice(number):
    """A CT of one series that calls it otherwise than the others do."""
    dataset = pydicom.dcmread(BytesIO(content("CT_small.dcm")))
    dataset.SOPInstanceUID, dataset.SeriesDescription = f"2.25.{number + 1}", f"number {number}"
    written = BytesIO()
    dataset.save_as(written)
    return written.getvalue()


async def forget_places(database):
    """Have no index document and no picture say where its instance lies; return what the index documents were."""
    indexed = await database["tag_index"].find({}).to_list(None)
    assert all(each["study_instance_uid"] and each["series_instance_uid"] for each in indexed)
    places = ("study_instance_uid", "series_instance_uid")
    known = {name: schema for name, schema in TAG_INDEX["properties"].items() if name not in (*places, "inbox")}
    required = [name for name in TAG_INDEX["required"] if name not in places]
    validator = {"$jsonSchema": {**TAG_INDEX, "properties": known, "required": required}}
    await database.command("collMod", "tag_index", validator=validator)
    await database["tag_index"].update_many({}, {"$unset": dict.fromkeys(places, "")})
    await database["rendered.files"].update_many({}, {"$unset": {f"metadata.{name}": "" for name in places}})
    return indexed


async def test_a_database_of_this_layout_whose_documents_lack_something_of_it_is_completed(tmp_path):
    async with open_store(settings_of(tmp_path)) as store:
        context = Context(store, None, settings_of(tmp_path), now)
        settings_of(tmp_path).spool_dir.mkdir()
        stored = [await store_upload(context, "p-1", "a.dcm", once(make_slice(number))) for number in range(2)]
        for each in stored:
            await store.renditions.put("p-1", each.dicom_id, RenditionKey(0, 1), StoredRendition(b"png", {}))
        # One waits in an inbox: what is kept of it says that too.
        waiting = stored[1].dicom_id
        for name, which, field in (
            ("instances", {"_id": waiting}, "inbox"),
            ("originals.files", {"metadata.dicom_id": waiting}, "metadata.inbox"),
        ):
            await store._database[name].update_one(which, {"$set": {field: "a share"}})
        indexed = await forget_places(store._database)
        told = await store.maintenance.migrate(STEPS, dry_run=True)
        assert (told.found, told.layout, len(told.steps)) == (LAYOUT, LAYOUT, 1)
        assert "study_instance_uid" not in await store._database["tag_index"].find_one({})
        told = await store.maintenance.migrate(STEPS, dry_run=False)
        assert (told.found, told.layout, len(told.steps)) == (LAYOUT, LAYOUT, 1)
        expected = [{**each, **({"inbox": "a share"} if each["_id"] == waiting else {})} for each in indexed]
        assert await store._database["tag_index"].find({}).to_list(None) == expected
        for file in await store._database["rendered.files"].find({}).to_list(None):
            about = file["metadata"]
            (whole,) = [each for each in expected if each["_id"] == about["dicom_id"]]
            for name in ("study_instance_uid", "series_instance_uid", "inbox"):
                assert about.get(name) == whole.get(name)
        told = await store.maintenance.migrate(STEPS, dry_run=False)
        assert told.steps == ()
        assert (await store._database["meta"].find_one({"_id": "store"}))["layout"] == LAYOUT


async def test_the_first_layout_comes_to_the_newest_in_one_run_wherever_one_was_stopped(tmp_path, monkeypatch):
    async with open_store(settings_of(tmp_path)) as store:
        context = Context(store, None, settings_of(tmp_path), now)
        settings_of(tmp_path).spool_dir.mkdir()
        stored = [await store_upload(context, "p-1", "a.dcm", once(make_slice(number))) for number in range(3)]
        waiting = await store_upload(context, "p-1", "b.dcm", once(make_slice(3)), respond_async=True)
        database = store._database
        instances, meta = database["instances"], database["meta"]
        before = await instances.find({}).to_list(None)
        assert {each["_id"] for each in before if "series" in each} == {each.dicom_id for each in stored}
        await instances.update_many({}, {"$unset": {"series": ""}})
        indexed = await forget_places(database)
        former = {"layout": 1, "sweep_claimed_until": now()}
        known = {name: schema for name, schema in INSTANCE["properties"].items() if name != "series"}
        validator = {"$jsonSchema": {**INSTANCE, "properties": known}}
        await database.command("collMod", "instances", validator=validator)
        with pytest.raises(WriteError):
            await instances.update_one({"_id": waiting.dicom_id}, {"$set": {"series": None}})
        await meta.update_one({"_id": "store"}, {"$set": former})
        with pytest.raises(UnknownLayout, match=r"scripts/migrate\.py"):
            await store.prepare()

        filled = []

        def stop_at_the_second(dataset):
            filled.append(dataset)
            if len(filled) == 2:
                raise KeyError
            return series_elements(dataset)

        with monkeypatch.context() as patched, pytest.raises(KeyError):
            patched.setattr(migration, "series_elements", stop_at_the_second)
            await store.maintenance.migrate(STEPS, dry_run=False)
        assert len([each for each in await instances.find({}).to_list(None) if "series" in each]) == 1
        assert "PixelData" not in filled[0]
        assert (await meta.find_one({"_id": "store"}))["layout"] == 1
        told = await store.maintenance.migrate(STEPS, dry_run=False)
        assert (told.found, told.layout, len(told.steps)) == (1, LAYOUT, LAYOUT - 1)
        assert await instances.find({}).to_list(None) == before
        assert await database["tag_index"].find({}).to_list(None) == indexed
        assert "sweep_claimed_until" not in await meta.find_one({"_id": "store"})
        await store.prepare()

        assert await shown(store) == (stored[2].dicom_id, "number 2")
        assert await store.deletion.delete("p-1", stored[2].dicom_id)
        assert await shown(store) == (stored[1].dicom_id, "number 1")
        assert await store.deletion.delete("p-1", waiting.dicom_id)


async def test_a_missing_index_of_a_large_collection_is_reported_until_it_is_built(data_dir, monkeypatch):
    async with open_store(settings_of(data_dir)) as store:
        await store._database["instances"].drop_index("uids")
        monkeypatch.setattr(layout, "LARGE", -1)
        prepared = await store.prepare()
        assert prepared.missing_indexes == ("instances.uids",)
        assert await store.find_missing_indexes() == ("instances.uids",)
        told = await store.maintenance.migrate(STEPS, dry_run=True)
        assert told.indexes == ("instances.uids",)
        assert await store.find_missing_indexes() == ("instances.uids",)
        told = await store.maintenance.migrate(STEPS, dry_run=False)
        assert told.indexes == ("instances.uids",)
        assert await store.find_missing_indexes() == ()


def test_the_command_works_beside_a_service_and_without_one(data_dir):
    status, out, err = run("migrate", data_dir)
    assert (status, "No index is missing." in out) == (0, True), err
    with RunningService(data_dir) as service:
        service.upload(content("CT_small.dcm"))
        assert json.loads(service.request("GET", "/readyz")[2]) == {"status": "ok"}
        assert summary("migrate", data_dir, "--dry-run") == (
            0,
            {"found": LAYOUT, "layout": LAYOUT, "steps": [], "indexes": []},
        )
        service.stop()


@pytest.mark.long
def test_an_empty_database_is_no_store_to_migrate(tmp_path):
    (tmp_path / "data" / "database").mkdir(parents=True)
    status, _, err = run("migrate", tmp_path / "data")
    assert (status, "There is no store" in err) == (1, True)
