"""The Postman collection that the service was built to, run by newman as Postman runs it.

The collection has no assertions, and as it was exported it uploads nothing: the answers are looked at here.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

COLLECTION = Path(__file__).with_name("original.postman_collection.json")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def run_folder(newman, collection, folder, environment, report):
    """Run one folder; newman leaves the environment, as the requests' scripts have changed it, in the same file."""
    command = [newman, "run", collection, "--folder", folder, "--environment", environment]
    command += ["--export-environment", environment, "--reporters", "json", "--reporter-json-export", report]
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "HOME": str(report.parent)},
        capture_output=True,
        timeout=120,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    run = json.loads(report.read_text())["run"]
    assert run["failures"] == [], run["failures"]
    return {execution["item"]["name"]: execution["response"] for execution in run["executions"]}


@pytest.fixture(scope="module")
def answers(newman, service, tmp_path_factory):
    folder = tmp_path_factory.mktemp("newman")
    environment = folder / "environment.json"
    values = {"server": service.url, "patient_id": "p-17", "dcm_id": "", "auth_token": ""}
    environment.write_text(
        json.dumps({"name": "test", "values": [{"key": key, "value": value} for key, value in values.items()]})
    )
    # The one thing that a person does by hand in Postman: choose the file.
    collection = json.loads(COLLECTION.read_text())
    post = collection["item"][0]["item"][0]
    assert post["name"] == "Post dcm"
    post["request"]["body"]["formdata"][0]["src"] = str(get_testdata_file("CT_small.dcm", download=False))
    chosen = folder / "collection.json"
    chosen.write_text(json.dumps(collection))
    first = run_folder(newman, chosen, "Auth", environment, folder / "auth.json")
    return first | run_folder(newman, chosen, "Dicom", environment, folder / "dicom.json")


def body_of(response):
    return bytes(response["stream"]["data"])


def test_every_request_is_answered_with_200(answers):
    codes = {name: response["code"] for name, response in answers.items()}
    assert codes == {"Get Access Token": 200, "Post dcm": 200, "Get tag": 200, "Get File": 200}


def test_the_upload_answers_with_an_id(answers):
    assert UUID.fullmatch(json.loads(body_of(answers["Post dcm"])))


def test_the_tag_is_the_one_of_the_file(answers):
    tag = json.loads(body_of(answers["Get tag"]))
    assert (tag["group_id"], tag["element_id"], tag["vr"], tag["value"]) == ("0008", "0005", "CS", "ISO_IR 100")


def test_the_file_comes_as_a_picture(answers):
    picture = body_of(answers["Get File"])
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(picture[16:20], "big") == int.from_bytes(picture[20:24], "big") == 128
