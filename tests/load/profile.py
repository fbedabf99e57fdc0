"""Processor time of service, workers and database for each kind of request: ``python -m tests.load.profile``.

A service runs with its local database, and one client asks it over one connection and over eight. Processor time is
told and no time on the clock, so that a machine which is busy with something else gives nearly the same figures.
What a request takes at the database in commands and hops is held by ``tests/load/test_counts.py``.
"""

import argparse
import asyncio
import io
import itertools
import json
import os
import tempfile
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file

from tests.load.workers import Lane
from tests.running_service import RunningService

PATIENT = "p-1"
UID = "1.2.826.0.1.3680043.8.498"
NESTED = "ReferencedStudySequence[0].ReferencedSOPInstanceUID"
KINDS = ("upload", "tag", "nested tag", "all tags", "list of 100", "search", "download", "cached picture")


def make_series(count, first=0):
    """Slices of one series: what differs is what a scanner counts up, and a pixel."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    study = pydicom.Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = f"{UID}.2"
    dataset.ReferencedStudySequence = [study]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{UID}.2", f"{UID}.3"
    left, top, height = (float(each) for each in dataset.ImagePositionPatient)
    for number in range(first, first + count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{UID}.4.{number}"
        dataset.InstanceNumber = number + 1
        dataset.SliceLocation = height + number
        dataset.ImagePositionPatient = [left, top, height + number]
        dataset.PixelData = number.to_bytes(4, "little") + dataset.PixelData[4:]
        written = io.BytesIO()
        dataset.save_as(written)
        yield written.getvalue()


def write_request(token, method, target, body=b"", accept="*/*"):
    """A request as it is sent."""
    lines = [f"{method} /patient/{PATIENT}/dicom{target} HTTP/1.1", "Host: x", f"access-token: {token}"]
    lines += [
        f"Accept: {accept}",
        *(["Content-Type: application/dicom", f"Content-Length: {len(body)}"] if body else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def requests_of(kind, count, token, ids, contents):
    """Requests of one kind; the ids are asked for in turn."""
    turns = itertools.cycle(ids) if ids else None
    for _ in range(count):
        if kind == "upload":
            yield write_request(token, "POST", "", next(contents))
            continue
        one = f"/{next(turns)}"
        yield {
            "tag": lambda one=one: write_request(token, "GET", f"{one}/tag/Modality"),
            "nested tag": lambda one=one: write_request(token, "GET", f"{one}/tag/{NESTED}"),
            "all tags": lambda one=one: write_request(token, "GET", f"{one}/tags"),
            "list of 100": lambda: write_request(token, "GET", "?limit=100"),
            "search": lambda: write_request(token, "GET", "?InstanceNumber=7&Modality=CT"),
            "download": lambda one=one: write_request(token, "GET", one, accept="application/dicom"),
            "cached picture": lambda one=one: write_request(token, "GET", one, accept="image/png"),
        }[kind]()


async def ask(port, connections, requests):
    """Send all requests over so many connections, each the next one when its last is answered; give the answers."""
    answers = []
    waiting = iter(requests)

    async def connect():
        return await asyncio.get_running_loop().create_connection(
            lambda: Lane(waiting, answers.append), host="127.0.0.1", port=port
        )

    lanes = [await connect() for _ in range(connections)]
    await asyncio.gather(*(lane.over for _, lane in lanes))
    return answers


def processors_of(service):
    """Seconds of processor that service, workers and database have taken."""
    family = service.family()
    database = service.database()
    workers = [each for each in family if "service.workers.child" in each.cmdline()]
    groups = {"service": [service.process], "workers": workers, "database": [database]}
    return {name: sum(sum(each.cpu_times()[:2]) for each in group) for name, group in groups.items()}


def profile(data_dir, count, kinds=KINDS, connections=(1, 8)):
    """Give the processor time of one request in ms, by kind, connections and process."""
    contents = make_series(10**6)
    figures = {}
    with RunningService(data_dir) as service:
        token = service.token(PATIENT)
        ids = [service.upload(next(contents)) for _ in range(40)]
        for each in ids:  # so that each picture is there
            service.request("GET", f"/patient/{PATIENT}/dicom/{each}", Accept="image/png")
        for kind in kinds:
            for lanes in connections:
                requests = list(requests_of(kind, count, token, ids, contents))
                asyncio.run(ask(service.port, lanes, requests[: count // 4]))  # until it is warm
                before = processors_of(service)
                answers = asyncio.run(ask(service.port, lanes, requests[count // 4 :]))
                after = processors_of(service)
                took = {name: (after[name] - before[name]) * 1000 / len(answers) for name in after}
                figures[kind, lanes] = {name: round(each, 2) for name, each in took.items()}
        service.stop()
    return figures


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.load.profile", description=__doc__)
    parser.add_argument("--count", type=int, default=400, help="requests of each kind and number of connections")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this one; may be given several times")
    parser.add_argument("--json", action="store_true", help="print an object instead of a table")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = profile(Path(folder) / "data", asked.count, asked.kind or KINDS)
    if asked.json:
        print(json.dumps({f"{kind}, {lanes}": took for (kind, lanes), took in figures.items()}, indent=2))
        return
    print(f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f}; ms of processor for each request\n")
    print("| request | connections | service | workers | database |\n|---|---|---|---|---|")
    for (kind, lanes), took in figures.items():
        print(f"| {kind} | {lanes} | " + " | ".join(f"{each:.2f}" for each in took.values()) + " |")


if __name__ == "__main__":
    main()
