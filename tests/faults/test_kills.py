"""A service that is killed at random moments, alone or with its database, while clients upload and delete."""

import pytest

from tests.faults import reindexing
from tests.faults.rounds import run_rounds


def check(figures):
    assert figures["acknowledged"] > 0
    assert figures["lost"] == 0
    assert figures["back"] == 0
    assert figures["unexpected answers"] == []
    assert set(figures["states"]) == {"done"}
    assert figures["faults"] == {}


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path):
    check(run_rounds(tmp_path, 1, alone=False))


@pytest.mark.long
@pytest.mark.parametrize("alone", [True, False], ids=["the service alone", "with its database"])
def test_a_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path, alone):
    check(run_rounds(tmp_path, 100, alone=alone, seed=7))


@pytest.mark.long
def test_what_was_deleted_does_not_come_back_after_a_hundred_kills(tmp_path):
    figures = run_rounds(tmp_path, 100, alone=False, deleting=True, seed=11)
    check(figures)
    assert figures["deleted"] > 0


@pytest.mark.long
def test_reindexing_goes_on_after_a_kill_shows_a_change_and_lets_the_service_answer(tmp_path):
    reindexing.run(tmp_path, 60, print)
