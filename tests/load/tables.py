"""How long a table takes, beside pydicom reading the same files in the same run.

A command: ``python -m tests.load.tables DIRECTORY [--instances N]`` makes the database in the directory once, and
prints of each format and of the command the rows a second, the time to the first bytes, by what the service's memory
grew, and the CPU time of a row in the service and in the database, which other work on the machine hardly changes.
The files are older than an hour for the service, as nearly all of a store are.
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom

from tests.faults.stores import sweep
from tests.load.population import slices
from tests.load.searches import build
from tests.running_service import ROOT, RunningService

FIELDS = (
    "PatientID",
    "PatientName",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "Modality",
    "Manufacturer",
    "StudyDescription",
    "SliceThickness",
    "KVP",
    "SeriesNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageType",
    "SOPInstanceUID",
)
"""Twenty columns, as somebody would ask for."""

FORMATS = {"csv": "text/csv", "ndjson": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


def write_files(folder: Path, instances: int) -> list[Path]:
    """Write the files of the patient where they are not there yet."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.dcm" for number in range(instances)]
    if not paths[-1].exists():
        for path, content in zip(paths, slices(0, instances), strict=True):
            path.write_bytes(content)
    return paths


def read_by_pydicom(paths: list[Path]) -> list[list[Any]]:
    """Read the twenty elements of each file as a script would, and no more than it must."""
    rows = []
    for path in paths:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(FIELDS))
        rows.append([dataset.get(name) for name in FIELDS])
    return rows


def measure(
    data_dir: Path, service: RunningService, instances: int
) -> Iterator[tuple[str, float, float, float, float, float]]:
    """Give of each way its name, its seconds, those to the first bytes, and the megabytes that memory grew by.

    Behind them come the seconds of CPU that the service, or this process, and the database took.
    """
    paths = write_files(data_dir / "files", instances)
    begin, used = time.perf_counter(), time.process_time()
    assert len(read_by_pydicom(paths)) == instances
    yield "pydicom", time.perf_counter() - begin, 0.0, 0.0, time.process_time() - used, 0.0
    database = service.database()

    def spent() -> tuple[float, float]:
        members = [service.process, *(each for each in service.family() if each.pid != database.pid)]
        return sum(sum(each.cpu_times()[:2]) for each in members), sum(database.cpu_times()[:2])

    target = f"/patient/p-0/dicom?fields={','.join(FIELDS)}"
    token = service.token("p-0")
    for name, kind in FORMATS.items():
        before, used, begin = service.memory(), spent(), time.perf_counter()
        with contextlib.closing(service.connect()) as connection:
            connection.request("GET", target, headers={"access-token": token, "Accept": kind})
            response = connection.getresponse()
            assert response.status == 200
            assert response.read(1)
            first = time.perf_counter() - begin
            while response.read(1 << 20):
                pass
        seconds, now = time.perf_counter() - begin, spent()
        yield name, seconds, first, (service.memory() - before) / 1e6, now[0] - used[0], now[1] - used[1]
    begin, used, children = time.perf_counter(), spent(), os.times()
    command = [sys.executable, str(ROOT / "scripts" / "export_table.py"), "--data-dir", str(data_dir), "--quiet"]
    command += ["--fields", ",".join(FIELDS), str(data_dir / "table.parquet")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    own = sum(os.times()[2:4]) - sum(children[2:4])
    yield "export_table.py", time.perf_counter() - begin, 0.0, 0.0, own, spent()[1] - used[1]


def main() -> None:
    """Build what is missing, measure, and print."""
    parser = argparse.ArgumentParser(description="Measures how long a table takes.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--instances", type=int, default=2000)
    given = parser.parse_args()
    asyncio.run(build(given.directory, 1, given.instances))
    with RunningService(given.directory, POOL_PROCESSES="1") as service:
        sweep(service.database_uri())  # as the service does every hour
        beside = 0.0
        for name, seconds, first, grown, own, database in measure(given.directory, service, given.instances):
            rate = given.instances / seconds
            beside = beside or rate
            cpu, of_database = (1000 * each / given.instances for each in (own, database))
            print(
                f"{name:16} {rate:8.0f} rows/s  {rate / beside:5.1f}x  first {first:5.2f} s  {grown:+6.1f} MB  "
                f"CPU of a row {cpu:.2f} ms, of the database {of_database:.2f} ms"
            )
        service.stop()


if __name__ == "__main__":
    main()
