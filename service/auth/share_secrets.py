"""What opens a share: the secret of its link, and the tokens of the sessions that begin with it.

Both are random texts and no JWTs. The database keeps their SHA-256 alone: 256 random bits need no slow hash.
"""

from __future__ import annotations

import hashlib
import re
import secrets

_SESSION = "share-session"

_TOKEN = re.compile(
    rf"{_SESSION}\.([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})\.[A-Za-z0-9_-]{{43}}", re.ASCII
)


def new_secret() -> str:
    """Return 256 random bits of the system as 43 characters that a link can have."""
    return secrets.token_urlsafe(32)


def new_session_token(share_id: str) -> str:
    """Return a token for a session of a share. It names the share, so that one read by its id finds both."""
    return f"{_SESSION}.{share_id}.{new_secret()}"


def digest(text: str) -> str:
    """Return what the database keeps of a secret or a token: its SHA-256, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def is_session_token(token: str) -> bool:
    """Return whether a token is meant as a session's, by its beginning: no JWT begins so."""
    return token.startswith(f"{_SESSION}.")


def share_of(token: str) -> str | None:
    """Return the id of the share that a session's token names; None where the token cannot be one."""
    match = _TOKEN.fullmatch(token)
    return match[1] if match is not None else None
