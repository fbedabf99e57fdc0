"""A share, what came by it and what was done by it, as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from schemas.database import Instance, Share
from service.usecases import sharing
from service.web.instance_json import aware

SHOWN_IDS = 10
"""Instances that a line of the audit names."""

IDENTIFIERS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")


def chosen(share: Share) -> dict[str, Any]:
    """Return what a share shows (`schemas.http.SharedView`)."""
    return {"studies": share["studies"], "series": share["series"], "instances": share["instances"]}


def bounds(share: Share) -> dict[str, int] | None:
    """Return how much may come by an inbox (`schemas.http.InboxBounds`)."""
    inbox = share["inbox"]
    return None if inbox is None else {"max_files": inbox["max_files"], "max_bytes": inbox["max_bytes"]}


def summarize(share: Share, now: datetime) -> dict[str, Any]:
    """Return a share as lists show it (`schemas.http.ShareSummary`)."""
    inbox = share["inbox"]
    return {
        "share_id": share["_id"],
        "state": sharing.state_of(share, now),
        **chosen(share),
        "frozen": share["frozen"],
        "download": share["download"],
        "inbox": None if inbox is None else {**(bounds(share) or {}), "files": inbox["files"], "bytes": inbox["bytes"]},
        "has_passcode": share["passcode"] is not None,
        "label": share["label"],
        "made_at": aware(share["made_at"]),
        "made_by": share["made_by"],
        "expires_at": aware(share["expires_at"]),
        "ended_at": aware(share["ended_at"]),
        "max_opens": share["max_opens"],
        "opens": share["opens"],
        "opened_at": aware(share["opened_at"]),
        "wrong_passcodes": share["wrong"],
    }


def describe(
    share: Share, now: datetime, waiting: Sequence[Instance], lines: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a share with what came by it and what was done by it (`schemas.http.ShareSchema`)."""
    accepted = sum(answer is not None for answer in share["answered"].values())
    return {
        **summarize(share, now),
        "dicom_ids": share["dicom_ids"],
        "files": [_waiting(instance) for instance in waiting],
        "accepted": accepted,
        "declined": len(share["answered"]) - accepted,
        "audit": [_line(line, sharing.subject_of(share["_id"])) for line in lines],
    }


def _waiting(instance: Instance) -> dict[str, Any]:
    return {
        "inbox_id": instance["_id"],
        "file_name": instance["file_name"],
        "size": instance["size"],
        "received_at": aware(instance["received_at"]),
        **{name: instance.get(name) for name in IDENTIFIERS},
        "state": instance["extraction"]["state"],
    }


def _line(line: Mapping[str, Any], subject: str) -> dict[str, Any]:
    """Return an entry of the audit without what it says of who asked, but whether they came by the link."""
    by = "link" if line["subject"] == subject else "operator" if line["method"] == sharing.COMMAND else "token"
    return {
        "at": aware(line["at"]),
        "action": line["action"],
        "outcome": line["outcome"],
        "status": line["status"],
        "by": by,
        "dicom_ids": line["dicom_ids"][:SHOWN_IDS],
        "instances": len(line["dicom_ids"]),
    }
