"""The same with hundreds of questions of each operation, and with all that schemathesis knows of edges."""

import pytest

from tests.openapi.asking import ask, load


@pytest.mark.long
@load(200, wild=True).parametrize()
def test_no_answer_is_outside_its_description_however_it_is_asked(case, service, stored):
    ask(case, service, stored)
