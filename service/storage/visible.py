"""What a caller may see, and the filters that follow from it: here and nowhere else.

Every read for a caller takes a `Visible`. Whoever widens or narrows what callers see changes this module.
"""

from __future__ import annotations

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
    """

    patient_id: str
    studies: frozenset[str] | None = None
    series: frozenset[str] | None = None
    dicom_ids: frozenset[str] | None = None

    @property
    def is_part(self) -> bool:
        """Return whether only a part of what the patient has may be seen."""
        return (self.studies, self.series, self.dicom_ids) != (None, None, None)

    def instances(self) -> Document:
        """Return the filter for the instances."""
        return {"patient_id": self.patient_id, "extraction.state": {"$ne": "deleting"}}

    def instance(self, dicom_id: str) -> Document:
        """Return the filter for one instance."""
        return {"_id": dicom_id, **self.instances()}

    def extracted(self) -> Document:
        """Return the filter for the instances that have a tree."""
        return {"patient_id": self.patient_id, "extraction.state": "done"}

    def derived(self) -> Document:
        """Return the filter for documents of the tag index, and of series.

        They do not tell whether an instance is being deleted: that is looked up at the instance.
        """
        return {"patient_id": self.patient_id}

    def files(self) -> Document:
        """Return the filter for the `files` documents of originals and of pictures. As of :meth:`derived`."""
        return {"metadata.patient_id": self.patient_id}
