"""The client that openapi-python-client writes from the document: it can be imported, lists files and reads tags."""

import importlib
import json
import pkgutil
import subprocess
import sys
import uuid

import pytest

from service.settings import Settings
from service.web.openapi.document import create_document
from service.web.routes import all_routes
from tests.web.openapi.asking import PATIENT, PLACEHOLDERS

NAME = "generated_dicom_client"


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """The package, imported whole."""
    folder = tmp_path_factory.mktemp("client")
    document = folder / "openapi.json"
    document.write_text(json.dumps(create_document(all_routes(Settings(dev_mode=True)))), "utf-8")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    command += ["--path", str(document), "--output-path", str(folder / NAME)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        package = importlib.import_module(NAME)
        for module in pkgutil.walk_packages(package.__path__, f"{NAME}."):
            importlib.import_module(module.name)
        yield lambda path: importlib.import_module(f"{NAME}.{path}")
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]


@pytest.fixture
def client(generated, service):
    """A client with a token for the patient."""
    made = generated("client").AuthenticatedClient(
        service.url, service.token(PATIENT), prefix="", auth_header_name="access-token"
    )
    with made:
        yield made


def test_it_lists_a_patients_files(generated, client, stored):
    listed = generated("api.files.list_instances").sync(PATIENT, client=client)
    names = {str(each.dicom_id): each.file_name for each in listed.instances}  # others may store files here too
    assert {names[dicom_id] for dicom_id in stored.values()} == {"unnamed.dcm"}


def test_it_reads_a_tag_and_all_tags(generated, client, stored):
    dicom_id = uuid.UUID(stored[PLACEHOLDERS[0]])
    tag = generated("api.tags.get_tag").sync(PATIENT, dicom_id, "Modality", client=client)
    assert (tag.keyword, tag.vr, tag.vm, tag.value) == ("Modality", "CS", 1, "CT")
    assert not tag.spilled
    tags = generated("api.tags.get_tags").sync(PATIENT, dicom_id, client=client)
    assert "Modality" in {each.keyword for each in tags}


def test_a_refusal_is_a_problem(generated, client):
    problem = generated("api.tags.get_tag").sync(PATIENT, uuid.UUID(int=7), "Modality", client=client)
    assert (problem.status, problem.code) == (404, "not-found")


def test_a_value_that_is_not_shown_says_so_as_a_boolean(generated):
    tag = generated("models.tag").Tag
    told = {"tag": "00280010", "group_id": "0028", "element_id": "0010", "vr": "UT", "vm": 1, "value": None}
    made = tag.from_dict({**told, "keyword": None, "name": None, "spilled": True, "length": 5})
    assert made.spilled is True
    assert made.to_dict()["spilled"] is True
