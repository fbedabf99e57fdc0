"""Originals leave a store as plain files and come into another one: the same ids, the same answers to every tag."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pydicom.data
import pytest

from service.commands.archive import DirectorySink
from service.resources import now, open_store
from service.usecases.context import Context
from service.workers.pool import WorkerPool
from tests.commands.running import content, environment, run, settings_of, summary
from tests.running_service import ROOT, RunningService

SUBSET = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "reportsi.dcm", "nested_priv_SQ.dcm", "liver_1frame.dcm")
LARGE = "color3d_jpeg_baseline.dcm"  # over 1 MiB: several chunks, spooled


def answers_of(service, ids):
    """The listing's facts, every tag and the bytes of each file."""
    found = {}
    for dicom_id, patient in ids.items():
        path = f"/patient/{patient}/dicom/{dicom_id}"
        status, _, tags = service.request("GET", f"{path}/tags", patient=patient)
        known = json.loads(service.request("GET", path, patient=patient, accept="application/json")[2])
        known["extraction"].pop("at", None)
        original = service.request("GET", path, patient=patient, accept="application/dicom")[2]
        found[dicom_id] = (status, json.loads(tags), known, original)
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A data directory with files of two patients, their answers, and an archive of it."""
    home = tmp_path_factory.mktemp("backup")
    with RunningService(home / "data") as service:
        files = [*SUBSET]
        if Path(str(pydicom.data.get_testdata_file(LARGE, download=False))).is_file():
            files.append(LARGE)
        ids = {service.upload(content(name), f"p-{number % 2}"): f"p-{number % 2}" for number, name in enumerate(files)}
        answers = answers_of(service, ids)
        status, told = summary("export_originals", home / "data", str(home / "archive"))
        assert (status, told["done"], told["failed"]) == (0, len(ids), 0), told
        service.stop()
    return home, ids, answers


def test_an_archive_in_an_empty_database_gives_the_same_answers_and_ids(source, tmp_path):
    home, ids, answers = source
    status, told = summary("import_originals", tmp_path / "data", str(home / "archive"), "--workers", "1")
    assert (status, told["done"], told["failed"], told["own_namespace"]) == (0, len(ids), 0, True), told
    with RunningService(tmp_path / "data") as service:
        assert answers_of(service, ids) == answers
        dicom_id, patient = next(iter(ids.items()))
        assert service.upload(answers[dicom_id][3], patient) == dicom_id
        status, told = summary("import_originals", tmp_path / "data", str(home / "archive"), "--workers", "1")
        assert (status, told["done"], told["present"]) == (0, 0, len(ids))
        service.stop()


@pytest.mark.long
def test_what_waits_in_an_inbox_waits_after_a_move_too_and_no_share_comes_along(tmp_path):
    def ask(service, method, path, body):
        answer = service.request(method, path, json.dumps(body), content_type="application/json")
        return answer[0], json.loads(answer[2])

    with RunningService(tmp_path / "here") as service:
        wanted = {"upload": True, "max_files": 2, "max_bytes": 1 << 20, "expires_in": 600}
        made = ask(service, "POST", "/patient/p-1/shares", wanted)[1]
        opened = ask(service, "POST", "/shares/session", {"secret": made["link"].rpartition("#")[2]})[1]
        body = content("CT_small.dcm")
        own = service.upload(body)
        path, sent = "/patient/p-1/dicom", {"content_type": "application/dicom", "access_token": opened["access_token"]}
        waits = json.loads(service.request("POST", path, body, **sent)[2])
        assert waits != own
        service.stop()
    summary("export_originals", tmp_path / "here", str(tmp_path / "archive"))
    status, told = summary("import_originals", tmp_path / "there", str(tmp_path / "archive"))
    assert (status, told["done"]) == (0, 2), told
    with RunningService(tmp_path / "there") as service:
        assert ask(service, "POST", "/shares/session", {"secret": made["link"].rpartition("#")[2]})[0] == 404
        study = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
        shared = ask(service, "POST", "/patient/p-1/shares", {"studies": [study], "frozen": True, "expires_in": 60})
        assert shared[1]["instances"] == 1
        path = f"/patient/p-1/shares/{made['share_id']}/accept"
        assert ask(service, "POST", path, {"files": "all"}) == (
            200,
            {"accepted": {waits: own}, "declined": [], "left": 0},
        )
        service.stop()


@pytest.mark.long
def test_a_stream_carries_a_store_into_one_with_files_of_its_own(source, tmp_path):
    home, ids, answers = source
    first, patient = next(iter(ids.items()))
    with RunningService(tmp_path / "data") as service:  # another namespace
        twin = service.upload(answers[first][3], patient)
        assert twin != first
        script = [sys.executable, str(ROOT / "scripts" / "export_originals.py"), "--tar", "-", "--quiet"]
        with subprocess.Popen(script, env=environment(home / "data"), stdout=subprocess.PIPE) as export:
            command = [sys.executable, str(ROOT / "scripts" / "import_originals.py"), "--tar", "-", "--json", "--quiet"]
            target = environment(tmp_path / "data")
            done = subprocess.run(command, env=target, stdin=export.stdout, capture_output=True, timeout=120)
        told = json.loads(done.stdout)
        assert (export.returncode, done.returncode) == (0, 0), done.stderr
        assert (told["done"], told["present"], told["own_namespace"]) == (len(ids) - 1, 1, False)
        rest = {dicom_id: patient for dicom_id, patient in ids.items() if dicom_id != first}
        assert answers_of(service, rest) == {dicom_id: answers[dicom_id] for dicom_id in rest}
        for dicom_id, patient in rest.items():  # it knows the other ids, and was not started again
            assert service.upload(answers[dicom_id][3], patient) == dicom_id
        assert service.upload(answers[first][3], ids[first]) == twin
        service.stop()


@pytest.mark.long
def test_every_file_of_the_wheel_has_the_same_answers_after_a_move_to_an_empty_database(tmp_path):
    folder = Path(pydicom.data.__file__).parent
    with RunningService(tmp_path / "here") as service:
        ids = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".py"):
            status, _, body = service.request(
                "POST", "/patient/p-1/dicom", path.read_bytes(), content_type="application/dicom"
            )
            assert status in {200, 422}
            if status == 200:
                ids[json.loads(body)] = "p-1"
        assert len(ids) > 150
        before = answers_of(service, ids)
        service.stop()
    status, told = summary("export_originals", tmp_path / "here", str(tmp_path / "archive"))
    assert (status, told["done"]) == (0, len(ids)), told
    status, told = summary("import_originals", tmp_path / "there", str(tmp_path / "archive"))
    assert (status, told["done"]) == (0, len(ids)), told
    with RunningService(tmp_path / "there") as service:
        after = answers_of(service, ids)
        elements = sum(len(tags) for _, tags, _, _ in after.values())
        print(f"{len(ids)} files, {elements} top-level elements, equal: {after == before}")
        assert after == before
        service.stop()


def test_damaged_missing_and_forged_files_are_refused_and_the_others_are_stored(source, tmp_path):
    home, ids, answers = source
    archive, good = tmp_path / "archive", sorted(ids)
    entries = {}
    for part in sorted((home / "archive" / "manifest").glob("0*.jsonl")):
        entries |= {json.loads(line)["dicom_id"]: json.loads(line) for line in part.read_text().splitlines()}
    (archive / "manifest").mkdir(parents=True)
    for part in ("head", "end"):
        (archive / f"manifest/{part}.jsonl").write_bytes((home / f"archive/manifest/{part}.jsonl").read_bytes())
    for dicom_id in good:
        path = archive / "originals" / dicom_id[:2] / f"{dicom_id}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(answers[dicom_id][3])
    damaged, lost, linked = good[:3]
    path = archive / "originals" / damaged[:2] / f"{damaged}.dcm"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (archive / "originals" / lost[:2] / f"{lost}.dcm").unlink()
    path = archive / "originals" / linked[:2] / f"{linked}.dcm"
    path.rename(tmp_path / "elsewhere.dcm")
    path.symlink_to(tmp_path / "elsewhere.dcm")
    forged = [{**entries[damaged], "dicom_id": "../../etc/passwd"}, {**entries[damaged], "sha256": "0"}]
    lines = [json.dumps(each) for each in (*entries.values(), *forged)]
    (archive / "manifest/000000.jsonl").write_text("\n".join([*lines, "{", "[]"]) + "\n")
    status, told = summary("import_originals", tmp_path / "data", str(archive), "--workers", "1")
    assert status == 1
    assert told["done"] == len(ids) - 3
    assert told["failed"] == 3 + 4
    named = {each["dicom_id"] for each in told["failures"]}
    assert {damaged, lost, linked} <= named


@pytest.mark.long
def test_a_tar_that_is_cut_says_so_and_the_next_import_goes_on(source, tmp_path):
    home, ids, _ = source
    whole = tmp_path / "whole.tar"
    assert run("export_originals", home / "data", "--tar", str(whole), "--quiet")[0] == 0
    with tarfile.open(whole) as archive:
        names = archive.getnames()
        third = archive.getmembers()[4].offset_data + 100
    assert all(name.startswith(("manifest/", "originals/")) for name in names)
    assert not any(patient in name for name in names for patient in ids.values())
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[:third])
    status, told = summary("import_originals", tmp_path / "data", "--tar", str(cut), "--workers", "1")
    assert (status, told["done"]) == (1, 2), told
    status, told = summary("import_originals", tmp_path / "data", "--tar", str(whole), "--workers", "1")
    assert (status, told["done"], told["present"], told["failed"]) == (0, len(ids) - 2, 2, 0), told


def test_a_tar_of_something_else_is_refused(tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("../../escape.dcm", "/absolute.dcm"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    (tmp_path / "other.tar").write_bytes(stream.getvalue())
    status, _, err = run("import_originals", tmp_path / "data", "--tar", str(tmp_path / "other.tar"), "--workers", "1")
    assert status == 1
    assert "not an archive of originals" in err
    assert not (tmp_path.parent / "escape.dcm").exists()


async def test_an_export_writes_only_what_is_not_there_and_names_a_damaged_original(source, tmp_path):
    from service.commands.backup import export_originals

    home, ids, _ = source
    settings = settings_of(home / "data")
    async with open_store(settings) as store:
        context = Context(store, WorkerPool(1), settings, now)
        assert (await export_originals(context, DirectorySink(tmp_path / "new" / "archive"))).done == len(ids)
        assert [path for path in tmp_path.rglob("*") if path.stat().st_mode & 0o077] == []
        tmp_path /= "new/archive"
        gone = next(tmp_path.glob("originals/*/*.dcm"))
        gone.unlink()
        again = await export_originals(context, DirectorySink(tmp_path))
        assert (again.done, again.present) == (1, len(ids) - 1)
        assert gone.stat().st_mode & 0o077 == 0
        gone.unlink()
        chunks = store._database["originals.chunks"]
        original = (await store.maintenance.find_by_id(gone.stem))["original_id"]
        chunk = await chunks.find_one({"files_id": original, "n": 0})
        await chunks.update_one({"_id": chunk["_id"]}, {"$set": {"data": b"x" + chunk["data"][1:]}})
        try:
            report = await export_originals(context, DirectorySink(tmp_path))
        finally:
            await chunks.replace_one({"_id": chunk["_id"]}, chunk)
        assert ([each["dicom_id"] for each in report.failures], gone.exists()) == ([gone.stem], False)


@pytest.mark.long
def test_every_file_of_the_wheel_answers_alike_after_export_and_import(tmp_path):
    folder = Path(pydicom.data.__file__).parent / "test_files"
    with RunningService(tmp_path / "data") as service:
        ids = {}
        for path in sorted(folder.rglob("*.dcm")):
            status, _, body = service.request(
                "POST", "/patient/p-1/dicom", path.read_bytes(), content_type="application/dicom"
            )
            if status == 200:
                ids[json.loads(body)] = "p-1"
        assert len(ids) > 50
        answers = answers_of(service, ids)
        service.stop()
    assert summary("export_originals", tmp_path / "data", "--tar", str(tmp_path / "a.tar"))[0] == 0
    status, told = summary("import_originals", tmp_path / "other", "--tar", str(tmp_path / "a.tar"))
    assert (status, told["done"]) == (0, len(ids)), told
    with RunningService(tmp_path / "other") as service:
        assert answers_of(service, ids) == answers
        service.stop()
