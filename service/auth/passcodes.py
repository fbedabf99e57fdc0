"""Passcodes of shares: a person chooses and types them, so they are hashed by scrypt (RFC 7914) with a salt."""

from __future__ import annotations

import hashlib
import hmac
import os
import unicodedata
from dataclasses import dataclass

COST, BLOCK, PARALLEL = 1 << 15, 8, 1
"""What one hash takes: 32 MiB and some 0.1 s."""

_MEMORY = 2 * 128 * COST * BLOCK


@dataclass(frozen=True, slots=True)
class HashedPasscode:
    """What is kept of a passcode.

    Parameters
    ----------
    salt, hash : bytes
        Of its own, and what both give.
    """

    salt: bytes
    hash: bytes


def hash_passcode(passcode: str) -> HashedPasscode:
    """Return what is kept of a passcode. It takes its time: call it in a thread."""
    salt = os.urandom(16)
    return HashedPasscode(salt, _scrypt(passcode, salt))


def is_passcode(passcode: str, kept: HashedPasscode) -> bool:
    """Return whether a passcode is the one that is kept. It takes its time: call it in a thread."""
    return hmac.compare_digest(_scrypt(passcode, kept.salt), kept.hash)


def _scrypt(passcode: str, salt: bytes) -> bytes:
    # Two keyboards may write one letter as different characters.
    text = unicodedata.normalize("NFC", passcode).encode()
    return hashlib.scrypt(text, salt=salt, n=COST, r=BLOCK, p=PARALLEL, maxmem=_MEMORY, dklen=32)
