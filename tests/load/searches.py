"""How long searches take, as HTTP requests to a real service, with a thousand instances of a patient among 20,000.

A command: ``python -m tests.load.searches DIRECTORY`` makes the database in the directory once, some minutes, and
prints of each question the median, the 95th percentile, and the CPU time of service and database together, which other
work on the machine does not change. The bars hold on a quiet machine.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from service.storage.collections import open_collections
from service.storage.connection import connect, open_database
from service.storage.local.database import LocalDatabase
from service.storage.store import Store
from tests.load.population import populate, sop_instance_uid, step_id
from tests.running_service import RunningService

PATIENT = 7

QUESTIONS = {
    "nested path, some": f"dicom?ReferencedImageSequence.ReferencedSOPInstanceUID={sop_instance_uid(PATIENT, 500)}",
    "nested path, many": f"dicom?RequestAttributesSequence.ScheduledProcedureStepID={step_id(PATIENT, 500)}",
    "private path, one": "dicom?GEMS_ACQU_01:0019xx02=500",
    "private path, all": "dicom?GEMS_IDEN_01:0009xx01=GE_GENESIS_FF",
    "numeric range": "dicom?SliceThickness=..1.5",
    "numeric range and modality": "dicom?Modality=CT&SliceThickness=2..2.5",
    "one item of a sequence": (
        f"dicom?ReferencedImageSequence.ReferencedSOPInstanceUID={sop_instance_uid(PATIENT, 500)}"
        "&ReferencedImageSequence.PurposeOfReferenceCodeSequence.CodeValue=121311"
    ),
    "newest 100": "dicom",
    "studies": "dicomweb/studies",
    "studies by a date": "dicomweb/studies?StudyDate=20250315",
    "studies by a slice": "dicomweb/studies?SliceThickness=0.5",
    "series of all studies": "dicomweb/series",
    "instances of a series": f"dicomweb/studies/1.2.826.0.1.3680043.9.77.1.{PATIENT}.2/series/"
    f"1.2.826.0.1.3680043.9.77.2.{PATIENT}.5/instances",
    "catalogue": "tags",
}
"""What is asked, below the patient."""

BARS = {
    "nested path, some": 250,
    "nested path, many": 250,
    "private path, one": 250,
    "private path, all": 250,
    "numeric range": 250,
    "numeric range and modality": 250,
    "newest 100": 50,
    "studies": 50,
}
"""Milliseconds that the median may take."""


async def build(data_dir: Path, patients: int, instances: int) -> None:
    """Make the database where it is not there yet; what was begun is made anew."""
    done = data_dir / f"{patients}x{instances}"
    if done.exists():
        return
    database = LocalDatabase(data_dir)
    uri = await database.start()
    client = connect(uri)
    try:
        await client.drop_database("dicom")
        opened = open_database(client, "dicom")
        store = Store(opened, lambda: datetime.now(UTC))
        await store.prepare()
        for patient in populate(store, open_collections(opened.delegate), patients, instances):
            sys.stdout.write(f"patient {patient + 1} of {patients}\n")
        store.close()
    finally:
        client.close()
        await database.stop()
    done.touch()


def measure(service: RunningService, rounds: int) -> Iterator[tuple[str, int, list[float], float]]:
    """Ask each question so many times, in turn; give its rows, its times, and the mean CPU time, in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in QUESTIONS}
    cpu: dict[str, float] = dict.fromkeys(QUESTIONS, 0.0)
    rows: dict[str, int] = {}
    members = [service.process, *service.family()]

    def spent() -> float:
        return sum(sum(member.cpu_times()[:2]) for member in members) * 1000

    patient = f"p-{PATIENT}"
    connection = service.connect()
    for _ in range(rounds + 1):
        for name, question in QUESTIONS.items():
            before, begin = spent(), time.perf_counter()
            status, _, body = service.request(
                "GET", f"/patient/{patient}/{question}", patient=patient, connection=connection
            )
            times[name].append((time.perf_counter() - begin) * 1000)
            cpu[name] += spent() - before
            assert status == 200, body
            answer = json.loads(body)
            rows[name] = len(answer if isinstance(answer, list) else answer.get("instances", answer.get("tags")))
    connection.close()
    for name, taken in times.items():
        yield name, rows[name], taken[1:], cpu[name] / len(taken)  # the first opens connections


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="where the database is, or is made")
    parser.add_argument("--rounds", type=int, default=20, help="how often each question is asked")
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--instances", type=int, default=1000, help="of each patient")
    asked = parser.parse_args()
    asked.directory.mkdir(parents=True, exist_ok=True)
    asyncio.run(build(asked.directory, asked.patients, asked.instances))
    sys.stdout.write(f"{'':28}{'rows':>6}{'median':>10}{'p95':>10}{'cpu':>10}{'bar':>8}  (ms)\n")
    with RunningService(asked.directory, POOL_PROCESSES="1") as service:
        for name, rows, times, cpu in measure(service, asked.rounds):
            p95 = statistics.quantiles(times, n=20)[18]
            bar = BARS.get(name, "")
            sys.stdout.write(f"{name:28}{rows:6}{statistics.median(times):10.1f}{p95:10.1f}{cpu:10.1f}{bar:>8}\n")
        service.stop()


if __name__ == "__main__":
    main()
