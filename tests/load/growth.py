"""How requests slow down as a store grows: ``python -m tests.load.growth --sizes 2000 20000``.

Stores so many small CT files (under 20 KB, 1,000 a patient) as uploads write them, in a local database for each size.
Then a real service on each answers the same requests in turns, so that what else the machine does meets all sizes
alike. Prints the median time of each kind of request, the CPU time of service and database together, and both as
ratios to the smallest size. 20,000 files take some minutes to store, 100,000 half an hour and more; `--minutes` ends a
run that takes longer, and `--directory` keeps what was stored for the next.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

from service.storage.collections import open_collections
from service.storage.connection import connect, open_database
from service.storage.local.database import LocalDatabase
from service.storage.store import Store
from tests.load.population import populate, slices, sop_instance_uid
from tests.running_service import RunningService

OF_A_PATIENT = 1000
LARGEST = 100_000
MOST_BYTES = 20_000
PATIENT = "p-0"
"""Of whom all is asked; a patient of 1,000 files at every size."""

QUESTIONS = {
    "list of 100": "dicom?limit=100",
    "search by a number": "dicom?SliceThickness=..1.5",
    "search by a nested path": "dicom?ReferencedImageSequence.ReferencedSOPInstanceUID=" + sop_instance_uid(0, 500),
    "studies": "dicomweb/studies",
}


async def grow(data_dir, first, patients, until):
    """Store the files of more patients."""
    async with LocalDatabase(data_dir) as local:
        client = connect(local.uri)
        opened = open_database(client, "dicom")
        store = Store(opened, lambda: datetime.now(UTC))
        await store.prepare()
        try:
            for patient in populate(store, open_collections(opened.delegate), patients, OF_A_PATIENT, first):
                print(f"{(patient + 1) * OF_A_PATIENT} files are stored", file=sys.stderr, flush=True)
                if time.monotonic() > until:
                    sys.exit("This takes longer than --minutes allows.")
        finally:
            store.close()
            client.close()


def build(directory, sizes, until):
    """Make a database of each size, the larger ones from a copy of the next smaller."""
    made, before, first = {}, None, 0
    for size in sizes:
        made[size] = directory / str(size)
        done = directory / f"{size}.done"
        if not done.exists():
            shutil.rmtree(made[size], ignore_errors=True)
            if before:
                shutil.copytree(before, made[size])
            asyncio.run(grow(made[size], first, size // OF_A_PATIENT, until))
            done.touch()
        before, first = made[size], size // OF_A_PATIENT
    return made


class Asked:
    """One service, and what its requests took."""

    def __init__(self, service, connection, files):
        self.service, self.connection, self.files = service, connection, files
        self.members = [service.process, *service.family()]
        self.seconds, self.cpu = {}, {}
        self.ids = iter([each["dicom_id"] for each in json.loads(self.ask("GET", "dicom?limit=1000"))["instances"]])

    def ask(self, method, path, body=None, **headers):
        """Send one request, and give the body of the answer."""
        status, _, answer = self.service.request(
            method, f"/patient/{PATIENT}/{path}", body, PATIENT, connection=self.connection, **headers
        )
        assert status == 200, (path, status, answer)
        return answer

    def time(self, name, times, method, path, **headers):
        """Ask something several times: each upload is of another file, and `{}` stands for another instance."""
        spent = self._spent()
        for _ in range(times):
            body = next(self.files) if method == "POST" else None
            named = path.format(next(self.ids)) if "{}" in path else path
            begun = time.perf_counter()
            self.ask(method, named, body, **headers)
            self.seconds.setdefault(name, []).append(time.perf_counter() - begun)
        self.cpu.setdefault(name, []).append((self._spent() - spent) / times)

    def _spent(self):
        return sum(sum(member.cpu_times()[:2]) for member in self.members)


def measure(made, rounds, small):
    """Ask all of them in turns, and give what each took."""
    with ExitStack() as stack:
        asked = {}
        for size, data_dir in made.items():
            # Each size is asked on a copy: what is uploaded now is not there the next time.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=data_dir.parent)))
            shutil.copytree(data_dir, folder / "data")
            service = stack.enter_context(RunningService(folder / "data"))
            connection = stack.enter_context(closing(service.connect()))
            files = list(slices(0, OF_A_PATIENT + rounds * small + 1, OF_A_PATIENT))
            assert max(map(len, files)) <= MOST_BYTES
            one = asked[size] = Asked(service, connection, iter(files))
            one.ask("POST", "dicom", next(one.files), content_type="application/dicom")
            for question in QUESTIONS.values():  # the first ones load and open what all others use
                one.ask("GET", question)
        for _ in range(rounds):
            for one in asked.values():
                one.time("upload", small, "POST", "dicom", content_type="application/dicom")
                one.time("tag", small, "GET", "dicom/{}/tag/SliceThickness")
                for name, question in QUESTIONS.items():
                    one.time(name, 1, "GET", question)
        for one in asked.values():
            one.service.stop()
        return asked


def table(asked):
    """Give the lines of a table: median and CPU time of each size, and both as ratios to the smallest."""
    smallest = next(iter(asked.values()))
    yield "| " + " | ".join(["", *(f"{size:,}: ms, CPU | ratio, CPU" for size in asked)]) + " |"
    yield "|---" * (1 + 2 * len(asked)) + "|"
    for name in smallest.seconds:
        cells = [name]
        for one in asked.values():
            taken, cpu = statistics.median(one.seconds[name]), statistics.fmean(one.cpu[name])
            than, than_cpu = statistics.median(smallest.seconds[name]), statistics.fmean(smallest.cpu[name])
            cells += [f"{taken * 1000:.1f}, {cpu * 1000:.1f}", f"{taken / than:.2f}, {cpu / than_cpu:.2f}"]
        yield "| " + " | ".join(cells) + " |"


def a_size(text):
    """Read a size: whole thousands, as many as are stored in some half an hour."""
    size = int(text)
    if not 0 < size <= LARGEST or size % OF_A_PATIENT:
        raise argparse.ArgumentTypeError(f"is not a multiple of {OF_A_PATIENT} of at most {LARGEST}")
    return size


def main():
    """Store, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=a_size, nargs="+", default=[2000, 20_000], metavar="N", help="files to store")
    parser.add_argument("--rounds", type=int, default=15, choices=range(1, 51), metavar="1-50")
    parser.add_argument("--small", type=int, default=10, choices=range(1, 21), metavar="1-20", help="uploads a round")
    parser.add_argument("--minutes", type=float, default=60, help="after which nothing more is stored")
    parser.add_argument("--directory", type=Path, help="keeps what was stored for the next run")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = asked.directory or Path(folder)
        directory.mkdir(parents=True, exist_ok=True)
        made = build(directory, sorted(set(asked.sizes)), time.monotonic() + asked.minutes * 60)
        print("\n".join(table(measure(made, asked.rounds, asked.small))))


if __name__ == "__main__":
    main()
