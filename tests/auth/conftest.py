"""An issuer of tokens with a key of every kind."""

from __future__ import annotations

import pytest

from tests.auth.issuer import Issuer


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """An issuer whose keys are made once: RSA keys take their time."""
    return Issuer()
