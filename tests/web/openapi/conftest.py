"""A real service with a few files in it."""

import pytest

from tests.running_service import RunningService
from tests.web.openapi.asking import INBOX, PATIENT, PLACEHOLDERS, SECRET, SHARE, STORED, make_share


def pytest_ignore_collect(collection_path, config):
    """Leave out what takes seconds to be collected alone."""
    return (collection_path.name.endswith("_at_length.py") and not config.getoption("--long")) or None


def pytest_collection_modifyitems(items):
    """Give the questions of each operation an id of their own: of tests with the same id pytest-xdist runs but one."""
    for item in items:
        file, _, name = item.nodeid.partition("::")
        if file.startswith("tests/web/openapi/") and "::" not in name and name != item.name:
            item._id = type(item.id).parse(f"{file}::{item.name}")


@pytest.fixture(scope="package")
def service(tmp_path_factory):
    with RunningService(tmp_path_factory.mktemp("openapi") / "data") as running:
        yield running


@pytest.fixture(scope="package")
def stored(service):
    """The ids of what is stored, by the placeholders that generated requests have for them."""
    return {
        placeholder: service.upload(content, PATIENT)
        for placeholder, (content, _) in zip(PLACEHOLDERS, STORED, strict=True)
    }


@pytest.fixture(scope="package")
def shared(service, stored):  # noqa: ARG001 - a share of what is stored
    """The ids of a share and of an inbox, and the secret of the share, by their placeholders."""
    share_id, secret = make_share(service)
    inbox_id, _ = make_share(service, upload=True, max_files=1, max_bytes=1000)
    return {SHARE: share_id, SECRET: secret, INBOX: inbox_id}
