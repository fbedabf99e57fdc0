"""The data that HTTP requests and responses carry: parameters and response bodies.

Parameters are read with these schemas at run time. Responses are built by hand, because a list of a thousand instances
must not hold up everybody else, and the tests check every real response against its schema here.
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

TABLE_FORMATS = ("json", "csv", "ndjson", "parquet")

SWITCH: dict[str, str | list[Any] | dict[Any, Any]] = {"invalid": "the value must be true or false."}

_WINDOW = re.compile(f"({DECIMAL}),({DECIMAL})")


class WholeNumber(fields.Field[int]):
    """Decimal digits and nothing else: `int` also takes signs, spaces, underscores and other scripts' digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:  # noqa: ARG002 - marshmallow's signature
        if not isinstance(value, str) or not _DIGITS.fullmatch(value):
            raise ValidationError("the value must be a whole number.")
        return int(value)


class WindowField(fields.Field[tuple[float, float]]):
    """`center,width` (PS3.3 C.11.2.1.2), the width above zero."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[float, float]:  # noqa: ARG002 - as above
        match = _WINDOW.fullmatch(str(value))
        if match is None:
            raise ValidationError("the value must be a center and a width, for example 40,400.")
        center, width = float(match[1]), float(match[2])
        if not width > 0:
            raise ValidationError("the width must be greater than zero.")
        if abs(center) > 1e9 or width > 1e9:
            raise ValidationError("the center and the width must not exceed 1,000,000,000.")
        return center, width


class Parameters(Schema):
    """Parameters of a query; an unknown one is refused, not ignored."""

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
                known = ", ".join(self.fields)
                raise Invalid(f"Unknown parameter. {f'Use: {known}.' if known else 'This request takes none.'}")
            if name in sent:
                raise Invalid(f"The parameter {name} may be given only once.")
            sent[name] = value
        try:
            return dict(self.load(sent))
        except ValidationError as error:
            messages = error.messages_dict
            name = next(iter(messages))
            raise Invalid(f"Invalid {name}: {messages[name][0]}") from None


class NoParameters(Parameters):
    """No parameters at all."""

    def read(self, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Return nothing, or refuse what was sent; as a rule nothing was, and there is nothing to check."""
        sent = list(query)
        return super().read(sent) if sent else {}


def _format_field() -> fields.String:
    return fields.String(
        load_default=None,
        validate=validate.OneOf(TABLE_FORMATS, error="the value must be json, csv, ndjson or parquet."),
        metadata={
            "description": "Media type of the response, for callers that cannot set `Accept`: `csv`, `ndjson` and "
            "`parquet` return a table of the whole result.",
            "example": "csv",
        },
    )


class UploadParameters(Parameters):
    """What an upload may say of its files."""

    expect_patient_id = fields.String(
        load_default=None,
        validate=validate.Length(min=1, max=1024, error="the value must have 1 to 1,024 characters."),
        metadata={
            "description": "The (0010,0020) PatientID that the file, or each file of a ZIP, must have; "
            "others are refused.",
            "example": "1CT1",
        },
    )


class ListParameters(Parameters):
    """The page of a list."""

    limit = WholeNumber(
        load_default=100,
        validate=validate.Range(min=1, error="the value must be at least 1."),
        metadata={"description": "Maximum number of results (capped at 1,000).", "example": 20},
    )
    offset = WholeNumber(load_default=0, metadata={"description": "Number of results to skip.", "example": 0})


class SearchParameters(ListParameters):
    """The page of the results, and how they are found and shown; every other parameter is a path to match."""

    orderby = fields.String(
        load_default=None,
        metadata={
            "description": "Path to sort by; a leading `-` sorts in descending order. By default, newest first.",
            "example": "-SliceThickness",
        },
    )
    fuzzymatching = fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        error_messages=SWITCH,
        metadata={"description": "Match person names by the beginnings of their words (PS3.18 8.3.4.2)."},
    )
    emptyvaluematching = fields.Boolean(
        load_default=True,
        truthy={"true"},
        falsy={"false"},
        error_messages=SWITCH,
        metadata={"description": 'Whether `""` matches elements without a value.'},
    )
    multiplevaluematching = fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        error_messages=SWITCH,
        metadata={"description": "Whether backslashes separate alternative values, one of which must match."},
    )
    count = fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        metadata={"description": "Whether `total` says how many there are on all pages."},
    )
    format = _format_field()


class CatalogueParameters(Parameters):
    """The page of the catalogue."""

    limit = WholeNumber(
        load_default=1000,
        validate=validate.Range(min=1, error="the value must be at least 1."),
        metadata={"description": "Maximum number of paths (capped at 1,000).", "example": 100},
    )
    offset = WholeNumber(load_default=0, metadata={"description": "Number of paths to skip.", "example": 0})
    path = fields.String(
        load_default="", metadata={"description": "Beginning of the paths to list.", "example": "Slice"}
    )
    format = _format_field()


class PictureParameters(Parameters):
    """The frame, and how it is shown."""

    frame = WholeNumber(
        load_default=1,
        validate=validate.Range(min=1, error="frames are counted from 1."),
        metadata={"description": "Frame number, counted from 1.", "example": 1},
    )
    window = WindowField(
        load_default=None,
        metadata={
            "description": "Window center and width, in the units of the image.",
            "pattern": f"^{DECIMAL},{DECIMAL}$",
            "example": "40,400",
        },
    )
    voi = WholeNumber(
        load_default=None,
        validate=validate.Range(min=1, error="windows are counted from 1."),
        metadata={
            "description": "Which of the file's own windows to use, counted from 1. Cannot be combined with `window`.",
            "example": 1,
        },
    )
    size = WholeNumber(
        load_default=None,
        validate=validate.Range(min=1, max=8192, error="the value must be between 1 and 8,192."),
        metadata={
            "description": "Length of the longer side in pixels. An image is never enlarged.",
            "example": 256,
        },
    )

    @validates_schema
    def one_window(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse a window of the caller's beside one of the file's."""
        if data.get("window") is not None and data.get("voi") is not None:
            raise ValidationError("it cannot be combined with voi.", "window")


class Switch(fields.Boolean):
    """True or false of JSON: marshmallow's own takes 1 and "yes" too."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:  # noqa: ARG002 - as above
        if not isinstance(value, bool):
            raise ValidationError("the value must be true or false.")
        return value


class Content(Schema):
    """The JSON body of a request; an unknown field is refused, not ignored."""

    class Meta:
        """How marshmallow reads it."""

        unknown = RAISE

    def read(self, sent: Any) -> dict[str, Any]:
        """Return what was sent, checked and typed.

        Raises
        ------
        Invalid
            Where it is no object, or has a field that is unknown, missing or not what it says. The sentence does not
            repeat what was sent.
        """
        if not isinstance(sent, dict):
            raise Invalid("The body must be a JSON object.")
        if sent.keys() - self.fields.keys():
            raise Invalid(f"Unknown field. Use: {', '.join(self.fields)}.")
        try:
            return dict(self.load(sent))
        except ValidationError as error:
            name, messages = next(iter(error.messages_dict.items()))
            while isinstance(messages, dict):  # of one element of a list
                messages = next(iter(messages.values()))
            where = "" if name == "_schema" else f"Invalid {name}: "
            raise Invalid(f"{where}{messages[0]}") from None


MAX_CHOSEN = 10_000
MAX_ANSWERED = 1000


def _whole(low: int, high: int, description: str, example: int, **options: Any) -> fields.Integer:
    sentence = f"the value must be a whole number between {low} and {high:,}."
    return fields.Integer(
        strict=True,
        validate=validate.Range(low, high, error=sentence),
        error_messages={"invalid": sentence, "null": sentence},
        metadata={"description": description, "example": example},
        **options,
    )


def _text(low: int, high: int, description: str, **options: Any) -> fields.String:
    sentence = f"the value must have {low} to {high} characters."
    return fields.String(
        validate=validate.Length(low, high, error=sentence),
        error_messages={"invalid": "the value must be a text.", "null": "the value must be a text."},
        metadata={"description": description},
        **options,
    )


def _chosen(high: int, description: str) -> fields.List[str]:
    return fields.List(
        _text(1, 64, "A UID."),
        validate=validate.Length(1, high, error=f"the list must have 1 to {high:,} elements."),
        error_messages={"invalid": "the value must be a list.", "null": "the value must be a list."},
        metadata={"description": description},
    )


class ShareRequest(Content):
    """What a new share shows or takes, to whom it opens, and for how long."""

    studies = _chosen(100, "Study Instance UIDs: everything in these studies.")
    series = _chosen(500, "Series Instance UIDs: everything in these series.")
    instances = _chosen(MAX_CHOSEN, "Ids of instances, or SOP Instance UIDs, which mean all versions there are now.")
    upload = Switch(
        load_default=False,
        metadata={"description": "Whether the link lets put files in, and lets see nothing: an inbox."},
    )
    max_files = _whole(1, MAX_CHOSEN, "How many files may come by an inbox.", 500)
    max_bytes = _whole(1, 1 << 40, "How many bytes may come by an inbox.", 2 << 30)
    frozen = Switch(
        load_default=False,
        metadata={"description": "Whether what is added to the studies or series later stays out."},
    )
    expires_in = _whole(
        1, 1_000_000_000, "Seconds until the link ends; `MAX_SHARE_SECONDS` at most.", 604_800, required=True
    )
    max_opens = _whole(1, 1_000_000, "How often the link can be opened.", 5)
    passcode = _text(6, 128, "What whoever has the link must know beside it.")
    download = Switch(
        load_default=False,
        metadata={"description": "Whether original files may be downloaded, and not only looked at."},
    )
    label = _text(1, 200, "A note, which only the patient sees.")

    @validates_schema
    def one_choice(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse a share of nothing, and of several kinds of things."""
        bounds = ("max_files" in data) + ("max_bytes" in data)
        if sum(name in data for name in ("studies", "series", "instances")) != (0 if data["upload"] else 1):
            raise ValidationError(
                "Name what is shared: one of studies, series and instances. An inbox (upload) names none of them."
            )
        if data["upload"] and (bounds < 2 or data["frozen"] or data["download"]):
            raise ValidationError(
                "An inbox (upload) needs max_files and max_bytes, and takes neither frozen nor download."
            )
        if bounds and not data["upload"]:
            raise ValidationError("Only an inbox, with upload, has max_files and max_bytes.")


class ChosenFiles(fields.Field[list[str] | str]):
    """The word ``all``, or ids."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str] | str:  # noqa: ARG002 - as above
        if value == "all":
            return "all"
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_ANSWERED:
            raise ValidationError(f"the value must be all, or a list of 1 to {MAX_ANSWERED:,} ids.")
        if not all(isinstance(each, str) and len(each) <= 64 for each in value):
            raise ValidationError("an id is a text.")
        return value


class AnswerRequest(Content):
    """What becomes of files that came by an inbox."""

    files = ChosenFiles(
        required=True,
        metadata={
            "description": "The word `all`, or ids of files in the inbox.",
            "anyOf": [
                {"const": "all"},
                {"type": "array", "minItems": 1, "maxItems": MAX_ANSWERED, "items": {"type": "string"}},
            ],
        },
    )
    decline = Switch(load_default=False, metadata={"description": "Whether they are deleted, and not accepted."})


class SessionRequest(Content):
    """What opens a link."""

    secret = _text(1, 256, "What stands behind the `#` of the link.", required=True)
    passcode = _text(1, 128, "The passcode, if the link needs one.")


class Answer(Schema):
    """The JSON body of a response; it has these fields and no others."""

    class Meta:
        """How marshmallow reads them."""

        unknown = RAISE


class ProblemSchema(Answer):
    """A problem (RFC 9457)."""

    type = fields.Constant("about:blank", required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True, strict=True)
    code = fields.String(required=True)
    detail = fields.String(required=True)
    request_id = fields.String(required=True)


class ExtractionSchema(Answer):
    """The state of a file's tag extraction."""

    state = fields.String(required=True, validate=validate.OneOf(["pending", "done", "failed"]))
    version = fields.Integer(required=True, allow_none=True)
    at = fields.AwareDateTime(required=True, allow_none=True)
    attempts = fields.Integer(required=True)
    error = fields.String(required=True, allow_none=True)


class Warning_(Answer):  # noqa: N801 - `Warning` is Python's own
    """A warning about a file."""

    path = fields.String(required=True, allow_none=True)
    problem = fields.String(required=True)


class InstanceSummary(Answer):
    """One instance in a list."""

    dicom_id = fields.UUID(required=True)
    file_name = fields.String(required=True, allow_none=True)
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
    extraction = fields.Nested(ExtractionSchema, required=True)
    inbox = fields.UUID(
        metadata={"description": "The inbox in which it waits to be accepted. Only such files have it."}
    )


class InstanceSchema(InstanceSummary):
    """Everything the service knows about an instance, apart from its tags."""

    warnings = fields.List(fields.Nested(Warning_), required=True)


class StorageUse(Answer):
    """How much a patient's files take."""

    used_bytes = fields.Integer(required=True, validate=validate.Range(min=0))
    allowed_bytes = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "What all files of a patient may take (`MAX_PATIENT_BYTES`); null without a limit."},
    )


class InstanceList(Answer):
    """A page of a patient's instances, newest first."""

    instances = fields.List(fields.Nested(InstanceSummary), required=True)
    storage = fields.Nested(
        StorageUse,
        required=True,
        allow_none=True,
        metadata={"description": "Null for a caller who may see only a part of what the patient has."},
    )
    total = fields.Integer(metadata={"description": "How many there are on all pages, with `count=true`."})


class SearchHit(InstanceSummary):
    """An instance that matches a search."""

    fields_ = fields.Dict(
        keys=fields.String(), values=fields.Raw(allow_none=True), data_key="fields", attribute="fields"
    )


class HitList(Answer):
    """A page of search results."""

    instances = fields.List(fields.Nested(SearchHit), required=True)
    storage = fields.Nested(
        StorageUse,
        required=True,
        allow_none=True,
        metadata={"description": "Null for a caller who may see only a part of what the patient has."},
    )
    incomplete = fields.Boolean(required=True)
    total = fields.Integer(
        allow_none=True,
        metadata={"description": "How many hits there are on all pages, with `count=true`; null where `incomplete`."},
    )


class CatalogueEntry(Answer):
    """A path in a patient's files, and a summary of its values."""

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
        metadata={"description": "Null if the element has no keyword, as private elements do not."},
    )
    name = fields.String(required=True, allow_none=True)
    vr = fields.String(required=True, validate=validate.Regexp(r"[A-Z]{2}\Z"))
    vm = fields.Integer(
        required=True, validate=validate.Range(min=0), metadata={"description": "Number of values; 1 for a sequence."}
    )
    value = fields.Raw(
        required=True,
        allow_none=True,
        metadata={
            "description": "A scalar for one value, a list for several, null for none. The value of a sequence is a "
            "list of items, each of them a list of elements.",
            "anyOf": [
                {"type": ["string", "number", "null"]},
                {"type": "array", "items": {"type": ["string", "number", "null"]}},
                {"type": "array", "items": {"type": "array", "items": {"$ref": "#/components/schemas/Tag"}}},
            ],
        },
    )
    creator = fields.String(allow_none=True, metadata={"description": "Private creator of a private element."})
    raw = fields.String(metadata={"description": "The file's own text or bytes, if the value does not preserve them."})
    raw_encoding = fields.Constant("base64")
    problem = fields.String(metadata={"description": "Why the element could not be converted."})
    encoding = fields.Constant(
        "base64",
        metadata={"description": "Present if the value, or `raw` where the value is null, is bytes in base64."},
    )
    length = fields.Integer(metadata={"description": "Length in bytes of a value that is not shown."})
    spilled = fields.Boolean(
        metadata={
            "description": "True if the element is too large for one document; only the original file contains it."
        }
    )
    items = fields.Integer(metadata={"description": "Number of items of a sequence that is not shown."})

    @validates_schema
    def items_are_tags(self, data: dict[str, Any], **_: Any) -> None:
        """Hold the items of a sequence to the same schema."""
        if data.get("vr") == "SQ":
            for item in data["value"] or []:
                Tag(many=True).load(item)


class Deleted(Answer):
    """A delete whose bytes are not all removed yet."""

    deleted = fields.Integer(required=True, metadata={"description": "Instances that were deleted."})
    left = fields.Integer(required=True, metadata={"description": "Those of them whose bytes are still being removed."})


class InboxUse(Answer):
    """How much may come by an inbox, and how much has come, or is coming."""

    max_files = fields.Integer(required=True)
    max_bytes = fields.Integer(required=True)
    files = fields.Integer(required=True)
    bytes = fields.Integer(required=True)


class ShareSummary(Answer):
    """A share, as its patient sees it."""

    share_id = fields.UUID(required=True)
    state = fields.String(
        required=True,
        validate=validate.OneOf(["open", "used-up", "expired", "revoked", "closed"]),
        metadata={"description": "`closed`: after ten wrong passcodes."},
    )
    studies = fields.List(fields.String(), required=True, allow_none=True)
    series = fields.List(fields.String(), required=True, allow_none=True)
    instances = fields.Integer(
        required=True, allow_none=True, metadata={"description": "How many instances it is fixed to, if it is."}
    )
    frozen = fields.Boolean(required=True)
    download = fields.Boolean(required=True)
    inbox = fields.Nested(
        InboxUse,
        required=True,
        allow_none=True,
        metadata={"description": "Null where it lets see, and takes no files."},
    )
    has_passcode = fields.Boolean(required=True)
    label = fields.String(required=True, allow_none=True)
    made_at = fields.AwareDateTime(required=True)
    made_by = fields.Dict(
        keys=fields.String(),
        values=fields.String(allow_none=True),
        required=True,
        metadata={"description": "`sub` and `jti` of the token that it was made with."},
    )
    expires_at = fields.AwareDateTime(required=True)
    ended_at = fields.AwareDateTime(required=True, allow_none=True)
    max_opens = fields.Integer(required=True, allow_none=True)
    opens = fields.Integer(required=True)
    opened_at = fields.AwareDateTime(required=True, allow_none=True)
    wrong_passcodes = fields.Integer(required=True)


class WaitingFile(Answer):
    """A file that came by an inbox, and is neither accepted nor declined."""

    inbox_id = fields.UUID(required=True)
    file_name = fields.String(required=True, allow_none=True)
    size = fields.Integer(required=True)
    received_at = fields.AwareDateTime(required=True)
    study_instance_uid = fields.String(required=True, allow_none=True)
    series_instance_uid = fields.String(required=True, allow_none=True)
    sop_instance_uid = fields.String(required=True, allow_none=True)
    state = fields.String(required=True, validate=validate.OneOf(["pending", "done", "failed"]))


class ShareUse(Answer):
    """A line of the audit: what was done about a share, or by it."""

    at = fields.AwareDateTime(required=True)
    action = fields.String(required=True)
    outcome = fields.String(required=True, validate=validate.OneOf(["intended", "done", "denied", "failed"]))
    status = fields.Integer(required=True, allow_none=True)
    by = fields.String(
        required=True,
        validate=validate.OneOf(["link", "token", "operator"]),
        metadata={
            "description": "`link`: whoever has the link; `token`: a token of the patient's; `operator`: a command."
        },
    )
    dicom_ids = fields.List(
        fields.UUID(), required=True, validate=validate.Length(max=10), metadata={"description": "The first ten."}
    )
    instances = fields.Integer(required=True, metadata={"description": "How many instances it was about."})


class ShareSchema(ShareSummary):
    """A share with the instances that it is fixed to, what came by it, and what was done by it."""

    dicom_ids = fields.List(fields.UUID(), required=True, allow_none=True)
    files = fields.List(
        fields.Nested(WaitingFile), required=True, metadata={"description": "What waits in an inbox, newest first."}
    )
    accepted = fields.Integer(required=True, metadata={"description": "How many files of an inbox were accepted."})
    declined = fields.Integer(required=True, metadata={"description": "How many were declined."})
    audit = fields.List(fields.Nested(ShareUse), required=True, metadata={"description": "Newest first."})


class AnsweredFiles(Answer):
    """What became of files that came by an inbox."""

    accepted = fields.Dict(
        keys=fields.UUID(),
        values=fields.UUID(),
        required=True,
        metadata={"description": "By the ids in the inbox, the ids under which they are the patient's own now."},
    )
    declined = fields.List(fields.UUID(), required=True)
    left = fields.Integer(
        required=True,
        validate=validate.Range(min=0),
        metadata={"description": "How many that were meant are not answered yet: send the request again."},
    )


class ShareMade(ShareSummary):
    """A new share with its link, which is shown this once."""

    link = fields.String(required=True)
    qr = fields.String(required=True, metadata={"description": "The link as a QR code: a picture in SVG."})


class ShareList(Answer):
    """A page of a patient's shares, newest first."""

    shares = fields.List(fields.Nested(ShareSummary), required=True)


class InboxBounds(Answer):
    """How much may come by an inbox in all."""

    max_files = fields.Integer(required=True)
    max_bytes = fields.Integer(required=True)


class SharedView(Answer):
    """What a session may see: these studies or series, or so many instances."""

    studies = fields.List(fields.String(), required=True, allow_none=True)
    series = fields.List(fields.String(), required=True, allow_none=True)
    instances = fields.Integer(required=True, allow_none=True)


class ShareSessionSchema(Answer):
    """A session of a share."""

    access_token = fields.String(required=True)
    expires_in = fields.Integer(required=True)
    patient_id = fields.String(required=True)
    visible = fields.Nested(SharedView, required=True)
    download = fields.Boolean(required=True)
    inbox = fields.Nested(
        InboxBounds,
        required=True,
        allow_none=True,
        metadata={"description": "How much may come in all, where the link takes files and shows nothing."},
    )


class Token(Answer):
    """A token issued in development mode."""

    access_token = fields.String(required=True)
    expires_in = fields.Integer(required=True)


class Health(Answer):
    """The service is running."""

    status = fields.Constant("ok", required=True)


class Readiness(Health):
    """The service is ready to work."""

    missing_indexes = fields.List(
        fields.String(),
        metadata={"description": "Missing indexes, without which searches are slow; `scripts/migrate.py` builds them."},
    )
