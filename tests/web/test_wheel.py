"""The main job over a real socket: every readable file of pydicom's wheel goes in, and comes back byte for byte."""

import hashlib
import json
import warnings
from pathlib import Path

import pydicom
import pytest
from jsonschema import Draft202012Validator
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from schemas.http import Tag
from service.settings import Settings
from service.web.openapi.document import create_document
from service.web.routes import all_routes
from tests.web.service import MAX_UPLOAD_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="session")

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"


def read(path):
    """What pydicom makes of a file; it warns of much that is strange in them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(path)


DOCUMENT = create_document(all_routes(Settings()))


def shape_of(name):
    """A validator of one schema of the OpenAPI document."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", **DOCUMENT})


def readable():
    for path in sorted(FOLDER.rglob("*.dcm")):
        try:
            read(path)
        except (InvalidDicomError, OSError, ValueError, KeyError, NotImplementedError):
            continue
        if path.stat().st_size <= MAX_UPLOAD_BYTES:
            yield path


FILES = list(readable())


async def test_there_are_files():
    assert len(FILES) >= 70


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_a_file_comes_back_and_each_of_its_tags_can_be_asked_by_hex(service, patient, file):
    content = file.read_bytes()
    answer = await service.upload(patient, content, name=file.name)
    assert answer.status == 200, answer.body
    path = answer.headers["Location"]
    original = await service.ask("GET", path, patient=patient)
    assert hashlib.sha256(original.body).digest() == hashlib.sha256(content).digest()
    dataset = read(file)
    tags = [*dataset.file_meta.keys(), *dataset.keys()]
    everything = {each["tag"]: each for each in (await service.ask("GET", f"{path}/tags", patient=patient)).json()}
    # Each is asked for by itself in a few files; everywhere they are held to the list of all, which is made otherwise.
    for tag in tags:
        assert f"{tag:08X}" in everything
    for tag in tags[:: max(1, len(tags) // 12)]:
        one = await service.ask("GET", f"{path}/tag/{tag:08X}", patient=patient)
        assert one.status == 200, f"{tag:08X}"
        assert Tag().validate(one.json()) == {}
        assert one.json() == everything[f"{tag:08X}"]
    model = await service.ask("GET", f"{path}/tags", patient=patient, headers={"Accept": "application/dicom+json"})
    assert len(json.loads(model.body)) == 1
    # The shapes of the OpenAPI document, on all that real files have.
    shape_of("DicomJson").validate(model.json())
    shape = shape_of("Tag")
    for each in everything.values():
        shape.validate(each)


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "examples_ybr_color.dcm", "reportsi.dcm"]
)
async def test_every_top_level_tag_by_hex(service, patient, name):
    file = FOLDER / name
    path = (await service.upload(patient, file.read_bytes())).headers["Location"]
    dataset = read(file)
    for tag in [*dataset.file_meta.keys(), *dataset.keys()]:
        one = await service.ask("GET", f"{path}/tag/{tag:08x}", patient=patient)
        assert one.status == 200, f"{tag:08X}"
        assert Tag().validate(one.json()) == {}
