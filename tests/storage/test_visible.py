"""A part of a patient's data is all that a caller sees of it, by every way in which the store is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from bson import ObjectId

from service.storage.collections import Document
from service.storage.lookups import Lookup, look_up
from service.storage.renditions import RenditionKey, StoredRendition
from service.storage.search import InstanceQuery
from service.storage.store import Store
from service.storage.visible import Visible
from tests.storage.samples import Clock, Extraction, extraction, make_instance, pending

KEY = RenditionKey(0, 1)
INBOX = "4a2ea9a6-9f7e-4c2e-8a0e-6a3fd4a4a3a1"
ITEM = {"vr": "SQ", "Value": [{"InstanceNumber": {"vr": "IS", "Value": [7]}}]}


@dataclass
class World:
    """What two patients have, by names."""

    store: Store
    clock: Clock
    stored: dict[str, Document] = field(default_factory=dict)

    async def put(self, name: str, study: str | None, series: str, sop: str, patient: str = "p-1", **more: Any) -> None:
        made = make_instance(
            self.store,
            self.clock,
            f"{patient} {name}".encode(),
            patient,
            series=series if study else None,
            **more,
        )
        if study:
            made |= {"study_instance_uid": study, "sop_instance_uid": sop}
        assert await self.store.uploads.store(made, says(name), f"{patient} {name}".encode())
        await self.store.renditions.put(patient, made["_id"], KEY, StoredRendition(name.encode(), {}))
        self.stored[name] = made

    def ids(self, names: Iterable[str]) -> set[str]:
        return {self.stored[name]["_id"] for name in names}

    def names(self, dicom_ids: Iterable[str]) -> list[str]:
        name_of = {made["_id"]: name for name, made in self.stored.items()}
        return [name_of[each] for each in dicom_ids]


def says(name: str) -> Extraction:
    """A tree of one value of its own, which its index has, and which its index left out another time."""
    made = extraction(name, ContentSequence=ITEM)
    index = {"tags": {"Modality": ["CT"], "SeriesDescription": [name]}, "names": {}, "vrs": {}, "truncated": [name]}
    return Extraction(made.dataset, made.series, index)


@pytest.fixture
async def world(store: Store, clock: Clock) -> World:
    """Two studies of one patient, with a series that both have, one instance twice, and what waits in an inbox."""
    made = World(store, clock)
    await made.put("a1", "1.1", "1.1.1", "1.1.1.1")
    await made.put("a2", "1.1", "1.1.1", "1.1.1.2")
    await made.put("a2 again", "1.1", "1.1.1", "1.1.1.2")
    await made.put("a of another series", "1.1", "1.1.2", "1.1.2.1")
    await made.put("b", "1.2", "1.2.1", "1.2.1.1")
    await made.put("b of the same series", "1.2", "1.1.1", "1.2.1.2")
    await made.put("no study", None, "", "")
    await made.put("waits", "1.1", "1.1.1", "1.1.1.9", inbox=INBOX)
    await made.put("another's", "1.1", "1.1.1", "1.1.1.1", "p-2")
    return made


PARTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a study": ({"studies": {"1.1"}}, ["a1", "a2", "a2 again", "a of another series"]),
    "two studies": (
        {"studies": {"1.1", "1.2"}},
        ["a1", "a2", "a2 again", "a of another series", "b", "b of the same series"],
    ),
    "a series": ({"series": {"1.1.1"}}, ["a1", "a2", "a2 again", "b of the same series"]),
    "two series": ({"series": {"1.1.2", "1.2.1"}}, ["a of another series", "b"]),
    "an instance": ({"dicom_ids": ["a2"]}, ["a2"]),
    "instances": ({"dicom_ids": ["a1", "no study", "waits", "another's"]}, ["a1", "no study"]),
    "what is not there": ({"studies": {"1.9"}}, []),
    "nothing": ({"series": set()}, []),
    "no instance": ({"dicom_ids": []}, []),
}
"""What is visible, and the names of what is seen, the oldest first."""


def part_of(world: World, part: str) -> tuple[Visible, list[str]]:
    given, seen = PARTS[part]
    ids = {name: world.ids(each) if name == "dicom_ids" else each for name, each in given.items()}
    return Visible("p-1", **{name: frozenset(each) for name, each in ids.items()}), seen


@pytest.mark.parametrize("part", PARTS)
async def test_instances_outside_of_a_part_are_not_there(world: World, part: str) -> None:
    visible, seen = part_of(world, part)
    store = world.store
    for name, made in world.stored.items():
        there = name in seen
        dicom_id = made["_id"]
        found = await store.instances.find(visible, dicom_id)
        assert (found == made) is there, name
        assert (await store.instances.read_whole(visible, dicom_id) is not None) is there, name
        assert (await store.instances.read_elements(visible, dicom_id, [], ["Modality"]) is not None) is there, name
        large = await store.instances.read_elements(visible, dicom_id, [], ["Modality"], large=True)
        assert (large is not None) is there, name
        nested = await store.instances.read_elements(visible, dicom_id, [("ContentSequence", 0)], ["InstanceNumber"])
        assert (nested is not None) is there, name
        assert (await store.originals.open(visible, made["original_id"]) is not None) is there, name
        assert ((await store.renditions.find(visible, dicom_id, KEY))[1] is not None) is there, name
    everything = [each["_id"] for each in world.stored.values()]
    assert set(await store.instances.find_many(visible, everything, ["Modality"])) == world.ids(seen)
    assert await store.instances.count(visible) == len(seen)


@pytest.mark.parametrize("part", PARTS)
async def test_lists_of_a_part_have_its_instances_newest_first(world: World, part: str) -> None:
    visible, seen = part_of(world, part)
    newest_first = seen[::-1]
    for limit in (1, 2, 10):
        listed: list[str] = []
        more = True
        while more:
            page, more = await world.store.instances.list_newest(visible, limit, len(listed))
            listed += world.names(each["_id"] for each in page)
            assert len(listed) < 20
        assert listed == newest_first


@pytest.mark.parametrize("part", PARTS)
async def test_searches_in_a_part_find_count_and_show_what_lies_in_it(world: World, part: str) -> None:
    visible, seen = part_of(world, part)
    index, tables = world.store.index, world.store.tables
    everything = {"tags.Modality": "CT"}
    assert await index.find_ids(visible, everything) == world.ids(seen)
    assert await index.find_ids(visible, {"truncated": {"$in": list(world.stored)}}) == world.ids(seen)
    assert await index.find_values(visible, "SeriesDescription") == {(name,) for name in seen}
    read = await index.read(visible, lambda found: [each["tags"]["SeriesDescription"][0] for each in found], 5)
    assert sorted(read) == sorted(seen)
    ids = [each["_id"] for each in world.stored.values()]
    for query in (
        InstanceQuery(visible, everything, count=True),
        InstanceQuery(visible, {}, among=set(ids), count=True),
        InstanceQuery(visible, {}, elements=["Modality"], check=lambda tree: "Modality" in tree, count=True),
    ):
        hits = await index.find_page(query)
        assert (world.names(each["_id"] for each in hits.instances), hits.total) == (seen[::-1], len(seen))
    ordered = await index.find_page(InstanceQuery(visible, everything, order="tags.SeriesDescription"))
    assert world.names(each["_id"] for each in ordered.instances) == sorted(seen)
    assert world.names((await tables.list_ids(visible, everything)).dicom_ids) == seen[::-1]
    trees = await tables.read(visible, ids, ["Modality"], lambda *_: (), large=False)
    assert {each["_id"] for each in trees.instances} == world.ids(seen)
    listed, _ = await tables.list_originals(visible, None, 100)
    assert {each for _, each in listed} == world.ids(seen)
    vrs = await tables.find_vrs(visible, ["SeriesDescription"])
    assert vrs == {"SeriesDescription": (set(), False)}


@pytest.mark.parametrize("part", PARTS)
async def test_studies_and_series_of_a_part_are_those_of_its_instances(world: World, part: str) -> None:
    visible, seen = part_of(world, part)
    asked = [
        (study, series, sop)
        for study in (None, "1.1", "1.2", "1.9")
        for series in (None, "1.1.1", "1.1.2", "1.9.9")
        for sop in (None, "1.1.1.2", "1.2.1.2")
    ]
    for study, series, sop in asked:
        newest: dict[Any, str] = {}
        for name in seen:
            made = world.stored[name]
            three = [made[key] for key in ("study_instance_uid", "series_instance_uid", "sop_instance_uid")]
            if all(three) and all(uid in (None, own) for uid, own in zip((study, series, sop), three, strict=True)):
                newest[tuple(three)] = name
        found = await world.store.studies.list_members(visible, study, series, sop)
        assert sorted(world.names(each.dicom_id for each in found)) == sorted(newest.values()), (study, series, sop)
    for study in (None, "1.1", "1.2", "1.9"):
        shown: dict[Any, str] = {}
        for name in seen:
            made = world.stored[name]
            if made["study_instance_uid"] and study in (None, made["study_instance_uid"]):
                shown[made["study_instance_uid"], made["series_instance_uid"]] = name
        documents = await world.store.studies.list_series(visible, study)
        assert [world.names([each["dicom_id"]])[0] for each in documents] == sorted(
            shown.values(), key=list(world.stored).index, reverse=True
        )
        for document in documents:
            name = shown[document["study_instance_uid"], document["series_instance_uid"]]
            assert document["attributes"]["SeriesDescription"]["Value"] == [name]
            assert document["received_at"] == world.stored[name]["received_at"]


async def test_a_series_of_a_part_is_shown_as_the_store_shows_one(world: World) -> None:
    (made,) = await world.store.studies.list_series(Visible("p-1", series=frozenset(["1.2.1"])))
    assert made in await world.store.studies.list_series(Visible("p-1"))


async def test_the_series_of_a_part_pass_over_what_is_being_deleted(world: World) -> None:
    visible = Visible("p-1", studies=frozenset(["1.1"]))
    instances = world.store._collections.instances
    # Beside its original nothing says it yet: the delete has just begun.
    for name in ("a2 again", "a2"):
        instances.update_one({"_id": world.stored[name]["_id"]}, {"$set": {"extraction.state": "deleting"}})
        world.stored[name]["gone"] = True
    shown = {each["series_instance_uid"]: each["dicom_id"] for each in await world.store.studies.list_series(visible)}
    assert world.names(shown.values()) == ["a of another series", "a1"]


async def test_look_ups_of_different_parts_that_wait_together_are_answered_apart(world: World) -> None:
    a1, b = (world.stored[name]["_id"] for name in ("a1", "b"))
    study, other, everything = Visible("p-1", frozenset(["1.1"])), Visible("p-1", frozenset(["1.2"])), Visible("p-1")
    fields = frozenset(["dataset.SeriesDescription"])
    asked = [Lookup(visible, each, fields) for visible in (study, other, everything) for each in (a1, b)]
    found = look_up(world.store._collections, asked)
    assert [each and each["_id"] for each in found] == [a1, None, None, b, a1, b]


@pytest.mark.parametrize("part", ["a study", "a series", "an instance"])
async def test_what_lies_outside_of_a_part_is_not_even_read(
    world: World, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tree may be large, and the time that it takes would tell that it is there."""
    visible, _ = part_of(world, part)
    kind = type(world.store._collections.instances)
    asked: list[Any] = []
    for method in ("find", "find_one", "aggregate"):
        own = getattr(kind, method)

        def noted(self: Any, *arguments: Any, own: Any = own, **options: Any) -> Any:
            if self.name == "instances":
                asked.append(arguments)
            return own(self, *arguments, **options)

        monkeypatch.setattr(kind, method, noted)
    outside = world.stored["b"]["_id"]
    assert await world.store.instances.find(visible, outside) is None
    assert await world.store.instances.read_whole(visible, outside) is None
    assert await world.store.instances.read_elements(visible, outside, [("ContentSequence", 0)], ["Modality"]) is None
    assert asked == []


async def test_everything_of_a_patient_includes_what_waits_in_an_inbox(world: World) -> None:
    waiting = world.stored["waits"]
    visible = Visible("p-1")
    assert await world.store.instances.find(visible, waiting["_id"]) == waiting
    assert waiting["_id"] in {each.dicom_id for each in await world.store.studies.list_members(visible)}
    assert waiting["_id"] in await world.store.index.find_ids(visible, {})


async def test_a_new_instance_of_a_shared_study_is_seen_at_once_and_one_that_moved_out_of_it_no_longer(
    world: World,
) -> None:
    visible, seen = part_of(world, "a study")
    await world.put("new", "1.1", "1.1.3", "1.1.3.1")
    assert await world.store.instances.count(visible) == len(seen) + 1
    moved: Any = {**world.stored["new"], "study_instance_uid": "1.2"}
    assert await world.store.uploads.replace_derived(moved, says("new"))
    other = Visible("p-1", frozenset(["1.2"]))
    for there, yes in ((visible, False), (other, True)):
        assert (await world.store.instances.find(there, moved["_id"]) is not None) is yes
        assert (moved["_id"] in await world.store.index.find_ids(there, {})) is yes
        assert (await world.store.originals.open(there, moved["original_id"]) is not None) is yes
        assert ((await world.store.renditions.find(there, moved["_id"], KEY))[1] is not None) is yes
        assert (moved["_id"] in {each.dicom_id for each in await world.store.studies.list_members(there)}) is yes


async def test_what_was_pending_is_seen_in_its_study_when_it_has_one(world: World) -> None:
    visible, _ = part_of(world, "a study")
    made = make_instance(world.store, world.clock, b"late", series="1.1.1") | {"study_instance_uid": "1.1"}
    waiting = {name: value for name, value in pending(made).items() if not name.endswith("_uid")}
    assert await world.store.uploads.store_pending(waiting, b"late")  # type: ignore[arg-type]
    assert await world.store.instances.find(visible, made["_id"]) is None
    assert await world.store.instances.find(Visible("p-1", dicom_ids=frozenset([made["_id"]])), made["_id"]) is not None
    assert await world.store.uploads.replace_derived(made, says("late"))  # type: ignore[arg-type]
    assert await world.store.instances.find(visible, made["_id"]) == made
    assert made["_id"] in await world.store.index.find_ids(visible, {})


async def accept(store: Store, instance: Document) -> None:
    """Take an instance out of its inbox: the instance first, then what is kept of it."""
    collections = store._collections
    collections.instances.update_one({"_id": instance["_id"]}, {"$unset": {"inbox": ""}})
    collections.tag_index.update_one({"_id": instance["_id"]}, {"$unset": {"inbox": ""}})
    collections.originals.files.update_one({"_id": instance["original_id"]}, {"$unset": {"metadata.inbox": ""}})
    collections.rendered.files.update_many({"metadata.dicom_id": instance["_id"]}, {"$unset": {"metadata.inbox": ""}})


async def is_seen(store: Store, instance: Document) -> set[bool]:
    """Whether it is seen in its study, in each of the ways; one of them where they agree."""
    visible = Visible("p-1", frozenset([instance["study_instance_uid"]]))
    return {
        await store.instances.find(visible, instance["_id"]) is not None,
        instance["_id"] in await store.index.find_ids(visible, {}),
        await store.originals.open(visible, instance["original_id"]) is not None,
        (await store.renditions.find(visible, instance["_id"], KEY))[1] is not None,
    }


async def test_extracting_again_leaves_an_instance_in_its_inbox_and_takes_none_back_into_it(world: World) -> None:
    waiting: Any = world.stored["waits"]
    assert await world.store.uploads.replace_derived(waiting, says("waits"))
    assert await is_seen(world.store, waiting) == {False}
    await accept(world.store, waiting)
    assert await is_seen(world.store, waiting) == {True}
    assert await world.store.uploads.replace_derived(waiting, says("waits"))  # read before it was accepted
    assert await is_seen(world.store, waiting) == {True}


async def test_an_instance_that_is_accepted_while_it_is_extracted_again_is_seen_everywhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: Any = world.stored["waits"]
    collections = world.store._collections
    kind = type(collections.tag_index)
    replace = kind.replace_one
    accepted = []

    def accepted_before(self: Any, *arguments: Any, **options: Any) -> Any:
        if not accepted:
            accepted.append(True)
            collections.instances.update_one({"_id": waiting["_id"]}, {"$unset": {"inbox": ""}})
            collections.tag_index.update_one({"_id": waiting["_id"]}, {"$unset": {"inbox": ""}})
        return replace(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "replace_one", accepted_before)
        assert await world.store.uploads.replace_derived(waiting, says("waits"))
    assert accepted
    assert await is_seen(world.store, waiting) == {True}


async def test_the_same_bytes_sent_again_leave_an_accepted_instance_accepted(world: World) -> None:
    waiting = world.stored["waits"]
    await accept(world.store, waiting)
    again: Any = {**waiting, "original_id": ObjectId()}
    # A large one, whose index is written before it turns out that the instance is there.
    world.store._collections.tag_index.delete_one({"_id": waiting["_id"]})
    assert not await world.store.uploads.commit(again, says("waits"))
    assert await is_seen(world.store, waiting) == {True}


@pytest.mark.parametrize(
    "parts",
    [{"studies": frozenset("1"), "series": frozenset("2")}, {"series": frozenset("1"), "dicom_ids": frozenset()}],
)
def test_a_part_is_of_one_kind(parts: dict[str, frozenset[str]]) -> None:
    with pytest.raises(ValueError, match="part"):
        Visible("p-1", **parts)
