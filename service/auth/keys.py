"""The keys that signatures are verified with: a shared secret, or a JWK Set (RFC 7517).

Which algorithms a key may be used with follows from the key, and is settled here, once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.algorithms import HMACAlgorithm

MIN_SECRET_BYTES = 32
"""RFC 7518, 3.2: an HS256 key has at least the size of the hash."""

MIN_RSA_BITS = 2048
"""RFC 7518, 3.3."""

MAX_KEYS = 100
"""Keys of a set that are looked at; issuers have two or three."""

RSA = ("RS256", "RS384", "RS512", "PS256")
ALGORITHMS: Mapping[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""By a key's ``kty`` and ``crv``; its ``alg`` may leave only one of them."""

# What makes the key, and nothing else of it: the version of a set follows from these.
_MEMBERS: Mapping[str, tuple[str, ...]] = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


class UnusableKeys(ValueError):
    """What was given holds no key that a token could be verified with; the text says why, without quoting it."""


class _Ignored(Exception):
    """A key of a set that is passed over, and why."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key, and the algorithms that may be used with it.

    Parameters
    ----------
    material : Any
        What PyJWT takes for a key.
    algorithms : tuple of str
        For example ``("HS256",)``.
    kid : str or None
        The name that tokens call it by, where it has one.
    """

    material: Any
    algorithms: tuple[str, ...]
    kid: str | None = None


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that tokens are verified with.

    Parameters
    ----------
    keys : tuple of VerificationKey
        At least one.
    version : str
        Changes with the keys, so that a token verified with a key that was removed is looked at again.
    ignored : tuple of str
        Why keys of the set were passed over, a sentence each.
    """

    keys: tuple[VerificationKey, ...]
    version: str
    ignored: tuple[str, ...] = ()

    def find(self, kid: str | None, algorithm: object) -> VerificationKey | None:
        """Return the one key that a token can be signed with, or None where none fits, or more than one.

        A token names a key, and its algorithm must be one of that key's own. Without a name, exactly one key may fit.

        Parameters
        ----------
        kid : str or None
            What the token calls its key.
        algorithm : object
            What the token calls its algorithm.
        """
        fitting = [key for key in self.keys if algorithm in key.algorithms]
        if kid is not None:
            fitting = [key for key in fitting if key.kid == kid] or [key for key in fitting if key.kid is None]
        return fitting[0] if len(fitting) == 1 else None

    def names(self, kid: str | None) -> bool:
        """Return whether a key of the set can be meant by this name."""
        return kid is None or any(key.kid is None or key.kid == kid for key in self.keys)


def shared_secret(secret: str) -> KeySet:
    """Make the key set of one HS256 secret.

    Raises
    ------
    UnusableKeys
        Where the secret has under 32 bytes, or is a public key, which is no secret.
    """
    material = secret.encode()
    if len(material) < MIN_SECRET_BYTES:
        raise UnusableKeys(f"An HS256 secret has at least {MIN_SECRET_BYTES} bytes.")
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(material)
    except jwt.InvalidKeyError:
        raise UnusableKeys("A public key, a certificate or a JWK is no secret; a JWK Set goes into JWT_JWKS.") from None
    return KeySet((VerificationKey(material, ("HS256",)),), hashlib.sha256(material).hexdigest())


def read_key_set(text: bytes) -> KeySet:
    """Read a JWK Set (RFC 7517, 5). Keys that cannot be used here are passed over, as the RFC has it.

    Passed over with a reason: what is not for verifying signatures (``use``, ``key_ops``), other types, curves and
    algorithms, RSA keys under 2048 bits, and everything that is secret: a symmetric or private key that is published,
    or lies in a file beside public ones, proves nothing.

    Parameters
    ----------
    text : bytes
        The set as JSON.

    Raises
    ------
    UnusableKeys
        Where it is no JWK Set, or no key of it can be used.
    """
    try:
        document = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise UnusableKeys("It is not JSON.") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise UnusableKeys('It is no JWK Set, which is an object with a list of "keys".')
    keys: list[VerificationKey] = []
    seeds: set[str] = set()
    ignored: list[str] = []
    for number, each in enumerate(listed[:MAX_KEYS], 1):
        try:
            key, seed = _read_key(each)
        except _Ignored as reason:
            ignored.append(f"Key {number} {reason}.")
            continue
        if seed not in seeds:
            seeds.add(seed)
            keys.append(key)
    if len(listed) > MAX_KEYS:
        ignored.append(f"Keys beyond the first {MAX_KEYS} are not looked at.")
    if not keys:
        raise UnusableKeys(" ".join(["It has no key that can be used.", *ignored[:5]]))
    return KeySet(tuple(keys), hashlib.sha256("\n".join(sorted(seeds)).encode()).hexdigest(), tuple(ignored))


def _read_key(jwk: object) -> tuple[VerificationKey, str]:
    """Return a key of a set, and text that is the same for the same key and no other."""
    if not isinstance(jwk, dict):
        raise _Ignored("is no JSON object")
    kid = jwk.get("kid")
    if not isinstance(kid, str | None):
        raise _Ignored("has a 'kid' that is no text")
    algorithms = _algorithms(jwk)
    kty = str(jwk["kty"])
    members = {name: jwk.get(name) for name in _MEMBERS[kty]}
    if not all(isinstance(value, str) for value in members.values()):
        raise _Ignored(f"lacks a member of an {kty} key")
    try:
        material = jwt.PyJWK({"kty": kty, **members}, algorithms[0]).key
    except (jwt.PyJWTError, ValueError, TypeError):
        raise _Ignored(f"is no valid {kty} key") from None
    if kty == "RSA" and material.key_size < MIN_RSA_BITS:
        raise _Ignored(f"is an RSA key of under {MIN_RSA_BITS} bits")
    seed = json.dumps([kid, algorithms, members], sort_keys=True)
    return VerificationKey(material, algorithms, kid), seed


def _algorithms(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a key may be used with, by its type, curve, ``alg``, ``use`` and ``key_ops`` (RFC 7517, 4)."""
    kty, curve = jwk.get("kty"), jwk.get("crv")
    if kty == "oct":
        raise _Ignored("is a symmetric key, which does not belong in a JWK Set; JWT_SECRET is for that")
    if "d" in jwk:
        raise _Ignored("is a private key, which does not belong here")
    if not isinstance(kty, str) or not isinstance(curve, str | None):
        raise _Ignored("has no type")
    fitting = ALGORITHMS.get((kty, None if kty == "RSA" else curve))
    if fitting is None:
        raise _Ignored("is not of a type and curve that is used here (RSA, P-256, P-384, Ed25519)")
    if jwk.get("use", "sig") != "sig":
        raise _Ignored("is not for signatures ('use')")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _Ignored("is not for verifying ('key_ops')")
    algorithm = jwk.get("alg")
    if algorithm is None:
        return fitting
    if algorithm not in fitting:
        raise _Ignored(f"has an 'alg' that is none of {', '.join(fitting)}")
    return (algorithm,)
