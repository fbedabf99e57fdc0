"""What a DICOMweb path names: a study, a series of it, or an instance; and the instances that are there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from schemas.database import Instance
from service.dicom.dictionary import may_be_large, tag_of_key
from service.errors import NotFound
from service.storage.studies import Member
from service.storage.visible import Visible
from service.usecases.context import Context

__all__ = ["UIDS", "Member", "Scope", "find_members", "find_one", "instance_url", "iter_visible", "member_url"]

UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")

BATCH = 25
"""Instances that are looked at in one command."""

BATCH_BYTES = 16 << 20
"""Bytes of the files of which something is read in one command: the local database decodes whole trees for it."""

LARGE_BATCH_BYTES = 4 << 20
"""The same where what is read may be large, and take many times its bytes in memory."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The UIDs of a path.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    study, series, instance : str or None
        The UIDs; None where the path does not go so deep.
    """

    visible: Visible
    study: str | None = None
    series: str | None = None
    instance: str | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether the caller may see all of what the path names."""
        return self.instance is not None or self.visible.has_all_of(self.study, self.series)

    @property
    def noun(self) -> str:
        """What the path names, as a word."""
        return "instance" if self.instance else "series" if self.series else "study"


async def find_members(context: Context, scope: Scope) -> list[Member]:
    """Return the instances that a path names, in the order in which they came.

    Raises
    ------
    NotFound
        There is none.
    """
    members = await context.store.studies.list_members(scope.visible, scope.study, scope.series, scope.instance)
    if not members:
        raise NotFound(f"There is no such {scope.noun}.")
    return members


async def find_one(context: Context, scope: Scope) -> Member:
    """Return the one instance that a path names.

    Raises
    ------
    NotFound
        There is none, or it is being deleted.
    """
    members = await find_members(context, scope)
    if await context.store.instances.find(scope.visible, members[-1].dicom_id) is None:
        raise NotFound(f"There is no such {scope.noun}.")
    return members[-1]


async def iter_visible(
    context: Context,
    visible: Visible,
    members: Sequence[Member],
    keys: Sequence[str] = (),
    further: Callable[[Mapping[str, Any], Collection[str]], set[str]] | None = None,
) -> AsyncGenerator[tuple[Member, Instance], None]:
    """Return each member with its instance, and the elements of `keys`; those that are being deleted are passed over.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    members : sequence of Member
        The instances.
    keys : sequence of str
        Keys of elements that are wanted too.
    further : callable, optional
        Names more of them, by what was read of a tree and the keys that were asked for.
    """
    large = any(may_be_large(tag_of_key(key)) for key in keys)
    for batch in _batches(members, LARGE_BATCH_BYTES if large else BATCH_BYTES):
        found = await context.store.instances.find_many(visible, [member.dicom_id for member in batch], keys, further)
        for member in batch:
            instance = found.get(member.dicom_id)
            if instance is not None and instance["original_id"] == member.original_id:
                yield member, instance


def _batches(members: Sequence[Member], most: int) -> Iterator[list[Member]]:
    """Divide instances into those that are read together, of files that have so many bytes together at most."""
    batch: list[Member] = []
    held = 0
    for member in members:
        if batch and (len(batch) == BATCH or held + member.length > most):
            yield batch
            batch, held = [], 0
        batch.append(member)
        held += member.length
    if batch:
        yield batch


def instance_url(root: str, identifiers: Mapping[str, Any]) -> str:
    """Return the URL of an instance below the patient's DICOMweb root."""
    study, series, instance = (quote(identifiers[name], safe="") for name in UIDS)
    return f"{root}/studies/{study}/series/{series}/instances/{instance}"


def member_url(root: str, member: Member) -> str:
    """Return the URL of an instance below the patient's DICOMweb root."""
    return instance_url(root, {name: getattr(member, name) for name in UIDS})
