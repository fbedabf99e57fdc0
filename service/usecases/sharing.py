"""The use case: a patient lets others see a part of what they have, or put files in, for a time, and takes it back.

What a share shows is chosen by studies, series or instances, and is looked up whenever somebody asks; where it is
frozen, the instances are fixed when it is made.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from schemas.database import Inbox, PasscodeHash, Share
from service.auth import passcodes, share_secrets
from service.errors import Conflict, Invalid, NoSuchShare
from service.storage.visible import Visible
from service.usecases.context import Context

MAX_OPEN = 100
"""Shares of one patient that have not ended. Two that are made at the same time may pass it by one."""

MAX_INSTANCES = 10_000
"""Instances that a share names: each request by it reads all of their ids."""

KEPT = timedelta(days=30)
"""How long a share is shown to its patient after its end."""

LEVELS = {"studies": "study_instance_uid", "series": "series_instance_uid"}

NOT_THERE = "One of the studies, series or instances does not exist, or does not belong to this patient."
"""The same for what another patient has and for what nobody has."""

COMMAND = "COMMAND"
"""What the audit has in the place of a method where an operator did it."""

State = Literal["open", "used-up", "expired", "revoked", "closed"]


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes a share.

    Parameters
    ----------
    patient_id : str
        Whose data it shows.
    subject, token_id : str or None
        Of the token with which it is made.
    """

    patient_id: str
    subject: str | None
    token_id: str | None


async def make_share(context: Context, maker: Maker, wanted: Mapping[str, Any]) -> tuple[Share, str]:
    """Make a share, and return it with the secret of its link, which is not kept.

    Parameters
    ----------
    maker : Maker
        Who makes it.
    wanted : mapping of str to Any
        What, as `schemas.http.ShareRequest` has read it.

    Raises
    ------
    Invalid
        It would last too long, show too much, or something that the patient does not have.
    Conflict
        The patient has as many shares as one may have.
    Unavailable
        The database is away, or there is too much to do.
    """
    if wanted["expires_in"] > context.settings.max_share_seconds:
        raise Invalid(f"A share lasts at most {context.settings.max_share_seconds} seconds.")
    now = context.clock()
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as the database keeps it
    if await context.store.shares.count_open(maker.patient_id, now) >= MAX_OPEN:
        raise Conflict(f"A patient may have at most {MAX_OPEN} shares that have not ended. Revoke one.")
    takes_files = wanted["upload"]
    dicom_ids = None if takes_files else await _fix_instances(context, maker.patient_id, wanted)
    secret = share_secrets.new_secret()
    expires_at = now + timedelta(seconds=wanted["expires_in"])
    share: Share = {
        "_id": str(uuid.uuid4()),
        "patient_id": maker.patient_id,
        "kind": "inbox" if takes_files else "view",
        "secret_hash": share_secrets.digest(secret),
        "passcode": await _hash_passcode(context, wanted.get("passcode")),
        "studies": _unique(wanted.get("studies")),
        "series": _unique(wanted.get("series")),
        "dicom_ids": dicom_ids,
        "instances": None if dicom_ids is None else len(dicom_ids),
        "frozen": wanted["frozen"],
        "download": wanted["download"],
        "inbox": _new_inbox(wanted) if takes_files else None,
        "answered": {},
        "label": wanted.get("label"),
        "made_at": now,
        "made_by": {"subject": maker.subject, "token_id": maker.token_id},
        "expires_at": expires_at,
        "ended_at": None,
        "ended_by": None,
        "max_opens": wanted.get("max_opens"),
        "opens": 0,
        "opened_at": None,
        "tries": 0,
        "wrong": 0,
        "tried_at": None,
        "sessions": [],
        "forget_at": expires_at + KEPT,
    }
    await context.store.shares.insert(share)
    return share, secret


async def find_share(context: Context, patient_id: str, share_id: str) -> Share:
    """Return a share of a patient.

    Raises
    ------
    NoSuchShare
        Where the patient has none of this id.
    """
    share = await context.store.shares.find(patient_id, share_id)
    if share is None:
        raise NoSuchShare
    return share


async def revoke_share(context: Context, patient_id: str, share_id: str) -> None:
    """End a share: when this returns, no process lets anybody in by it. One that has ended stays ended.

    Raises
    ------
    NoSuchShare
        Where the patient has none of this id.
    """
    if not await context.store.shares.revoke(patient_id, share_id, context.clock()):
        raise NoSuchShare


def state_of(share: Share, now: datetime) -> State:
    """Return what a share is good for at the moment."""
    if share["ended_by"] is not None:
        return share["ended_by"]
    if share["expires_at"] <= now:
        return "expired"
    if is_used_up(share):
        return "used-up"
    return "open"


def subject_of(share_id: str) -> str:
    """Return what the audit calls whoever asks by a share."""
    return f"share:{share_id}"


def is_used_up(share: Share) -> bool:
    """Return whether no further session can be made of a share."""
    return share["max_opens"] is not None and share["opens"] >= share["max_opens"]


def visible_by(share: Share) -> Visible:
    """Return what whoever has a session of a share may see."""
    if share["inbox"] is not None:
        return Visible(share["patient_id"], dicom_ids=frozenset())
    if share["dicom_ids"] is not None:
        return Visible(share["patient_id"], dicom_ids=frozenset(share["dicom_ids"]))
    return Visible(
        share["patient_id"],
        studies=None if share["studies"] is None else frozenset(share["studies"]),
        series=None if share["series"] is None else frozenset(share["series"]),
    )


async def _fix_instances(context: Context, patient_id: str, wanted: Mapping[str, Any]) -> list[str] | None:
    """Return the instances that a share is fixed to; None where it shows what its studies or series have by then.

    Raises
    ------
    Invalid
        Something is not there, or they are too many.
    """
    shares = context.store.shares
    for name, level in LEVELS.items():
        if name not in wanted:
            continue
        uids = wanted[name]
        if await shares.find_uids(patient_id, level, uids) != set(uids):
            raise Invalid(NOT_THERE)
        if not wanted["frozen"]:
            return None
        return _limited(await shares.find_instances(patient_id, level, uids, MAX_INSTANCES))
    # An id has hyphens and a UID has none.
    ids = [each for each in wanted["instances"] if "-" in each]
    uids = [each for each in wanted["instances"] if "-" not in each]
    found = await shares.find_instances(patient_id, "dicom_id", ids, MAX_INSTANCES)
    if uids:
        found |= await shares.find_instances(patient_id, "sop_instance_uid", uids, MAX_INSTANCES)
    missing = set(wanted["instances"]) - set(found) - set(found.values())
    if missing and len(found) <= MAX_INSTANCES:
        raise Invalid(NOT_THERE)
    return _limited(found)


def _limited(found: Mapping[str, str]) -> list[str]:
    if len(found) > MAX_INSTANCES:
        raise Invalid(
            f"A share can be fixed to at most {MAX_INSTANCES} instances. Share studies or series as they are."
        )
    if not found:
        raise Invalid(NOT_THERE)
    return sorted(found)


def _new_inbox(wanted: Mapping[str, Any]) -> Inbox:
    return {
        "max_files": wanted["max_files"],
        "max_bytes": wanted["max_bytes"],
        "files": 0,
        "bytes": 0,
        "reserved": {},
    }


def _unique(uids: Sequence[str] | None) -> list[str] | None:
    return None if uids is None else sorted(set(uids))


async def _hash_passcode(context: Context, passcode: str | None) -> PasscodeHash | None:
    if passcode is None:
        return None
    async with context.passcode_turns.turn():
        hashed = await asyncio.to_thread(passcodes.hash_passcode, passcode)
    return {"salt": hashed.salt, "hash": hashed.hash}
