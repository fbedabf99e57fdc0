"""Every operation through a share of every kind: what lies outside is not told of, and changes no answer."""

import pytest
import pytest_asyncio
from motor.motor_asyncio import AsyncIOMotorClient

from service.auth.tokens import READ
from service.storage.connection import open_database
from tests.security.share_matrix import INSIDE, OPENING, VIEWS, build, mark_of, search, walk

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(start):
    """A service as it is run for others, not in dev mode, where everybody gets tokens."""
    return await start(public_url="https://store.example")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def document(service):
    return (await service.ask("GET", "/openapi.json")).json()


def operations_of(document):
    return {each["operationId"]: each for path in document["paths"].values() for each in path.values()}


def scopes_of(document):
    """The scope that each operation needs, those for everybody left out."""
    operations = operations_of(document).items()
    return {name: each["security"][0]["accessToken"][0] for name, each in operations if each["security"]}


async def check(service, document, kind, *, whole):
    world = await build(service, kind, f"p-{kind.replace(' ', '-')[:7]}-{'whole' if whole else 'part'}")
    requests = list(world.requests(document, whole=whole))
    assert {request.operation for request in requests} == set(operations_of(document))
    full = await walk(world, requests)
    await world.take_away_what_lies_outside()
    alone = await walk(world, requests)
    assert full.leaks == []
    for request, before, after in zip(requests, full.answers, alone.answers, strict=True):
        assert before == after, request
    return list(zip(requests, full.answers, strict=True))


@pytest.mark.parametrize("kind", INSIDE)
async def test_what_lies_outside_of_a_share_is_not_told_of_and_changes_no_answer(service, document, kind):
    answers = await check(service, document, kind, whole=False)
    statuses = {}
    for request, (status, _, _) in answers:
        statuses.setdefault(request.operation, set()).add(status)
    scopes = scopes_of(document)
    if kind in VIEWS:
        # What is inside is there to be seen, by every operation that reads.
        assert {name for name, scope in scopes.items() if scope == READ and not statuses[name] & {200, 206}} == set()
        assert {name for name, scope in scopes.items() if scope != READ and statuses[name] != {403}} == set()
    elif kind == "inbox":
        assert {name for name in scopes if statuses[name] != {403}} == {"uploadFile"}
    else:
        assert {name for name in scopes if statuses[name] != {401}} == set()
    if kind in ("expired", "revoked"):
        opening = [answer for request, answer in answers if request.operation == OPENING]
        assert {status for status, _, _ in opening} == {404}
        assert len({body for _, _, body in opening}) == 1  # as of a link that never was


async def test_whoever_may_see_everything_is_told_by_the_same_requests(service, document):
    """The matrix would prove nothing otherwise: what it asks for is there, and its marks are found in answers."""
    world = await build(service, "instance", "p-owner")
    reads = {name for name, scope in scopes_of(document).items() if scope == READ}
    pictures = {name for name in reads if "Rendered" in name or "Thumbnail" in name}
    found, answered = {}, {}
    for request in world.requests(document, whole=True):
        if request.method != "GET" or request.about not in (None, "second"):
            continue
        if request.operation in pictures & set(answered):  # they have no marks
            continue
        answer = await world.ask(request, world.owner())
        answered.setdefault(request.operation, set()).add(answer.status)
        if marks := search(request, answer, world.forbidden):
            form = (answer.headers["Content-Type"].partition(";")[0], answer.headers.get("Content-Encoding"))
            found.setdefault(request.operation, set()).update(marks)
            found.setdefault(form, set()).update(marks)
    assert {name for name in reads if not answered[name] & {200, 206}} == set()
    assert reads - pictures - set(found) == set()
    for name in ("again", "second", "beside", "elsewhere"):
        assert any(mark_of(name) in each for each in found.values()), name
    # It can read every form that has texts or bytes of files.
    for form in (
        ("application/dicom", None),
        ("application/dicom+json", None),
        ("application/dicom+json", "gzip"),
        ("application/json", None),
        ("application/octet-stream", None),
        ("application/vnd.apache.parquet", None),
        ("application/x-ndjson", None),
        ("application/zip", None),
        ("multipart/related", None),
        ("text/csv", None),
    ):
        assert found.get(form), form


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def at_length(start, local_uri):
    """The same on a local database."""
    client = AsyncIOMotorClient(local_uri, tz_aware=True)
    running = await start(public_url="https://store.example", database=open_database(client, "matrix"))
    yield running
    await running.stop()
    client.close()


@pytest.mark.long
@pytest.mark.parametrize("kind", INSIDE)
async def test_everything_asked_about_every_file_tells_nothing_either(at_length, document, kind):
    await check(at_length, document, kind, whole=True)
