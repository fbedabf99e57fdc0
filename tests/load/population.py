"""Twenty patients with a thousand CT slices each: real headers, UIDs of their own, written as uploads write them.

A patient has five studies of two series of a hundred slices. A header is that of pydicom's CT without part of its
private elements, and with the sequences that a modality writes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from schemas.database import Instance
from service.dicom.extract import extract
from service.dicom.limits import Limits
from service.storage.collections import Collections
from service.storage.group_commit import index_document
from service.storage.originals import original_metadata
from service.storage.series import put_series
from service.storage.store import Store
from service.usecases.instances import extracted, new_instance

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = "1.2.826.0.1.3680043.9.77"
SLICES = 100
"""Of a series."""

SERIES = 2
"""Of a study."""


def sop_instance_uid(patient: int, number: int) -> str:
    """Give the UID of a slice."""
    return f"{ROOT}.3.{patient}.{number}"


def step_id(patient: int, number: int) -> str:
    """Give what stands in the requests of the slice's study, and in no other's."""
    return f"SPS{patient}-{number // (SLICES * SERIES)}"


def slices(patient: int, instances: int, first: int = 0) -> Iterator[bytes]:
    """Give a patient's files, the first first, or those from a later one on."""
    dataset = _header()
    for number in range(first, instances):
        series, study = number // SLICES, number // (SLICES * SERIES)
        dataset.PatientName, dataset.PatientID = f"Example^Number {patient}", f"ID{patient}"
        dataset.StudyInstanceUID = f"{ROOT}.1.{patient}.{study}"
        dataset.SeriesInstanceUID = f"{ROOT}.2.{patient}.{series}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid(patient, number)
        dataset.StudyDate = dataset.SeriesDate = f"2025{study % 12 + 1:02}15"
        dataset.AccessionNumber = f"A{patient}-{study}"
        dataset.SeriesNumber, dataset.InstanceNumber = series + 1, number % SLICES + 1
        dataset.SliceThickness = (number % SLICES + 1) / 10
        dataset.SliceLocation = -100 + number % SLICES * 2.5
        dataset.ImagePositionPatient = [-158.1, -179.0, dataset.SliceLocation]
        dataset[0x0019, 0x1002].value = number
        request = dataset.RequestAttributesSequence[0]
        request.ScheduledProcedureStepID = step_id(patient, number)
        for reference, item in zip((number - 1, number + 1), dataset.ReferencedImageSequence, strict=True):
            item.ReferencedSOPInstanceUID = sop_instance_uid(patient, reference % instances)
        target = io.BytesIO()
        dataset.save_as(target)
        yield target.getvalue()


def populate(store: Store, collections: Collections, patients: int, instances: int, first: int = 0) -> Iterator[int]:
    """Store the patients up to a number, from the first on, and give them one by one as they are there."""
    limits = Limits()
    for patient in range(first, patients):
        documents = [
            _documents(store, f"p-{patient}", content, number, limits)
            for number, content in enumerate(slices(patient, instances))
        ]
        for begin in range(0, len(documents), SLICES):
            _insert(collections, documents[begin : begin + SLICES])
        yield patient


def _header() -> Dataset:
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    for element in [element for element in dataset if element.tag.group in {0x0021, 0x0023, 0x0027, 0x0043}]:
        del dataset[element.tag]
    dataset.Rows = dataset.Columns = 2
    dataset.PixelData = bytes(8)
    dataset.RequestAttributesSequence = [
        _item(
            RequestedProcedureID="RP1",
            RequestedProcedureDescription="CT of the head",
            ScheduledProcedureStepDescription="Head, plain",
            ScheduledProtocolCodeSequence=[_code("P5-0801A", "CT of the head")],
        )
    ]
    dataset.ReferencedImageSequence = [
        _item(
            ReferencedSOPClassUID=dataset.SOPClassUID,
            PurposeOfReferenceCodeSequence=[_code("121311", "Localizer")],
        )
        for _ in range(2)
    ]
    dataset.ProcedureCodeSequence = [_code("24725-4", "CT Head")]
    dataset.AnatomicRegionSequence = [_code("69536005", "Head")]
    dataset.CTDIPhantomTypeCodeSequence = [_code("113690", "IEC Head Dosimetry Phantom")]
    return dataset


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _code(value: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator="99EXAMPLE", CodeMeaning=meaning)


Documents = tuple[Instance, dict[str, Any], bytes | None, bytes]


def _documents(store: Store, patient: str, content: bytes, number: int, limits: Limits) -> Documents:
    """Make the documents of one upload: its instance with the tree, its index, its row; and its bytes."""
    made = extract(content, limits)
    sha256 = hashlib.sha256(content).hexdigest()
    dicom_id, received = store.namespaces.own_id(patient, sha256), BEGIN + timedelta(seconds=number)
    instance = new_instance(dicom_id, patient, f"{number}.dcm", len(content), sha256, received)
    whole: Instance = {**extracted(instance, made, received), "series": made.series, "dataset": made.dataset}
    return whole, index_document(whole, made), made.row, content


def _insert(collections: Collections, documents: list[Documents]) -> None:
    collections.tag_index.insert_many([index for _, index, *_ in documents])
    collections.instances.insert_many([instance for instance, *_ in documents])
    collections.originals.chunks.insert_many(
        [{"files_id": instance["original_id"], "n": 0, "data": content} for instance, _, _, content in documents]
    )
    collections.originals.files.insert_many(
        [
            {
                "_id": instance["original_id"],
                "length": instance["size"],
                "chunkSize": 1 << 20,
                "uploadDate": instance["received_at"],
                "filename": instance["_id"],
                "metadata": original_metadata(instance, row),
            }
            for instance, _, row, _ in documents
        ]
    )
    instance, *_ = documents[-1]
    put_series(collections, instance, instance["series"])
