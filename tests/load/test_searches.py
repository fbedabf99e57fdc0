"""The command that measures searches still does."""

import pytest

from tests.load.searches import PATIENT, QUESTIONS, build, measure
from tests.running_service import RunningService


@pytest.mark.long
async def test_each_question_finds_something(tmp_path):
    await build(tmp_path, PATIENT + 1, 600)
    await build(tmp_path, PATIENT + 1, 600)  # it is there
    with RunningService(tmp_path, POOL_PROCESSES="1") as service:
        found = {name: rows for name, rows, _, _ in measure(service, 1)}
        service.stop()
    assert set(found) == set(QUESTIONS)
    assert all(found.values())
    assert found["newest 100"] == 100
