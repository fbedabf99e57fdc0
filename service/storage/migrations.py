"""One layout of the stored documents into the next, and the indexes that a start leaves to this.

The table of the steps is that of :mod:`service.commands.migration`, which knows what fills a field. A step takes a
database of its layout to the next; it may be run again after it was stopped anywhere, and beside another of its kind.
The number in `meta` goes up when a step is through. Synchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pymongo.database import Database

from schemas.database import Instance
from service.storage import layout as layouts
from service.storage.collections import Collections, Document, place_of
from service.storage.sweep import walk
from service.storage.uploads import place_derived

BATCH = 25
"""Instances that are read in one command: not every server reads less than their whole trees."""


@dataclass(frozen=True, slots=True)
class MigrationStep:
    """What takes a database from one layout to the next.

    Parameters
    ----------
    layout : int
        The layout that it starts from; it ends with the next one.
    text : str
        What it does, for the operator.
    apply : callable
        Takes the collections and does it. Idempotent.
    lacking : callable, optional
        Takes the collections and says whether documents of the layout to which it leads lack what it does: such a
        database was written between two releases. Only the last step has it.
    """

    layout: int
    text: str
    apply: Callable[[Collections], None]
    lacking: Callable[[Collections], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done, or would be.

    Parameters
    ----------
    found, layout : int
        The number before and after.
    steps : tuple of str
        What the steps did.
    indexes : tuple of str
        ``collection.index`` of those that were built.
    """

    found: int
    layout: int
    steps: tuple[str, ...]
    indexes: tuple[str, ...]


def fill_instances(
    collections: Collections, missing: str, keys: Sequence[str], fill: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> None:
    """Set fields of all extracted instances that lack one of them, by what stands in their trees.

    Parameters
    ----------
    missing : str
        The field by whose absence an instance is known to be as it was before.
    keys : sequence of str
        The keys of the trees' top level that are needed: no more of them is read.
    fill : callable
        Takes a tree, as much as `keys` names, and gives the fields.
    """
    lacking = {"dataset": {"$exists": True}, missing: {"$exists": False}}
    projection = {"patient_id": 1, **{f"dataset.{key}": 1 for key in keys}}
    for ids in walk(collections.instances):
        for start in range(0, len(ids), BATCH):
            some = {"_id": {"$in": [each["_id"] for each in ids[start : start + BATCH]]}}
            for instance in list(collections.instances.find({**some, **lacking}, projection)):
                this = {"_id": instance["_id"], "patient_id": instance["patient_id"], **lacking}
                collections.instances.update_one(this, {"$set": fill(instance.get("dataset") or {})})


def fill_places(collections: Collections) -> None:
    """Set in all documents of the tag index, and beside all pictures, where their instances lie.

    The documents of the originals tell it, which are small.
    """
    for batch in walk(collections.originals.files, "metadata"):
        for file in batch:
            about = file["metadata"]
            instance = {"_id": about["dicom_id"], "patient_id": about["patient_id"], "original_id": file["_id"]}
            place_derived(collections, cast("Instance", {**instance, **place_of(about)}))


def lacks_places(collections: Collections) -> bool:
    """Return whether a document of the tag index does not say where its instance lies."""
    return collections.tag_index.find_one({"study_instance_uid": {"$exists": False}}, {"_id": 1}) is not None


def migrate(
    database: Database[Document],
    collections: Collections,
    steps: Sequence[MigrationStep],
    *,
    dry_run: bool = False,
    layout: int | None = None,
) -> Migrated:
    """Bring a database to this code's layout, and build its missing indexes.

    Parameters
    ----------
    database, collections
        The database.
    steps : sequence of MigrationStep
        The table.
    dry_run : bool, optional
        Only tell.
    layout : int, optional
        Where to end; this code's layout unless given.

    Raises
    ------
    UnknownLayout
        If the database was written by newer code, or no step leads from its layout, or it is no store.
    """
    target = layouts.LAYOUT if layout is None else layout
    meta = collections.meta.find_one({"_id": "store"})
    if meta is None:
        raise layouts.UnknownLayout("There is no store in this database yet; the service makes one when it starts.")
    found = number = meta["layout"]
    if found > target:
        raise layouts.UnknownLayout(
            f"The database has layout {found}, and this version knows layouts up to {target}. Run a newer version."
        )
    table = {step.layout: step for step in steps}
    done: list[str] = []
    if number == target and target - 1 in table and table[target - 1].lacking(collections):
        number -= 1
    if number < target and not dry_run:
        layouts.apply_validators(database)  # those of an older layout refuse the fields that are added
    while number < target:
        if number not in table:
            raise layouts.UnknownLayout(f"This version knows no way from layout {number} to {number + 1}.")
        if not dry_run:
            table[number].apply(collections)
            collections.meta.update_one({"_id": "store", "layout": number}, {"$set": {"layout": number + 1}})
        done.append(f"{number} -> {number + 1}: {table[number].text}")
        number += 1
    missing = layouts.find_missing(database)
    built = tuple(f"{index.collection}.{index.name}" for index in missing)
    if not dry_run:
        built = tuple(f"{index.collection}.{index.name}" for index in missing if layouts.build_index(database, index))
    return Migrated(found, number, tuple(done), built)
