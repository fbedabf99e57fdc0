"""Mint a token for one patient, with the secret that the service verifies tokens with."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from service.auth.keys import UnusableKeys, shared_secret
from service.auth.tokens import DELETE, DEV_SECRET_FILE, READ, SHARE, WRITE, mint_token
from service.errors import Invalid
from service.settings import Settings, SettingsError
from service.web.path import check_patient_id

USED = ("DATA_DIR", "JWT_SECRET", "JWT_SECRET_FILE", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_MAX_LIFETIME", "TOKEN_LIFETIME")


class Refused(Exception):
    """No token can be minted; the text is a sentence."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python scripts/issue_token.py",
        description="Prints a token for one patient, signed (HS256) with JWT_SECRET, or where that is unset with the "
        "secret that dev mode keeps under the data directory. A service that verifies tokens with a JWK Set (JWT_JWKS) "
        "gets its tokens from their issuer.",
        epilog="A token opens all of its patient's data for as long as it is good, and cannot be called back: give it "
        f"the shortest life and the narrowest scope that will do. The settings are the service's own: "
        f"{', '.join(USED)}. Example: "
        'curl -H "access-token: $(.venv/bin/python scripts/issue_token.py --patient p-17 --scope dicom:read)" '
        "http://127.0.0.1:8000/patient/p-17/dicom",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--patient", required=True, metavar="ID", help="whose data it opens, as plain text without percent-encoding"
    )
    parser.add_argument(
        "--scope",
        action="append",
        choices=(READ, WRITE, DELETE, SHARE),
        help="what it allows; may be given several times; left out: reading, writing and deleting",
    )
    parser.add_argument("--lifetime", metavar="SECONDS", help="how long it is good [TOKEN_LIFETIME; 3600]")
    parser.add_argument("--issuer", metavar="ISS", help="its 'iss' [JWT_ISSUER; none]")
    parser.add_argument("--audience", metavar="AUD", help="its 'aud' [JWT_AUDIENCE; none]")
    parser.add_argument("--data-dir", metavar="DIR", help="the service's data directory [DATA_DIR; data]")
    return parser.parse_args(arguments)


def find_secret(settings: Settings) -> str:
    """Return the secret that tokens are signed with.

    Raises
    ------
    Refused
        Where there is none.
    """
    secret = settings.jwt_secret
    if secret is None:
        path = settings.data_dir / DEV_SECRET_FILE
        try:
            secret = path.read_text("ascii").strip()
        except OSError as error:
            raise Refused(
                f"There is no secret to sign with: JWT_SECRET is unset, and {path} cannot be read ({error.strerror}). "
                "Set JWT_SECRET to the service's own, or name the data directory of a service in dev mode (--data-dir)."
            ) from None
        except UnicodeError:
            raise Refused(f"{path} is no secret of dev mode.") from None
    try:
        shared_secret(secret)
    except UnusableKeys as error:
        raise Refused(f"The secret cannot be used. {error}") from None
    return secret


def issue(given: argparse.Namespace, environ: dict[str, str]) -> str:
    """Return the token that is asked for.

    Raises
    ------
    Refused
        Where it cannot be minted.
    """
    if environ.get("JWT_JWKS"):
        raise Refused("JWT_JWKS is set: this service takes tokens of their issuer only, and none can be minted here.")
    # Dev mode, so that no key is asked for: nothing listens here.
    overrides = {"dev_mode": True, "data_dir": given.data_dir, "token_lifetime": given.lifetime}
    try:
        settings = Settings.from_environment({name: environ.get(name, "") for name in USED}, overrides)
        patient_id = check_patient_id(given.patient)
    except (SettingsError, Invalid) as error:
        raise Refused(str(error)) from None
    return mint_token(
        find_secret(settings),
        patient_id,
        lifetime=settings.token_lifetime,
        issuer=given.issuer or settings.jwt_issuer,
        audience=given.audience or settings.jwt_audience,
        scope=" ".join(sorted(set(given.scope))) if given.scope else None,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    given = parse(arguments)
    try:
        sys.stdout.write(f"{issue(given, dict(os.environ))}\n")
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
