"""Newest first, without reading more trees than are asked for.

Not every server lets a sort and a limit stop it early: the local database reads all that a filter matches, and a
patient's trees are large. The documents of the originals' `files` are small, and their `uploadDate` is the
instance's `received_at`. So they tell from which date on to look. They only narrow the look down: an original
without an instance, which a crash may leave, makes it wider and never wrong. Synchronous functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from schemas.database import Instance
from service.storage.collections import SMALL_FIELDS, Collections, Document
from service.storage.visible import Visible

# The local database leaves the very end of a range out where an index is descending.
MARGIN = timedelta(milliseconds=1)
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


def date_of_file(collections: Collections, visible: Visible, number: int) -> datetime | None:
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


def page_since(visible: Visible, since: datetime | None, limit: int, offset: int) -> list[Document]:
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
