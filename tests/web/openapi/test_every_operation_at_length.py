"""The same with hundreds of questions of each operation, with edges, and with one question after another."""

import pytest
from hypothesis import settings
from schemathesis.specs.openapi.checks import use_after_free

from tests.web.openapi.asking import PATIENT, ask, load

SCHEMA = load(200, wild=True)


@pytest.mark.long
@SCHEMA.parametrize()
def test_no_answer_is_outside_its_description_however_it_is_asked(case, service, stored, shared):
    ask(case, service, stored | shared)


@pytest.mark.long
def test_what_an_upload_gives_holds_in_what_is_asked_next(service):
    class Workflow(SCHEMA.as_state_machine()):
        def get_call_kwargs(self, case):  # noqa: ARG002 - the signature is that of schemathesis
            return {"headers": {"access-token": service.token(PATIENT)}, "base_url": service.url}

        def validate_response(self, response, case, additional_checks=None, **kwargs):
            # A share that is revoked is shown still, with what became of it.
            stays = [use_after_free] if case.path.startswith("/patient/{patient_id}/shares/") else None
            case.validate_response(
                response, additional_checks=additional_checks, excluded_checks=stays, transport_kwargs=kwargs
            )

    Workflow.run(settings=settings(max_examples=60, stateful_step_count=8, deadline=None))
