"""The service of the HTTP tests, and an issuer of tokens."""

from tests.auth.conftest import issuer  # noqa: F401
from tests.storage.conftest import local_uri  # noqa: F401
from tests.web.conftest import ct, patient, service, start  # noqa: F401
