"""The collections by their names, and what the queries on their documents share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from pymongo.collection import Collection
from pymongo.database import Database

from schemas.database import INSTANCE, Instance, Share
from service.storage.gridfs_documents import Bucket, open_bucket

Document = dict[str, Any]

SMALL_FIELDS = {name: 1 for name in INSTANCE["properties"] if name not in ("dataset", "series")}
"""The projection that leaves the tag tree and the series' attributes out of an instance.

By what it takes in: the local database is slower at leaving out.
"""


NEWEST_FIRST = (("received_at", -1), ("_id", 1))
"""The order of lists, which is that of an index."""


class Extracted(Protocol):
    """What is kept of an extraction beside the small fields of the instance."""

    @property
    def dataset(self) -> Mapping[str, Any]:
        """The tag tree."""

    @property
    def index(self) -> Mapping[str, Any]:
        """``tags``, ``names``, ``vrs``, ``truncated`` and ``exact`` of the tag index."""

    @property
    def row(self) -> bytes | None:
        """What tables read of the index, packed; None where that would be large."""

    @property
    def series(self) -> Mapping[str, Any] | None:
        """The study- and series-level elements; None without the three UIDs."""


@dataclass(frozen=True, slots=True)
class Collections:
    """The synchronous collections below Motor's, for sequences of commands that run in one thread."""

    instances: Collection[Instance]
    tag_index: Collection[Document]
    series: Collection[Document]
    meta: Collection[Document]
    audit: Collection[Document]
    usage: Collection[Document]
    shares: Collection[Share]
    originals: Bucket
    rendered: Bucket


def open_collections(database: Database[Document]) -> Collections:
    """Return the collections of a database."""
    return Collections(
        instances=cast("Collection[Instance]", database["instances"]),
        tag_index=database["tag_index"],
        series=database["series"],
        meta=database["meta"],
        audit=database["audit"],
        usage=database["usage"],
        shares=cast("Collection[Share]", database["shares"]),
        originals=open_bucket(database, "originals"),
        rendered=open_bucket(database, "rendered"),
    )


PLACE = ("study_instance_uid", "series_instance_uid", "inbox")
"""The instance's fields by which a part of a patient's data is told; whatever is kept of an instance carries them."""

PLACE_FIELDS = {"_id": 1, **dict.fromkeys(PLACE, 1)}
"""The projection to them."""


def place_of(instance: Mapping[str, Any]) -> Document:
    """Return those of the fields of `PLACE` that say something."""
    return {name: value for name in PLACE if (value := instance.get(name))}


def same_upload(instance: Instance) -> Document:
    """Return the filter for what belongs to an instance and came with this very upload of its bytes."""
    return {"_id": instance["_id"], "patient_id": instance["patient_id"], "original_id": instance["original_id"]}
