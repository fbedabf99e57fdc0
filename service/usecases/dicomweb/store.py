"""STOW-RS (PS3.18 10.5): many files, each stored or refused for itself, and the response that says which."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from service.dicom.pixels.attributes import integer, text
from service.dicom.uids import identifiers_of, is_uid
from service.errors import Invalid, LimitExceeded, NotDicom, ServiceError, StorageFull, TooLarge, Unavailable
from service.storage.visible import Visible
from service.usecases import ingest
from service.usecases.context import Context
from service.usecases.dicomweb.scope import UIDS, instance_url
from service.usecases.unpacking import read_zip, sort_out
from service.usecases.zip_reading import BadMember, BadZip

# Failure Reason (0008,1197), PS3.3 C.14.1.1 and PS3.4 Table B.2-1.
PROCESSING_FAILURE = 0x0110
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

WARNING_REASON = "00081196"
DATASET_DOES_NOT_MATCH_SOP_CLASS = 0xB007


_MODALITY = re.compile(r"[A-Z0-9_]{1,16}", re.ASCII)


class Refused(ServiceError):
    """A file is not stored, for a reason that the response names.

    Parameters
    ----------
    reason : int
        A Failure Reason.
    identifiers : mapping
        What the file says it is.
    """

    def __init__(self, reason: int, identifiers: Mapping[str, str | None]) -> None:
        super().__init__("The file was refused.")
        self.reason = reason
        self.identifiers = dict(identifiers)


@dataclass(slots=True)
class StowOutcome:
    """What became of the parts of one request, while they come.

    Parameters
    ----------
    stored : list of dict
        Items of the Referenced SOP Sequence.
    failed : list of dict
        Items of the Failed SOP Sequence.
    others : list of dict
        Items of the Other Failures Sequence: what has no UIDs.
    studies : set of str
        Of what was stored.
    dicom_ids : list of str
        The ids of what was stored, also of what the response has to call a failure.
    pending : bool
        Whether a file is kept whose tags will be there later: the response has to call it a failure too.
    full : StorageFull or None
        Why files had no room.
    """

    stored: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    studies: set[str] = field(default_factory=set)
    dicom_ids: list[str] = field(default_factory=list)
    pending: bool = False
    full: StorageFull | None = None

    @property
    def keeps_something(self) -> bool:
        """Whether the store has something of this request, so that no answer may say that it failed as a whole."""
        return bool(self.stored) or self.pending

    @property
    def status(self) -> int:
        """The HTTP status (PS3.18 Table 10.5.3-1): 200 all stored, 202 with failures or warnings, 409 none stored."""
        if not self.keeps_something:
            return 409
        warned = any(WARNING_REASON in item for item in self.stored)
        return 202 if self.failed or self.others or warned else 200

    def check_room(self) -> None:
        """Do nothing if the response's dataset says it best, as it does where anything was stored.

        Raises
        ------
        StorageFull
            Nothing was stored, and the patient has no room.
        """
        if self.full is not None and not self.stored:
            raise self.full

    def fail(self, reason: int, identifiers: Mapping[str, str | None] | None = None) -> None:
        """Note that a file was not stored."""
        known = identifiers or {}
        if known.get("sop_instance_uid"):
            item = _reference(known)
            self.failed.append({**item, "00081197": {"vr": "US", "Value": [reason]}})
        else:
            self.others.append({"00081197": {"vr": "US", "Value": [reason]}})

    def response(self, root: str) -> dict[str, Any]:
        """Return the response's dataset (PS3.18 Table 10.5.3-3).

        Parameters
        ----------
        root : str
            URL of the patient's DICOMweb root.
        """
        dataset: dict[str, Any] = {}
        if len(self.studies) == 1:
            dataset["00081190"] = _url(f"{root}/studies/{quote(next(iter(self.studies)), safe='')}")
        for tag, items in (("00081198", self.failed), ("00081199", self.stored), ("0008119A", self.others)):
            if items:
                dataset[tag] = {"vr": "SQ", "Value": items}
        return dataset


async def store_part(
    context: Context, patient_id: str, study: str | None, chunks: AsyncIterator[bytes], outcome: StowOutcome, root: str
) -> None:
    """Store one file, and note what became of it.

    Parameters
    ----------
    patient_id : str
        Whose it is.
    study : str or None
        The study that it must belong to.
    chunks : async iterator of bytes
        The file as it arrives.
    outcome : StowOutcome
        Where it is noted.
    root : str
        URL of the patient's DICOMweb root.

    Raises
    ------
    Unavailable
        Nothing can be stored now, and nothing of this request was.
    Invalid
        The body ends within the file, or is no such body.
    """
    said: dict[str, str | None] = {}

    def check(identifiers: Mapping[str, str | None]) -> None:
        said.update((name, identifiers.get(name)) for name in ("sop_class_uid", "sop_instance_uid"))
        if not all(identifiers.get(name) for name in UIDS):
            raise Refused(CANNOT_UNDERSTAND, identifiers)
        if study is not None and identifiers["study_instance_uid"] != study:
            raise Refused(DOES_NOT_MATCH, identifiers)

    try:
        stored = await ingest.store_upload(context, patient_id, file_name_of, chunks, check=check)
        outcome.dicom_ids.append(stored.dicom_id)
        instance: Mapping[str, Any] | None = await context.store.instances.find(Visible(patient_id), stored.dicom_id)
        if instance is None:  # deleted a moment ago
            outcome.fail(PROCESSING_FAILURE)
            return
        if stored.state == "done":
            check(instance)  # what was there already was not looked at
    except Refused as error:
        outcome.fail(error.reason, error.identifiers)
    except (NotDicom, LimitExceeded):
        outcome.fail(CANNOT_UNDERSTAND)
    except TooLarge:
        outcome.fail(OUT_OF_RESOURCES)
    except StorageFull as error:
        outcome.full = error
        outcome.fail(OUT_OF_RESOURCES, said)
    except Unavailable:
        if not outcome.keeps_something:
            raise
        outcome.fail(OUT_OF_RESOURCES)
    except Invalid:  # the body around the file
        raise
    except ServiceError:
        outcome.fail(PROCESSING_FAILURE)
    else:
        if stored.state != "done":  # the file is kept; what it is will be known later
            outcome.pending = True
            outcome.fail(PROCESSING_FAILURE)
            return
        item = _reference(instance)
        item["00081190"] = _url(instance_url(root, instance))
        if stored.problems or stored.truncated_at is not None:
            item[WARNING_REASON] = {"vr": "US", "Value": [DATASET_DOES_NOT_MATCH_SOP_CLASS]}
        outcome.stored.append(item)
        outcome.studies.add(instance["study_instance_uid"])


def file_name_of(dataset: Mapping[str, Any]) -> str | None:
    """Return a name for a file that came without one; None where nothing in it makes one.

    Parameters
    ----------
    dataset : mapping
        The tree. Modality, series number and instance number make a name such as ``CT-2-15.dcm``, and where one of them
        is missing the SOP Instance UID does.
    """
    modality = text(dataset, "Modality")
    numbers = [integer(dataset, keyword) for keyword in ("SeriesNumber", "InstanceNumber")]
    if _MODALITY.fullmatch(modality) and None not in numbers:
        return f"{modality}-{numbers[0]}-{numbers[1]}.dcm"
    uid = identifiers_of(dataset)["sop_instance_uid"]
    return f"{uid}.dcm" if uid and is_uid(uid) else None


async def store_zip(
    context: Context, patient_id: str, study: str | None, body: AsyncIterator[bytes], outcome: StowOutcome, root: str
) -> None:
    """Store the members of a ZIP that are not passed over, and note what became of each; parameters as `store_part`.

    Raises
    ------
    BadZip
        The body is not a ZIP, or nothing could be read of it. One that ends early counts as one more failure.
    Unavailable
        Nothing can be stored now, and nothing of this request was.
    """
    reader = read_zip(context, body)
    while True:
        try:
            member = await reader.next_member()
            if member is None:
                return
            content = None if member.is_folder else (await sort_out(member))[0]
            if content is not None:
                await store_part(context, patient_id, study, content, outcome, root)
        except BadMember:
            outcome.fail(CANNOT_UNDERSTAND)
        except BadZip:
            if not (outcome.stored or outcome.failed or outcome.others):
                raise
            outcome.fail(CANNOT_UNDERSTAND)
            return


def _reference(identifiers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        tag: {"vr": "UI", "Value": [identifiers[name]]} if identifiers.get(name) else {"vr": "UI"}
        for tag, name in (("00081150", "sop_class_uid"), ("00081155", "sop_instance_uid"))
    }


def _url(text: str) -> dict[str, Any]:
    return {"vr": "UR", "Value": [text]}
