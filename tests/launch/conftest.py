"""Services of the HTTP tests, and an issuer of tokens."""

from tests.auth.conftest import issuer  # noqa: F401
from tests.web.conftest import start  # noqa: F401
