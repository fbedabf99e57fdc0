"""POST /patient/{patient_id}/dicom: one file or one ZIP of files, as a form or as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
from aiohttp import hdrs, web

from schemas.http import UploadParameters
from service.errors import Invalid, TooLarge, UnsupportedMediaType
from service.usecases import inboxes, ingest
from service.usecases.unpacking import PersonCheck, read_person
from service.web import bodies
from service.web.app_keys import CALLER, CONTEXT, DICOM_IDS
from service.web.field_values import parse_list, parse_parameters
from service.web.file_names import kept_name
from service.web.links import reference
from service.web.multipart import MultipartParser, Part, boundary_of, file_name_of
from service.web.negotiation import DICOM
from service.web.zip_uploads import ZIP_TYPES, upload_zip

UPLOAD_PARAMETERS = UploadParameters()

FILE_TYPES = frozenset({DICOM, "application/octet-stream"})
"""What a form's file may say it is; it may also say nothing."""

FORM_BYTES = 1 << 20
"""What a form may have around its file, in bytes."""


async def upload(request: web.Request) -> web.StreamResponse:
    """Store the file of the body, and answer with its id as a JSON string; of a ZIP, with a line for each member."""
    expected = UPLOAD_PARAMETERS.read(request.query.items())["expect_patient_id"]
    media_type = parse_parameters(request.headers.get(hdrs.CONTENT_TYPE, ""))[0]
    size = _declared(request) if media_type == DICOM else 0
    async with inboxes.opened(request.app[CONTEXT], request[CALLER].inbox, size) as inbox:
        return await _upload(request, media_type, expected, inbox)


async def _upload(
    request: web.Request, media_type: str, expected: str | None, inbox: inboxes.InboxUpload | None
) -> web.StreamResponse:
    context = request.app[CONTEXT]
    settings = context.settings
    if media_type in ZIP_TYPES:
        body = bodies.iter_body(request, settings.max_store_bytes, settings.body_timeout, settings.min_rate)
        return await upload_zip(request, body, expected, inbox)
    if media_type == DICOM:
        file_name = kept_name(file_name_of(request.headers.get(hdrs.CONTENT_DISPOSITION, "")))
        chunks = bodies.iter_body(request, settings.max_upload_bytes, settings.body_timeout, settings.min_rate)
    elif media_type == "multipart/form-data":
        most = max(settings.max_upload_bytes, settings.max_store_bytes) + FORM_BYTES
        body = bodies.iter_body(request, most, settings.body_timeout, settings.min_rate)
        form = MultipartParser(body, boundary_of(request.headers[hdrs.CONTENT_TYPE]))
        part = await _first_file(form)
        file_name, chunks = kept_name(part.file_name), _only_file(form, part)
        if _is_zip(part):
            return await upload_zip(request, chunks, expected, inbox)
        if request.content_length is not None and request.content_length > settings.max_upload_bytes + FORM_BYTES:
            raise TooLarge(f"An upload may have at most {settings.max_upload_bytes} bytes.")
        if inbox is not None:
            await inbox.take(1, max(_declared(request) - FORM_BYTES, 0))
    else:
        raise UnsupportedMediaType(f"The body must be multipart/form-data with one file, {DICOM} or application/zip.")
    check = PersonCheck(expected)
    stored = await ingest.store_upload(
        context,
        request[CALLER].patient_id,
        file_name,
        chunks,
        respond_async=prefers_async(request.headers.getall("Prefer", ())),
        inspect=check.inspect,
        inbox=inbox,
    )
    if inbox is None and expected is not None and check.person is None:  # it was there, and was not looked at
        check.take(await read_person(context, request[CALLER].patient_id, stored.dicom_id))
    request[DICOM_IDS] = (stored.dicom_id,)
    return _answer(request, stored)


def _answer(request: web.Request, stored: ingest.Stored) -> web.Response:
    pending = stored.state == "pending"
    response = web.Response(
        status=202 if pending else 200, body=orjson.dumps(stored.dicom_id), content_type="application/json"
    )
    if request[CALLER].inbox is None:  # who puts files into an inbox reads none of them
        response.headers[hdrs.LOCATION] = reference(request, f"{request.rel_url.raw_path}/{stored.dicom_id}")
    if pending and prefers_async(request.headers.getall("Prefer", ())):
        response.headers["Preference-Applied"] = "respond-async"
    if stored.truncated_at is not None:
        response.headers.add(
            "Warning", f'299 - "The file is truncated: it ends within an element, at byte {stored.truncated_at}."'
        )
    if stored.problems:
        elements = "1 element" if stored.problems == 1 else f"{stored.problems} elements"
        response.headers.add("Warning", f'299 - "{elements} could not be converted."')
    return response


def _declared(request: web.Request) -> int:
    """Return how many bytes a body says that it has; 0 where it does not say, or is refused for them."""
    length = request.content_length or 0
    return length if length <= request.app[CONTEXT].settings.max_upload_bytes + FORM_BYTES else 0


def prefers_async(values: list[str] | tuple[str, ...]) -> bool:
    """Return whether `Prefer` (RFC 7240) asks for an answer before the work is done."""
    return any(preference == "respond-async" for preference, _ in parse_list(", ".join(values)))


async def _first_file(form: MultipartParser) -> Part:
    """Return the form's file; fields before it that are no files are passed over."""
    while (part := await form.next_part()) is not None:
        if _is_file(part):
            if part.content_type is not None and part.content_type not in FILE_TYPES | ZIP_TYPES:
                raise UnsupportedMediaType(
                    f"The type of the file in the form must be {DICOM}, application/zip or application/octet-stream, "
                    "or absent."
                )
            if part.headers.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
                raise UnsupportedMediaType("The file in the form must not have a transfer encoding.")
            if "content-encoding" in part.headers:
                raise UnsupportedMediaType("The file in the form must not have a Content-Encoding.")
            return part
    raise Invalid("The form has no file. Send one, for example with curl -F 'body=@CT.dcm;type=application/dicom'.")


async def _only_file(form: MultipartParser, part: Part) -> AsyncIterator[bytes]:
    """Return the file's pieces; its end is told only when the form has ended and had no other file."""
    async for piece in part.content:
        yield piece
    while (other := await form.next_part()) is not None:
        if _is_file(other):
            raise Invalid("The form has more than one file. Send one at a time.")


def _is_file(part: Part) -> bool:
    return part.file_name is not None or part.content_type in FILE_TYPES | ZIP_TYPES


def _is_zip(part: Part) -> bool:
    """Return whether a part is a ZIP: by its type, or by its name where the type says nothing."""
    if part.content_type in ZIP_TYPES:
        return True
    return part.content_type != DICOM and (part.file_name or "").lower().endswith(".zip")
