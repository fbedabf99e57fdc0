"""Newest first, without reading more trees than are asked for.

Not every server lets a sort and a limit stop it early: the local database reads all that a filter matches, and a
patient's trees are large. The documents of the originals' `files` are small, and their `uploadDate` is the
instance's `received_at`. So they tell what is listed, where it is settled, and from which date on to look elsewhere.
There they only narrow the look down: an original without an instance, which a crash may leave, makes it wider and
never wrong. Synchronous functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from schemas.database import Instance
from service.storage.collections import SMALL_FIELDS, Collections, Document
from service.storage.originals import instance_beside
from service.storage.settled import Committed, Settled, find_swept, listing_of
from service.storage.visible import Visible

# The local database leaves the very end of a range out where an index is descending.
MARGIN = timedelta(milliseconds=1)
MAX_FILES = 1_200
"""Documents of originals of which a list reads no more."""

AT_ONCE = 25
"""Instances a command: the local database compares each document with each id of a list."""

_CANDIDATES = 32
_MAX_SERIES = 200

_SHOWN = dict.fromkeys(
    ("study_instance_uid", "series_instance_uid", "received_at", "original_id", "series", "inbox"), 1
)


def newest_of_series(collections: Collections, instance: Instance | Document) -> Instance | None:
    """Find the instance that a series shows in the place of the given one, which it has shown; None if there is none.

    It is the newest that does not wait in an inbox, or where all do the newest of these. Of the instance there is what
    a series document shows.
    """
    members = {
        "patient_id": instance["patient_id"],
        "study_instance_uid": instance["study_instance_uid"],
        "series_instance_uid": instance["series_instance_uid"],
        "extraction.state": "done",
    }
    newest_first = [("received_at", -1), ("_id", 1)]
    files = collections.originals.files.find(
        {
            "metadata.patient_id": instance["patient_id"],
            "uploadDate": {"$lte": instance["received_at"] + MARGIN},
        },
        {"metadata.dicom_id": 1},
        sort=[("uploadDate", -1)],
        limit=_CANDIDATES,
    )
    # A series is uploaded in one go as a rule, so its next newest is among the patient's next newest.
    near = {"_id": {"$in": [file["metadata"]["dicom_id"] for file in files]}}
    accepted = {**members, "inbox": {"$exists": False}}
    for among in ({**near, **accepted}, accepted, members):
        # In two steps, so that the server sorts dates and not trees.
        newest = collections.instances.find_one(among, {"_id": 1}, sort=newest_first)
        if newest is not None:
            return collections.instances.find_one({"_id": newest["_id"], **members}, _SHOWN)
    return None


def list_by_files(
    collections: Collections, visible: Visible, limit: int, offset: int, committed: Committed
) -> tuple[list[Instance], bool]:
    """List instances without their trees, newest first, by what stands beside their originals.

    Of an instance that is settled nothing else is read. What the others say is noted, so that they are the next time.

    Returns
    -------
    tuple of list of Instance, bool
        At most `limit` instances after the first `offset`, and whether there are more.
    """
    reach = offset + limit + 1
    while reach <= MAX_FILES:
        # No instance in another state has a part of it that lists read beside its original.
        settled = Settled(find_swept(collections), frozenset(), committed)
        files, more = _newest_files(collections, visible, reach)
        found = _instances_of(collections, visible, files, settled, committed)
        if not more or len(found) >= offset + limit + 1:
            return found[offset : offset + limit], len(found) > offset + limit
        reach *= 2
    return _list_by_dates(collections, visible, limit, offset)


def _newest_files(collections: Collections, visible: Visible, number: int) -> tuple[list[Document], bool]:
    """Return the documents of the newest originals, at least `number` of them where there are so many.

    They come with whether there are more. Of those that came in the same moment there are all or none.
    """
    files: list[Document] = []
    for since in (*_dates_of_series(collections, visible), None):
        near = visible.files() if since is None else {**visible.files(), "uploadDate": {"$gte": since - MARGIN}}
        # Whole: they are small, and the local database takes longer to leave something out.
        order = [("uploadDate", -1)]
        files = list(collections.originals.files.find(near, sort=order, limit=number + 1, batch_size=number + 1))
        if len(files) > number:
            break
    if len(files) <= number:
        return files, False
    last = files[-1]["uploadDate"]
    if files[-2]["uploadDate"] != last:
        return files[:-1], True
    together = collections.originals.files.find({**visible.files(), "uploadDate": last})
    return [*(file for file in files if file["uploadDate"] != last), *together], True


def _instances_of(
    collections: Collections, visible: Visible, files: list[Document], settled: Settled, committed: Committed
) -> list[Instance]:
    """Return the instances of originals, in the order of lists."""
    listing = listing_of(files, settled)
    found = {
        instance["_id"]: instance
        for file in files
        if file["metadata"]["dicom_id"] not in listing.unsettled and (instance := instance_beside(file)) is not None
    }
    asked = [each for each in listing.dicom_ids if each not in found]
    for begin in range(0, len(asked), AT_ONCE):
        some = list(collections.instances.find(visible.instances(asked[begin : begin + AT_ONCE]), SMALL_FIELDS))
        found |= {instance["_id"]: instance for instance in some}
        committed.add(each["original_id"] for each in some if each["extraction"]["state"] == "done")
    return [found[each] for each in listing.dicom_ids if each in found]


def _list_by_dates(collections: Collections, visible: Visible, limit: int, offset: int) -> tuple[list[Instance], bool]:
    """List instances of which many newer ones are passed over: the documents of all of these would be too much."""
    wanted = limit + 1
    reach = offset + wanted
    while True:
        since = _date_of_file(collections, visible, reach)
        pipeline = _page_since(visible, since, wanted, offset)
        found: list[Instance] = list(collections.instances.aggregate(pipeline))
        if since is None or len(found) == wanted:
            return found[:limit], len(found) > limit
        reach *= 2


def _date_of_file(collections: Collections, visible: Visible, number: int) -> datetime | None:
    """Return the date of the newest original but `number` - 1; None when there are fewer."""
    for since in _dates_of_series(collections, visible):
        near = {**visible.files(), "uploadDate": {"$gte": since - MARGIN}}
        if (date := _date_among(collections, near, number)) is not None:
            return date
    return _date_among(collections, visible.files(), number)


def _dates_of_series(collections: Collections, visible: Visible) -> Iterator[datetime]:
    """Return the dates at which some of the series ended, further back each time.

    What is newer than such a date is whole series as a rule, and few files; where it is not, more of them are looked
    at, and the date that is found is the same.

    Of a part there are none: a series may have ended with what is outside of it.
    """
    if visible.is_part:
        return
    series = collections.series.find({"patient_id": visible.patient_id}, {"received_at": 1}, limit=_MAX_SERIES)
    dates = sorted((one["received_at"] for one in series), reverse=True)
    position = 1
    while position < len(dates):
        yield dates[position]
        position *= 4


def _date_among(collections: Collections, wanted: Document, number: int) -> datetime | None:
    file = collections.originals.files.find_one(
        wanted, {"uploadDate": 1}, sort=[("uploadDate", -1)], skip=max(number - 1, 0)
    )
    return None if file is None else file["uploadDate"]


def _page_since(visible: Visible, since: datetime | None, limit: int, offset: int) -> list[Document]:
    """Return the pipeline for a page of instances, newest first, that came at this date or later."""
    window = visible.derived()
    if since is not None:
        window["received_at"] = {"$gte": since - MARGIN}
    return [
        # Apart, or the local database would not use the index for the dates; others make them one again.
        {"$match": window},
        {"$match": visible.instances()},
        {"$sort": {"received_at": -1, "_id": 1}},
        {"$skip": offset},
        {"$limit": limit},
        {"$project": SMALL_FIELDS},
    ]
