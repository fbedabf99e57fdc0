"""What a patient and whoever has a link do, of a running service."""

import json

from service.auth.tokens import SHARE
from service.web.app_keys import AUDIT

JSON = {"Content-Type": "application/json"}


class Sharing:
    """What a patient and whoever has a link do."""

    def __init__(self, service, patient):
        self.service, self.patient = service, patient

    def owner(self, scope=SHARE):
        return {"access-token": self.service.token(self.patient, scope=scope)}

    async def ask(self, method, path="", body=None, headers=None):
        data = None if body is None else json.dumps(body).encode()
        sent = {"Accept-Encoding": "identity", **(headers or self.owner()), **(JSON if data is not None else {})}
        return await self.service.ask(method, f"/patient/{self.patient}{path}", headers=sent, data=data)

    async def make(self, **wanted):
        answer = await self.ask("POST", "/shares", {"expires_in": 600, **wanted})
        assert answer.status == 201, answer.body
        return answer.json()

    async def open(self, secret, **more):
        body = json.dumps({"secret": secret, **more}).encode()
        return await self.service.ask("POST", "/shares/session", headers=JSON, data=body)

    async def session(self, share, **more):
        answer = await self.open(secret_of(share), **more)
        assert answer.status == 200, answer.body
        return {"access-token": answer.json()["access_token"]}

    async def audit(self, **wanted):
        await self.service.app[AUDIT].write()
        found = self.service.store._database["audit"].find({"patient_id": self.patient, **wanted})
        return await found.sort("_id", 1).to_list(None)


def secret_of(share):
    return share["link"].rpartition("#")[2]
