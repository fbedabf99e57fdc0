"""Instances: found by their ids, listed, and read as far as somebody wants to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from schemas.database import ExtractionStatus, Instance
from service.storage.collections import NEWEST_FIRST, SMALL_FIELDS, Collections, Document, same_upload
from service.storage.gathering import Gathering
from service.storage.lookups import Lookup, look_up, seen
from service.storage.newest import list_by_files
from service.storage.projections import (
    Elements,
    Further,
    check_keys,
    fields_of,
    nested_pipeline,
    read_answer,
    read_further,
)
from service.storage.settled import Committed
from service.storage.threads import Threads, one_hop
from service.storage.visible import Visible

T = TypeVar("T")

_SMALL = frozenset(SMALL_FIELDS)


@dataclass(frozen=True, slots=True)
class Instances:
    """The instances of patients. One that is being deleted is not seen.

    Parameters
    ----------
    lookups : Gathering
        Where look-ups of single instances wait for each other; from :func:`service.storage.lookups.gather_lookups`.
    lists_by_index : bool, optional
        Whether the server reads a list in the order of its index, and no more than the list has. Where it does not, as
        the local database, the list is made of what stands beside originals (:mod:`service.storage.newest`).
    committed : Committed, optional
        Originals whose instances this process has seen.
    """

    collections: Collections
    threads: Threads
    lookups: Gathering[Lookup, Document | None]
    lists_by_index: bool = False
    committed: Committed = field(default_factory=Committed)

    async def find(self, visible: Visible, dicom_id: str) -> Instance | None:
        """Find an instance, without its tree."""
        found = await self.lookups.ask(Lookup(visible, dicom_id, _SMALL))
        if found is None:
            return None
        return cast("Instance", {name: value for name, value in found.items() if name in _SMALL})

    async def read_whole(self, visible: Visible, dicom_id: str) -> Instance | None:
        """Read an instance with its tree under ``dataset`` (absent while it is pending)."""
        return await self.use_whole(visible, dicom_id, lambda instance: instance)

    @one_hop
    def use_whole(self, visible: Visible, dicom_id: str, use: Callable[[Instance], T]) -> T | None:
        """Return what a function makes of an instance with its tree, in the same hop; None when there is none."""
        if not seen(self.collections, visible, [dicom_id]):
            return None
        instance = self.collections.instances.find_one(visible.instance(dicom_id))
        return None if instance is None else use(instance)

    async def read_elements(
        self,
        visible: Visible,
        dicom_id: str,
        parents: Sequence[tuple[str, int]],
        keys: Sequence[str],
        *,
        large: bool = False,
    ) -> Elements | None:
        """Read elements of the dataset, or of one item of nested sequences, and nothing else.

        Parameters
        ----------
        visible, dicom_id : Visible, str
            What the caller may see, and which instance.
        parents : sequence of (str, int)
            Key and item number (from 0) of each sequence on the way down; empty for the dataset itself.
        keys : sequence of str
            Keys of the elements in that item.
        large : bool, optional
            Whether they may be so large that nobody else's look-up should bring them along.

        Returns
        -------
        Elements or None
            Those that are there. None when there is no such instance.

        Raises
        ------
        ValueError
            If a key or an item number cannot be one.
        """
        check_keys([*(key for key, _ in parents), *keys])
        if parents:
            pipeline = nested_pipeline(visible, dicom_id, parents, keys)
            found: Document | None = await self._read_nested(visible, dicom_id, pipeline)
        else:
            lookup = Lookup(visible, dicom_id, fields_of(keys))
            found = await (self._read_alone(lookup) if large else self.lookups.ask(lookup))
        return None if found is None else read_answer(found, keys)

    @one_hop
    def _read_nested(self, visible: Visible, dicom_id: str, pipeline: list[Document]) -> Document | None:
        if not seen(self.collections, visible, [dicom_id]):
            return None
        found: Iterator[Any] = self.collections.instances.aggregate(pipeline)
        return next(found, None)

    @one_hop
    def _read_alone(self, lookup: Lookup) -> Document | None:
        return look_up(self.collections, [lookup])[0]

    @one_hop
    def find_many(
        self, visible: Visible, dicom_ids: Sequence[str], keys: Sequence[str] = (), further: Further | None = None
    ) -> dict[str, Instance]:
        """Find instances by their ids, and of their trees the elements of the given keys under ``dataset``.

        `further` takes what was read of a tree and the keys that were asked for, and names those still to be read.

        Raises
        ------
        ValueError
            If a key cannot be one.
        """
        check_keys(keys)
        wanted = visible.instances(dicom_ids)
        projection = {**SMALL_FIELDS, **{f"dataset.{key}": 1 for key in keys}}
        found = {instance["_id"]: instance for instance in self.collections.instances.find(wanted, projection)}
        if further is not None:
            read_further(self.collections.instances, wanted, found, keys, further)
        return found

    @one_hop
    def count(self, visible: Visible) -> int:
        """Count the instances."""
        return self.collections.instances.count_documents(visible.instances())

    @one_hop
    def find_present(self, dicom_ids: Sequence[str]) -> set[str]:
        """Return which of these instances are there, whoever's they are."""
        wanted = {"_id": {"$in": list(dicom_ids)}, "extraction.state": {"$ne": "deleting"}}
        return {found["_id"] for found in self.collections.instances.find(wanted, {"_id": 1})}

    @one_hop
    def list_newest(self, visible: Visible, limit: int, offset: int = 0) -> tuple[list[Instance], bool]:
        """List instances without their trees, newest first.

        Returns
        -------
        tuple of list of Instance, bool
            At most `limit` instances after the first `offset`, and whether there are more.
        """
        if not self.lists_by_index:
            return list_by_files(self.collections, visible, limit, offset, self.committed)
        wanted = limit + 1
        cursor = self.collections.instances.find(
            visible.instances(), SMALL_FIELDS, skip=offset, limit=wanted, sort=list(NEWEST_FIRST), batch_size=wanted
        )
        page = list(cursor)
        return page[:limit], len(page) > limit

    @one_hop
    def set_extraction(self, instance: Instance, extraction: ExtractionStatus) -> bool:
        """Set what is known of an instance's extraction, such as that it failed.

        Returns
        -------
        bool
            False when it is gone, or is no longer as `instance` has it: finished or taken on by somebody else.
        """
        known = instance["extraction"]
        as_it_was = {
            **same_upload(instance),
            "extraction.state": known["state"],
            "extraction.retry_at": known.get("retry_at"),
        }
        if known["state"] == "done":  # lists ask the instance from now on
            self.collections.originals.files.update_one(
                {"_id": instance["original_id"]}, {"$unset": {"metadata.listed": ""}}
            )
        done = self.collections.instances.update_one(as_it_was, {"$set": {"extraction": dict(extraction)}})
        return bool(done.matched_count)
