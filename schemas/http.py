"""What goes over HTTP: the parameters of a request, and the answers.

Parameters are read with these schemas at run time. Answers are built by hand, because a list of a thousand instances
must not hold up everybody else, and the tests hold every real answer to its schema here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from service.errors import Invalid

MAX_DIGITS = 10
_DIGITS = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}")

DECIMAL = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
"""A number in a parameter: `float` also takes spaces, underscores, infinities and other scripts' digits."""

_WINDOW = re.compile(f"({DECIMAL}),({DECIMAL})")


class WholeNumber(fields.Field[int]):
    """Decimal digits and nothing else: `int` also takes signs, spaces, underscores and other scripts' digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:  # noqa: ARG002 - marshmallow's signature
        if not isinstance(value, str) or not _DIGITS.fullmatch(value):
            raise ValidationError("Give a whole number.")
        return int(value)


class Window(fields.Field[tuple[float, float]]):
    """`center,width` (PS3.3 C.11.2.1.2), the width above zero."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[float, float]:  # noqa: ARG002 - as above
        match = _WINDOW.fullmatch(str(value))
        if match is None:
            raise ValidationError("Give center and width, for example 40,400.")
        center, width = float(match[1]), float(match[2])
        if not (abs(center) <= 1e9 and 0 < width <= 1e9):
            raise ValidationError("The center is a number, and the width one above zero.")
        return center, width


class Parameters(Schema):
    """Parameters of a query; one that is not known is refused rather than ignored."""

    class Meta:
        """How marshmallow reads them."""

        unknown = RAISE

    def read(self, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Return the parameters of a query, checked and typed.

        Parameters
        ----------
        query : iterable of (str, str)
            Names and values as they came.

        Raises
        ------
        Invalid
            Where one is unknown, given twice, or cannot be what it says. The sentence does not repeat what was sent.
        """
        sent: dict[str, str] = {}
        for name, value in query:
            if name not in self.fields:
                known = ", ".join(self.fields) or "none"
                raise Invalid(f"The request has a parameter that is not known here; known are: {known}.")
            if name in sent:
                raise Invalid(f"The parameter {name} is given more than once.")
            sent[name] = value
        try:
            return dict(self.load(sent))
        except ValidationError as error:
            messages = error.messages_dict
            name = next(iter(messages))
            raise Invalid(f"The parameter {name} cannot be used: {messages[name][0]}") from None


class NoParameters(Parameters):
    """A route that takes none."""


class ListParameters(Parameters):
    """Which part of the list."""

    limit = WholeNumber(
        load_default=100,
        validate=validate.Range(min=1, error="Give a whole number from 1."),
        metadata={"description": "How many instances at most; more than 1,000 is 1,000.", "example": 20},
    )
    offset = WholeNumber(load_default=0, metadata={"description": "How many of the newest to pass over.", "example": 0})


class SearchParameters(ListParameters):
    """Which part of the hits, and how they are found and shown; every other parameter is a path to match."""

    orderby = fields.String(
        load_default=None,
        metadata={
            "description": "A path to sort by, with `-` before it for the greatest first; else the newest first.",
            "example": "-SliceThickness",
        },
    )
    fuzzymatching = fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        metadata={"description": "Match person names by the beginnings of their words (PS3.18 8.3.4.2)."},
    )
    emptyvaluematching = fields.Boolean(
        load_default=True,
        truthy={"true"},
        falsy={"false"},
        metadata={"description": 'Whether `""` matches what is there without a value.'},
    )
    multiplevaluematching = fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        metadata={"description": "Whether a backslash divides values of which one must match."},
    )
    count = fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        metadata={"description": "Whether `total` says how many there are on all pages."},
    )


class CatalogueParameters(Parameters):
    """Which part of the catalogue."""

    limit = WholeNumber(
        load_default=1000,
        validate=validate.Range(min=1, error="Give a whole number from 1."),
        metadata={"description": "How many paths at most; more than 1,000 is 1,000.", "example": 100},
    )
    offset = WholeNumber(load_default=0, metadata={"description": "How many paths to pass over.", "example": 0})
    path = fields.String(load_default="", metadata={"description": "What a path begins with.", "example": "Slice"})


class PictureParameters(Parameters):
    """Which frame, and how it is shown."""

    frame = WholeNumber(
        load_default=1,
        validate=validate.Range(min=1, error="Frames count from 1."),
        metadata={"description": "The frame, counted from 1.", "example": 1},
    )
    window = Window(
        load_default=None,
        metadata={
            "description": "Center and width, in the units of the image.",
            "pattern": f"^{DECIMAL},{DECIMAL}$",
            "example": "40,400",
        },
    )
    voi = WholeNumber(
        load_default=None,
        validate=validate.Range(min=1, error="They count from 1."),
        metadata={"description": "Which of the file's own windows, counted from 1; not beside `window`.", "example": 1},
    )
    size = WholeNumber(
        load_default=None,
        validate=validate.Range(min=1, max=8192, error="Give a whole number from 1 to 8192."),
        metadata={
            "description": "The longer side, in pixels; a picture is not made larger than it is.",
            "example": 256,
        },
    )

    @validates_schema
    def one_window(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse a window of the caller's beside one of the file's."""
        if data.get("window") is not None and data.get("voi") is not None:
            raise ValidationError("Give one of the two.", "window")


class Answer(Schema):
    """An answer; it has what is said here and nothing else."""

    class Meta:
        """How marshmallow reads them."""

        unknown = RAISE


class Problem(Answer):
    """What went wrong (RFC 9457)."""

    type = fields.Constant("about:blank", required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True, strict=True)
    code = fields.String(required=True)
    detail = fields.String(required=True)
    request_id = fields.String(required=True)


class Extraction(Answer):
    """How far the reading of a file's tags is."""

    state = fields.String(required=True, validate=validate.OneOf(["pending", "done", "failed"]))
    version = fields.Integer(required=True, allow_none=True)
    at = fields.AwareDateTime(required=True, allow_none=True)
    attempts = fields.Integer(required=True)
    error = fields.String(required=True, allow_none=True)


class Warning_(Answer):  # noqa: N801 - `Warning` is Python's own
    """Something about a file that its owner may want to know."""

    path = fields.String(required=True, allow_none=True)
    problem = fields.String(required=True)


class InstanceSummary(Answer):
    """One instance in a list."""

    dicom_id = fields.UUID(required=True)
    file_name = fields.String(required=True)
    size = fields.Integer(required=True, validate=validate.Range(min=0))
    sha256 = fields.String(required=True, validate=validate.Regexp(r"[0-9a-f]{64}\Z"))
    received_at = fields.AwareDateTime(required=True)
    study_instance_uid = fields.String(required=True, allow_none=True)
    series_instance_uid = fields.String(required=True, allow_none=True)
    sop_instance_uid = fields.String(required=True, allow_none=True)
    sop_class_uid = fields.String(required=True, allow_none=True)
    transfer_syntax_uid = fields.String(required=True, allow_none=True)
    problems = fields.Integer(required=True)
    truncated_at = fields.Integer(required=True, allow_none=True)
    extraction = fields.Nested(Extraction, required=True)


class Instance(InstanceSummary):
    """All that the store knows of an instance beside its tags."""

    warnings = fields.List(fields.Nested(Warning_), required=True)


class InstanceList(Answer):
    """A page of a patient's instances, the newest first."""

    instances = fields.List(fields.Nested(InstanceSummary), required=True)
    total = fields.Integer(metadata={"description": "How many there are on all pages, with `count=true`."})


class SearchHit(InstanceSummary):
    """One instance that was found."""

    fields_ = fields.Dict(
        keys=fields.String(), values=fields.Raw(allow_none=True), data_key="fields", attribute="fields"
    )


class HitList(Answer):
    """A page of the instances that a search found."""

    instances = fields.List(fields.Nested(SearchHit), required=True)
    incomplete = fields.Boolean(required=True)
    total = fields.Integer(
        allow_none=True,
        metadata={"description": "How many hits there are on all pages, with `count=true`; null where `incomplete`."},
    )


class CatalogueEntry(Answer):
    """One path of a patient's files, and what stands there."""

    path = fields.String(required=True)
    vrs = fields.List(fields.String(), required=True)
    files = fields.Integer(required=True, validate=validate.Range(min=1))
    values = fields.List(fields.Raw(), required=True, validate=validate.Length(max=20))
    more_values = fields.Boolean(required=True)
    min = fields.Raw(required=True, allow_none=True)
    max = fields.Raw(required=True, allow_none=True)


class CatalogueList(Answer):
    """A page of a patient's catalogue."""

    tags = fields.List(fields.Nested(CatalogueEntry), required=True)
    incomplete = fields.Boolean(required=True)


class Tag(Answer):
    """One data element."""

    tag = fields.String(required=True, validate=validate.Regexp(r"[0-9A-F]{8}\Z"))
    group_id = fields.String(required=True, validate=validate.Regexp(r"[0-9A-F]{4}\Z"))
    element_id = fields.String(required=True, validate=validate.Regexp(r"[0-9A-F]{4}\Z"))
    keyword = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Null where no dictionary has one, as for private tags."},
    )
    name = fields.String(required=True, allow_none=True)
    vr = fields.String(required=True, validate=validate.Regexp(r"[A-Z]{2}\Z"))
    vm = fields.Integer(
        required=True, validate=validate.Range(min=0), metadata={"description": "How many values; 1 for a sequence."}
    )
    value = fields.Raw(
        required=True,
        allow_none=True,
        metadata={
            "description": "A scalar for one value, a list for several, null for none; of a sequence a list of items, "
            "each a list of tags.",
            "anyOf": [
                {"type": ["string", "number", "null"]},
                {"type": "array", "items": {"type": ["string", "number", "null"]}},
                {"type": "array", "items": {"type": "array", "items": {"$ref": "#/components/schemas/Tag"}}},
            ],
        },
    )
    creator = fields.String(allow_none=True, metadata={"description": "Of a private element."})
    raw = fields.String(metadata={"description": "The file's own text, or bytes, where the value loses them."})
    raw_encoding = fields.Constant("base64")
    problem = fields.String(metadata={"description": "Why the element could not be converted."})
    encoding = fields.Constant("base64", metadata={"description": "The value is bytes; where it is null, `raw` is."})
    length = fields.Integer(metadata={"description": "Bytes of a value that is not shown."})
    spilled = fields.Constant(True, metadata={"description": "It is too large for one document; the original has it."})
    items = fields.Integer(metadata={"description": "Items of a sequence that is not shown."})

    @validates_schema
    def items_are_tags(self, data: dict[str, Any], **_: Any) -> None:
        """Hold the items of a sequence to the same schema."""
        if data.get("vr") == "SQ":
            for item in data["value"] or []:
                Tag(many=True).load(item)


class Token(Answer):
    """A token of the dev route."""

    access_token = fields.String(required=True)
    expires_in = fields.Integer(required=True)


class Health(Answer):
    """That the service is there."""

    status = fields.Constant("ok", required=True)


class Readiness(Health):
    """That its database is there too."""

    missing_indexes = fields.List(
        fields.String(), metadata={"description": "Indexes without which it is slow; scripts/migrate.py builds them."}
    )
