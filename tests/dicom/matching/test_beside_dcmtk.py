"""DCMTK's own archive as the judge of dates and times: what its findscu finds, this search finds."""

import itertools
import shutil
import socket
import subprocess
import time

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from service.dicom.extract import read_tree
from service.dicom.limits import Limits
from service.dicom.matching.conditions import Options
from service.dicom.matching.on_tree import matches
from service.dicom.matching.reading import read_conditions

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("dcmqrscp", "dcmqridx", "findscu"))), reason="DCMTK is not installed"
)

DATES = ["20210114", "20210115", "20210201"]
TIMES = ["00", "0000", "10", "1000", "1015", "101530", "101530.5", "23", "2359", "235959.999999"]
STARTS = ["000000", "1000", "101530.000000", "2300", ""]
ENDS = ["1015", "101530.999999", "235959.999999", ""]
SINGLE = ["00", "1000", "101530", "2359"]
AS_EXACT_AS_ITS_END = {"235959.999999", "101530.999999", ""}
"""Ends behind which nothing of the same precision lies: an end of a minute reaches here to the end of that minute."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The trees of files by their accession numbers, and what asks DCMTK for these by keys."""
    folder = tmp_path_factory.mktemp("dcmtk")
    database = folder / "database"
    database.mkdir()
    trees, files = {}, []
    for number, (date, moment) in enumerate(itertools.product(DATES, TIMES)):
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", f"1.2.3.{number}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.2.4.{number}", f"1.2.5.{number}"
        dataset.PatientID, dataset.PatientName, dataset.StudyID, dataset.Modality = "p", "Made^Up", "1", "OT"
        dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = date, moment, str(number)
        dataset.SeriesNumber = dataset.InstanceNumber = 1
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = folder / f"{number}.dcm"
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
        files.append(file)
        trees[str(number)] = read_tree(file.read_bytes(), Limits()).dataset
    subprocess.run(["dcmqridx", str(database), *map(str, files)], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nSTORE {database} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with subprocess.Popen(
        ["dcmqrscp", "-c", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            _wait_for(port)
            yield trees, lambda **keys: _find(port, folder, keys)
        finally:
            server.terminate()


def _wait_for(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("dcmqrscp does not listen")


def _find(port, folder, keys):
    """Accession numbers of the studies that DCMTK finds."""
    for left in folder.glob("rsp*.dcm"):
        left.unlink()
    asked = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "AccessionNumber": "", "StudyDate": "", **keys}
    arguments = [part for key, value in asked.items() for part in ("-k", f"{key}={value}")]
    subprocess.run(
        ["findscu", "-S", "-X", "-od", str(folder), "-aec", "STORE", *arguments, "127.0.0.1", str(port)],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return {str(pydicom.dcmread(found, force=True).AccessionNumber) for found in folder.glob("rsp*.dcm")}


def _ours(trees, **keys):
    conditions = read_conditions(keys.items(), Options(standard=True))
    return {number for number, tree in trees.items() if matches(tree, conditions)}


def test_a_range_of_times_finds_what_dcmtk_finds(archive):
    trees, ask = archive
    equal = 0
    for first, last in itertools.product(STARTS, ENDS):
        if not (first or last) or (first and last and first > last):
            continue
        theirs, ours = ask(StudyTime=f"{first}-{last}"), _ours(trees, StudyTime=f"{first}-{last}")
        assert theirs <= ours, (first, last)
        if last in AS_EXACT_AS_ITS_END:
            assert theirs == ours, (first, last)
            equal += len(ours) > 0
    assert equal > 8


@pytest.mark.parametrize("moment", SINGLE)
def test_a_single_time_finds_what_dcmtk_finds(archive, moment):
    trees, ask = archive
    theirs, ours = ask(StudyTime=moment), _ours(trees, StudyTime=moment)
    assert theirs
    assert theirs <= ours


@pytest.mark.parametrize("dates", ["20210115", "20210115-", "20210114-20210115"])
def test_dates_find_what_dcmtk_finds(archive, dates):
    trees, ask = archive
    assert ask(StudyDate=dates) == _ours(trees, StudyDate=dates)
