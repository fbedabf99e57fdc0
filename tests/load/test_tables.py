"""The command that measures tables still does."""

import pytest

from tests.load.searches import build
from tests.load.tables import FORMATS, measure
from tests.running_service import RunningService


@pytest.mark.long
async def test_each_way_is_measured(tmp_path):
    await build(tmp_path, 1, 600)
    with RunningService(tmp_path, POOL_PROCESSES="1") as service:
        found = {name: (seconds, grown) for name, seconds, _, grown, *_ in measure(tmp_path, service, 600)}
        service.stop()
    assert set(found) == {"pydicom", *FORMATS, "export_table.py"}
    assert all(grown < 100 for _, grown in found.values())
