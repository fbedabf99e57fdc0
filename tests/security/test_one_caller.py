"""One caller with everything that is dear keeps nobody waiting, and leaves nothing behind."""

import pytest

from tests.security.one_caller import run_attack


def check_answers(figures):
    assert figures["second patient, unexpected"] == {}
    assert all(each["requests"] for each in figures["second patient"].values())
    refused = {answer for answer in figures["hostile answers"] if answer.rsplit(" ", 1)[1].startswith("5")}
    assert {answer for answer in refused if not answer.endswith(" 503")} == set()
    assert (figures["ready afterwards"], figures["exit status"]) == (200, 0)


def test_one_caller_with_all_that_is_dear_gets_no_500_and_the_others_get_their_answers(tmp_path):
    figures = run_attack(tmp_path / "data", 4, side=1500, after=0)
    check_answers(figures)


@pytest.mark.long
def test_one_caller_with_all_that_is_dear_keeps_nobody_waiting_and_holds_no_memory(tmp_path):
    figures = run_attack(tmp_path / "data", 60)
    print(figures)
    check_answers(figures)
    assert figures["second patient, all"]["p99"] < 1
    assert figures["memory MB"]["most"] < 600
    assert figures["memory MB"]["after"] <= 1.2 * figures["memory MB"]["idle"]
