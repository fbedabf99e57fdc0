"""What a caller may make long is read in time that grows with its length, and no faster."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from schemas.http import CatalogueParameters, PictureParameters, SearchParameters
from service.dicom.paths import MAX_TEXT, parse_index_path, parse_search_path, parse_tag_path, split_paths
from service.errors import ServiceError
from service.settings import Settings
from service.web import file_names, middleware, multipart, search, tokens, uploads
from service.web.app_keys import SETTINGS
from service.web.conditional import Unsatisfiable, Validators, is_unchanged, requested_range
from service.web.dicomweb import frames, pictures, requests
from service.web.dicomweb.media_types import accept_of
from service.web.field_values import parse_list, parse_parameters
from service.web.instances import content_disposition
from service.web.negotiation import JSON, Offer, choose, choose_representation, takes_gzip
from service.web.path import check_patient_id, decode_segment

HERE = Validators('"abc"', datetime(2024, 5, 17, 12, 30, 15, tzinfo=UTC))
OFFERS = [Offer(JSON), Offer(JSON, multipart=True, transfer_syntaxes=frozenset({"1.2"}))]

LENGTH = 16_000
"""Twice what one header or the target of a request may have."""

GROWTH = 8
PIECES = [
    "a",
    "1",
    " ",
    "\r\n ",
    '"',
    '\\"',
    '"\\',
    '" "',
    "\\",
    ",",
    ", ",
    ";",
    "=",
    "'",
    "%",
    "%4",
    "/",
    ":",
    ".",
    "-",
    "(",
    "[1",
    "W/",
    'W/"',
    "a,",
    "1,",
    "0008,0060,",
    "a/b,",
    'a/b;x="',
    'a/b;x="\\",',
    ';a="',
    ';a="\\"',
    ";a=\\",
    "gzip;q=0,",
    "x:0009xx01.",
    "x:0009xx01",
    "%41:0009xx01",
    "(0008,0060).",
    "PatientName.",
    "PatientName[0].",
    "12:",
    "Mon, ",
    "é",
]
BEFORE = ("", '"', "bytes=1-", "a/b;q=", "Mon, 1 Jan ")
AFTER = ("", "!")


APP = web.Application()
APP[SETTINGS] = Settings()


def header(name):
    return lambda text: make_mocked_request("GET", "/patient/p/dicomweb/studies", {name: text}, app=APP)


def read_form(text):
    async def body():
        yield b"--x\r\nContent-Disposition: " + text.encode()[: multipart.MAX_HEADER_BYTES - 100] + b"\r\n\r\n--x--"

    async def read():
        parser = multipart.MultipartParser(body(), b"x")
        while (part := await parser.next_part()) is not None:
            part.file_name, part.content_type  # noqa: B018 - they are read when they are asked for

    asyncio.run(read())


READERS = {
    "a list": lambda text: list(parse_list(text)),
    "parameters": parse_parameters,
    "Accept": lambda text: choose(text, OFFERS),
    "Accept of an instance": lambda text: choose_representation(text, text),
    "Accept in a query": lambda text: accept_of(
        make_mocked_request("GET", "/").clone(rel_url="/?accept=" + text[:8000])
    ),
    "Accept-Encoding": lambda text: takes_gzip(header("Accept-Encoding")(text)),
    "Prefer": lambda text: uploads.prefers_async([text]),
    "boundary": multipart.boundary_of,
    "Content-Disposition": multipart.file_name_of,
    "a form": read_form,
    "file name kept": file_names.kept_name,
    "file name sent": lambda text: content_disposition("attachment", text),
    "If-None-Match": lambda text: is_unchanged(HERE, text, None),
    "If-Modified-Since": lambda text: is_unchanged(HERE, None, text),
    "Range": lambda text: requested_range(HERE, 100, text, None),
    "If-Range": lambda text: requested_range(HERE, 100, "bytes=0-1", text),
    "X-Forwarded-Proto": lambda text: requests.root_url(header("X-Forwarded-Proto")(text)),
    "X-Request-ID": lambda text: middleware.request_id_of(header("X-Request-ID")(text)),
    "Authorization": lambda text: middleware.find_token(header("Authorization")(text)),
    "Host": lambda text: middleware._HOST.fullmatch(text),
    "Host of a token": tokens._host_name,
    "patient id": lambda text: check_patient_id(decode_segment(text)),
    "fields": lambda text: search._fields([text]),
    "includefield": split_paths,
    "frame list": frames._LIST.fullmatch,
    "window of DICOMweb": pictures._window,
    "viewport": pictures._viewport,
    "window": lambda text: PictureParameters().read([("window", text)]),
    "orderby": lambda text: SearchParameters().read([("orderby", text), ("limit", text)]),
    "a name of a parameter": lambda text: CatalogueParameters().read([(text, "")]),
    "tag path": parse_tag_path,
    "index path": parse_index_path,
    "search path": parse_search_path,
}


def seconds(read, text):
    """The processor's time, which others on the machine take no part in."""
    begun = time.thread_time()
    with suppress(ServiceError, Unsatisfiable):
        read(text)
    return time.thread_time() - begun


@pytest.mark.parametrize("name", READERS)
def test_a_text_that_is_eight_times_as_long_takes_no_more_than_a_few_times_eight(name):
    read = READERS[name]
    length = MAX_TEXT if name.endswith(" path") else LENGTH
    for piece in PIECES:
        for before in BEFORE:
            for after in AFTER:
                text, longer = (
                    before + piece * ((size - len(before) - len(after)) // len(piece)) + after
                    for size in (length // GROWTH, length)
                )
                for _ in range(3):  # the first may have met a collection of garbage
                    taken = seconds(read, longer)
                    if taken < 0.002 or taken < 3 * GROWTH * seconds(read, text):
                        break
                else:
                    pytest.fail(f"{name}: {taken:.3f} s for {before!r} {piece!r} ... {after!r}")
