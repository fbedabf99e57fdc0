"""What keeps the service from starting: no key, a weak or unusable one, and dev mode where others can reach it."""

import asyncio
import socket

import pytest

from service.__main__ import main
from service.app import create_app
from service.settings import Settings, SettingsError, is_loopback
from tests.security.issuer import Publisher

SECRET = "s" * 32


def read(environ=None, **flags):
    return Settings.from_environment(environ or {}, flags)


def refused(capsys, status, *arguments):
    """Start the service, which refuses with this status, and give its sentence."""
    assert main([*arguments, "--port", "0"]) == status
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "Traceback" not in printed
    return printed


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    def started(settings, *_):  # it would run until somebody stops it
        create_app(settings)
        raise AssertionError("the service would have started")

    monkeypatch.setattr("service.launch.run.run", started)
    for name in ("JWT_SECRET", "JWT_JWKS", "DEV_MODE", "HOST", "MONGODB_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))


# --- keys ----------------------------------------------------------------------------------------------------------


def test_without_a_key_the_service_does_not_start(capsys):
    printed = refused(capsys, 2)
    for way_out in ("JWT_SECRET", "JWT_JWKS", "--dev"):
        assert way_out in printed


@pytest.mark.parametrize("dev_mode", ["0", "1"])
@pytest.mark.parametrize("secret", ["short-secret", "s" * 31, "é" * 15])
def test_a_secret_under_32_bytes_is_refused_in_dev_mode_too(secret, dev_mode):
    with pytest.raises(SettingsError, match="32 bytes") as refusal:
        read({"JWT_SECRET": secret, "DEV_MODE": dev_mode})
    assert secret not in str(refusal.value)
    assert read({"JWT_SECRET": "é" * 16, "DEV_MODE": dev_mode})


def test_a_public_key_as_a_secret_is_refused(capsys, monkeypatch, issuer):
    monkeypatch.setenv("JWT_SECRET", issuer.key_set().decode())
    assert "JWT_JWKS" in refused(capsys, 2)


def test_a_secret_and_a_key_set_at_once_are_refused():
    with pytest.raises(SettingsError, match="both"):
        read({"JWT_SECRET": SECRET, "JWT_JWKS": "keys.json"})


def test_dev_mode_with_a_key_set_is_refused():
    with pytest.raises(SettingsError, match="Dev mode"):
        read({"JWT_JWKS": "keys.json", "DEV_MODE": "1"})


@pytest.mark.parametrize(
    "address",
    [
        "http://issuer.example/keys",
        "http://10.0.0.1/keys",
        "http://localhost.example/keys",
        "http://127.0.0.1.example/keys",
        "HTTP://issuer.example/keys",
        "ftp://issuer.example/keys",
        "file:///etc/keys.json",
        "https://",
        "https:///keys",
        "https://issuer.example:port/keys",
        "https://issuer.example:99999/keys",
        "https://[::1/keys",
        "https://issuer.example/a b",
        "https://issuer.example/\r\nX: y",
        "https://user:pass-word@issuer.example/keys",
        "http://localhost@issuer.example/keys",
    ],
)
def test_an_address_of_keys_that_could_be_somebody_elses_is_refused(address):
    with pytest.raises(SettingsError, match="JWT_JWKS"):
        read({"JWT_JWKS": address})


@pytest.mark.parametrize(
    "source",
    [
        "https://issuer.example/keys?tenant=1",
        "http://127.0.0.1:9/k",
        "http://[::1]:9/k",
        "http://localhost/k",
        "k.json",
    ],
)
def test_keys_come_from_a_file_from_https_or_from_this_machine(source):
    assert read({"JWT_JWKS": source}).jwt_jwks == source


def test_keys_are_not_given_up_before_they_are_fetched_again():
    with pytest.raises(SettingsError, match="JWT_JWKS_KEEP"):
        read({"JWT_JWKS": "k.json", "JWT_JWKS_KEEP": "599"})
    settings = read({"JWT_JWKS": "k.json"})
    assert (settings.jwt_jwks_refresh, settings.jwt_jwks_keep) == (300, 3600)


@pytest.mark.parametrize("content", [None, b"{}", b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', b"\xff"])
def test_a_file_of_keys_that_cannot_be_used_is_told_in_a_sentence(capsys, tmp_path, content):
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_bytes(content)
    printed = refused(capsys, 2, "--jwt-jwks", str(path), "--jwt-issuer", "i", "--jwt-audience", "a")
    assert str(path) in printed
    assert "c2VjcmV0" not in printed


def test_keys_that_open_more_than_one_service_are_warned_of(monkeypatch, tmp_path, issuer, caplog):
    (tmp_path / "keys.json").write_bytes(issuer.key_set())
    monkeypatch.setenv("JWT_JWKS", str(tmp_path / "keys.json"))
    for audience, warned in (("", True), ("dicom", False)):
        caplog.clear()
        monkeypatch.setenv("JWT_ISSUER", "https://issuer.example")
        monkeypatch.setenv("JWT_AUDIENCE", audience)
        with pytest.raises(AssertionError, match="would have started"):
            main(["--port", "0"])
        assert ("JWT_AUDIENCE" in caplog.text) is warned


# --- dev mode ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1"])
def test_dev_mode_listens_on_a_loopback_address_only(host):
    with pytest.raises(SettingsError, match="loopback"):
        read({"DEV_MODE": "1", "HOST": host})
    assert read({"JWT_SECRET": SECRET, "HOST": host}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"])
def test_every_loopback_address_is_one(host):
    assert read({"DEV_MODE": "1", "HOST": host}).dev_mode
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["dicom.example", "localhost.example", "0", "127.1", "2130706433", "0x7f.1", "", " "])
def test_other_names_are_not_taken_for_loopback_whatever_they_resolve_to(capsys, host):
    assert not is_loopback(host)
    assert "loopback" in refused(capsys, 2, "--dev", "--host", host)


def test_a_name_of_this_machine_that_resolves_to_elsewhere_is_seen_when_it_is_bound(capsys, monkeypatch):
    """A hosts file can send even `localhost` elsewhere; what counts in the end is the address that was taken."""
    resolve = socket.getaddrinfo

    def elsewhere(host, *arguments, **options):
        return resolve("0.0.0.0" if host == "localhost" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
    assert "loopback" in refused(capsys, 2, "--dev", "--host", "localhost")


# --- an issuer that is out -----------------------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="session")
async def test_without_its_issuer_the_service_starts_and_says_503_until_there_are_keys(start, issuer):
    publisher = Publisher(issuer.key_set())
    publisher.stop()
    service = await start(jwt_secret=None, jwt_jwks=publisher.url, jwt_jwks_refresh=0.2)
    headers = {"access-token": issuer.keys["ES256"].sign()}
    answer = await service.ask("GET", "/patient/p-1/dicom", headers=headers)
    assert (answer.status, answer.json()["code"]) == (503, "keys-unavailable")
    assert (await service.ask("GET", "/readyz")).status == 503
    assert (await service.ask("GET", "/healthz")).status == 200
    assert (await service.ask("GET", "/patient/p-1/dicom")).status == 401
    publisher.start()
    with publisher:
        for _ in range(100):
            answer = await service.ask("GET", "/patient/p-1/dicom", headers=headers)
            if answer.status != 503:
                break
            await asyncio.sleep(0.05)
        assert answer.status == 200
        assert (await service.ask("GET", "/readyz")).status == 200
