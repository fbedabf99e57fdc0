"""Keys rotate, and their issuer goes away and comes back, while clients ask a real service."""

import sys
import time
from contextlib import closing

import pytest

from tests.auth.rotation import REFRESH, run_rotations, running


def ask(service, key):
    with closing(service.connect()) as connection:
        connection.request("GET", "/patient/p-1/dicom", headers={"access-token": key.sign()})
        return connection.getresponse().status


def test_a_new_key_is_known_at_its_first_token_and_a_removed_one_soon_forgotten(tmp_path):
    with running(tmp_path) as (service, rotation, _):
        first = rotation.current[0]
        assert ask(service, first) == 200
        rotation.rotate()
        assert [ask(service, key) for key in rotation.current] == [200, 200]
        rotation.rotate()
        assert first not in rotation.current
        ends = time.monotonic() + 30
        while ask(service, first) == 200:
            assert time.monotonic() < ends
            assert [ask(service, key) for key in rotation.current] == [200, 200]
        assert ask(service, first) == 401
        assert [ask(service, key) for key in rotation.current] == [200, 200]


@pytest.mark.long
def test_no_key_in_use_is_refused_and_no_removed_one_admitted_while_keys_rotate(tmp_path):
    figures = run_rotations(tmp_path, 60, clients=16)
    sys.stdout.write("\n".join(figures.lines()) + "\n")
    assert figures.wrong_refusals == []
    assert figures.wrong_admissions == []
    assert figures.admitted > 20 * 60
    assert figures.refused > 0
    assert figures.rotations >= 30
    assert figures.outages > 0
    # One in the background and one for unknown keys in each period, whatever the attackers do.
    assert figures.fetches <= 2 * figures.seconds / REFRESH + 4
