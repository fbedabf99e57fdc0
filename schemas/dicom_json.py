"""The DICOM JSON Model (PS3.18 Annex F) as JSON Schema: what DICOMweb gives, and marshmallow does not read here.

References are those of the OpenAPI document, where the schemas stand under these names.
"""

from __future__ import annotations

from typing import Any

_ELEMENT = "#/components/schemas/DicomJsonElement"
_DATASET = "#/components/schemas/DicomJsonDataset"

PERSON_NAME: dict[str, Any] = {
    "type": "object",
    "description": "A person's name by component group (PS3.18 F.2.2).",
    "properties": {group: {"type": "string"} for group in ("Alphabetic", "Ideographic", "Phonetic")},
    "additionalProperties": False,
}

DATASET: dict[str, Any] = {
    "type": "object",
    "description": "A dataset: its elements by tag, eight upper-case hex digits, in ascending order.",
    "propertyNames": {"pattern": "^[0-9A-F]{8}$"},
    "additionalProperties": {"$ref": _ELEMENT},
    "example": {"00080060": {"vr": "CS", "Value": ["CT"]}},
}

ELEMENT: dict[str, Any] = {
    "type": "object",
    "description": "A data element: its VR, and at most one of value, bytes and where its bytes are.",
    "required": ["vr"],
    "properties": {
        "vr": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "Value": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": ["string", "number", "null"]},
                    {"$ref": "#/components/schemas/DicomJsonPersonName"},
                    {"$ref": _DATASET},
                ]
            },
        },
        "InlineBinary": {"type": "string", "description": "Bytes as base64, little-endian."},
        "BulkDataURI": {"type": "string", "description": "Where longer bytes are."},
    },
    "additionalProperties": False,
}

DATASETS: dict[str, Any] = {"type": "array", "description": "A list of datasets.", "items": {"$ref": _DATASET}}

COMPONENTS: dict[str, dict[str, Any]] = {
    "DicomJsonPersonName": PERSON_NAME,
    "DicomJsonDataset": DATASET,
    "DicomJsonElement": ELEMENT,
    "DicomJson": DATASETS,
}
"""By the names under which they refer to each other."""
