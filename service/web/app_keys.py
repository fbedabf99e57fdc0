"""What the application and its requests carry, by typed keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from service.auth.key_source import KeySource
from service.auth.tokens import Authenticator, Claims
from service.dicom.paths import parse_tag_path
from service.dicom.withheld import ORIGINAL_TAGS
from service.errors import NotForDownload, SessionEnded
from service.settings import Settings
from service.storage.visible import Visible
from service.usecases.audit import Audit
from service.usecases.context import Context
from service.usecases.inboxes import OpenInbox
from service.usecases.metrics import Measuring
from service.web.admission import Admissions
from service.web.route import Route


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the patient of the path, and the token that opens their data.

    Parameters
    ----------
    patient_id : str
        The patient of the path.
    claims : Claims
        What the token says.
    visible : Visible
        What the caller may see.
    still_allowed : callable, optional
        Tells, by the database, whether the caller may still see it; there where that may end during a long answer.
        Whatever sends bytes asks it (`service.web.streams.Outlet`).
    share_id : str or None
        The share by which they ask; None where they have a token of their own.
    inbox : OpenInbox, optional
        The inbox into which they may put files, and do nothing else.
    """

    patient_id: str
    claims: Claims
    visible: Visible
    still_allowed: Callable[[], Awaitable[bool]] | None = None
    share_id: str | None = None
    inbox: OpenInbox | None = None

    @property
    def may_download(self) -> bool:
        """Return whether the caller may have originals, and what is an original inside of one."""
        return self.visible.originals

    async def look(self) -> None:
        """Look whether the caller may still see what they could when they asked.

        Raises
        ------
        SessionEnded
            Their share has ended meanwhile.
        """
        if self.still_allowed is not None and not await self.still_allowed():
            raise SessionEnded

    def require_download(self) -> None:
        """Refuse whoever may not have originals.

        Raises
        ------
        NotForDownload
        """
        if not self.may_download:
            raise NotForDownload

    def require_bulk_data(self, path: str) -> None:
        """Refuse whoever may not have originals the values that are one: stored pixels, video and documents.

        Parameters
        ----------
        path : str
            Of the element, as the request has it.

        Raises
        ------
        NotForDownload
        Invalid
            It names no element; told here only to who may not have originals.
        """
        if not self.may_download and parse_tag_path(path)[-1].tag in ORIGINAL_TAGS:
            raise NotForDownload


@dataclass(frozen=True, slots=True)
class Audited:
    """Whose data a request is about and who asks, as far as is known; for the audit.

    Parameters
    ----------
    patient_id : str
        The patient of the path.
    subject, token_id : str or None
        Of the token.
    verified : bool
        Whether the token is a valid one, be it for another patient.
    share_id : str or None
        The share that it is about, or by which is asked.
    """

    patient_id: str
    subject: str | None = None
    token_id: str | None = None
    verified: bool = False
    share_id: str | None = None


SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
CONTEXT: web.AppKey[Context] = web.AppKey("context", Context)
AUTHENTICATOR: web.AppKey[Authenticator] = web.AppKey("authenticator", Authenticator)
ADMISSIONS: web.AppKey[Admissions] = web.AppKey("admissions")
ROUTES: web.AppKey[Mapping[tuple[str, str], Route]] = web.AppKey("routes", Mapping[tuple[str, str], Route])
"""The rows of the table of routes by method and path."""
KEY_SOURCE: web.AppKey[KeySource] = web.AppKey("key_source", KeySource)
"""There only where keys are published: with a secret there is nothing to renew."""
API_DOCUMENT: web.AppKey[bytes] = web.AppKey("api_document", bytes)

AUDIT: web.AppKey[Audit] = web.AppKey("audit", Audit)
MEASURING: web.AppKey[Measuring] = web.AppKey("measuring", Measuring)

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
STARTED: web.RequestKey[float] = web.RequestKey("started", float)
ROUTE: web.RequestKey[str] = web.RequestKey("route", str)
AUDITED: web.RequestKey[Audited] = web.RequestKey("audited", Audited)
ACTION: web.RequestKey[str] = web.RequestKey("action", str)
"""What the audit calls the request: the route's word, until a handler that does several things says which."""
DICOM_IDS: web.RequestKey[Sequence[str]] = web.RequestKey("dicom_ids", Sequence[str])
