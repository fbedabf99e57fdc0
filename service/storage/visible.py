"""What a caller may see, and the filters that follow from it: here and nowhere else.

Every read for a caller takes a `Visible`. Whoever widens or narrows what callers see changes this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Visible:
    """What a caller may see: all that one patient has and that is not being deleted.

    Equal ones let see the same, so reads for them may be one query.

    Parameters
    ----------
    patient_id : str
        The patient.
    """

    patient_id: str

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
