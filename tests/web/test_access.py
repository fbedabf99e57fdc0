"""Who is let in: every route but the public ones takes a token for the patient of the path."""

import logging
from urllib.parse import quote

import pytest

from service.errors import ServiceError
from service.web.problems import PROBLEMS
from tests.web.routes import PUBLIC, all_routes, concrete

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_every_private_route_is_closed_to_everybody_else(service):
    seen = 0
    for method, template, public in all_routes(service):
        path = concrete(template)
        if public:
            # What opens links takes a body, and says so.
            assert (await service.ask(method, path)).status == (415 if method == "POST" else 200)
            continue
        seen += 1
        for headers in (
            {},
            {"access-token": "nonsense"},
            {"access-token": service.token("p-2")},
            {"Authorization": f"Bearer {service.token('p-2')}"},
            {"access-token": service.token("p-1", lifetime=-60)},
            {"Authorization": f"Basic {service.token('p-1')}"},
            {"Authorization": service.token("p-1")},
            {"Cookie": f"Access-Token={service.token('p-1')}; access-token={service.token('p-1')}"},
        ):
            answer = await service.ask(method, path, headers=headers)
            assert answer.status == 401, (method, template, headers)
        query = f"?access-token={service.token('p-1')}&access_token={service.token('p-1')}"
        assert (await service.ask(method, path + query)).status == 401
    assert seen >= 10


async def test_a_new_route_without_a_word_about_it_is_closed(service):
    """The list of public routes is this test's own: a route that is made public must be made so here too."""
    assert {(method, path) for method, path, _ in all_routes(service) if method != "HEAD"} >= PUBLIC
    from service.web.app_keys import ROUTES

    assert {key for key, route in service.app[ROUTES].items() if route.scope is None and key[0] != "HEAD"} == PUBLIC


@pytest.mark.parametrize(
    "headers",
    [
        lambda token: {"access-token": token},
        lambda token: {"ACCESS-TOKEN": token},
        lambda token: {"Authorization": f"Bearer {token}"},
        lambda token: {"Authorization": f"bearer   {token}"},
        lambda token: {"Authorization": f"Bearer {token}", "access-token": token},
        lambda token: {"Authorization": "Basic dTpw", "access-token": token},
    ],
)
async def test_a_token_in_either_header_opens_the_door(service, headers):
    answer = await service.ask("GET", "/patient/p-1/dicom", headers=headers(service.token("p-1")))
    assert answer.status == 200


# --- patient ids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "patient_id",
    [
        "p-1",
        "Müller",
        "e\u0301",
        "患者",
        "a b",
        "a%b",
        "a%2Fb",
        "a+b",
        "a?b#c",
        "x" * 64,
        "{a}",
        "a;b=c",
        "...",
        "\U0001f600",
    ],
)
async def test_a_patient_id_is_any_text_within_the_rules(service, ct, patient_id):
    escaped = quote(patient_id, safe="")
    answer = await service.ask("GET", f"/patient/{escaped}/dicom", patient=patient_id)
    assert answer.status == 200
    form = {"Content-Type": "application/dicom"}
    answer = await service.ask("POST", f"/patient/{escaped}/dicom", patient=patient_id, data=ct, headers=form)
    assert answer.headers["Location"].startswith(f"/patient/{escaped}/dicom/")
    assert (await service.ask("GET", answer.headers["Location"], patient=patient_id)).body == ct


@pytest.mark.parametrize(
    "escaped",
    [
        "%2F",
        "a%2Fb",
        "a%2fb",
        "%5C",
        "a%5Cb",
        "%2E",
        "%2E%2E",
        ".%2e",
        "%00",
        "a%0Ab",
        "%7F",
        "%C2%85",
        "x" * 65,
        "%ff",
        "%C3",
        "%ED%A0%80",
        "%zz",
        "%",
        "50%",
        "a%2",
    ],
)
async def test_a_patient_id_outside_the_rules_is_422_with_a_token_and_401_without(service, escaped):
    for path in (f"/patient/{escaped}/dicom", f"/patient/{escaped}/dicom/x/tags"):
        assert (await service.ask("GET", path, patient="p-1")).status == 422
        assert (await service.ask("GET", path)).status == 401
    assert (await service.ask("GET", f"/patient/{escaped}/token")).status == 422


@pytest.mark.parametrize(
    "path",
    [
        "/patient//dicom",
        "/patient/./../p-1/dicom/x/",
        "/patient",
        "/patient/p-1",
        "//patient/p-1/dicom",
        "/patient/p-1/dicom/",
        "/patient/p-1/dicom/a/b/c/d",
        "/PATIENT/p-1/dicom",
        "/patient/../healthz",
        "/static/../healthz",
        "/static/%2e%2e/page.js",
        "/%00",
        "/%ff",
        "/%",
        "/favicon.ico",
    ],
)
async def test_other_paths_are_404(service, path):
    assert (await service.ask("GET", path, patient="p-1")).status == 404
    assert (await service.ask("GET", path)).status == 404


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%2Fb"),
        ("Ångström", "A\u030angström"),
        ("p-1", "P-1"),
        ("p-1", "p-1%20"),
        ("p-1", "p-1%E2%80%8B"),
        ("p-1", "p%252D1"),
        ("\uff50-1", "p-1"),
    ],
)
async def test_ids_that_look_alike_or_decode_twice_are_others(service, named, asked):
    path = f"/patient/{quote(asked, safe='%')}/dicom"
    assert (await service.ask("GET", path, patient=named)).status in {401, 422}


async def test_an_escaped_letter_is_the_same_patient(service):
    assert (await service.ask("GET", "/%70atient/%70%2D1/dicom", patient="p-1")).status == 200


# --- the dev token -------------------------------------------------------------------------------------------------


async def test_dev_mode_gives_a_token_that_works(service):
    answer = await service.ask("GET", "/patient/p%20%C3%A9/token")
    given = answer.json()
    assert given["expires_in"] == service.settings.token_lifetime
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"Access-Token={given['access_token']};")
    assert "HttpOnly" in cookie
    assert answer.headers["Cache-Control"] == "private, no-store"
    listed = await service.ask("GET", "/patient/p%20%C3%A9/dicom", headers={"access-token": given["access_token"]})
    assert listed.status == 200


async def test_outside_dev_mode_there_is_no_such_route(start):
    production = await start()
    assert (await production.ask("GET", "/patient/p-1/token")).status == 404
    assert (await production.ask("GET", "/patient/p-1/token", patient="p-1")).status == 404
    assert (await production.ask("GET", "/patient/p-1/dicom", patient="p-1")).status == 200


# --- methods, problems ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/patient/p-1/dicom", {"GET", "HEAD", "POST"}),
        ("POST", "/patient/p-1/dicom/x", {"GET", "HEAD", "DELETE"}),
        ("DELETE", "/healthz", {"GET", "HEAD"}),
        ("OPTIONS", "/", {"GET", "HEAD"}),
        ("PROPFIND", "/patient/p-1/dicom/x/tags", {"GET", "HEAD"}),
    ],
)
async def test_another_method_is_405_with_those_that_are_taken(service, method, path, allowed):
    answer = await service.ask(method, path)
    assert answer.status == 405
    assert {name.strip() for name in answer.headers["Allow"].split(",")} == allowed


async def test_every_error_of_the_domain_is_in_the_table_or_below_one_that_is():
    def below(kind):
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    from service import errors

    for kind in below(ServiceError):
        if kind.__module__ == errors.__name__:
            parents = kind.__mro__[: kind.__mro__.index(ServiceError)]
            assert any(each in PROBLEMS for each in parents), kind


async def test_an_unforeseen_error_is_logged_with_an_id_and_shown_blank(service, monkeypatch, caplog):
    async def broken(*_):
        raise ValueError("invalid literal: SECRET^NAME") from KeyError("SECRET^KEY")

    monkeypatch.setattr(type(service.store.instances), "list_newest", broken)
    with caplog.at_level(logging.DEBUG):
        async with service.session.get(
            f"{service.url}/patient/p-1/dicom",
            headers={"access-token": service.token("p-1"), "X-Request-ID": "my-request.7"},
        ) as response:
            problem = await response.json(content_type=None)
    assert response.status == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert problem["request_id"] == "my-request.7" == response.headers["X-Request-ID"]
    assert "ValueError" not in str(problem)
    assert "my-request.7" in caplog.text
    assert "builtins.ValueError" in caplog.text
    assert "test_access.py" in caplog.text
    assert "SECRET" not in caplog.text + str(problem)


@pytest.mark.parametrize("sent", ["a b", "x" * 65, "<script>", "é", ""])
async def test_a_request_id_that_cannot_stand_in_a_log_is_replaced(service, sent):
    answer = await service.ask("GET", "/healthz", headers={"X-Request-ID": sent})
    assert answer.headers["X-Request-ID"] != sent
    assert len(answer.headers["X-Request-ID"]) == 32


async def test_readiness_names_the_indexes_that_are_missing(service, monkeypatch):
    async def missing(_):
        return ("instances.uids",)

    monkeypatch.setattr(type(service.store), "find_missing_indexes", missing)
    answer = await service.ask("GET", "/readyz")
    assert (answer.status, answer.json()) == (200, {"status": "ok", "missing_indexes": ["instances.uids"]})


async def test_health(service, monkeypatch):
    from service.errors import DatabaseUnavailable

    assert (await service.ask("GET", "/healthz")).json() == {"status": "ok"}
    assert (await service.ask("GET", "/readyz")).json() == {"status": "ok"}

    async def away(_):
        raise DatabaseUnavailable("The database does not answer.")

    monkeypatch.setattr(type(service.store), "check", away)
    assert (await service.ask("GET", "/healthz")).status == 200
    assert (await service.ask("GET", "/readyz")).status == 503
