"""The service as a process: what it finds again, what it leaves behind, what it takes."""

import hashlib
import json
import re
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid
from pymongo import MongoClient

from service.storage.local.database import find_running
from tests.running_service import ROOT, RunningService, wait_until_gone

WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"
NOT_DICOM = {
    "README",
    "README.txt",
    "crayons.icc",
    "rtplan.dump",
    "rtstruct.dump",
    "test1.json",
    "test_PN.json",
    "zipMR.gz",
}
# It lacks its first byte: pydicom reads one element of nonsense in it, and the store reads all 258.
MISREAD_BY_PYDICOM = {"no_meta.dcm"}
SOME = (
    "CT_small.dcm",
    "ExplVR_BigEnd.dcm",
    "image_dfl.dcm",
    "priv_SQ.dcm",
    "MR_truncated.dcm",
    "DICOMDIR",
    "rtplan.dcm",
)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with RunningService(tmp_path_factory.mktemp("service") / "data") as running:
        yield running
        assert running.stop() == 0


def read_wheel(name):
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


def make_object(frames, rows=512, columns=512, sop_class=CTImageStorage):
    """Everything of a multi-frame object but its pixels, and how many bytes those take."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.PatientName, dataset.NumberOfFrames = "CT", "Made^Up", frames
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    return dataset, frames * rows * columns * 2


def make_file(frames, **options):
    dataset, length = make_object(frames, **options)
    pixels = np.random.default_rng(1).integers(0, 4096, length // 2, dtype="<u2")
    dataset.PixelData = pixels.tobytes()
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write_large_file(path, frames):
    """Write a multi-frame file without holding it: its header as pydicom writes it, then one frame after another."""
    dataset, length = make_object(frames, sop_class=EnhancedCTImageStorage)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    frame = np.random.default_rng(1).integers(0, 4096, length // frames // 2, dtype="<u2")
    digest = hashlib.sha256()
    with path.open("wb") as file:
        element = b"\xe0\x7f\x10\x00OW\x00\x00" + length.to_bytes(4, "little")
        pieces = [buffer.getvalue(), element, *(np.roll(frame, shift).tobytes() for shift in range(frames))]
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def test_a_restart_finds_everything_again_and_sigterm_leaves_nothing_behind(tmp_path):
    data, content = tmp_path / "data", read_wheel("CT_small.dcm")
    with RunningService(data) as first:
        dicom_id = first.upload(content)
        path = f"/patient/p-1/dicom/{dicom_id}"
        answers = [first.request("GET", f"{path}/tags"), first.request("GET", path, Accept="image/png")]
        family = first.family()
        assert len(family) >= 2  # the database, and the worker that rendered
        assert first.stop() == 0
        assert wait_until_gone(family) == []
    with RunningService(data) as second:
        assert second.request("GET", path, Accept="application/dicom")[2] == content
        again = [second.request("GET", f"{path}/tags"), second.request("GET", path, Accept="image/png")]
        assert [answer[2] for answer in again] == [answer[2] for answer in answers]
        assert second.upload(content) == dicom_id
        assert second.stop() == 0


def test_a_service_that_is_killed_leaves_no_process_behind_and_loses_nothing(tmp_path):
    data, content = tmp_path / "data", read_wheel("MR_small.dcm")
    with RunningService(data) as first:
        dicom_id = first.upload(content)
        assert first.request("GET", f"/patient/p-1/dicom/{dicom_id}", Accept="image/png")[0] == 200
        family = first.family()
        assert len(family) >= 2
        first.kill()
        assert wait_until_gone(family) == []
    with RunningService(data) as second:
        status, _, body = second.request("GET", f"/patient/p-1/dicom/{dicom_id}", Accept="application/dicom")
        assert (status, body) == (200, content)
        assert second.stop() == 0


def test_a_second_service_on_the_same_data_is_refused_with_a_sentence(service):
    arguments = service.process.cmdline()
    data = arguments[arguments.index("--data-dir") + 1]
    second = subprocess.run(
        [sys.executable, "-m", "service", "--dev", "--port", "0", "--data-dir", data],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode not in {0, -9}
    assert "Another service is using the data directory" in second.stderr
    assert "Traceback" not in second.stderr
    assert service.request("GET", "/readyz")[0] == 200


def test_it_prints_the_command_that_opens_a_shell_on_its_database(service):
    service.upload(read_wheel("CT_small.dcm"))
    (uri,) = re.findall(r'mongosh "(mongodb://127\.0\.0\.1:\d+/dicom)"', service.log.read_text())
    with MongoClient(uri, directConnection=True) as client:  # mongosh adds that by itself
        assert client.get_default_database().instances.count_documents({"dataset.Modality.Value": "CT"}) >= 1


@pytest.mark.parametrize("frames", [1, 12], ids=["held in memory", "spooled to disk"])
def test_ten_uploads_of_one_file_at_once_store_it_once(service, frames):
    patient, content = f"ten-{frames}", make_file(frames, rows=300, columns=400)
    service.token(patient)
    barrier = threading.Barrier(10)

    def upload(_):
        barrier.wait()
        return service.upload(content, patient)

    with ThreadPoolExecutor(10) as pool:
        identifiers = set(pool.map(upload, range(10)))
    assert len(identifiers) == 1
    arguments = service.process.cmdline()
    with MongoClient(find_running(Path(arguments[arguments.index("--data-dir") + 1]))) as client:
        database = client["dicom"]
        files = list(database["originals.files"].find({"metadata.patient_id": patient}))
        assert len(files) == 1
        named = {instance["original_id"] for instance in database["instances"].find({}, {"original_id": 1})}
        assert database["instances"].count_documents({"patient_id": patient}) == 1
        assert set(database["originals.chunks"].distinct("files_id")) <= named


def check_file(service, path, connection):
    """Upload a file, get it back, and ask for each of its top-level tags by hex."""
    content = path.read_bytes()
    status, _, body = service.request(
        "POST", "/patient/wheel/dicom", content, "wheel", connection, content_type="application/dicom"
    )
    if path.name in NOT_DICOM:
        assert status == 422, path.name
        return 0
    assert status == 200, (path.name, body)
    place = f"/patient/wheel/dicom/{json.loads(body)}"
    status, _, body = service.request("GET", place, None, "wheel", connection, content_type="application/dicom")
    assert status == 200, path.name
    assert hashlib.sha256(body).digest() == hashlib.sha256(content).digest(), path.name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # many of these files are there because something is wrong with them
        dataset = pydicom.dcmread(BytesIO(content), force=True)
    tags = [*dataset.keys(), *getattr(dataset, "file_meta", {}).keys()]
    if path.name in MISREAD_BY_PYDICOM:
        tags = [0x00080005, 0x00080018]
    for tag in tags:
        text = f"{int(tag):08x}"
        status, _, body = service.request("GET", f"{place}/tag/{quote(text)}", None, "wheel", connection)
        assert status == 200, (path.name, text, body)
        answer = json.loads(body)
        assert (answer["group_id"] + answer["element_id"]).lower() == text, path.name
    return len(tags)


@pytest.mark.parametrize("name", SOME)
def test_a_file_comes_back_byte_for_byte_and_answers_each_of_its_tags(service, name):
    path = next(path for path in WHEEL.rglob(name))
    with closing(service.connect()) as connection:
        assert check_file(service, path, connection) > 3


@pytest.mark.long
def test_every_file_of_pydicoms_wheel_comes_back_byte_for_byte_and_answers_each_of_its_tags(service):
    files = sorted(path for path in WHEEL.rglob("*") if path.is_file())
    tags, wrong = 0, []
    for path in files:
        try:
            with closing(service.connect()) as connection:
                tags += check_file(service, path, connection)
        except AssertionError as error:  # all of them are told, not the first alone
            wrong.append(str(error).splitlines()[0])
    print(f"{len(files)} files, {tags} tags")
    assert not wrong, "\n".join(wrong)
    assert len(files) > 80
    assert tags > 3000


def watch(service, stop, slowest, largest):
    """Until told to stop, note the slowest answer of /healthz and the most memory."""
    with closing(service.connect()) as connection:
        while not stop.wait(0.01):
            began = time.monotonic()
            assert service.request("GET", "/healthz", connection=connection)[0] == 200
            slowest.append(time.monotonic() - began)
            largest.append(service.memory())


@pytest.mark.long
def test_a_large_upload_takes_little_memory_and_lets_others_be_answered(service, tmp_path):
    path = tmp_path / "large.dcm"
    digest = write_large_file(path, frames=400)
    assert path.stat().st_size > 200 << 20
    # Idle is after the first work of every kind: the codecs are loaded, and the worker is there.
    small = service.upload(read_wheel("CT_small.dcm"))
    service.upload(make_file(6))
    assert service.request("GET", f"/patient/p-1/dicom/{small}", Accept="image/png")[0] == 200
    idle = service.memory()
    stop, slowest, largest = threading.Event(), [], [idle]
    watcher = threading.Thread(target=watch, args=(service, stop, slowest, largest))
    watcher.start()
    try:
        with path.open("rb") as body:
            length = str(path.stat().st_size)
            headers = {"content_type": "application/dicom", "content_length": length}
            status, _, answer = service.request("POST", "/patient/p-1/dicom", body, **headers)
        assert status == 200, answer
        place = f"/patient/p-1/dicom/{json.loads(answer)}"
        assert service.request("GET", f"{place}?frame=399", Accept="image/png")[0] == 200
        received = hashlib.sha256()
        with closing(service.connect()) as connection:
            headers = {"access-token": service.token("p-1"), "Accept": "application/dicom"}
            connection.request("GET", place, None, headers)
            response = connection.getresponse()
            while piece := response.read(1 << 20):
                received.update(piece)
        assert received.hexdigest() == digest
    finally:
        stop.set()
        watcher.join()
    print(f"memory {idle >> 20} -> {max(largest) >> 20} MiB; /healthz {max(slowest) * 1000:.0f} ms at most")
    assert max(largest) - idle < 100_000_000
    assert len(slowest) > 50
    assert max(slowest) < 0.1
