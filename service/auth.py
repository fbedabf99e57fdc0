"""Tokens: their text in, claims out.

The algorithms that are accepted follow from the configured key, never from the token, and nothing that a token says
about keys (``kid`` apart, which only chooses among configured ones; ``jku``, ``jwk``, ``x5u``) is followed.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from service.errors import Unauthorized

LEEWAY = 10.0
"""Seconds by which two clocks may differ."""

CACHED_TOKENS = 10_000
"""How many verified tokens are remembered; a token takes about 1 KiB."""

DEV_SECRET_FILE = "dev-secret"  # noqa: S105 - the name of a file


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
    """

    patient_id: str
    expires_at: float
    not_before: float = -math.inf
    subject: str | None = None
    token_id: str | None = None


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key, and the algorithms that may be used with it.

    Parameters
    ----------
    material : Any
        What PyJWT takes for a key.
    algorithms : tuple of str
        For example ``("HS256",)``.
    """

    material: Any
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that tokens are verified with.

    Parameters
    ----------
    keys : mapping of (str or None) to VerificationKey
        By ``kid``; a shared secret stands under None.
    version : str
        Changes with the keys, so that a token verified with a key that was removed is looked at again.
    """

    keys: Mapping[str | None, VerificationKey]
    version: str

    def find(self, kid: object) -> VerificationKey | None:
        """Give the key a token names; where there is only one, a token need not name it, and a secret has no name."""
        if len(self.keys) == 1:
            ((name, only),) = self.keys.items()
            return only if name is None or kid is None or kid == name else None
        return self.keys.get(kid) if isinstance(kid, str) else None


def shared_secret(secret: str) -> KeySet:
    """Make the key set of one HS256 secret.

    Raises
    ------
    ValueError
        Where the secret has under 32 bytes (RFC 7518, 3.2).
    """
    material = secret.encode()
    if len(material) < 32:
        raise ValueError("An HS256 secret has at least 32 bytes.")
    return KeySet({None: VerificationKey(material, ("HS256",))}, hashlib.sha256(material).hexdigest())


class Authenticator:
    """Verifies tokens, each once: a success is remembered, its times are looked at again at every use.

    Parameters
    ----------
    keys : KeySet
        What signatures are verified with.
    issuer, audience : str or None
        What ``iss`` and ``aud`` must be; None: not checked.
    clock : callable
        Gives the time in seconds since 1970.
    """

    def __init__(
        self,
        keys: KeySet,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()

    def verify(self, token: str, patient_id: str) -> Claims:
        """Give the claims of a token that opens a patient's data.

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
        """
        fingerprint = hashlib.sha256(f"{self._keys.version}\n{token}".encode(errors="surrogateescape")).digest()
        claims = self._verified.get(fingerprint)
        if claims is None:
            claims = self._decode(token)
            self._check_times(claims)
            self._remember(fingerprint, claims)
        else:
            self._verified.move_to_end(fingerprint)
            self._check_times(claims)
        if claims.patient_id != patient_id:
            raise Unauthorized("The token is not for this patient.")
        return claims

    def _decode(self, token: str) -> Claims:
        try:
            key = self._keys.find(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                raise Unauthorized("The token is signed with a key that is not known here.")
            payload = jwt.decode(
                token,
                key.material,
                algorithms=list(key.algorithms),
                issuer=self._issuer,
                audience=self._audience,
                options={
                    "require": ["exp"],
                    "verify_aud": self._audience is not None,
                    "verify_iss": self._issuer is not None,
                    # The times are checked below, by one function, for new and for remembered tokens.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            # PyJWT's own sentence may hold what the token says; and a token's text is anything at all.
            raise Unauthorized("The token is not valid.") from None
        return self._claims(payload)

    def _claims(self, payload: Mapping[str, Any]) -> Claims:
        patient_id = payload.get("patient_id")
        if not isinstance(patient_id, str):
            raise Unauthorized("The token names no patient.")
        if "iat" in payload and _time(payload["iat"]) > self._clock() + LEEWAY:
            raise Unauthorized("The token is not valid yet.")
        return Claims(
            patient_id=patient_id,
            expires_at=_time(payload["exp"]),
            not_before=_time(payload["nbf"]) if "nbf" in payload else -math.inf,
            subject=payload.get("sub"),
            token_id=payload.get("jti"),
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


def _time(value: object) -> float:
    """Read a NumericDate (RFC 7519, 2); JSON as Python reads it also has true, NaN and Infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthorized("The token is not valid.")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise Unauthorized("The token is not valid.")
    return seconds


def mint_token(
    secret: str,
    patient_id: str,
    *,
    lifetime: int,
    issuer: str | None = None,
    audience: str | None = None,
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
    if issuer is not None:
        payload["iss"] = issuer
    if audience is not None:
        payload["aud"] = audience
    return jwt.encode(payload, secret, algorithm="HS256")


def keep_dev_secret(data_dir: Path) -> str:
    """Give the secret of dev mode, which is made once and kept under the data directory, readable by its owner only.

    Parameters
    ----------
    data_dir : Path
        The data directory; made where it is missing.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / DEV_SECRET_FILE
    fresh = data_dir / f".{DEV_SECRET_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        kept = path.read_text("ascii").strip()
    except FileNotFoundError:
        kept = ""
    if len(kept) >= 32:
        return kept
    # Written aside, then put in place: a process that starts at the same time sees a whole secret or none.
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(48))
    try:
        if kept:
            fresh.replace(path)
        else:
            path.hardlink_to(fresh)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)
    return path.read_text("ascii").strip()
