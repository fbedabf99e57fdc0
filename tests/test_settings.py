"""Flags and environment to settings, and what the service refuses to start with."""

from dataclasses import fields
from pathlib import Path

import pytest

from service.__main__ import main, make_parser
from service.settings import Settings, SettingsError, variable

SECRET = "s" * 32


def read(environ=None, **flags):
    return Settings.from_environment({"JWT_SECRET": SECRET, **(environ or {})}, flags)


def test_without_anything_but_a_secret_the_defaults_hold():
    settings = read()
    assert (settings.host, settings.port, settings.dev_mode) == ("127.0.0.1", 8000, False)
    assert settings.data_dir == Path("data")
    assert settings.spool_dir == Path("data/spool")
    assert settings.max_upload_bytes == 2 * 1024**3


def test_the_environment_is_read_and_a_flag_wins():
    settings = read({"PORT": "9000", "HOST": "0.0.0.0", "DATA_DIR": "/srv/dicom", "LOG_LEVEL": "debug"}, port="9001")
    assert (settings.port, settings.host, settings.log_level) == (9001, "0.0.0.0", "DEBUG")
    assert settings.spool_dir == Path("/srv/dicom/spool")


def test_an_empty_variable_counts_as_unset():
    assert read({"PORT": "", "JWT_ISSUER": ""}).jwt_issuer is None


@pytest.mark.parametrize("text", ["1", "true", "YES", "on"])
def test_dev_mode_is_read_from_the_words_people_use(text):
    assert read({"DEV_MODE": text}).dev_mode is True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("MAX_UPLOAD_BYTES", "2GB"),
        ("MAX_UPLOAD_BYTES", "0"),
        ("RENDER_TIMEOUT", "nan"),
        ("RENDER_TIMEOUT", "-1"),
        ("LOG_LEVEL", "LOUD"),
        ("DEV_MODE", "perhaps"),
        ("TOKEN_LIFETIME", "9" * 30),
        ("EXTRACTION_TIMEOUT", "1e300"),
        ("AUDIT_DAYS", "24856"),
        ("MAX_UPLOADS", "9" * 20),
        ("MONGODB_DATABASE", "a/b"),
    ],
)
def test_a_value_that_cannot_be_read_is_named_in_the_refusal(name, text):
    with pytest.raises(SettingsError, match=name):
        read({name: text})


def test_secrets_are_in_no_repr_and_have_no_flag():
    settings = read({"MONGODB_URI": "mongodb://user:pass-word@db/"})
    assert SECRET not in repr(settings)
    assert "pass-word" not in repr(settings)
    flags = {action.dest for action in make_parser()._actions}
    assert not {"jwt_secret", "mongodb_uri"} & flags


def test_help_names_every_flag_with_its_variable():
    text = make_parser().format_help()
    for setting in fields(Settings):
        assert variable(setting) in text, setting.name


def test_a_start_that_is_refused_is_told_in_one_sentence(capsys, monkeypatch):
    monkeypatch.delenv("JWT_SECRET", raising=False)
    monkeypatch.delenv("DEV_MODE", raising=False)
    assert main([]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "Traceback" not in printed


def test_a_port_in_use_is_told_in_one_sentence(capsys, monkeypatch, tmp_path, unused_tcp_port):
    import socket

    monkeypatch.setenv("JWT_SECRET", SECRET)
    monkeypatch.delenv("DEV_MODE", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", unused_tcp_port))
        taken.listen()
        assert main(["--port", str(unused_tcp_port), "--data-dir", str(tmp_path)]) == 1
    printed = capsys.readouterr().err
    assert str(unused_tcp_port) in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("name", ["jwt_secret", "mongodb_uri"])
def test_a_secret_can_come_from_a_file(name, tmp_path):
    path = tmp_path / "secret"
    path.write_text("mongodb://user:a-password-of-many-letters@host/\n")
    environ = {"JWT_SECRET": "s" * 32} if name != "jwt_secret" else {}
    settings = Settings.from_environment(environ | {f"{name.upper()}_FILE": str(path)})
    assert getattr(settings, name) == "mongodb://user:a-password-of-many-letters@host/"


def test_a_file_of_a_secret_that_is_empty_counts_as_unset(tmp_path):
    (tmp_path / "secret").write_text("\n")
    assert (
        Settings.from_environment({"JWT_SECRET": "s" * 32, "MONGODB_URI_FILE": str(tmp_path / "secret")}).mongodb_uri
        is None
    )


@pytest.mark.parametrize("content", [None, b"\xff", b"x" * 70_000], ids=["not there", "no text", "too long"])
def test_a_file_that_holds_no_secret_is_refused_with_a_sentence_that_does_not_quote_it(content, tmp_path):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="JWT_SECRET_FILE") as refused:
        Settings.from_environment({"JWT_SECRET_FILE": str(path)})
    assert "xxx" not in str(refused.value)


def test_a_secret_and_a_file_of_it_are_not_both_set(tmp_path):
    path = tmp_path / "secret"
    path.write_text("t" * 32)
    with pytest.raises(SettingsError, match="both set"):
        Settings.from_environment({"JWT_SECRET": "s" * 32, "JWT_SECRET_FILE": str(path)})
