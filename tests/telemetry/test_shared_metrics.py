"""Several service processes share their figures: whichever is scraped tells the same."""

import os
import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.metrics import forget_process, share_metrics
from tests.running_service import ROOT

PROCESS = """
import sys
from service.telemetry.metrics import Metrics

metrics = Metrics()
for line in sys.stdin:
    if line == "tell\\n":
        sys.stdout.write(metrics.exposition().decode())
    elif line == "measure\\n":
        metrics.workers(2, 1, 3, 5, 1)
        metrics.process()
        metrics.database({"pending": 7})
        metrics.build("1.0")
    else:
        metrics.upload("stored", 10)
        metrics.request_ended("GET", "/", 200, 0.02, 1, 2)
    sys.stdout.write("# END\\n")
    sys.stdout.flush()
"""


class OneOfSeveral:
    def __init__(self, environment):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROCESS],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def told(self, what):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        lines = iter(self.process.stdout.readline, "# END\n")
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families("".join(lines))
            for sample in family.samples
        }

    def end(self):
        self.process.kill()
        self.process.communicate(timeout=10)


def test_whichever_process_is_scraped_tells_the_sum_and_a_death_takes_nothing_back(tmp_path):
    environment = share_metrics(tmp_path)
    first, second = OneOfSeveral(environment), OneOfSeveral(environment)
    try:
        for process, times in ((first, 2), (second, 3)):
            process.told("measure")
            for _ in range(times):
                process.told("count")
        told = first.told("tell")
        assert told == second.told("tell")
        assert told["dicom_store_uploads_total", "stored"] == 5
        assert told["dicom_store_uploads_total", "refused"] == 0
        assert told["dicom_store_request_seconds_count", "/", "GET"] == 5
        assert told["dicom_store_request_seconds_bucket", "/", "0.025", "GET"] == 5
        assert told["dicom_store_request_seconds_bucket", "/", "0.01", "GET"] == 0
        assert told["dicom_store_workers_busy",] == 2
        assert told["dicom_store_worker_jobs_total",] == 10
        assert told["dicom_store_instances", "pending"] == 7
        assert told["process_resident_memory_bytes",] > 20 << 20
        second.end()
        forget_process(tmp_path, second.process.pid)
        told = first.told("tell")
        assert told["dicom_store_uploads_total", "stored"] == 5
        assert told["dicom_store_workers_busy",] == 1
        third = OneOfSeveral(environment)
        third.told("count")
        assert first.told("tell")["dicom_store_uploads_total", "stored"] == 6
        third.end()
    finally:
        first.end()
        second.end()


def test_who_starts_them_anew_begins_at_nothing(tmp_path):
    process = OneOfSeveral(share_metrics(tmp_path))
    process.told("count")
    process.end()
    process = OneOfSeveral(share_metrics(tmp_path))
    assert process.told("tell")["dicom_store_uploads_total", "stored"] == 0
    process.end()
