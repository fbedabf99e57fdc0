"""Several service processes on one port: whichever is scraped tells the same, also when one was killed."""

from contextlib import closing
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydicom.data import get_testdata_file

from tests.running_service import RunningService

CT = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()


def scrape(service, connection=None):
    status, _, body = service.request("GET", "/metrics", connection=connection)
    assert status == 200
    return body.decode()


def tags_counted(text):
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "dicom_store_requests_total" and sample.labels["route"].endswith("/tag/{tag}")
    )


@pytest.mark.long
def test_whichever_process_is_scraped_tells_the_requests_of_all(tmp_path):
    with RunningService(tmp_path / "data", "--workers", "2") as service:
        path = f"/patient/p-1/dicom/{service.upload(CT)}/tag/Modality"
        for _ in range(20):  # each on a connection of its own, which the kernel gives to one of them
            assert service.request("GET", path)[0] == 200
        assert {tags_counted(scrape(service)) for _ in range(10)} == {20.0}
        processes = [each for each in service.process.children() if "service.launch.server_process" in each.cmdline()]
        assert len(processes) == 2
        processes[0].kill()
        psutil.wait_procs(processes[:1], timeout=5)
        with closing(service.connect()) as connection:
            assert tags_counted(scrape(service, connection)) == 20.0
        assert service.request("GET", path)[0] == 200
        assert {tags_counted(scrape(service)) for _ in range(10)} == {21.0}
        assert service.stop() == 0
