"""What a caller may see, and the filters that follow from it: here and nowhere else.

Every read for a caller takes a `Visible`. Whoever widens or narrows what callers see changes this module.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Visible:
    """What a caller may see of one patient and that is not being deleted: everything, or a part that is shared.

    Equal ones let see the same, so reads for them may be one query.

    Parameters
    ----------
    patient_id : str
        The patient.
    studies, series, dicom_ids : frozenset of str or None
        Where one of them is not None, only what lies in these studies, in these series, or is one of these instances.
        What came by an inbox and is not accepted is then not among it.
    originals : bool
        Whether originals are to be seen, and what is one inside of a file: stored pixels, videos and documents.

    Raises
    ------
    ValueError
        If more than one of them is given.
    """

    patient_id: str
    studies: frozenset[str] | None = None
    series: frozenset[str] | None = None
    dicom_ids: frozenset[str] | None = None
    originals: bool = True

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.studies, self.series, self.dicom_ids)) > 1:
            raise ValueError("A part is of studies, of series or of instances, and not of two of them.")

    @property
    def is_part(self) -> bool:
        """Return whether only a part of what the patient has may be seen."""
        return (self.studies, self.series, self.dicom_ids) != (None, None, None)

    @property
    def caller(self) -> str:
        """Return under whose name work is done where callers take turns: the patient's, or that of all their shares."""
        return shares_of(self.patient_id) if self.is_part else self.patient_id

    def has_all_of(self, study: str | None, series: str | None) -> bool:
        """Return whether all that the patient has of a study, or of a series of it, may be seen.

        Nobody looks at what there is: instances that happen to be a whole study count as a part of it.
        """
        if not self.is_part:
            return True
        return study in (self.studies or ()) or series in (self.series or ())

    def instances(self, dicom_ids: Collection[str] | None = None) -> Document:
        """Return the filter for the instances, or for those of some that may be seen."""
        return {**self.derived(dicom_ids), "extraction.state": {"$ne": "deleting"}}

    def instance(self, dicom_id: str) -> Document:
        """Return the filter for one instance."""
        return self.instances([dicom_id])

    def extracted(self, dicom_ids: Collection[str] | None = None) -> Document:
        """Return the filter for the instances that have a tree, as of :meth:`instances`."""
        return {**self.derived(dicom_ids), "extraction.state": "done"}

    def derived(self, dicom_ids: Collection[str] | None = None) -> Document:
        """Return the filter for documents of the tag index, as of :meth:`instances`.

        They do not tell whether an instance is being deleted: that is looked up at the instance.
        """
        return self._filter("", "_id", dicom_ids)

    def files(
        self,
        dicom_ids: Collection[str] | None = None,
        *,
        study: str | None = None,
        series: str | None = None,
        instance: str | None = None,
    ) -> Document:
        """Return the filter for the `files` documents of originals and of pictures. As of :meth:`derived`.

        Parameters
        ----------
        dicom_ids : collection of str, optional
            Only those of these instances.
        study, series, instance : str, optional
            Only those with these UIDs.
        """
        wanted = self._filter("metadata.", "metadata.dicom_id", dicom_ids)
        asked = (
            ("metadata.study_instance_uid", study, self.studies),
            ("metadata.series_instance_uid", series, self.series),
            ("metadata.sop_instance_uid", instance, None),
        )
        for field, uid, allowed in asked:
            if uid is not None:
                wanted[field] = uid if allowed is None or uid in allowed else _one_of(())
        return wanted

    def _filter(self, beginning: str, own_id: str, dicom_ids: Collection[str] | None) -> Document:
        """Return a filter of fields whose names begin like this, the id of the instance aside."""
        if dicom_ids is None:
            dicom_ids = self.dicom_ids
        elif self.dicom_ids is not None:
            dicom_ids = self.dicom_ids.intersection(dicom_ids)
        # The ids come first: the local database takes the first field that has an index.
        wanted: Document = {} if dicom_ids is None else {own_id: _one_of(dicom_ids)}
        wanted[f"{beginning}patient_id"] = self.patient_id
        if self.studies is not None:
            wanted[f"{beginning}study_instance_uid"] = _one_of(self.studies)
        if self.series is not None:
            wanted[f"{beginning}series_instance_uid"] = _one_of(self.series)
        if self.is_part:
            wanted[f"{beginning}inbox"] = {"$exists": False}
        return wanted


def shares_of(patient_id: str) -> str:
    """Return the name under which all shares of a patient take turns together: no patient id has a line break."""
    return f"{patient_id}\nshares"


def _one_of(values: Collection[str]) -> Any:
    """Return the condition that a field has one of these values."""
    each = sorted(set(values))
    return each[0] if len(each) == 1 else {"$in": each}
