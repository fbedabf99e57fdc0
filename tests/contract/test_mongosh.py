"""The queries of README and docs/analysis.md, run by mongosh on the database of a running service."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from service.storage.local.database import find_running

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [(ROOT / page).read_text("utf-8") for page in ("README.md", "docs/analysis.md")]
QUERIES = list(dict.fromkeys(re.findall(r"^```js\n(.*?)^```$", "\n".join(PAGES), re.MULTILINE | re.DOTALL)))
FILES = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "examples_rgb_color.dcm", "JPEG2000.dcm", "waveform_ecg.dcm")


@pytest.fixture(scope="module")
def database(service):
    for name in FILES:
        service.upload(Path(str(get_testdata_file(name, download=False))).read_bytes(), "p-17")
    gone = service.upload(Path(str(get_testdata_file("MR_small_RLE.dcm", download=False))).read_bytes(), "p-17")
    assert service.request("DELETE", f"/patient/p-17/dicom/{gone}", patient="p-17")[0] == 204
    time.sleep(1)  # the audit is written soon after the answer
    uri = find_running(Path(service.process.cmdline()[service.process.cmdline().index("--data-dir") + 1]))
    assert uri is not None, "a script beside the service does not find its database"
    printed = re.findall(r'mongosh "(.*)"', service.log.read_text())
    assert printed == [uri.partition("/?")[0] + "/dicom"]
    return printed[0]


def ask(mongosh, database, query, home):
    return subprocess.run(
        [mongosh, "--quiet", "--norc", database, "--eval", query],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )


def test_there_are_queries_of_files_and_of_the_audit():
    assert len(QUERIES) >= 6
    assert all("```js" in page for page in PAGES)
    assert sum("db.audit" in query for query in QUERIES) == 3


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_finds_something(query, mongosh, database, tmp_path):
    done = ask(mongosh, database, query, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() not in {"", "null", "[]", "0"}


def test_a_tag_is_found_by_its_typed_value(mongosh, database, tmp_path):
    query = (
        'db.tag_index.countDocuments({"tags.Modality": "CT", "tags.SliceThickness": {$elemMatch: {$gt: 4, $lt: 6}}})'
    )
    assert ask(mongosh, database, query, tmp_path).stdout.strip() == "1"


def catalogue(mongosh, database, home, options):
    done = subprocess.run(
        [mongosh, "--quiet", "--norc", database, "--eval", f"var options = {options}", "scripts/catalogue.js"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {row["path"]: row for row in map(json.loads, done.stdout.splitlines())}, done.stderr


def test_the_catalogue_of_all_patients_says_what_that_of_each_says(mongosh, database, service, tmp_path):
    status, _, body = service.request("GET", "/patient/p-17/tags?limit=1000", patient="p-17")
    assert status == 200
    expected = {row["path"].replace(".", "/"): row for row in json.loads(body)["tags"]}
    rows, progress = catalogue(mongosh, database, tmp_path, "{}")
    assert set(rows) == set(expected)
    assert list(rows) == sorted(rows)
    assert f"{len(FILES)} files" in progress
    for path, row in rows.items():
        there = expected[path]
        assert set(row["vrs"]) <= set(there["vrs"])
        for name in ("files", "more_values", "min", "max"):
            assert row[name] == there[name], path
        if not row["more_values"]:
            assert sorted(row["values"], key=str) == sorted(there["values"], key=str)


def test_the_catalogue_is_narrowed_by_options(mongosh, database, tmp_path):
    rows, _ = catalogue(mongosh, database, tmp_path, '{patient: "p-17", prefix: "M", limit: 2}')
    assert rows["Modality"]["files"] == 2
    assert all(path.startswith("M") for path in rows)
