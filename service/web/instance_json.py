"""What the store knows of an instance, as JSON and the headers of its file have it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from schemas.database import Instance
from service.web.conditional import Validators

UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid", "sop_class_uid", "transfer_syntax_uid")


def summarize(instance: Instance) -> dict[str, Any]:
    """Return an instance as a list shows it (`schemas.http.InstanceSummary`), ready for orjson."""
    extraction = instance["extraction"]
    return {
        "dicom_id": instance["_id"],
        "file_name": instance["file_name"],
        "size": instance["size"],
        "sha256": instance["sha256"],
        "received_at": aware(instance["received_at"]),
        **{name: instance.get(name) for name in UIDS},
        "problems": instance.get("problems") or 0,
        "truncated_at": instance.get("truncated_at"),
        "extraction": {
            "state": extraction["state"],
            "version": extraction.get("version"),
            "at": aware(extraction.get("at")),
            "attempts": extraction.get("attempts") or 0,
            "error": extraction.get("error"),
        },
        **({"inbox": instance["inbox"]} if "inbox" in instance else {}),
    }


def describe(instance: Instance) -> dict[str, Any]:
    """Return all that is known of an instance (`schemas.http.InstanceSchema`), ready for orjson."""
    return {**summarize(instance), "warnings": instance.get("warnings") or []}


def validators_of(instance: Instance, form: str = "") -> Validators:
    """Return what tells a file from others: its digest and, where it is not sent as it is stored, in which form."""
    received_at = aware(instance["received_at"])
    assert received_at is not None  # noqa: S101 - every instance has it
    return Validators(f'"{instance["sha256"]}{form}"', received_at)


def aware(moment: datetime | None) -> datetime | None:
    """Return a time of the database as UTC; drivers may give it without a zone."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
