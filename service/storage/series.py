"""The `series` documents: one per (patient, study, series), with the attributes of its newest instance.

What waits in an inbox is shown only where a series has nothing else, however new it is: whoever sends it does not
change what the patient sees of what is there.

Each carries the `original_id` of the instance that it shows. An original belongs to one upload attempt alone, so
it is the revision that a writer compares before it sets: a delete replaces what it shows of the deleted instance
and nothing newer, whatever runs beside it. All functions are synchronous.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from schemas.database import Instance
from service.storage.collections import Collections, Document
from service.storage.newest import newest_of_series

_NAMESPACE = uuid.UUID("0b8a3f0e-64a5-4f0a-9d5b-4a3f6d8f8f10")
_WAITING: Document = {"inbox": {"$exists": True}}


def series_key(instance: Instance | Document) -> Document | None:
    """Return the filter for the document of an instance's series; None without the UIDs."""
    patient_id = instance["patient_id"]
    study, series = instance.get("study_instance_uid"), instance.get("series_instance_uid")
    if not (study and series):
        return None
    return {"_id": str(uuid.uuid5(_NAMESPACE, json.dumps([patient_id, study, series]))), "patient_id": patient_id}


def series_document(instance: Instance | Document) -> Document:
    """Return the document of an instance's series as it is while it shows this instance."""
    return {**(series_key(instance) or {}), **_shown(instance, instance.get("series") or {})}


def rank(instance: Instance | Document) -> tuple[bool, datetime]:
    """Return what decides which of its instances a series shows: that one for which it is greatest."""
    return "inbox" not in instance, instance["received_at"]


def _shown(instance: Instance | Document, attributes: Mapping[str, Any]) -> Document:
    return {
        "study_instance_uid": instance["study_instance_uid"],
        "series_instance_uid": instance["series_instance_uid"],
        "received_at": instance["received_at"],
        "dicom_id": instance["_id"],
        "original_id": instance["original_id"],
        "attributes": attributes,
        **({"inbox": instance["inbox"]} if "inbox" in instance else {}),
    }


def _change(instance: Instance | Document, attributes: Mapping[str, Any]) -> Document:
    """Return the change that has a series show an instance."""
    gone = {} if "inbox" in instance else {"$unset": {"inbox": ""}}
    return {"$set": _shown(instance, attributes), **gone}


def series_update(instance: Instance, attributes: Mapping[str, Any] | None) -> tuple[Document, Document] | None:
    """Return filter and change, to be upserted, that show an instance's attributes for its series.

    The filter leaves a series alone that shows an instance of a higher :func:`rank`; the upsert then fails on its
    `_id`. So it does where a newer one is shown that only waits in an inbox, which :func:`put_series` replaces: with an
    `$or` for both the local database would read all the series of all patients. None for an instance of no series.
    """
    key = series_key(instance)
    if attributes is None or key is None:
        return None
    older: Document = {**key, "received_at": {"$lte": instance["received_at"]}}
    return {**older, **_WAITING} if "inbox" in instance else older, _change(instance, attributes)


def put_series(collections: Collections, instance: Instance, attributes: Mapping[str, Any] | None) -> None:
    """Show an instance's attributes for its series, unless an instance of a higher :func:`rank` is shown already."""
    update = series_update(instance, attributes)
    if update is None:
        return
    older, change = update
    key = {"_id": older["_id"], "patient_id": older["patient_id"]}
    below = [older] if "inbox" in instance else [older, {**key, **_WAITING}]
    while True:
        try:
            collections.series.update_one(older, change, upsert=True)
            return
        except DuplicateKeyError:
            # It is there and shows another instance, or another upload made it just now.
            if any(collections.series.update_one(each, change).matched_count for each in below):
                return
            shown = collections.series.find_one(key, {"received_at": 1, "inbox": 1})
            if shown is not None and rank(shown) > rank(instance):
                return


def retire_from_series(collections: Collections, instance: Instance | Document) -> None:
    """Let a series no longer show an instance that is being deleted: the next newest takes its place, or none.

    Called when the instance is marked `deleting` already, so that two deletes at once see each other.
    """
    key = series_key(instance)
    if key is None:
        return
    shown = instance["original_id"]
    if collections.series.find_one({**key, "original_id": shown}, {"_id": 1}) is None:
        return
    while True:
        newest = newest_of_series(collections, instance)
        if newest is None:
            collections.series.delete_one({**key, "original_id": shown})
            return
        change = _change(newest, newest.get("series") or {})
        done = collections.series.update_one({**key, "original_id": shown}, change)
        if not done.matched_count:
            return
        still = {"_id": newest["_id"], "original_id": newest["original_id"], "extraction.state": "done"}
        if collections.instances.find_one({**still, "patient_id": key["patient_id"]}, {"_id": 1}) is not None:
            return
        shown = newest["original_id"]  # deleted in the meantime, and its own delete may have looked too early
