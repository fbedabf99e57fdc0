"""The layouts of the database so far, and what brings one to the next.

The layout goes up where stored documents must be changed. What a field holds is known here, and how instances are gone
through in :mod:`service.storage.migrations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.dicom.series import SERIES_KEYWORDS, STUDY_KEYWORDS, series_elements
from service.dicom.uids import IDENTIFIER_KEYWORDS
from service.storage.collections import Collections
from service.storage.migrations import MigrationStep, fill_instances, fill_places, lacks_places


def keep_series_and_places(collections: Collections) -> None:
    """From layout 1 to 2.

    Every instance keeps the study- and series-level elements of its tree, and what is kept of it says where it lies.
    """

    def fill(dataset: Mapping[str, Any]) -> dict[str, Any]:
        return {"series": series_elements(dataset)}

    keys = dict.fromkeys((*IDENTIFIER_KEYWORDS, *STUDY_KEYWORDS, *SERIES_KEYWORDS))
    fill_instances(collections, "series", list(keys), fill)
    fill_places(collections)
    collections.meta.update_one({"_id": "store"}, {"$unset": {"sweep_claimed_until": ""}})


STEPS = (
    MigrationStep(
        1,
        "instances keep the attributes of their study and series, and the tag index says in which ones they lie",
        keep_series_and_places,
        lacks_places,
    ),
)
"""In order, one for each layout that there was."""
