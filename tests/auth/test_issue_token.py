"""scripts/issue_token.py: tokens for whoever has the secret, and a sentence for whoever has not."""

import os
import subprocess
import sys

import jwt
import pytest

from service.auth.keys import shared_secret
from service.auth.tokens import DELETE, READ, SHARE, UNSAID, WRITE, Authenticator, keep_dev_secret
from tests.running_service import ROOT

SECRET = "a secret of the tests, with more than 32 bytes"


@pytest.fixture
def issue(monkeypatch, capsys, tmp_path):
    """Run the command in this process, and give its status and what it printed."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import issue_token

    for name in ("JWT_SECRET", "JWT_JWKS", "JWT_ISSUER", "JWT_AUDIENCE", "TOKEN_LIFETIME", "DEV_MODE", "HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    def run(*arguments, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        status = issue_token.main(list(arguments))
        return status, *capsys.readouterr()

    return run


def opened(token, patient_id="p-1", secret=SECRET, **trusted):
    return Authenticator(shared_secret(secret), **trusted).verify(token.strip(), patient_id)


def test_a_token_of_the_secret_opens_its_patient(issue):
    status, token, _ = issue("--patient", "p é 1", JWT_SECRET=SECRET)
    assert status == 0
    assert opened(token, "p é 1").scopes == UNSAID


def test_letting_others_see_is_named(issue):
    _, token, _ = issue("--patient", "p-1", "--scope", SHARE, JWT_SECRET=SECRET)
    assert opened(token).scopes == {SHARE}


def test_where_no_secret_is_set_that_of_dev_mode_signs(issue, tmp_path):
    secret = keep_dev_secret(tmp_path / "other")
    status, token, _ = issue("--patient", "p-1", "--data-dir", str(tmp_path / "other"))
    assert status == 0
    assert opened(token, secret=secret)


def test_life_scope_issuer_and_audience(issue):
    given = ("--scope", WRITE, "--scope", READ, "--lifetime", "60")
    _, token, _ = issue("--patient", "p-1", *given, JWT_SECRET=SECRET, JWT_ISSUER="me", JWT_AUDIENCE="dicom")
    claims = jwt.decode(token.strip(), SECRET, algorithms=["HS256"], issuer="me", audience="dicom")
    assert claims["exp"] - claims["iat"] == 60
    assert claims["scope"] == f"{READ} {WRITE}"
    assert DELETE not in opened(token, issuer="me", audience="dicom").scopes
    _, token, _ = issue("--patient", "p-1", "--issuer", "you", "--audience", "other", TOKEN_LIFETIME="120")
    claims = jwt.decode(token.strip(), SECRET, algorithms=["HS256"], issuer="you", audience="other")
    assert claims["exp"] - claims["iat"] == 120


@pytest.mark.parametrize(
    ("arguments", "variables", "word"),
    [
        ((), {}, "JWT_SECRET"),
        ((), {"JWT_SECRET": "short"}, "32 bytes"),
        ((), {"JWT_SECRET": SECRET, "JWT_JWKS": "keys.json"}, "issuer"),
        (("--patient", "a/b"), {"JWT_SECRET": SECRET}, "patient id"),
        (("--patient", ""), {"JWT_SECRET": SECRET}, "patient id"),
        (("--lifetime", "0"), {"JWT_SECRET": SECRET}, "LIFETIME"),
        (("--lifetime", "soon"), {"JWT_SECRET": SECRET}, "LIFETIME"),
    ],
)
def test_what_keeps_it_from_minting_is_told_in_a_sentence(issue, arguments, variables, word):
    status, printed, told = issue("--patient", "p-1", *arguments, **variables)
    assert (status, printed) == (1, "")
    assert word in told
    assert told.count("\n") == 1
    assert SECRET not in told


@pytest.mark.parametrize("content", ["half", "\u00e9" * 40])
def test_a_dev_secret_that_is_none_is_told(issue, tmp_path, content):
    (tmp_path / "dev-secret").write_text(content, "utf-8")
    status, printed, told = issue("--patient", "p-1")
    assert (status, printed, told.count("\n")) == (1, "", 1)


@pytest.mark.parametrize("arguments", [(), ("--patient", "p-1", "--scope", "dicom:admin"), ("--pat", "p-1")])
def test_wrong_usage_is_2(issue, arguments, capsys):
    with pytest.raises(SystemExit) as end:
        issue(*arguments)
    assert end.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_it_runs_as_the_readme_has_it():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JWT_")}
    command = [sys.executable, "scripts/issue_token.py", "--patient", "p-17", "--scope", READ, "--lifetime", "900"]
    done = subprocess.run(command, cwd=ROOT, env=environment | {"JWT_SECRET": SECRET}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert opened(done.stdout, "p-17").scopes == {READ}
    help_text = subprocess.run([*command[:2], "--help"], cwd=ROOT, capture_output=True, text=True).stdout
    for word in ("--patient", "--scope", "--lifetime", "JWT_SECRET", "JWT_ISSUER", "DATA_DIR", "curl"):
        assert word in help_text
