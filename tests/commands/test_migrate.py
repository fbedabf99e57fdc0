"""A database of an older layout is brought up by steps, and indexes that a start leaves are built."""

import json

import pytest

from service.resources import open_store
from service.storage import layout
from service.storage.layout import UnknownLayout
from service.storage.migrations import Step
from tests.commands.running import content, run, settings_of, summary
from tests.running_service import RunningService


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("migrate") / "data"


def rename(collections):
    collections.meta.update_one({"_id": "store", "old": {"$exists": True}}, {"$set": {"new": 7}, "$unset": {"old": 1}})


async def test_steps_run_in_order_once_and_go_on_where_one_was_stopped(data_dir):
    ran = []

    def second(_collections):
        ran.append("second")
        if len(ran) == 1:
            raise KeyError

    steps = (Step(1, "renames old to new", rename), Step(2, "does something", second))
    async with open_store(settings_of(data_dir)) as store:
        meta = store._database["meta"]
        await meta.update_one({"_id": "store"}, {"$set": {"old": 7}})
        told = await store.maintenance.migrate(dry_run=True, steps=steps, layout=3)
        assert (told.found, told.layout, len(told.steps)) == (1, 3, 2)
        assert (await meta.find_one({"_id": "store"}))["layout"] == 1
        with pytest.raises(KeyError):
            await store.maintenance.migrate(dry_run=False, steps=steps, layout=3)
        assert (await meta.find_one({"_id": "store"}))["layout"] == 2
        told = await store.maintenance.migrate(dry_run=False, steps=steps, layout=3)
        assert (told.found, told.layout, told.steps) == (2, 3, ("2 -> 3: does something",))
        found = await meta.find_one({"_id": "store"})
        assert (found["new"], found["layout"], "old" in found) == (7, 3, False)
        with pytest.raises(UnknownLayout):  # this code knows layout 1
            await store.maintenance.migrate(dry_run=False)
        await meta.update_one({"_id": "store"}, {"$set": {"layout": 0}})
        with pytest.raises(UnknownLayout, match="no way from layout 0"):
            await store.maintenance.migrate(dry_run=False)
        with pytest.raises(UnknownLayout, match=r"scripts/migrate\.py"):
            await store.prepare()
        await meta.update_one({"_id": "store"}, {"$set": {"layout": 1}})


async def test_a_missing_index_of_a_large_collection_is_reported_until_it_is_built(data_dir, monkeypatch):
    async with open_store(settings_of(data_dir)) as store:
        await store._database["instances"].drop_index("uids")
        monkeypatch.setattr(layout, "LARGE", -1)
        prepared = await store.prepare()
        assert prepared.missing_indexes == ("instances.uids",)
        assert await store.find_missing_indexes() == ("instances.uids",)
        told = await store.maintenance.migrate(dry_run=True)
        assert told.indexes == ("instances.uids",)
        assert await store.find_missing_indexes() == ("instances.uids",)
        told = await store.maintenance.migrate(dry_run=False)
        assert told.indexes == ("instances.uids",)
        assert await store.find_missing_indexes() == ()


def test_the_command_works_beside_a_service_and_without_one(data_dir):
    status, out, err = run("migrate", data_dir)
    assert (status, "No index is missing." in out) == (0, True), err
    with RunningService(data_dir) as service:
        service.upload(content("CT_small.dcm"))
        assert json.loads(service.request("GET", "/readyz")[2]) == {"status": "ok"}
        assert summary("migrate", data_dir, "--dry-run") == (0, {"found": 1, "layout": 1, "steps": [], "indexes": []})
        service.stop()


@pytest.mark.long
def test_an_empty_database_is_no_store_to_migrate(tmp_path):
    (tmp_path / "data" / "database").mkdir(parents=True)
    status, _, err = run("migrate", tmp_path / "data")
    assert (status, "There is no store" in err) == (1, True)
