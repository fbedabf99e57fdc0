"""schemathesis asks every operation what its document allows, and what it does not, of a real service."""

from tests.web.openapi.asking import STATUSES, ask, load


@load(12, wild=False).parametrize()
def test_no_answer_is_outside_its_description(case, service, stored, shared):
    ask(case, service, stored | shared)


def test_the_questions_are_such_that_each_operation_has_given_what_it_is_for():
    assert {operation for operation, statuses in STATUSES.items() if min(statuses) >= 300} == set()
