"""What a patient and whoever has their link do, for tests that look through a share."""

from __future__ import annotations

import json
from typing import Any

from service.auth.tokens import SHARE
from tests.web.service import Service

JSON = {"Content-Type": "application/json"}


async def make_share(service: Service, patient: str, **wanted: Any) -> tuple[str, dict[str, str]]:
    """Make a share and open it, and return its id and the headers that ask by its session."""
    owner = {"access-token": service.token(patient, scope=SHARE), **JSON}
    body = json.dumps({"expires_in": 600, **wanted}).encode()
    made = (await service.ask("POST", f"/patient/{patient}/shares", headers=owner, data=body)).json()
    body = json.dumps({"secret": made["link"].rpartition("#")[2]}).encode()
    opened = (await service.ask("POST", "/shares/session", headers=JSON, data=body)).json()
    return made["share_id"], {"access-token": opened["access_token"]}


async def revoke(service: Service, patient: str, share_id: str) -> None:
    """Revoke a share."""
    owner = {"access-token": service.token(patient, scope=SHARE)}
    assert (await service.ask("DELETE", f"/patient/{patient}/shares/{share_id}", headers=owner)).status == 204
