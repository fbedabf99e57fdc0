"""Keys rotate, and their issuer goes away and comes back, while clients ask a real service."""

import sys

import pytest

from tests.auth.rotation import REFRESH, run_rotations


def check(figures, seconds):
    sys.stdout.write("\n".join(figures.lines()) + "\n")
    assert figures.wrong_refusals == []
    assert figures.wrong_admissions == []
    assert figures.admitted > 20 * seconds
    assert figures.refused > 0
    assert figures.outages > 0
    # One in the background and one for unknown keys in each period, whatever the attackers do.
    assert figures.fetches <= 2 * figures.seconds / REFRESH + 4


def test_no_key_in_use_is_refused_and_no_removed_one_admitted_while_keys_rotate(tmp_path):
    figures = run_rotations(tmp_path, 3.5)
    check(figures, 3.5)
    assert figures.rotations >= 4


@pytest.mark.long
def test_the_same_holds_for_a_minute_with_more_clients(tmp_path):
    figures = run_rotations(tmp_path, 60, clients=16)
    check(figures, 60)
    assert figures.rotations >= 30
