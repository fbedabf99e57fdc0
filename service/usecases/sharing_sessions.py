"""The use case: whoever has the link of a share opens a session, and asks by its token for what the share shows.

Secrets and tokens are guessed by anybody, so each guess costs one small read by an index, and only so many are read
at once. Passcodes are tried by whoever has the link: ten wrong ones close it.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from schemas.database import Share, ShareSession
from service.auth import passcodes, share_secrets
from service.auth.passcodes import HashedPasscode
from service.errors import NotFound, Overloaded, PasscodeRequired, SessionEnded, WrongPasscode
from service.usecases.context import Context
from service.usecases.sharing import is_used_up

SESSION_SECONDS = 3600
"""How long a session lasts at most."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened just now.

    Parameters
    ----------
    share : Share
        Of which share.
    session : ShareSession
        The session, as the database has it.
    token : str
        Its token, which is not kept.
    """

    share: Share
    session: ShareSession
    token: str


async def find_link(context: Context, secret: str) -> Share:
    """Return the share of a link that opens something.

    Raises
    ------
    NotFound
        There is none, or none that opens anything any more: which of them is not said.
    Overloaded
        Too many links are tried.
    """
    async with context.link_turns.turn():
        share = await context.store.shares.find_by_secret(share_secrets.digest(secret), context.clock())
    if share is None or is_used_up(share):
        raise no_such_link()
    return share


async def open_session(context: Context, share: Share, passcode: str | None) -> Opened:
    """Open a session of a share that was found by its link.

    Parameters
    ----------
    share : Share
        From :func:`find_link`.
    passcode : str or None
        As it was sent.

    Raises
    ------
    PasscodeRequired
        It has a passcode, and none was sent; that is no try.
    WrongPasscode
        It has another one.
    NotFound
        It has ended, or is used up, meanwhile.
    Overloaded
        Too many passcodes are looked at.
    """
    if share["passcode"] is not None:
        if passcode is None:
            raise PasscodeRequired
        await _check_passcode(context, share, passcode)
    now = context.clock()
    token = share_secrets.new_session_token(share["_id"])
    session: ShareSession = {
        "id": str(uuid.uuid4()),
        "hash": share_secrets.digest(token),
        "expires_at": min(now + timedelta(seconds=SESSION_SECONDS), share["expires_at"]),
    }
    if not await context.store.shares.add_session(share, session, now):
        raise no_such_link()
    return Opened(share, session, token)


async def find_session(context: Context, token: str) -> tuple[Share, ShareSession]:
    """Return a session that has not ended by its token, and its share.

    Raises
    ------
    SessionEnded
        There is none.
    Overloaded
        Too many tokens are looked up.
    """
    share_id, session_hash = share_secrets.share_of(token), share_secrets.digest(token)
    share = None
    if share_id is not None:
        async with context.session_turns.turn():
            share = await context.store.shares.find_by_session(share_id, session_hash, context.clock())
    if share is None:
        raise SessionEnded
    return share, next(session for session in share["sessions"] if session["hash"] == session_hash)


async def is_open(context: Context, token: str) -> bool:
    """Return whether a session has not ended, from the database as it is now.

    Raises
    ------
    Unavailable
        The database does not tell.
    """
    try:
        await find_session(context, token)
    except SessionEnded:
        return False
    return True


def no_such_link() -> NotFound:
    """Make the refusal of a link, which is the same for one that never was and one that has ended."""
    return NotFound("This link does not exist, or it no longer opens anything.")


async def _check_passcode(context: Context, share: Share, passcode: str) -> None:
    kept = share["passcode"]
    assert kept is not None  # noqa: S101 - whoever calls this has looked
    shares = context.store.shares
    async with context.passcode_turns.turn():
        taken = await shares.take_try(share["_id"], context.clock())
        if taken == "busy":
            raise Overloaded("Passcodes of this link are being looked at. Try again.", retry_after=1)
        if taken == "ended":
            raise no_such_link()
        right = await asyncio.to_thread(passcodes.is_passcode, passcode, HashedPasscode(kept["salt"], kept["hash"]))
    if not right:
        raise WrongPasscode(closes=await shares.note_wrong(share["_id"], context.clock()))
