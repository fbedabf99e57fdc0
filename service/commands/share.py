"""What an operator does about shares: look which ones a patient has, and end them all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.database import Share
from service.storage.audit import AuditEntry
from service.storage.store import Store
from service.usecases import sharing

PAGE = 100
ROUTE = "scripts/share.py"


@dataclass(frozen=True, slots=True)
class ListedShare:
    """A share as an operator sees it: without what the patient chose, and without the patient's note.

    Parameters
    ----------
    share_id : str
        Its id.
    kind : str
        ``view`` or ``inbox``.
    state : str
        As of :func:`service.usecases.sharing.state_of`.
    made_at, expires_at : datetime
        When it was made, and ends by itself.
    made_by : str or None
        The ``sub`` of the token it was made with.
    opens : int
        Sessions that were made of it.
    """

    share_id: str
    kind: str
    state: str
    made_at: datetime
    expires_at: datetime
    made_by: str | None
    opens: int


async def list_shares(store: Store, patient_id: str, now: datetime) -> list[ListedShare]:
    """Return all shares of a patient, the newest first, those that have ended and are not forgotten too."""
    listed: list[ListedShare] = []
    more = True
    while more:
        found, more = await store.shares.list_of(patient_id, PAGE, len(listed))
        listed += [_listed(share, now) for share in found]
    return listed


async def revoke_shares(store: Store, patient_id: str, now: datetime) -> Sequence[str]:
    """End all shares of a patient with their sessions, write that to the audit, and return those that were open.

    Raises
    ------
    Unavailable
        The database does not answer. The shares may have ended all the same; it can be done again.
    """
    revoked = await store.shares.revoke_all(patient_id, now)
    request_id = os.urandom(16).hex()
    if revoked:
        await store.audit.append(
            [
                AuditEntry(
                    at=now,
                    action="revoke_share",
                    outcome="done",
                    status=None,
                    method=sharing.COMMAND,
                    route=ROUTE,
                    request_id=request_id,
                    patient_id=patient_id,
                    share_id=share_id,
                )
                for share_id in revoked
            ]
        )
    return revoked


def _listed(share: Share, now: datetime) -> ListedShare:
    return ListedShare(
        share_id=share["_id"],
        kind=share["kind"],
        state=sharing.state_of(share, now),
        made_at=share["made_at"],
        expires_at=share["expires_at"],
        made_by=share["made_by"]["subject"],
        opens=share["opens"],
    )
