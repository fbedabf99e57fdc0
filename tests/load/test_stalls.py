"""Callers that are slow, or do nothing, cost the others nothing but a little time."""

import pytest

from tests.load.callers import Stalling
from tests.load.stalls import run_stalls

# So that within seconds each of them is given up, and some of them twice.
SHORT = {"BODY_TIMEOUT": "1.5", "ANSWER_TIMEOUT": "1.5", "HEADER_TIMEOUT": "1", "KEEPALIVE_TIMEOUT": "2"}


def check(figures, seconds):
    assert figures["unexpected answers"] == {}
    assert min(figures["requests"].values()) > 0
    assert figures["p99 ms of all"] < seconds * 1000
    assert figures["memory MB"]["most"] - figures["memory MB"]["before"] < 200
    check_afterwards(figures)


def check_afterwards(figures):
    opened, descriptors = figures["stalling connections opened"], figures["file descriptors"]
    # What one of the kinds left open would be twice as many; a few are opened whenever they are needed first.
    assert descriptors["after"] - descriptors["before"] < opened / len(Stalling.KINDS) / 2
    assert figures["uploads of the stalling patient afterwards"] == 20
    assert figures["exit status"] == 0


def test_a_hundred_stalling_connections_leave_nothing_behind(tmp_path):
    figures = run_stalls(tmp_path / "data", 200, 3, hold=2.5, **SHORT)
    assert figures["stalling connections opened"] >= 100
    check_afterwards(figures)


@pytest.mark.long
def test_a_hundred_stalling_connections_do_not_keep_a_hundred_others_waiting(tmp_path):
    figures = run_stalls(tmp_path / "data", 200, 3, hold=2.5, **SHORT)
    assert figures["stalling connections opened"] > 120
    check(figures, 2)  # so few answers that the 99th percentile is the slowest


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_for_a_minute_the_well_behaved_have_their_answers_within_a_second(tmp_path, workers):
    figures = run_stalls(tmp_path / "data", 200, 60, workers=workers)
    print(figures)
    check(figures, 1)
