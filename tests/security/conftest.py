"""The service of the HTTP tests, and an issuer of tokens with a key of every kind."""

from __future__ import annotations

import pytest

from tests.security.issuer import Issuer
from tests.web.conftest import ct, patient, plain_documents, service, start  # noqa: F401


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """An issuer whose keys are made once: RSA keys take their time."""
    return Issuer()
