"""What the store knows of an instance, as JSON has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid", "sop_class_uid", "transfer_syntax_uid")


def summarize(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """Return an envelope as a list shows it (`schemas.http.InstanceSummary`), ready for orjson.

    Parameters
    ----------
    envelope : mapping
        An envelope of the store.
    """
    extraction = envelope["extraction"]
    return {
        "dicom_id": envelope["_id"],
        "file_name": envelope["file_name"],
        "size": envelope["size"],
        "sha256": envelope["sha256"],
        "received_at": aware(envelope["received_at"]),
        **{name: envelope.get(name) for name in UIDS},
        "problems": envelope.get("problems") or 0,
        "truncated_at": envelope.get("truncated_at"),
        "extraction": {
            "state": extraction["state"],
            "version": extraction.get("version"),
            "at": aware(extraction.get("at")),
            "attempts": extraction.get("attempts") or 0,
            "error": extraction.get("error"),
        },
    }


def describe(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that an envelope says (`schemas.http.Instance`), ready for orjson."""
    return {**summarize(envelope), "warnings": envelope.get("warnings") or []}


def aware(moment: datetime | None) -> datetime | None:
    """Return a time of the database as UTC; drivers may give it without a zone."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
