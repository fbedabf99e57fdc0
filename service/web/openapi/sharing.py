"""The operations of shares."""

from __future__ import annotations

from schemas.http import (
    AnsweredFiles,
    AnswerRequest,
    ListParameters,
    SessionRequest,
    ShareList,
    ShareMade,
    ShareRequest,
    ShareSchema,
    ShareSessionSchema,
)
from service.web.openapi.operation import Body, Operation, Response

EXAMPLE_SHARE = {"studies": ["1.2.840.113619.2.55.3.1"], "expires_in": 604_800, "label": "for a second opinion"}
EXAMPLE_SESSION = {"secret": "kJ2mJ8nqkzGZ7J3f1b0cX9yQm3sT5vWq8uRzA4eLpNo"}

MAKE_SHARE = Operation(
    "makeShare",
    "Shares",
    "Make a link that lets others see a part of a patient's files",
    {201: Response("The share, with its link. The link is not shown again.", {"application/json": ShareMade})},
    frozenset({408, 409, 413, 415}),
    "The token must name the scope `dicom:share`. Whoever has the link sees the chosen studies, series or instances, "
    "and nothing else, until the link ends or is revoked. With `upload` it is an inbox: whoever has the link puts "
    "files in, sees nothing, and the files wait until they are accepted.",
    body=Body("What is shared or taken in, and for how long.", {"application/json": ShareRequest}, EXAMPLE_SHARE),
    says={
        409: "`PUBLIC_URL` is not set, or the patient has too many shares.",
        422: "The body is invalid, the time is too long, or something that is named does not exist.",
    },
)

LIST_SHARES = Operation(
    "listShares",
    "Shares",
    "List a patient's shares",
    {200: Response("A page of shares, newest first.", {"application/json": ShareList}, ("Link",))},
    description="At most 100 on a page. Those that have ended are listed for 30 days more.",
    query=ListParameters,
)

GET_SHARE = Operation(
    "getShare",
    "Shares",
    "Get one share, with what came by it and what was done by it",
    {200: Response("The share.", {"application/json": ShareSchema}, ("Link",))},
    frozenset({404}),
    "`limit` and `offset` page `files` and `audit` alike, at most 100 of each. An entry of the audit is there a second "
    "after what it is about.",
    query=ListParameters,
)

ACCEPT_FILES = Operation(
    "acceptFiles",
    "Shares",
    "Accept files that came by an inbox, or decline them",
    {200: Response("What became of each.", {"application/json": AnsweredFiles})},
    frozenset({404, 408, 413, 415, 507}),
    "An accepted file becomes one of the patient's own, under the id that it would have if the patient had sent it, "
    "and the copy in the inbox is deleted. A declined file is deleted. It may be asked again after any failure; files "
    "that were answered before are told as they were. Also works when the inbox has ended.",
    body=Body("Which files, and what becomes of them.", {"application/json": AnswerRequest}, {"files": "all"}),
    says={422: "The body is invalid, or one of the files did not come by this inbox."},
)

REVOKE_SHARE = Operation(
    "revokeShare",
    "Shares",
    "Revoke a share at once, with all of its sessions",
    {204: Response("Nobody sees anything by this share any more.")},
    frozenset({404}),
)

OPEN_SESSION = Operation(
    "openSession",
    "Shares",
    "Open a session by the secret of a link",
    {
        200: Response(
            "The token of a session, for an hour at most. Send it as any other token.",
            {"application/json": ShareSessionSchema},
        )
    },
    frozenset({401, 404, 408, 413, 415, 422}),
    "The secret is what stands behind the `#` of the link. Never send it in a path, a query or a header.",
    body=Body("The secret, and the passcode if there is one.", {"application/json": SessionRequest}, EXAMPLE_SESSION),
    says={
        401: "A passcode is needed (`passcode-required`) or wrong (`wrong-passcode`). Ten wrong ones close a link.",
        404: "The link does not exist, or it no longer opens anything.",
        415: "The body is not `application/json`.",
    },
)
