"""Tokens: their text in, claims out.

The algorithms that are accepted follow from the configured key, never from the token, and nothing that a token says
about keys (``kid`` apart, which only chooses among configured ones; ``jku``, ``jwk``, ``x5u``, ``x5c``) is followed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from jwt.types import Options

from service.auth.key_source import KeySource
from service.auth.keys import KeySet, VerificationKey
from service.errors import Forbidden, Unauthorized, WrongPatient

LEEWAY = 10.0
"""Seconds by which two clocks may differ."""

CACHED_TOKENS = 10_000
"""How many verified tokens are remembered; a token takes about 1 KiB."""

READ, WRITE, DELETE, SHARE = "dicom:read", "dicom:write", "dicom:delete", "dicom:share"
SCOPES = frozenset({READ, WRITE, DELETE, SHARE})
"""What a token may allow (RFC 6749, 3.3)."""

UNSAID = SCOPES - {SHARE}
"""What a token allows that has no ``scope``. Letting others see data is more than seeing it, and must be named."""

DEV_SECRET_FILE = "dev-secret"  # noqa: S105 - the name of a file

_MISSING = {
    "patient_id": "The token names no patient.",
    "iss": "The token is not from the issuer that is trusted here.",
    "aud": "The token is not meant for this service.",
}

_COMPACT = re.compile(r"([\w-]+)\.([\w-]+)\.([\w-]+)", re.ASCII)

# The times are ours: PyJWT takes "5" and true for a time, has no clock but its own, and would look at them only once.
_CLAIMS: Options = {
    "require": ["exp", "patient_id"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}


class UnknownKey(Unauthorized):
    """The token names a key that is not among those that are known here."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says.

    Parameters
    ----------
    patient_id : str
        The patient whose data it opens.
    expires_at : float
        The time from which it is no longer good, in seconds since 1970.
    not_before : float
        The time from which it is good.
    subject, token_id : str or None
        Its ``sub`` and ``jti``, for audit.
    scopes : frozenset of str
        Which of `SCOPES` it allows.
    """

    patient_id: str
    expires_at: float
    not_before: float = -math.inf
    subject: str | None = None
    token_id: str | None = None
    scopes: frozenset[str] = UNSAID

    def require(self, scope: str) -> None:
        """Let pass what the token allows.

        Raises
        ------
        Forbidden
            Where its scope is not enough.
        """
        if scope not in self.scopes:
            raise Forbidden(f"The token does not have the scope {scope}.", scope)


class Authenticator:
    """Verifies tokens, each once: a success is remembered, its times are looked at again at every use.

    Parameters
    ----------
    keys : KeySet or KeySource
        What signatures are verified with: keys that stay, or those of an issuer, who changes them.
    issuer, audience : str or None
        What ``iss`` and ``aud`` must be; None: not checked.
    max_lifetime : float
        Seconds that a token may still be good for when it is seen first.
    clock : callable
        Gives the time in seconds since 1970.
    """

    def __init__(
        self,
        keys: KeySet | KeySource,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        max_lifetime: float = math.inf,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._max_lifetime = max_lifetime
        self._clock = clock
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()

    def check_keys(self) -> None:
        """Find out whether there are keys to verify tokens with.

        Raises
        ------
        Unavailable
            Where there are none, and nobody can be let in.
        """
        self._current()

    async def admit(self, token: str, patient_id: str) -> Claims:
        """Return the claims of a token that opens a patient's data; for a new key's first token the keys are renewed.

        Parameters
        ----------
        token : str
            The token as it came.
        patient_id : str
            The patient whose data is asked for.

        Raises
        ------
        Unauthorized
            Where the token is not valid, or for another patient.
        Unavailable
            Where there are no keys to tell it with.
        """
        try:
            return self.verify(token, patient_id)
        except UnknownKey:
            if isinstance(self._keys, KeySet):
                raise
        await self._keys.renew()
        return self.verify(token, patient_id)

    def verify(self, token: str, patient_id: str) -> Claims:
        """Return the claims of a token that opens a patient's data, by the keys as they are.

        Parameters
        ----------
        token : str
            The token as it came.
        patient_id : str
            The patient whose data is asked for.

        Raises
        ------
        Unauthorized
            Where the token is not valid, or for another patient.
        Unavailable
            Where there are no keys to tell it with.
        """
        keys = self._current()
        fingerprint = hashlib.sha256(f"{keys.version}\n{token}".encode(errors="surrogateescape")).digest()
        claims = self._verified.get(fingerprint)
        if claims is None:
            claims = self._read_claims(self._verify(token, keys))
            self._check_times(claims)
            self._remember(fingerprint, claims)
        else:
            self._verified.move_to_end(fingerprint)
            self._check_times(claims)
        if claims.patient_id != patient_id:
            raise WrongPatient("The token is not for this patient.", claims.subject, claims.token_id)
        return claims

    def _current(self) -> KeySet:
        return self._keys if isinstance(self._keys, KeySet) else self._keys.current()

    def _verify(self, token: str, keys: KeySet) -> Mapping[str, Any]:
        """Return the payload of a token that is signed, for this service, by its issuer (RFC 7515, 5.2; RFC 7519, 4.1).

        PyJWT verifies; header and payload are read here, for it takes JSON that two readers could read differently.

        Raises
        ------
        Unauthorized
            Where it is not.
        """
        parts = _COMPACT.fullmatch(token)
        if parts is None:
            raise _invalid()
        try:
            header = _read_object(jwt.utils.base64url_decode(parts[1]))
            # Extensions that must be understood, or that change what is signed (RFC 7797): there are none here.
            if "crit" in header or "b64" in header:
                raise _invalid()
            key = _find_key(keys, header)
            jwt.decode(
                token,
                key.material,
                algorithms=list(key.algorithms),
                issuer=self._issuer,
                audience=self._audience,
                options={**_CLAIMS, "verify_aud": self._audience is not None},
            )
            return _read_object(jwt.utils.base64url_decode(parts[2]))
        except jwt.MissingRequiredClaimError as error:
            raise Unauthorized(_MISSING.get(error.claim, _invalid().detail)) from None
        except jwt.InvalidIssuerError:
            raise Unauthorized(_MISSING["iss"]) from None
        except jwt.InvalidAudienceError:
            raise Unauthorized(_MISSING["aud"]) from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise _invalid() from None

    def _read_claims(self, payload: Mapping[str, Any]) -> Claims:
        """Read what is signed (RFC 7519, 4.1); a claim of another type than it should have is no claim."""
        patient_id = _text(payload, "patient_id")
        if patient_id is None:
            raise Unauthorized("The token names no patient.")
        if "iat" in payload and _time(payload["iat"]) > self._clock() + LEEWAY:
            raise Unauthorized("The token is not valid yet.")
        expires_at = _time(payload.get("exp"))
        if expires_at - self._clock() > self._max_lifetime + LEEWAY:
            raise Unauthorized("The token expires later than a token may.")
        return Claims(
            patient_id=patient_id,
            expires_at=expires_at,
            not_before=_time(payload["nbf"]) if "nbf" in payload else -math.inf,
            subject=_text(payload, "sub"),
            token_id=_text(payload, "jti"),
            scopes=_scopes(payload),
        )

    def _check_times(self, claims: Claims) -> None:
        now = self._clock()
        if now >= claims.expires_at + LEEWAY:
            raise Unauthorized("The token has expired.")
        if now < claims.not_before - LEEWAY:
            raise Unauthorized("The token is not valid yet.")

    def _remember(self, fingerprint: bytes, claims: Claims) -> None:
        self._verified[fingerprint] = claims
        if len(self._verified) > CACHED_TOKENS:
            self._verified.popitem(last=False)


def _invalid() -> Unauthorized:
    """Make the refusal that says no more: PyJWT's own sentences may hold what the token says."""
    return Unauthorized("The token is not valid.")


def _find_key(keys: KeySet, header: Mapping[str, Any]) -> VerificationKey:
    kid = _text(header, "kid")
    key = keys.find(kid, header.get("alg"))
    if key is None:
        if not keys.names(kid):
            raise UnknownKey("The token is signed with a key that is not known here.")
        raise Unauthorized("The token does not say with which of the keys that are known here it is signed.")
    return key


def _read_object(text: bytes) -> Mapping[str, Any]:
    """Read JSON that two readers cannot understand differently: UTF-8, no name twice, no NaN or Infinity."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        read = dict(pairs)
        if len(read) != len(pairs):
            raise ValueError("a name stands twice")
        return read

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    read = json.loads(text.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    if not isinstance(read, dict):
        raise TypeError("not an object")
    return read


def _text(payload: Mapping[str, Any], name: str) -> str | None:
    """Read a claim that is text, or missing; JSON can also escape halves of characters, which nothing can store."""
    if name not in payload:
        return None
    value = payload[name]
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise _invalid()
    return value


def _scopes(payload: Mapping[str, Any]) -> frozenset[str]:
    """Read ``scope``: words with spaces between them (RFC 8693, 4.2), or a list of words as some issuers write it."""
    if "scope" not in payload:
        return UNSAID
    scope = payload["scope"]
    words = scope.split(" ") if isinstance(scope, str) else scope
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _invalid()
    return SCOPES.intersection(words)


def _time(value: object) -> float:
    """Read a NumericDate (RFC 7519, 2); to Python true is a number too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid()
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise _invalid()
    return seconds


def mint_token(
    secret: str,
    patient_id: str,
    *,
    lifetime: int,
    issuer: str | None = None,
    audience: str | None = None,
    scope: str | None = None,
    now: float | None = None,
) -> str:
    """Make a token that opens one patient's data, as the dev route gives it.

    Parameters
    ----------
    secret : str
        The HS256 secret.
    patient_id : str
        Whose data it opens.
    lifetime : int
        Seconds for which it is good.
    issuer, audience : str or None
        Its ``iss`` and ``aud``, where the service checks them.
    scope : str or None
        What it allows, with spaces between; None: `UNSAID`.
    now : float or None
        The time of its making, in seconds since 1970; None: the current time.
    """
    issued_at = int(time.time() if now is None else now)
    payload: dict[str, Any] = {
        "patient_id": patient_id,
        "iat": issued_at,
        "exp": issued_at + lifetime,
        "jti": secrets.token_hex(8),
    }
    given = {"iss": issuer, "aud": audience, "scope": scope}
    payload |= {name: value for name, value in given.items() if value is not None}
    return jwt.encode(payload, secret, algorithm="HS256")


def keep_dev_secret(data_dir: Path) -> str:
    """Return the secret of dev mode, which is made once and kept under the data directory, readable by its owner only.

    Parameters
    ----------
    data_dir : Path
        The data directory; made where it is missing.

    Raises
    ------
    OSError
        The file cannot be read or written.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / DEV_SECRET_FILE
    there = path.exists()
    if there and (kept := _read_secret(path)):
        path.chmod(0o600)
        return kept
    # Written aside, then put in place: a process that starts at the same time sees a whole secret or none.
    fresh = data_dir / f".{DEV_SECRET_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(48))
    try:
        if there:
            fresh.replace(path)
        else:
            path.hardlink_to(fresh)
    except FileExistsError:  # another process was faster
        pass
    finally:
        fresh.unlink(missing_ok=True)
    return _read_secret(path)


def _read_secret(path: Path) -> str:
    """Return the secret in a file; empty where there is none that can be used, as in a file that was cut off."""
    text = path.read_bytes().strip()
    return text.decode("ascii") if text.isascii() and len(text) >= 32 else ""
