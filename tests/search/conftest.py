"""The backends of the storage tests, and the service of the HTTP tests."""

from tests.storage.conftest import (  # noqa: F401
    backend_uri,
    clock,
    database,
    local_uri,
    mongodb_uri,
    store,
)
