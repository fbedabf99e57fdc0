"""A database is made ready once, by whoever comes first, and one that does not fit is refused."""

from __future__ import annotations

import asyncio
from typing import Any, NotRequired, get_origin, get_type_hints

import pytest
from pymongo.errors import WriteError

from schemas.database import EXTRACTION, INSTANCE, ExtractionStatus, Instance
from service.storage import layout
from service.storage.collections import SMALL_FIELDS
from service.storage.connection import Database
from service.storage.layout import INDEXES, LAYOUT, UnknownLayout
from service.storage.store import Store
from tests.storage.samples import Clock, extraction, make_instance


async def test_many_processes_at_once_agree_on_one_namespace(database: Database, clock: Clock) -> None:
    stores = [Store(database, clock) for _ in range(6)]
    prepared = await asyncio.gather(*(each.prepare() for each in stores))
    assert len({each.namespace for each in prepared}) == 1
    assert {each.missing_indexes for each in prepared} == {()}
    for each in stores:
        each.close()


async def test_a_second_start_changes_nothing(store: Store, database: Database) -> None:
    async def state() -> Any:
        names = sorted(await database.list_collection_names())
        return [(name, await database[name].index_information()) for name in names], await database["meta"].find_one()

    before = await state()
    await store.prepare()
    assert await state() == before


@pytest.mark.usefixtures("store")
async def test_every_index_is_there(database: Database) -> None:
    for index in INDEXES:
        there = await database[index.collection].index_information()
        assert index.name in there, index
        assert [tuple(pair) for pair in there[index.name]["key"]] == list(index.keys)


async def test_a_newer_layout_is_refused(store: Store, database: Database) -> None:
    await database["meta"].update_one({"_id": "store"}, {"$set": {"layout": LAYOUT + 1}})
    with pytest.raises(UnknownLayout, match="newer"):
        await store.prepare()


async def test_an_older_layout_names_the_command_that_brings_it_up(store: Store, database: Database) -> None:
    await database["meta"].update_one({"_id": "store"}, {"$set": {"layout": LAYOUT - 1}})
    with pytest.raises(UnknownLayout, match=r"scripts/migrate\.py"):
        await store.prepare()


async def test_a_missing_index_of_a_large_collection_is_reported(
    store: Store, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_instance(store, clock, b"bytes")
    await store.uploads.store(made, extraction(), b"bytes")
    await database["instances"].drop_index("uids")
    monkeypatch.setattr("service.storage.layout.LARGE", 0)
    assert (await store.prepare()).missing_indexes == ("instances.uids",)
    monkeypatch.undo()
    assert (await store.prepare()).missing_indexes == ()


@pytest.mark.parametrize(
    "mistake",
    [
        {"patient": "p-1"},
        {"size": -1},
        {"sha256": "no hash"},
        {"received_at": "today"},
        {"extraction": {"state": "finished", "version": 1, "at": None, "attempts": 1, "error": None}},
        {"patient_id": "p" * 65},
    ],
    ids=lambda mistake: next(iter(mistake)),
)
@pytest.mark.usefixtures("validators")
async def test_a_misshapen_instance_is_refused(store: Store, clock: Clock, mistake: dict[str, Any]) -> None:
    with pytest.raises(WriteError, match="validation"):
        await store.uploads.store(make_instance(store, clock, b"bytes") | mistake, extraction(), b"bytes")


def test_the_type_of_an_instance_has_the_fields_that_its_validator_has() -> None:
    for kind, schema in ((Instance, INSTANCE), (ExtractionStatus, EXTRACTION)):
        hints = get_type_hints(kind, include_extras=True)
        assert set(hints) == set(schema["properties"])
        required = {name for name, hint in hints.items() if get_origin(hint) is not NotRequired}
        assert required == set(schema["required"])


def test_lists_leave_out_what_is_large() -> None:
    assert set(Instance.__annotations__) - set(SMALL_FIELDS) == {"dataset", "series"}


def plan(*names: str) -> dict[str, Any]:
    """A plan of these stages, the first of them the last one that is run."""
    return {"stage": names[0], "inputStage": plan(*names[1:])} if names else {}


def shards(*plans: dict[str, Any]) -> dict[str, Any]:
    return {"stage": "SHARD_MERGE", "shards": [{"winningPlan": each} for each in plans]}


PLANS = {
    "an index in its order": (plan("LIMIT", "FETCH", "IXSCAN"), True),
    "an index, sorted": (plan("SORT", "FETCH", "IXSCAN"), False),
    "a scan, sorted": (plan("SORT", "COLLSCAN"), False),
    "shards": (shards(plan("FETCH", "IXSCAN"), plan("FETCH", "IXSCAN")), True),
    "one shard that sorts": (shards(plan("FETCH", "IXSCAN"), plan("SORT", "FETCH", "IXSCAN")), False),
    "no plan": ({}, False),
}


@pytest.mark.parametrize("name", PLANS)
def test_the_servers_plan_says_whether_a_list_is_read_in_the_order_of_its_index(name: str) -> None:
    winning, expected = PLANS[name]

    class Server:
        def command(self, _: object) -> dict[str, object]:
            return {"queryPlanner": {"winningPlan": winning, "rejectedPlans": [{"stage": "SORT"}]}}

    assert layout.lists_by_index(Server()) is expected  # type: ignore[arg-type]
